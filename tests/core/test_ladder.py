"""The ladder, rung by rung: what is asked, in which order, and what comes of each answer."""

from typing import Any

import msgspec
import pytest

from tests.core.world import KRAKEN, NOON, PRIVATE, REGIONAL, SEALER, Answer, D, E, decide, known, pod, steps, subject
from webhook.core.admission import warning_of
from webhook.core.annotation import IMAGES, Entry, written
from webhook.core.ask import (
    Absent,
    Ask,
    AskDigest,
    AskHeld,
    AskLogin,
    AskPin,
    AskStanding,
    Fact,
    Failed,
    Known,
    NotAsked,
    Passed,
)
from webhook.core.decision import Action, Decision, Source
from webhook.core.globs import Globs
from webhook.core.plan import arm_of, plan
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.core.subject import subjects_of
from webhook.core.targets import Place, Target, Verify

TAG = "registry.example.com/team/app:stable"
GIVEN = f"registry.example.com/team/app@{D}"
UPSTREAM = GIVEN
CACHED = f"localhost:30081/team/app@{D}"
MIRRORED = f"eu.example.net/mirror/team/app@{D}"


def rule(**change: Any) -> Rule:
    return msgspec.structs.replace(PRIVATE, **change)


def outcome(decision: Decision) -> tuple[Action, Reason, str, Source]:
    return decision.action, decision.reason, decision.to, decision.source


def settled(image: str, the_rule: Rule, **answers: Answer) -> Decision:
    (step,) = steps(pod(image), the_rule)
    return decide(step, **answers)[0]


LONG_PATH = f"registry.example.com/{'a' * 250}"
LONG = f"{LONG_PATH}:stable"
FAR = Place("up.example.com/mirror/{path}")
SECRET = msgspec.structs.replace(REGIONAL, pull="secret")
VERIFIED = msgspec.structs.replace(REGIONAL, verify=Verify())
GATED = msgspec.structs.replace(REGIONAL, gated=True)
PARTIAL = msgspec.structs.replace(KRAKEN, paths=Globs(("other/**",)))
DOWN = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "connection refused")


def remembered(ask: Any) -> Fact:
    """Memory after a restart in an outage: a digest that a Pod showed, and nobody who could confirm it."""
    if ask.images[0].digest is not None:
        return DOWN
    return Known(D, "stale", "registry.example.com", age=90.0, trouble=Reason.UNAVAILABLE)


REMEMBERED: Answer = remembered
ROWS: list[tuple[str, str, Rule, dict[str, Answer], tuple[Action, Reason, str, Source]]] = [
    ("fresh", TAG, PRIVATE, {}, (Action.REWRITTEN, Reason.RESOLVED, CACHED, Source.FRESH)),
    (
        "cached",
        TAG,
        PRIVATE,
        {"digest": known(source="cached")},
        (Action.REWRITTEN, Reason.RESOLVED, CACHED, Source.CACHED),
    ),
    (
        "stale is marked",
        TAG,
        PRIVATE,
        {"digest": known(source="stale", trouble=Reason.UNAVAILABLE, age=90.0)},
        (Action.REWRITTEN, Reason.STALE, CACHED, Source.STALE),
    ),
    ("no targets: only pinned", TAG, rule(targets=()), {}, (Action.PINNED, Reason.RESOLVED, UPSTREAM, Source.FRESH)),
    ("absent: admitted", TAG, PRIVATE, {"digest": Absent()}, (Action.FAILED, Reason.ABSENT, "", Source.NONE)),
    ("down: admitted", TAG, PRIVATE, {"digest": DOWN}, (Action.FAILED, Reason.UNAVAILABLE, "", Source.NONE)),
    (
        "down: refused where the rule says so",
        TAG,
        rule(on_failure="refuse"),
        {"digest": DOWN},
        (Action.REFUSED, Reason.UNAVAILABLE, "", Source.NONE),
    ),
    (
        "offline: nothing failed",
        TAG,
        rule(on_failure="refuse"),
        {"digest": NotAsked(Reason.OFFLINE)},
        (Action.UNCHANGED, Reason.OFFLINE, "", Source.NONE),
    ),
    (
        "host not listed",
        TAG,
        PRIVATE,
        {"digest": Failed(Reason.HOST_NOT_LISTED, "x")},
        (Action.FAILED, Reason.HOST_NOT_LISTED, "", Source.NONE),
    ),
    (
        "given: moved when the upstream confirms",
        GIVEN,
        PRIVATE,
        {},
        (Action.REWRITTEN, Reason.GIVEN, CACHED, Source.GIVEN),
    ),
    (
        "given: stays when the upstream denies (design, Access)",
        GIVEN,
        PRIVATE,
        {"digest": Absent()},
        (Action.UNCHANGED, Reason.ACCESS_NOT_PROVEN, "", Source.GIVEN),
    ),
    (
        "given: stays when the upstream is down",
        GIVEN,
        PRIVATE,
        {"digest": DOWN},
        (Action.UNCHANGED, Reason.ACCESS_NOT_PROVEN, "", Source.GIVEN),
    ),
    (
        "given: moved to a target with a password unasked",
        GIVEN,
        rule(targets=(REGIONAL,)),
        {"digest": DOWN},
        (Action.REWRITTEN, Reason.GIVEN, MIRRORED, Source.GIVEN),
    ),
    (
        "given: next target asks a password",
        GIVEN,
        rule(targets=(KRAKEN, REGIONAL)),
        {"digest": DOWN},
        (Action.REWRITTEN, Reason.GIVEN, MIRRORED, Source.GIVEN),
    ),
    (
        "what a running Pod showed is no proof of access",
        TAG,
        rule(targets=(KRAKEN, REGIONAL)),
        {"digest": REMEMBERED},
        (Action.REWRITTEN, Reason.STALE, MIRRORED, Source.STALE),
    ),
    (
        "what a running Pod showed stays at the upstream",
        TAG,
        PRIVATE,
        {"digest": REMEMBERED},
        (Action.PINNED, Reason.STALE, UPSTREAM, Source.STALE),
    ),
    (
        "stale is marked where the image stays at the upstream too",
        TAG,
        rule(targets=(PARTIAL,)),
        {"digest": known(source="stale", trouble=Reason.UNAVAILABLE, age=90.0)},
        (Action.PINNED, Reason.STALE, UPSTREAM, Source.STALE),
    ),
    (
        "stale is marked where it is only recorded too",
        TAG,
        rule(write="record"),
        {"digest": known(source="stale", trouble=Reason.UNAVAILABLE, age=90.0)},
        (Action.RECORDED, Reason.STALE, "", Source.STALE),
    ),
    (
        "a target that does not serve the path is passed over",
        TAG,
        rule(targets=(PARTIAL, REGIONAL)),
        {},
        (Action.REWRITTEN, Reason.RESOLVED, MIRRORED, Source.FRESH),
    ),
    (
        "the upstream is the last target",
        TAG,
        rule(targets=(PARTIAL,)),
        {},
        (Action.PINNED, Reason.PATH_NOT_SERVED, UPSTREAM, Source.FRESH),
    ),
    ("held", TAG, rule(targets=(VERIFIED,)), {}, (Action.REWRITTEN, Reason.RESOLVED, MIRRORED, Source.FRESH)),
    (
        "not held",
        TAG,
        rule(targets=(VERIFIED,)),
        {"held": Absent()},
        (Action.PINNED, Reason.TARGET_LACKS_DIGEST, UPSTREAM, Source.FRESH),
    ),
    (
        "target silent",
        TAG,
        rule(targets=(VERIFIED, KRAKEN)),
        {"held": DOWN},
        (Action.REWRITTEN, Reason.RESOLVED, CACHED, Source.FRESH),
    ),
    (
        "a pull secret for the target",
        TAG,
        rule(targets=(SECRET,)),
        {"login": Passed()},
        (Action.REWRITTEN, Reason.RESOLVED, MIRRORED, Source.FRESH),
    ),
    (
        "no pull secret for the target",
        TAG,
        rule(targets=(SECRET,)),
        {"login": Absent()},
        (Action.PINNED, Reason.NO_PULL_SECRET, UPSTREAM, Source.FRESH),
    ),
    (
        "no pull secret for the target of a tag",
        TAG,
        rule(targets=(SECRET,), write="tag"),
        {"login": Absent()},
        (Action.UNCHANGED, Reason.NO_PULL_SECRET, "", Source.NONE),
    ),
    (
        "pull secrets that nobody may read",
        TAG,
        rule(targets=(SECRET,)),
        {"login": NotAsked(Reason.PULL_SECRETS_NOT_READ)},
        (Action.REWRITTEN, Reason.RESOLVED, MIRRORED, Source.FRESH),
    ),
    (
        "target unhealthy",
        TAG,
        rule(targets=(GATED,)),
        {"standing": DOWN},
        (Action.PINNED, Reason.TARGET_UNHEALTHY, UPSTREAM, Source.FRESH),
    ),
    (
        "tag and digest",
        TAG,
        rule(write="tagAndDigest"),
        {},
        (Action.REWRITTEN, Reason.RESOLVED, f"localhost:30081/team/app:stable@{D}", Source.FRESH),
    ),
    ("record", TAG, rule(write="record"), {}, (Action.RECORDED, Reason.RECORDED, "", Source.FRESH)),
    (
        "tag: only the host",
        TAG,
        rule(write="tag", targets=(REGIONAL,)),
        {},
        (Action.REWRITTEN, Reason.TAG_KEPT, "eu.example.net/mirror/team/app:stable", Source.NONE),
    ),
    (
        "tag: a digest that stands in the image has to be proven all the same",
        GIVEN,
        rule(write="tag"),
        {"digest": Absent()},
        (Action.UNCHANGED, Reason.ACCESS_NOT_PROVEN, "", Source.GIVEN),
    ),
    (
        "tag: and is moved once it is",
        GIVEN,
        rule(write="tag"),
        {},
        (Action.REWRITTEN, Reason.GIVEN, CACHED, Source.GIVEN),
    ),
    (
        "no upstream can have an image of this name",
        LONG,
        rule(upstream=(FAR,)),
        {},
        (Action.FAILED, Reason.ABSENT, "", Source.NONE),
    ),
    (
        "no upstream can confirm an image of this name",
        f"{LONG_PATH}@{D}",
        rule(upstream=(FAR,)),
        {},
        (Action.UNCHANGED, Reason.ACCESS_NOT_PROVEN, "", Source.GIVEN),
    ),
    (
        "the place where a target is asked cannot have an image of this name",
        LONG,
        rule(targets=(msgspec.structs.replace(REGIONAL, place=Place("eu.example.net/{path}"), verify=Verify(FAR)),)),
        {},
        (Action.PINNED, Reason.PATH_NOT_SERVED, f"{LONG_PATH}@{D}", Source.FRESH),
    ),
]


@pytest.mark.parametrize(
    ("image", "the_rule", "answers", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_outcome(
    image: str, the_rule: Rule, answers: dict[str, Answer], expected: tuple[Action, Reason, str, Source]
) -> None:
    assert outcome(settled(image, the_rule, **answers)) == expected


def asks(image: str, the_rule: Rule, document: dict[str, Any] | None = None, **answers: Answer) -> list[type[Ask]]:
    (step,) = steps(document or pod(image), the_rule)
    return [type(ask) for ask in decide(step, **answers)[1]]


OWNED = {
    "labels": {"pod-template-hash": "7d9"},
    "ownerReferences": [{"kind": "ReplicaSet", "name": "app-7d9", "uid": "u1", "controller": True}],
}
# `subjects_of` reads the owner of the object itself, so the Pod carries it.


@pytest.mark.parametrize(
    ("the_rule", "image", "expected"),
    [
        (PRIVATE, TAG, [AskDigest]),
        (PRIVATE, GIVEN, [AskDigest]),
        (rule(targets=(REGIONAL,)), GIVEN, []),
        (rule(targets=(VERIFIED,)), TAG, [AskDigest, AskHeld]),
        (rule(targets=(GATED,)), TAG, [AskDigest, AskStanding]),
        (rule(targets=(SECRET,)), TAG, [AskDigest, AskLogin]),
        (rule(write="tag"), TAG, []),
    ],
)
def test_asks_no_more_than_it_needs(the_rule: Rule, image: str, expected: list[type[Ask]]) -> None:
    assert asks(image, the_rule) == expected


@pytest.mark.parametrize(
    ("the_rule", "digest", "expected"),
    [
        (PRIVATE, known(), (Action.REWRITTEN, Reason.LOCKED, CACHED, Source.LOCKED)),
        (PRIVATE, Absent(), (Action.PINNED, Reason.ACCESS_NOT_PROVEN, UPSTREAM, Source.LOCKED)),
        (PRIVATE, DOWN, (Action.PINNED, Reason.ACCESS_NOT_PROVEN, UPSTREAM, Source.LOCKED)),
        (rule(targets=(REGIONAL,)), DOWN, (Action.REWRITTEN, Reason.LOCKED, MIRRORED, Source.LOCKED)),
    ],
    ids=["confirmed", "denied", "down", "a target with a password"],
)
def test_a_locked_digest_is_no_proof_that_this_namespace_may_have_it(
    the_rule: Rule, digest: Answer, expected: tuple[Action, Reason, str, Source]
) -> None:
    rules = RuleSet([the_rule], locked={TAG: D})
    (step,) = plan(subject(pod(TAG)), rules, sealer=SEALER, milliseconds=NOON)
    decision, asked = decide(step, digest=digest)
    assert outcome(decision) == expected
    assert [str(one.images[0]) for one in asked if isinstance(one, AskDigest)] in ([], [GIVEN])


@pytest.mark.parametrize("entry", [Entry(TAG, D, "", "private", "locked"), Entry(TAG, D, "regional", "private", "locked"), Entry(TAG, E, "kraken", "private", "locked")], ids=["no target", "another target", "another digest"])  # fmt: skip
def test_our_seal_of_something_else_is_no_proof_either(entry: Entry) -> None:
    """What was locked and denied in the first round must not get into the cache in the second."""
    the_rule = rule(targets=(KRAKEN,))
    made = pod(f"registry.example.com/team/app@{entry.digest}")
    text = written({"containers/c0": entry}, subject(made), SEALER, NOON)
    made["metadata"]["annotations"] = {IMAGES: text}
    (step,) = plan(subject(made), RuleSet([the_rule], locked={TAG: D}), sealer=SEALER, milliseconds=NOON)
    decision, _ = decide(step, digest=Absent())
    assert outcome(decision) == (Action.PINNED, Reason.ACCESS_NOT_PROVEN, UPSTREAM, Source.LOCKED)


def test_asks_the_pin_of_the_rollout_first_and_then_no_registry() -> None:
    assert asks(TAG, PRIVATE, pod(TAG, **OWNED), pin=known(source="pin")) == [AskPin]


def test_a_pin_is_not_asked_where_the_rule_pins_pods() -> None:
    assert asks(TAG, rule(pin="pod"), pod(TAG, **OWNED)) == [AskDigest]


def test_a_pinned_digest_needs_no_other_proof_of_access() -> None:
    (step,) = steps(pod(TAG, **OWNED), PRIVATE)
    assert outcome(decide(step, pin=known(source="pin"), digest=DOWN)[0]) == (
        Action.REWRITTEN,
        Reason.RESOLVED,
        CACHED,
        Source.PIN,
    )


def test_the_upstreams_of_the_rule_are_asked_in_order_and_not_the_image_host() -> None:
    there = rule(upstream=(Place("a.example.com/{path}"), Place("b.example.com/up/{path}")))
    (step,) = steps(pod(TAG), there)
    (ask,) = decide(step)[1]
    assert isinstance(ask, AskDigest)
    assert [str(image) for image in ask.images] == ["a.example.com/team/app:stable", "b.example.com/up/team/app:stable"]


def test_of_several_upstreams_those_are_asked_that_can_have_the_name() -> None:
    (step,) = steps(pod(LONG), rule(upstream=(FAR, Place("b.example.com/{path}"))))
    (ask,) = decide(step)[1]
    assert isinstance(ask, AskDigest)
    assert [image.registry for image in ask.images] == ["b.example.com"]


def test_verification_asks_where_the_webhook_can_reach_the_cache_with_its_platforms() -> None:
    verify = Verify(Place("kraken-proxy.kraken.svc/{path}"), "http", ("linux/arm64",))
    (step,) = steps(pod(TAG), rule(targets=(msgspec.structs.replace(KRAKEN, verify=verify),)))
    decision, asked = decide(step)
    held = asked[-1]
    assert isinstance(held, AskHeld)
    assert (str(held.place), held.scheme, held.platforms) == (
        f"kraken-proxy.kraken.svc/team/app@{D}",
        "http",
        ("linux/arm64",),
    )
    assert decision.to == CACHED


def test_each_target_but_the_last_is_asked_as_one_that_has_another_behind_it() -> None:
    targets = (VERIFIED, msgspec.structs.replace(VERIFIED, name="far", place=Place("us.example.net/{path}")))
    (step,) = steps(pod(TAG), rule(targets=targets))
    _, asked = decide(step, held=DOWN)
    assert [(one.target, one.has_next) for one in asked if isinstance(one, AskHeld)] == [
        ("regional", True),
        ("far", False),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        *[(source, []) for source in ("pin", "sibling", "fresh", "cached", "stale")],
        # It was never resolved with credentials of this namespace, so our seal proves nothing about it.
        *[(source, [AskDigest]) for source in ("locked", "given", "none", "nonsense")],
    ],
)
def test_a_sealed_digest_is_believed_where_an_upstream_gave_it(source: str, expected: list[type[Ask]]) -> None:
    both = rule(targets=(REGIONAL, KRAKEN))
    entry = Entry(TAG, D, "regional", "private", source)
    sealed = written({"containers/c0": entry}, subject(pod(MIRRORED)), SEALER, NOON)
    (step,) = steps(pod(MIRRORED, annotations={IMAGES: sealed}), both)
    decision, asked = decide(step)
    assert [type(ask) for ask in asked] == expected
    assert (decision.to, decision.digest) == (MIRRORED, D)


@pytest.mark.parametrize(
    ("the_rule", "act"),
    [
        (PRIVATE, "written"),
        (rule(targets=()), "written"),
        (rule(percent=0), "written"),
        (rule(write="record"), "recorded"),
    ],
    ids=["rewritten", "pinned", "outside the share", "recorded"],
)
def test_an_old_digest_is_warned_of_whatever_is_done_with_it(the_rule: Rule, act: str) -> None:
    decision = settled(TAG, the_rule, digest=known(source="stale", trouble=Reason.UNAVAILABLE, age=90.0))
    assert warning_of(decision) == (
        f"moorage: c0: {TAG} {act} by its last known digest (StaleDigest): digest resolution: registry.example.com "
        "could not be asked (Unavailable); its answer of 90 s ago is used"
    )
    assert decision.source is Source.STALE


def test_a_seal_of_ours_is_a_proof_of_access_and_needs_no_registry() -> None:
    entry = Entry(TAG, D, "kraken", "private", "fresh")
    sealed = written({"containers/c0": entry}, subject(pod(CACHED)), SEALER, NOON)
    (step,) = steps(pod(CACHED, annotations={IMAGES: sealed}), PRIVATE)
    decision, asked = decide(step, digest=DOWN)
    assert (decision.to, decision.action, asked) == (CACHED, Action.REWRITTEN, [])


@pytest.mark.parametrize(("the_rule", "target"), [(PRIVATE, "kraken"), (rule(targets=()), ""), (rule(percent=0), "")])
def test_offline_it_is_shown_where_a_tag_would_go(the_rule: Rule, target: str) -> None:
    decision = settled(TAG, the_rule, digest=NotAsked(Reason.OFFLINE))
    assert (decision.action, decision.target) == (Action.UNCHANGED, target)


def test_offline_a_given_digest_is_shown_as_admission_would_place_it() -> None:
    assert settled(GIVEN, PRIVATE, digest=NotAsked(Reason.OFFLINE)).to == CACHED


def test_offline_a_tag_shows_rule_and_target() -> None:
    decision = settled(TAG, PRIVATE, digest=NotAsked(Reason.OFFLINE))
    assert (decision.rule, decision.target, decision.to) == ("private", "kraken", "")


@pytest.mark.parametrize("percent", [0, 1, 30, 50, 99])
def test_a_share_of_the_workloads_is_rewritten_the_rest_only_pinned(percent: int) -> None:
    part = rule(percent=percent)
    actions = []
    for number in range(400):
        (step,) = steps(pod(TAG, name=f"web-{number}"), part)
        actions.append(decide(step)[0].action)
    share = 100 * actions.count(Action.REWRITTEN) / len(actions)
    assert set(actions) <= {Action.REWRITTEN, Action.PINNED}
    assert abs(share - percent) <= 8


def test_the_arm_is_the_same_for_a_deployment_its_replica_sets_and_their_pods() -> None:
    half = rule(percent=50)
    template = {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "c", "image": TAG}]}}
    arms = set()
    for number in range(50):
        name = f"shop-{number}"
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"template": template},
        }
        labels = {"pod-template-hash": "7d9"}
        replica_set = {**deployment, "kind": "ReplicaSet", "metadata": {"name": f"{name}-7d9", "labels": labels}}
        owner = [{"kind": "ReplicaSet", "name": f"{name}-7d9", "uid": "u", "controller": True}]
        owned = pod(TAG, name=None, generateName=f"{name}-7d9-", labels=labels, ownerReferences=owner)
        same = {
            arm_of(half, found)
            for document in (deployment, replica_set, owned)
            for _, _, found in subjects_of(document, namespace="default")
        }
        assert len(same) == 1
        arms |= same
    assert arms == {"rewrite", "pin"}


def test_a_target_whose_name_would_be_read_as_another_host_is_passed_over() -> None:
    odd = Target("odd", Place("mirror/{path}"))
    decision = settled(TAG, rule(targets=(odd,)))
    assert (decision.action, decision.reason, decision.to) == (Action.PINNED, Reason.PATH_NOT_SERVED, UPSTREAM)


def test_the_trace_tells_rule_digest_and_every_target() -> None:
    decision = settled(TAG, rule(targets=(PARTIAL, VERIFIED, KRAKEN)), held=Passed())
    assert [note[0] for note in decision.trace] == [
        Reason.RULE_MATCHED,
        Reason.DIGEST_FOUND,
        Reason.PATH_NOT_SERVED,
        Reason.TARGET_TAKEN,
    ]
