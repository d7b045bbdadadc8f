"""The conditions under which the API server asks: nothing that a rule or a guard is about is ever filtered out.

What the API server itself makes of them is tested on a real one (tests/cluster/test_registration.py).
"""

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.world import KRAKEN, NOON, PRIVATE, REGIONAL, SEALER, pod
from tests.support.cel import lets_through
from webhook.core.admission import decode
from webhook.core.conditions import (
    EVERYTHING,
    LOOPBACK,
    MAX_COST,
    MAX_TEXT,
    VERSION,
    Coverage,
    Glob,
    Kind,
    conditions,
    needed,
    read,
)
from webhook.core.globs import Globs
from webhook.core.pinning import Pinning, plan_pins
from webhook.core.plan import Keep, guard_only, plan
from webhook.core.rules import Rule, RuleSet
from webhook.core.subject import IMAGE_FIELDS
from webhook.core.targets import Place, Target

HOSTS = [
    "registry.example.com", "registry.example.com:5000", "Registry.Example.COM", "eu.registry.example.com", "ghcr.io",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "docker.io", "index.docker.io", "registry-1.docker.io", "Foo",
    "localhost", "localhost:30081", "LOCALHOST:030081", "127.0.0.1:30081", "127.1:30081", "0x7F.1:30081",
    "2130706433:30081", "0:30081", "[::1]:30081", "[0:0:0:0:0:0:0:1]:30081", "cache.localhost:30081", "10.0.0.5:443",
    "eu.example.net", "EU.example.net:0443", "[fd00::1]:5000",
]  # fmt: skip
PATHS = ["nginx", "library/nginx", "team/app", "team/a/b", "app", "infra/x"]
ENDS = ["", ":1", ":stable", "@sha256:" + "a" * 64]

LABELS = ["a", "team-1", "example", "io", "B", "docker", "localhost", "127", "0x1"]

hosts = st.sampled_from(HOSTS) | st.builds(
    str.__add__, st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(".".join), st.sampled_from(["", ":5000"])
)
texts = st.one_of(
    st.builds("{}/{}{}".format, hosts, st.sampled_from(PATHS), st.sampled_from(ENDS)),
    st.builds("{}{}".format, st.sampled_from(PATHS), st.sampled_from(ENDS)),
    st.sampled_from(["", "auto", "/", "a" * 300, "x" * 200 + ".io/a", "registry.example.com/" + "a/" * 130 + "b"]),
    st.text(max_size=6),
)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """A pattern over host/path, with wildcards at any place of the host."""
    host = draw(hosts)
    if draw(st.booleans()):
        start, end = sorted((draw(st.integers(0, len(host))), draw(st.integers(0, len(host)))))
        host = host[:start] + draw(st.sampled_from(["*", "?", "**", "*.", "-*-"])) + host[end:]
    mark = draw(st.sampled_from(["", "", "", "!"]))
    return mark + host + draw(st.sampled_from(["/**", "/*", "/team/**", "/**/app", "/library/nginx", ""]))


rules = st.builds(
    Rule,
    st.sampled_from(["a", "b", "c"]),
    st.lists(patterns() | st.just("**"), min_size=1, max_size=3).map(Globs.of),
    targets=st.lists(st.sampled_from([KRAKEN, REGIONAL]), max_size=2, unique=True).map(tuple),
)
targets = st.builds(
    lambda host, guard: Target(host, Place(f"{host}/{{path}}"), guard=guard), hosts, st.sampled_from(["off", "warn"])
)
rule_sets = st.builds(
    lambda every, more: RuleSet(every, targets=more), st.lists(rules, max_size=3), st.lists(targets, max_size=2)
)
containers = st.lists(st.fixed_dictionaries({}, optional={"name": st.just("c"), "image": texts}), max_size=3)
volumes = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("v")},
        optional={"image": st.fixed_dictionaries({}, optional={"reference": texts}), "emptyDir": st.just({})},
    ),
    max_size=2,
)
specs = st.fixed_dictionaries(
    {"containers": containers},
    optional={"initContainers": containers, "ephemeralContainers": containers, "volumes": volumes},
)
metadata = st.fixed_dictionaries(
    {"name": st.just("web")},
    optional={
        "labels": st.sampled_from([{"moorage.dev/skip": "true"}, {"app": "web"}]),
        "annotations": st.sampled_from([{"moorage.dev/images": "{}"}, {"moorage.dev/skip": "true"}, {"x": "y"}]),
    },
)
pods = st.builds(lambda meta, spec: {"metadata": meta, "spec": spec}, metadata, specs)
jsons: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "registry.example.com/a"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["spec", "template", "containers", "initContainers", "volumes", "image", "reference"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def review(resource: str, operation: str, found: Any, before: Any = None, group: str = "") -> bytes:
    resource, _, sub = resource.partition("/")
    request = {
        "uid": "u",
        "resource": {"group": group, "version": "v1", "resource": resource},
        "subResource": sub,
        "namespace": "shop",
        "operation": operation,
        "object": found,
        "oldObject": before,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def wants(document: Any, known: RuleSet) -> bool:
    """Whether a Pod's creation is more to us than a line in the log."""
    subject = decode(review("pods", "CREATE", document)).subject
    if subject is None:
        return False
    images = [slot.image for slot in subject.slots if slot.image is not None]
    steps = plan(subject, known, sealer=SEALER, milliseconds=NOON)
    return any(known.candidates(image) for image in images) or not all(isinstance(one, Keep) for one in steps)


@given(rule_sets, pods)
@example(RuleSet([Rule("a", Globs(("docker.io/**",)))]), pod("nginx"))
@example(RuleSet([Rule("a", Globs(("docker.io/**",)))]), pod("index.docker.io/team/app"))
@example(RuleSet([Rule("a", Globs(("*.io/**",)))]), pod("nginx"))
@example(RuleSet([Rule("a", Globs(("index.*/**", "docker*/**")))]), pod("team/app"))
@example(RuleSet([Rule("a", Globs(("Foo/**",)))]), pod("Foo/app"))
@example(RuleSet([Rule("a", Globs(("**.example.com/x",)))]), pod("ghcr.io/a.example.com/x"))
@example(RuleSet([PRIVATE]), pod("127.1:30081/team/app"))
@example(RuleSet([PRIVATE]), pod("0x7F.1:030081/team/app"))
@example(RuleSet([PRIVATE], targets=[Target("a", Place("10.0.0.5/{path}"), guard="refuse")]), pod("10.0.0.5:443/x"))
def test_no_pod_is_filtered_out_that_a_rule_or_a_guard_is_about(known: RuleSet, document: dict[str, Any]) -> None:
    assert lets_through(conditions(needed(known), "pods"), document) or not wants(document, known)


@given(rule_sets, specs, specs, metadata)
def test_no_update_is_filtered_out_that_a_guard_is_about(
    known: RuleSet, before: dict[str, Any], after: dict[str, Any], meta: dict[str, Any]
) -> None:
    old, new = {"metadata": {"name": "web"}, "spec": before}, {"metadata": meta, "spec": after}
    for resource in ("pods", "pods/ephemeralcontainers"):
        found = decode(review(resource, "UPDATE", new, old))
        assert found.subject is not None
        steps = guard_only(found.subject, known)
        matched = any(known.candidates(slot.image) for slot in found.subject.slots if slot.image is not None)
        if matched or not all(isinstance(one, Keep) for one in steps):
            assert lets_through(conditions(needed(known), "pods"), new, old, operation="UPDATE", kind="Pod")


OWNER = [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "w", "controller": True}]


def revision_of(kind: str, template: dict[str, Any], number: int, *, suspend: bool) -> dict[str, Any]:
    """A ReplicaSet, a ControllerRevision or a Job in the form in which the API server sends it."""
    meta = {"name": "web-1", "labels": {"pod-template-hash": "1"}, "ownerReferences": OWNER}
    if kind == "ReplicaSet":
        annotations = {"deployment.kubernetes.io/revision": str(number)}
        return {"metadata": {**meta, "annotations": annotations}, "spec": {"template": template}}
    if kind == "ControllerRevision":
        return {"metadata": meta, "data": {"spec": {"template": template}}, "revision": number}
    return {"metadata": meta, "spec": {"template": template, "suspend": suspend}}


@given(
    rule_sets,
    st.sampled_from([("ReplicaSet", "apps"), ("ControllerRevision", "apps"), ("Job", "batch")]),
    pods,
    st.sampled_from(["CREATE", "UPDATE"]),
    st.tuples(st.integers(1, 2), st.integers(1, 2), st.booleans(), st.booleans()),
)
def test_no_revision_is_filtered_out_that_a_rule_pins(
    known: RuleSet,
    kind: tuple[str, str],
    template: dict[str, Any],
    operation: str,
    turns: tuple[int, int, bool, bool],
) -> None:
    now, then, suspended, was = turns
    new = revision_of(kind[0], template, now, suspend=suspended)
    old = revision_of(kind[0], template, then, suspend=was) if operation == "UPDATE" else None
    found = decode(review(f"{kind[0].lower()}s", operation, new, old, kind[1]), NOON)
    if found.rollout is not None and found.subject is not None:
        steps = plan_pins(found.rollout, found.subject, known, SEALER, 0.0)
        if any(isinstance(one, Pinning) for one in steps):
            assert lets_through(conditions(needed(known), "revisions"), new, old, operation=operation, kind=kind[0])


def changed(kind: str, **change: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A revision before and after an update."""
    old = revision_of(kind, pod("registry.example.com/a"), 1, suspend=True)
    return old, json.loads(json.dumps({**old, **change}))


@pytest.mark.parametrize(
    ("kind", "change", "is_asked"),
    [
        ("ReplicaSet", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}, True),
        ("ReplicaSet", {"metadata": {"annotations": {"rollout.argoproj.io/revision": "1"}}}, True),
        ("ReplicaSet", {"metadata": {}}, True),
        ("ReplicaSet", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1", "x": "y"}}}, False),
        ("ReplicaSet", {"spec": {"template": pod("registry.example.com/a"), "replicas": 2}}, False),
        ("ControllerRevision", {"revision": 2}, True),
        ("ControllerRevision", {"revision": 0}, True),
        ("ControllerRevision", {"metadata": {"labels": {"a": "b"}}}, False),
        ("Job", {"spec": {"template": pod("registry.example.com/a"), "suspend": False}}, True),
        ("Job", {"metadata": {"labels": {"a": "b"}}}, False),
    ],
)
def test_updates_of_revisions_are_asked_about_where_they_are_used_anew(
    kind: str, change: dict[str, Any], is_asked: bool
) -> None:
    old, new = changed(kind, **change)
    every = conditions(needed(RuleSet([PRIVATE])), "revisions")
    assert lets_through(every, new, old, operation="UPDATE", kind=kind) is is_asked


@pytest.mark.parametrize("odd", [5, "x", None, [], {"image": 5}, {"image": None}, {"image": ["x"]}])
@pytest.mark.parametrize("field", ["containers", "volumes"])
def test_what_is_no_container_is_let_through_and_no_fault(odd: Any, field: str) -> None:
    every = conditions(needed(RuleSet([PRIVATE])), "revisions")
    assert lets_through(every, {"metadata": {}, "data": {"spec": {"template": {"spec": {field: [odd]}}}}})


@given(jsons, jsons, st.sampled_from(["spec", "data"]), st.sampled_from(["CREATE", "UPDATE"]))
def test_no_expression_fails_whatever_an_object_holds(found: Any, before: Any, key: str, operation: str) -> None:
    for kind in ("pods", "revisions"):
        every = conditions(needed(RuleSet([PRIVATE], targets=[KRAKEN])), kind)
        lets_through(every, {"metadata": {}, key: found}, {"metadata": {}, key: before}, operation=operation)
        lets_through(every, {"metadata": {}, key: {"template": {"spec": found}}}, {"metadata": {}}, operation=operation)


@pytest.mark.parametrize(
    ("patterns", "image"),
    [
        (["registry.example.com/**"], "nginx"),
        (["registry.example.com/**"], "ghcr.io/team/app"),
        (["registry.example.com/**"], "registry.example.com.evil.io/app"),
        (["*.example.com/**"], "example.com/app"),
        (["docker.io/**"], "registry-1.docker.io/library/nginx"),
        (["ghcr.io/team/**", "!ghcr.io/**/x"], "quay.io/team/app"),
        (["123.dkr.ecr.*.amazonaws.com/**"], "456.dkr.ecr.eu-west-1.amazonaws.com/app"),
    ],
)
def test_pods_with_nothing_to_do_do_not_reach_us(patterns: list[str], image: str) -> None:
    every = needed(RuleSet([Rule("private", Globs.of(patterns), targets=(KRAKEN,))]))
    document = pod(image)
    document["spec"]["volumes"] = [{"name": "token", "projected": {}}]
    assert not lets_through(conditions(every, "pods"), document)


def test_updates_that_leave_the_spec_alone_do_not_reach_us() -> None:
    every = conditions(needed(RuleSet([PRIVATE])), "pods")
    old, new = pod("registry.example.com/a"), pod("registry.example.com/a", labels={"a": "b"})
    assert not lets_through(every, new, old, operation="UPDATE", kind="Pod")


@pytest.mark.parametrize("field", [name for name, _ in IMAGE_FIELDS])
def test_each_place_of_an_image_is_looked_at(field: str) -> None:
    way = dict(IMAGE_FIELDS)[field]
    text: Any = "registry.example.com/a"
    for part in reversed(way):
        text = {part: text}
    every = conditions(needed(RuleSet([PRIVATE])), "pods")
    assert lets_through(every, {"metadata": {}, "spec": {"containers": [], field: [{"name": "x", **text}]}})


@pytest.mark.parametrize("image", ["", "auto"])
def test_pods_whose_images_others_fill_in_later_reach_us(image: str) -> None:
    # Who is not asked in the first round is not asked in the second (apiserver, mutating/dispatcher.go).
    assert lets_through(conditions(needed(RuleSet([PRIVATE])), "pods"), pod("ghcr.io/a/b", image))


@pytest.mark.parametrize("pattern", ["**", "*/team/**", "**/app", "*.*/x", "!ghcr.io/**", "exa_mple.io/**"])
def test_a_rule_for_any_host_makes_no_condition(pattern: str) -> None:
    every = needed(RuleSet([PRIVATE, Rule("any", Globs((pattern,)))]))
    assert every == EVERYTHING
    assert conditions(every, "pods") == conditions(every, "revisions") == []


def test_targets_count_where_they_are_guarded() -> None:
    found = needed(RuleSet([PRIVATE], targets=[REGIONAL]))
    assert found.lacks(needed(RuleSet([PRIVATE]))) == ()
    assert found.names >= {"registry.example.com", "localhost"}
    assert "eu.example.net" not in found.names


def many(count: int, pattern: str) -> RuleSet:
    return RuleSet([Rule(f"r{number}", Globs((pattern.format(number),)), targets=(KRAKEN,)) for number in range(count)])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (many(1_000, "registry-{0}.team-{0}.example.com/**"), 1_000),
        (many(5_000, "registry-{}.private.example.com/**"), 1),
        (many(5_000, "registry.team-{}.com/**"), None),
        (many(60, "registry-*.team-{}.com/**"), 0),
        (many(500, "*.registry-{}.example.com/**"), 0),
        (many(500, "*.team-{}.com/**"), None),
    ],
)
def test_what_is_too_large_is_told_more_coarsely_or_not_at_all(known: RuleSet, expected: int | None) -> None:
    found = needed(known)
    assert (None if found.everything else len(found.names - LOOPBACK.names)) == expected
    assert found.cost <= MAX_COST
    for one in conditions(found, "pods"):
        assert len(one["expression"]) <= MAX_TEXT
    image = next(iter(known.rules)).images.patterns[0].replace("*", "x").removesuffix("/xx") + "/app"
    assert lets_through(conditions(found, "pods"), pod(image))


names = st.frozensets(st.from_regex(r"[a-z0-9.-]{1,8}", fullmatch=True), max_size=4)
globs = st.frozensets(
    st.builds(Glob, st.sampled_from(["", "a", "ab", "["]), st.sampled_from([".io", "x.io", ".example.io"])), max_size=3
)
coverages = st.builds(Coverage, names, globs, st.booleans()) | st.just(EVERYTHING)
kinds = st.sampled_from(["pods", "revisions"])


@given(coverages, kinds)
def test_what_is_written_is_read_back(coverage: Coverage, kind: Kind) -> None:
    written = conditions(coverage, kind)
    assert read(written, kind).coverage == coverage
    assert read(conditions(coverage, kind, explicit=True), kind).coverage == coverage
    assert read(conditions(coverage, kind, explicit=True), kind).is_made
    folded = [{**one, "expression": " ".join(one["expression"].split())} for one in written]
    assert read(folded, kind).coverage == coverage


@given(coverages, coverages, st.from_regex(r"[a-z0-9.\[-]{1,8}", fullmatch=True))
def test_what_is_joined_holds_both(one: Coverage, other: Coverage, host: str) -> None:
    both = one.joined(other)
    assert both.holds(one)
    assert both.holds(other)
    assert one.holds(other) is (one.lacks(other) == ())
    if one.holds(other) and lets_through(conditions(other, "pods"), pod(f"{host}:1/x")):
        assert lets_through(conditions(one, "pods"), pod(f"{host}:1/x"))


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        (["ghcr.io/**", "quay.io/**"], ("ghcr.io", "quay.io")),
        (["docker.io/**"], ("docker.io",)),
        (["localhost:5000/**"], ("localhost",)),
        (["*.example.net/**", "mirror-*.io/x"], ("*.example.net", "mirror-*.io")),
        (["**"], ("*",)),
    ],
)
def test_what_is_missing_is_told_as_people_write_it(patterns: list[str], told: tuple[str, ...]) -> None:
    there = needed(RuleSet([Rule("a", Globs(("registry.example.com/**",)))]))
    need = needed(RuleSet([Rule("a", Globs.of(["registry.example.com/**", *patterns]))]))
    assert there.lacks(need) == told
    assert there.lacks(needed(RuleSet([PRIVATE]))) == ("localhost",)


def test_hosts_that_somebody_adds_or_takes_away_are_seen() -> None:
    written = conditions(needed(RuleSet([PRIVATE])), "pods")
    hosts = written[1]
    added = {**hosts, "expression": hosts["expression"].replace("'registry", "'zz.io', 'ghcr.io', 'registry")}
    assert read([added], "pods").coverage.names >= {"zz.io", "ghcr.io", "registry.example.com"}
    gone = {**hosts, "expression": hosts["expression"].replace("'registry.example.com'", "'ghcr.io'")}
    assert read([gone], "pods").coverage.lacks(needed(RuleSet([PRIVATE]))) == ("registry.example.com",)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda text: text + " && request.userInfo.username != 'x'", "pods"),
        (lambda text: text.replace("> 32", "> 1"), "pods"),
        (lambda text: text.replace("host in [", "host in [] || host in ["), "pods"),
        (lambda text: "false", "pods"),
        (lambda text: text, "revisions"),
    ],
)
def test_any_other_change_is_nothing_that_can_be_judged(change: Any, kind: Kind) -> None:
    (hosts,) = [one for one in conditions(needed(RuleSet([PRIVATE])), "pods") if "images" in one["name"]]
    found = read([{**hosts, "expression": change(hosts["expression"])}], kind)
    assert found.edited == ("moorage.dev/images-v1",)


def test_expressions_that_are_made_otherwise_get_the_next_number() -> None:
    # Replicas of two versions would undo each other's work: whoever changes this counts VERSION up.
    one = Coverage(frozenset({"registry.example.com"}), frozenset({Glob("a", ".io")}), numbers=True)
    texts = [each["expression"] for kind in ("pods", "revisions") for each in conditions(one, kind)]
    assert (VERSION, sha256("".join("".join(texts).split()).encode()).hexdigest()[:16]) == (1, "7475cc6fe4ae9e82")


def test_conditions_of_others_and_of_other_versions_are_told_apart() -> None:
    written = conditions(needed(RuleSet([PRIVATE])), "pods")
    more = [{"name": "moorage.dev/images-v2", "expression": "true"}, {"name": "no-argo", "expression": "true"}]
    found = read([*written, *more], "pods")
    assert (found.edited, found.newer, found.others) == ((), ("moorage.dev/images-v2",), ("no-argo",))
