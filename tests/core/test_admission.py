"""AdmissionReview in, answer out: what the API server would do with it is applied by an independent library."""

import base64
import copy
import json
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import revisions
from tests.core.world import KRAKEN, NOON, PRIVATE, SEALER, Answer, D, E, decide, known, pod
from tests.support.canary import search
from tests.support.examples import many
from webhook.core.admission import MAX_SLOTS, BadReview, decode, encode, seconds_allowed, untouched
from webhook.core.annotation import FRESH_FOR, IMAGES
from webhook.core.ask import Absent, Ask, AskDigest, Fact, Failed
from webhook.core.pins import MAX_ANNOTATIONS
from webhook.core.plan import guard_only, plan
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.core.seal import Sealer
from webhook.core.secret import Secret

TAG = "registry.example.com/team/app:stable"
CACHED = f"localhost:30081/team/app@{D}"


def review(
    document: Any,
    *,
    operation: str = "CREATE",
    resource: str = "pods",
    sub: str = "",
    old: Any = None,
    namespace: str = "default",
) -> bytes:
    request: dict[str, Any] = {
        "uid": "0b4a",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": resource},
        "namespace": namespace,
        "operation": operation,
        "object": document,
    }
    if sub:
        request["subResource"] = sub
    if old is not None:
        request["oldObject"] = old
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def answer(body: bytes, *rules: Rule, at: int = NOON, sealer: Sealer = SEALER, **answers: Answer) -> dict[str, Any]:
    """The whole way of a review without doors."""
    read = decode(body)
    the_rules = RuleSet(rules or (PRIVATE,))
    if read.subject is None:
        response = json.loads(untouched(read))
    else:
        steps = (
            plan(read.subject, the_rules, sealer=sealer, milliseconds=at)
            if read.may_change
            else guard_only(read.subject, the_rules)
        )
        response = json.loads(encode(read, [decide(step, **answers)[0] for step in steps], sealer, at))
    result: dict[str, Any] = checked(response)
    return result


def checked(response: dict[str, Any]) -> dict[str, Any]:
    """The API server's own strict check (apiserver pkg/admission/plugin/webhook/request)."""
    search("an answer", json.dumps(response))
    search("a patch", base64.b64decode(response["response"].get("patch", "")))
    assert response["apiVersion"] == "admission.k8s.io/v1"
    assert response["kind"] == "AdmissionReview"
    inner: dict[str, Any] = response["response"]
    assert inner["uid"] == "0b4a"
    assert ("patch" in inner) == ("patchType" in inner)
    assert all("/" not in key for key in inner.get("auditAnnotations", {}))
    return inner


def patched(document: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    if "patch" not in response:
        return document
    operations = json.loads(base64.b64decode(response["patch"]))
    assert {operation["op"] for operation in operations} <= {"replace", "add", "remove"}
    result: dict[str, Any] = jsonpatch.apply_patch(document, operations)
    return result


def test_a_pod_is_pinned_moved_and_annotated() -> None:
    document = pod(TAG, "docker.io/library/nginx:1")
    result = patched(document, answer(review(document)))
    assert [one["image"] for one in result["spec"]["containers"]] == [CACHED, "docker.io/library/nginx:1"]
    annotation = json.loads(result["metadata"]["annotations"][IMAGES])
    assert annotation["images"] == {
        "containers/c0": {"from": TAG, "digest": D, "target": "kraken", "rule": "private", "source": "fresh"}
    }


def test_every_place_of_an_image_is_seen_and_words_that_name_none_are_left_alone() -> None:
    document = pod(TAG)
    document["spec"] |= {
        "initContainers": [{"name": "side", "image": TAG, "restartPolicy": "Always"}],
        "ephemeralContainers": [{"name": "debug", "image": TAG}],
        "volumes": [
            {"name": "model", "image": {"reference": TAG}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "none", "image": None},
        ],
    }
    document["spec"]["containers"] += [
        {"name": "auto", "image": "auto"},
        {"name": "empty", "image": ""},
        {"name": "no"},
    ]
    spec = patched(document, answer(review(document)))["spec"]
    assert [one.get("image") for one in spec["containers"]] == [CACHED, "auto", "", None]
    assert spec["initContainers"][0]["image"] == spec["ephemeralContainers"][0]["image"] == CACHED
    assert spec["volumes"][0]["image"]["reference"] == CACHED


def test_where_the_annotations_are_full_the_pod_is_changed_and_ours_left_out() -> None:
    document = pod(TAG)
    document["metadata"]["annotations"] = {"others": "x" * (MAX_ANNOTATIONS - 100)}
    response = answer(review(document))
    result = patched(document, response)
    assert [one["image"] for one in result["spec"]["containers"]] == [CACHED]
    assert result["metadata"] == document["metadata"]
    assert response["warnings"] == [f"moorage: the annotations have no room for {IMAGES}: left out"]


def test_nothing_to_do_gives_no_patch() -> None:
    assert answer(review(pod("nginx"))) == {"uid": "0b4a", "allowed": True}


def test_a_failed_lookup_admits_with_a_warning_that_names_the_registry() -> None:
    response = answer(review(pod(TAG)), digest=Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "refused"))
    assert response["allowed"] is True
    assert "patch" not in response
    (warning,) = response["warnings"]
    assert "registry.example.com/team/app" in warning
    assert "Unavailable" in warning


def test_a_refusal_denies_and_says_why() -> None:
    strict = Rule("strict", PRIVATE.images, targets=(KRAKEN,), on_failure="refuse")
    response = answer(review(pod(TAG)), strict, digest=Failed(Reason.THROTTLED, "registry.example.com/team/app"))
    assert response["allowed"] is False
    assert response["status"]["code"] == 403
    assert "Throttled" in response["status"]["message"]
    assert "patch" not in response


def test_a_pod_without_metadata_is_patched_without_annotation() -> None:
    document = {"spec": {"containers": [{"name": "c0", "image": TAG}]}}
    assert patched(document, answer(review(document))) == {"spec": {"containers": [{"name": "c0", "image": CACHED}]}}


def test_a_pod_without_metadata_is_not_taken_for_an_equal_one_that_has_some() -> None:
    document = {**pod(TAG), "metadata": {}}
    assert IMAGES in patched(document, answer(review(document)))["metadata"]["annotations"]
    del document["metadata"]
    assert patched(document, answer(review(document)))["spec"]["containers"][0]["image"] == CACHED


@pytest.mark.parametrize(
    "change",
    [
        {"resource": "pods", "sub": "status", "operation": "UPDATE"},
        {"resource": "pods", "sub": "resize", "operation": "UPDATE"},
        {"resource": "pods", "operation": "DELETE"},
        {"resource": "deployments"},
        {"resource": "replicasets"},
        {"resource": "pods", "sub": "binding"},
    ],
)
def test_what_is_not_served_is_allowed_untouched(change: dict[str, Any]) -> None:
    assert answer(review(pod(TAG), **change)) == {"uid": "0b4a", "allowed": True}


def test_mirror_pods_are_left_alone() -> None:
    document = pod(TAG, annotations={"kubernetes.io/config.mirror": "abc"})
    assert answer(review(document)) == {"uid": "0b4a", "allowed": True}


def test_opting_out_leaves_the_image() -> None:
    for metadata in ({"annotations": {"moorage.dev/skip": "true"}}, {"labels": {"moorage.dev/skip": "true"}}):
        assert "patch" not in answer(review(pod(TAG, **metadata)))


def test_an_update_of_a_pod_changes_nothing() -> None:
    assert "patch" not in answer(review(pod(TAG), operation="UPDATE", old=pod("nginx")))


def test_only_new_ephemeral_containers_are_changed_and_metadata_is_not() -> None:
    old = pod(TAG)
    old["spec"]["ephemeralContainers"] = [{"name": "one", "image": TAG}]
    new = copy.deepcopy(old)
    new["spec"]["ephemeralContainers"].append({"name": "two", "image": TAG})
    result = patched(new, answer(review(new, operation="UPDATE", sub="ephemeralcontainers", old=old)))
    expected = copy.deepcopy(new)
    expected["spec"]["ephemeralContainers"][1]["image"] = CACHED
    assert result == expected


def test_a_second_round_of_ephemeral_containers_is_told_nothing_new() -> None:
    old = pod(TAG)
    new = copy.deepcopy(old)
    new["spec"]["ephemeralContainers"] = [{"name": "one", "image": TAG}]
    once = patched(new, answer(review(new, operation="UPDATE", sub="ephemeralcontainers", old=old)))
    again = answer(review(once, operation="UPDATE", sub="ephemeralcontainers", old=old))
    assert again == {"uid": "0b4a", "allowed": True}


@pytest.mark.parametrize("old", [None, {}, {"spec": {"containers": []}}])
def test_only_ephemeral_containers_are_changed_even_when_the_old_object_does_not_tell(old: Any) -> None:
    new = pod(TAG)
    new["spec"]["ephemeralContainers"] = [{"name": "one", "image": TAG}]
    result = patched(copy.deepcopy(new), answer(review(new, operation="UPDATE", sub="ephemeralcontainers", old=old)))
    assert result["spec"]["containers"] == new["spec"]["containers"]
    assert result["spec"]["ephemeralContainers"] == [{"name": "one", "image": CACHED}]
    assert result["metadata"] == new["metadata"]


# Idempotence


def test_the_answer_to_our_own_output_is_empty_and_audit_is_equal() -> None:
    document = pod(TAG)
    first = answer(review(document))
    second = answer(review(patched(document, first)), at=NOON + 900, digest=known(E))
    assert "patch" not in second
    assert second["auditAnnotations"] == first["auditAnnotations"]


def test_containers_that_others_added_meanwhile_are_done_and_ours_stay() -> None:
    document = pod(TAG)
    between = patched(document, answer(review(document)))
    between["spec"]["containers"].insert(0, {"name": "proxy", "image": "registry.example.com/mesh:1"})
    result = patched(between, answer(review(between), at=NOON + 900, digest=known(E)))
    assert [one["image"] for one in result["spec"]["containers"]] == [f"localhost:30081/mesh@{E}", CACHED]
    assert json.loads(result["metadata"]["annotations"][IMAGES])["images"].keys() == {
        "containers/proxy",
        "containers/c0",
    }
    assert "patch" not in answer(review(result), at=NOON + 1800)


@pytest.mark.parametrize("minutes", [0, 2, 60 * 24])
@pytest.mark.parametrize("source", ["fresh", "cached", "stale"])
def test_a_cache_that_was_renewed_in_between_changes_nothing(minutes: int, source: str) -> None:
    document = pod(TAG, f"registry.example.com/given@{E}")
    first = answer(review(document))
    trouble = Reason.UNAVAILABLE if source == "stale" else None
    later = known(source=source, trouble=trouble)
    second = answer(review(patched(document, first)), at=NOON + minutes * 60_000, digest=later)
    assert "patch" not in second
    assert second["auditAnnotations"] == first["auditAnnotations"]


def test_an_upstream_that_fell_silent_in_between_refuses_nothing_that_we_wrote_ourselves() -> None:
    strict = msgspec.structs.replace(PRIVATE, targets=(msgspec.structs.replace(KRAKEN, guard="refuse"),))
    document = pod(f"registry.example.com/team/app@{D}", TAG)
    first = answer(review(document), strict)
    down = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "connection refused")
    second = answer(review(patched(document, first)), strict, at=NOON + 900, digest=down)
    assert second["allowed"] is True
    assert "patch" not in second
    assert second["auditAnnotations"] == first["auditAnnotations"]


def test_what_was_moved_goes_back_when_its_target_fell_ill_in_between() -> None:
    gated = msgspec.structs.replace(PRIVATE, targets=(msgspec.structs.replace(KRAKEN, gated=True),))
    written = [f"registry.example.com/team/app@{E}", TAG]
    document = pod(*written)
    first = patched(document, answer(review(document), gated))
    assert [one["image"] for one in first["spec"]["containers"]] == [f"localhost:30081/team/app@{E}", CACHED]
    ill = Failed(Reason.TARGET_UNHEALTHY, "kraken", "2 of 3 agents are ready")
    second = patched(first, answer(review(first), gated, at=NOON + 900, standing=ill))
    assert [one["image"] for one in second["spec"]["containers"]] == [written[0], f"registry.example.com/team/app@{D}"]


def test_a_dry_run_gets_the_same_answer() -> None:
    document = pod(TAG)
    dry = json.loads(review(document))
    dry["request"]["dryRun"] = True
    assert answer(json.dumps(dry).encode()) == answer(review(document))


OTHER = Sealer((Secret("z" * 32),))


def test_another_replica_without_our_key_asks_again_and_comes_to_the_same() -> None:
    document = pod(TAG)
    once = patched(document, answer(review(document)))
    assert "patch" not in answer(review(once), sealer=OTHER, digest=known(source="cached"))


def test_a_copied_annotation_is_a_hint_only_and_the_upstream_decides() -> None:
    document = pod(TAG)
    once = patched(document, answer(review(document)))
    later = answer(review(once), at=NOON + 3_600_000, digest=known(E))
    assert patched(once, later)["spec"]["containers"][0]["image"] == f"localhost:30081/team/app@{E}"


OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "uid": "u1", "controller": True}]}
STRANGER = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "uid": "u2", "controller": True}]}


@pytest.mark.parametrize(
    ("namespace", "owner", "later", "is_believed"),
    [
        ("shop", OWNED, 900, True),
        ("shop", OWNED, FRESH_FOR, True),
        ("shop", OWNED, FRESH_FOR + 1, False),
        ("shop", OWNED, -FRESH_FOR - 1, False),
        ("other", OWNED, 900, False),
        ("shop", STRANGER, 900, False),
        ("shop", {"ownerReferences": []}, 900, False),
    ],
    ids=["its own", "the last moment", "too old", "of the future", "another namespace", "another owner", "no owner"],
)
def test_our_seal_opens_the_cache_where_it_was_made_and_for_a_moment(
    namespace: str, owner: dict[str, Any], later: int, is_believed: bool
) -> None:
    document = pod(TAG, **OWNED)
    once = patched(document, answer(review(document, namespace="shop")))
    once["metadata"] |= owner
    response = answer(
        review(once, namespace=namespace), at=NOON + later, digest=Absent("registry.example.com", denied=True)
    )
    assert any("NamedByHand" in one for one in response.get("warnings", ())) is not is_believed
    kept = patched(once, response)["metadata"]["annotations"]
    assert (IMAGES in kept) is is_believed


def forged(image: str, source: str, digest: str = D) -> dict[str, Any]:
    entry = {"from": source, "digest": digest, "target": "kraken", "rule": "private", "source": "fresh"}
    text = json.dumps({"images": {"containers/c0": entry}, "time": NOON, "seal": "0" * 32})
    return pod(image, annotations={IMAGES: text})


def test_a_forged_annotation_does_not_open_the_cache() -> None:
    stolen = f"localhost:30081/other/secret@{D}"
    document = forged(stolen, "registry.example.com/other/secret:1")
    response = answer(review(document), digest=Failed(Reason.ABSENT, "registry.example.com/other/secret"))
    assert any("NamedByHand" in warning for warning in response["warnings"])


LISTED = "registry.example.com/team/app"
"""All that the upstream has."""


def upstream(ask: Ask) -> Fact:
    """Names D for one image and knows of nothing else."""
    assert isinstance(ask, AskDigest)
    image = ask.images[0]
    return known() if image.repository == LISTED and image.digest in {None, D} else Absent("", str(image))


FORGED = st.fixed_dictionaries(
    {
        "from": st.sampled_from(
            [TAG, f"{LISTED}@{E}", f"{LISTED}:stable@{E}", "registry.example.com/other:1", "nginx", ""]
        )
    },
    optional={
        "digest": st.sampled_from([D, E, ""]),
        "target": st.sampled_from(["kraken", "none"]),
        "rule": st.sampled_from(["private", "none"]),
        "source": st.sampled_from(["pin", "fresh", "locked", "given"]),
        "arm": st.sampled_from(["rewrite", "pin"]),
    },
)


@given(
    st.lists(
        st.sampled_from([TAG, CACHED, f"localhost:30081/team/app@{E}", f"{LISTED}@{E}", f"localhost:30081/other@{D}"])
    ),
    st.dictionaries(st.sampled_from(["containers/c0", "containers/c1", "volumes/c0", "x"]), FORGED, max_size=3),
    st.integers(-100_000, 100_000),
    st.text(max_size=4),
)
@many(150)
def test_who_writes_the_annotation_by_hand_gains_nothing(
    images: list[str], entries: dict[str, Any], skew: int, seal: str
) -> None:
    text = json.dumps({"images": entries, "time": NOON + skew, "seal": seal})
    document = pod(*images, annotations={IMAGES: text})
    result = patched(document, answer(review(document), digest=upstream))
    for before, after in zip(images, result["spec"]["containers"], strict=True):
        # Either as it was written, or what the upstream says of the tag now, which any author may have.
        assert after["image"] in {before, CACHED}
    names = json.loads(result["metadata"]["annotations"].get(IMAGES, '{"images":{}}'))["images"]
    assert {entry["digest"] for entry in names.values()} <= {D}


def test_an_annotation_that_tells_of_another_image_is_removed_and_the_image_treated_by_itself() -> None:
    document = forged("docker.io/library/nginx:1", TAG)
    result = patched(document, answer(review(document)))
    assert result["spec"] == document["spec"]
    assert result["metadata"]["annotations"] == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"images":[]}', '{"images":{"a":{"from":7}}}', "[" * 2000, "null"])
def test_an_annotation_that_cannot_be_read_counts_as_absent(text: str) -> None:
    document = pod(TAG, annotations={IMAGES: text})
    result = patched(document, answer(review(document)))
    assert result["spec"]["containers"][0]["image"] == CACHED
    assert json.loads(result["metadata"]["annotations"][IMAGES])["images"].keys() == {"containers/c0"}


# Bad input


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'{"kind":"AdmissionReview"',
        b"\xff\xfe",
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":""}}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":7}}',
        b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"a"}}',
        b'{"apiVersion":"admission.k8s.io/v1","kind":"Review","request":{"uid":"a"}}',
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_review_is_refused(body: bytes) -> None:
    with pytest.raises(BadReview):
        decode(body)


@pytest.mark.parametrize(
    "document",
    [
        {"metadata": {}, "spec": {"containers": "none"}},
        {"metadata": {}, "spec": {"containers": [{"name": "a", "image": 7}]}},
        {"metadata": {}, "spec": {"containers": [None]}},
        {"metadata": {"annotations": {"a": 7}}, "spec": {"containers": []}},
        {"metadata": [], "spec": {}},
        {"spec": {"volumes": [{"image": "x"}]}},
        7,
        "pod",
    ],
)
def test_an_object_of_a_strange_shape_is_admitted_untouched_with_a_reason(document: Any) -> None:
    response = answer(review(document))
    assert response["allowed"] is True
    assert "patch" not in response
    assert "unexpected shape" in response["warnings"][0]


def test_more_images_than_can_be_meant_are_left_alone_with_a_reason() -> None:
    response = answer(review(pod(*[TAG] * (MAX_SLOTS + 1))))
    assert (response["allowed"], "patch" in response) == (True, False)
    assert str(MAX_SLOTS) in response["warnings"][0]


WARNED: list[tuple[str, Answer]] = [
    (TAG, Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "it answers 503")),
    (TAG, Failed(Reason.OUT_OF_TIME, "registry.example.com/team/app", "no answer in time")),
    (TAG, Absent("registry.example.com", TAG)),
    ("localhost:30081/team/app:stable", known()),
    ("https://registry.example.com/app", known()),
    ("registry.example.com/Team/app:1", known()),
]


@pytest.mark.parametrize(("image", "digest"), WARNED)
def test_a_warning_names_image_and_reason_once_in_120_characters(image: str, digest: Answer) -> None:
    (warning,) = answer(review(pod(image)), digest=digest)["warnings"]
    assert warning.startswith(f"moorage: c0: {image} ")
    assert warning.count(image) == 1
    assert len(warning) <= 120


def test_more_warnings_than_people_read_are_counted_instead() -> None:
    warnings = answer(review(pod(*[f"Registry.example.com/Bad/{number}" for number in range(30)])))["warnings"]
    assert len(warnings) == 10
    assert warnings[-1] == "moorage: 21 more images; the log names them all"


def test_a_warning_holds_nothing_that_a_header_cannot_hold() -> None:
    document = pod("x")
    document["spec"]["containers"][0] |= {"name": "a\r\nb", "image": "registry.example.com/\x00\u2028x" + "y" * 5000}
    (warning,) = answer(review(document))["warnings"]
    assert warning.isprintable()
    assert len(warning) <= 240


@pytest.mark.parametrize("word", ["pods/status", "nodes", "x" * 100, 'a"\n'])
def test_what_is_not_for_us_is_counted_under_one_name(word: str) -> None:
    assert decode(review(pod(TAG), resource=word)).resource == "other"


def test_a_name_that_is_no_reference_is_untouched_with_a_warning() -> None:
    response = answer(review(pod("https://registry.example.com/app")))
    assert "patch" not in response
    assert "NotAReference" in response["warnings"][0]


NAMES = st.sampled_from(
    [TAG, "nginx", CACHED, f"registry.example.com/a@{E}", "Bad Name", "auto", "", "registry.example.com/b"]
)
ITEM: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": st.text(max_size=5)}, optional={"image": st.none() | NAMES, "env": st.just([{}])}
)
PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("p")},
            optional={"annotations": st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)},
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(ITEM, max_size=4)},
            optional={
                "initContainers": st.none() | st.lists(ITEM, max_size=2),
                "volumes": st.lists(
                    st.fixed_dictionaries({"name": st.just("v"), "image": st.fixed_dictionaries({"reference": NAMES})}),
                    max_size=2,
                ),
            },
        ),
    }
)


@given(PODS)
@many(200)
def test_a_patch_touches_images_and_our_annotation_only_and_is_not_made_twice(document: dict[str, Any]) -> None:
    first = answer(review(document))
    result = patched(copy.deepcopy(document), first)
    assert without_images(result) == without_images(document)
    names = [one["name"] for one in document["spec"]["containers"] + (document["spec"].get("initContainers") or [])]
    if len(names) == len(set(names)):
        assert "patch" not in answer(review(result), at=NOON + 1)


def without_images(document: dict[str, Any]) -> dict[str, Any]:
    bare = copy.deepcopy(document)
    annotations = bare["metadata"].get("annotations", {})
    annotations.pop(IMAGES, None)
    bare["metadata"]["annotations"] = annotations
    for field in ("containers", "initContainers"):
        for item in bare["spec"].get(field) or []:
            item.pop("image", None)
    for volume in bare["spec"].get("volumes", []):
        volume.pop("image", None)
    return bare


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", 4.0),
        ("timeout=10s", 4.0),
        ("timeout=5s", 4.0),
        ("timeout=4s", 3.5),
        ("timeout=1s", 0.5),
        ("timeout=0s", 0.1),
        ("timeout=1m30s", 4.0),
        ("timeout=1500ms", 1.0),
        ("timeout=2", 1.5),
        ("a=b&timeout=2s", 1.5),
        ("timeout=", 4.0),
        ("timeout=soon", 4.0),
        ("timeout=-3s", 4.0),
        ("timeout=+3s", 4.0),
        ("timeout=2.5s", 2.0),
        ("timeout=.9s", 0.4),
        ("timeout=1m0s", 4.0),
        ("timeout=0", 0.1),
        ("timeout=2000000us", 1.5),
        ("timeout=3s1", 4.0),
        ("timeout=1s2", 4.0),
        ("timeout=3 s", 4.0),
        ("timeout=NaN", 4.0),
        ("timeout=1e9s", 4.0),
        ("timeout=\u0663s", 4.0),
        ("Timeout=1s", 4.0),
        ("timeout=x&timeout=2s", 1.5),
        ("&&=&timeout", 4.0),
        ("timeout=" + "9" * 400 + "s", 4.0),
    ],
)
def test_the_deadline_is_the_smaller_of_budget_and_timeout_less_rounding(query: str, seconds: float) -> None:
    assert seconds_allowed(query, 4.0) == seconds


@pytest.mark.parametrize(
    "body",
    [
        review({**pod("r.io/app"), "metadata": {"name": "web", "namespace": "rich"}}, namespace="poor"),
        *[
            revisions.review(resource, made, namespace="poor")
            for resource, made in [
                ("replicasets", revisions.replica_set()),
                ("controllerrevisions", revisions.controller_revision()),
                ("jobs", revisions.job()),
            ]
        ],
    ],
    ids=["pod", "replica set", "controller revision", "job"],
)
def test_an_object_is_judged_in_the_namespace_of_the_request_whatever_it_says_of_itself(body: bytes) -> None:
    read = decode(body)
    assert read.subject is not None
    assert (read.subject.namespace, read.subject.audience.namespace) == ("poor", "poor")
    assert read.rollout is None or read.rollout.revision.namespace == "poor"
