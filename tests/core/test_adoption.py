"""Rollouts older than their pins: where the digest comes from, and what is never adopted."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.core.revisions import BORN, HASH, NAME, replica_set
from tests.core.world import KRAKEN, NOON, PRIVATE, SEALER, D, E, known
from webhook.core.adoption import Adopted, Verdict, adopt, plan_adoption, renewed
from webhook.core.annotation import Entry
from webhook.core.annotation import written as images_written
from webhook.core.ask import Absent, Ask, AskDigest, Fact, Failed
from webhook.core.living import Living, Seen
from webhook.core.manifest import OCI_INDEX, OCI_MANIFEST
from webhook.core.pins import judge, written
from webhook.core.reason import Reason
from webhook.core.revision import REPLICA_SET, Revision
from webhook.core.rollout import Stored, revision_of
from webhook.core.rules import Rule, RuleSet
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.core.subject import Audience, Owner, Subject
from webhook.core.targets import Place, Target

TAG = NAME
F = "sha256:" + "f" * 64
GONE, DENIED = Absent("registry.example.com", TAG), Absent("registry.example.com", TAG, denied=True)
DOWN = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "connection refused")
OLD, NEW = Secret("k" * 32), Secret("n" * 32)
LATER = NOON + 86_400_000


def living(*pods: Seen, pins: dict[str, str] | None = None, images: tuple[str, ...] = (TAG,)) -> Living:
    made = replica_set(*images)
    made["metadata"] |= {"uid": "uid-1", "creationTimestamp": BORN, "annotations": pins or {}}
    found = revision_of(REPLICA_SET, msgspec.json.decode(json.dumps(made), type=Stored), "shop")
    assert found is not None
    return Living(*found, "uid-1", pods)


def pin(digest: str = D, by: Sealer = SEALER) -> dict[str, str]:
    revision = Revision("ReplicaSet", "shop", f"web-{HASH}", HASH, created=NOON)
    return dict([written({TAG: digest}, revision, by, NOON)])


def pod(
    name: str = "a",
    *,
    image: str = TAG,
    running: str = "",
    said: str = "",
    source: str = "pin",
    of: str = TAG,
    by: Sealer = SEALER,
    **more: Any,
) -> Seen:
    annotations = {}
    if said:
        subject = Subject("Pod", "shop", name, "web", Audience("shop"), (), owner=Owner("ReplicaSet", "web", "uid-1"))
        annotations["moorage.dev/images"] = images_written(
            {"containers/c0": Entry(of, said, source=source)}, subject, by, NOON
        )
    seen = Seen(name, NOON, True, annotations, {"containers/c0": image}, {"containers/c0": running})
    return msgspec.structs.replace(seen, **more)


def upstream(
    tag: str | Fact = D, *there: str, index: bool = True, children: tuple[str, ...] = ()
) -> Callable[[Ask], Fact]:
    """What the tag names now, the digests that are there, and those of single platforms."""

    def answer(ask: Ask) -> Fact:
        assert isinstance(ask, AskDigest)
        assert ask.since == 7.0, "an answer from before the survey proves nothing"
        wanted = ask.images[0].digest
        kind = OCI_INDEX if index and wanted not in children else OCI_MANIFEST
        if wanted is None:
            return known(tag, media_type=kind) if isinstance(tag, str) else tag
        return known(wanted, media_type=kind) if wanted in {tag, *there, *children} else GONE

    return answer


def adopted(found: Living, answer: Callable[[Ask], Fact], rule: Rule = PRIVATE, **more: Any) -> Adopted:
    sealer = more.pop("sealer", SEALER)
    (step,) = plan_adoption(found, RuleSet((rule,)), sealer, 7.0, **more)
    ladder = adopt(step)
    try:
        ask = next(ladder)
        while True:
            ask = ladder.send(answer(ask))
    except StopIteration as done:
        outcome: Adopted = done.value
        return outcome


def outcome(one: Adopted) -> tuple[Verdict, str, str]:
    return one.verdict, one.digest, one.source


FOREIGN = Sealer((Secret("f" * 32),))
SOURCES: list[tuple[str, tuple[Seen, ...], Callable[[Ask], Fact], tuple[Verdict, str, str]]] = [
    ("what Moorage wrote on a Pod", (pod(said=E),), upstream(D), (Verdict.ADOPTED, E, "annotation")),
    ("even while the registry is down", (pod(said=E),), lambda _: DOWN, (Verdict.ADOPTED, E, "annotation")),
    (
        "what is not under our seal only if the upstream knows it",
        (pod(said=E, by=FOREIGN),),
        upstream(D, E),
        (Verdict.ADOPTED, E, "annotation"),
    ),
    ("and not otherwise", (pod(said=E, by=FOREIGN),), upstream(D), (Verdict.UNKNOWN, "", "")),
    (
        "nor what stands under our seal and no upstream has named",
        (pod(said=E, source="locked"),),
        upstream(D),
        (Verdict.UNKNOWN, "", ""),
    ),
    (
        "nor what was said of another image of the container",
        (pod(said=E, of="registry.example.com/team/app:other"),),
        upstream(D, E),
        (Verdict.UNKNOWN, "", ""),
    ),
    (
        "a digest in the image, at the upstream",
        (pod(image=f"registry.example.com/team/app@{E}"),),
        upstream(D, E),
        (Verdict.ADOPTED, E, "image"),
    ),
    (
        "a digest in the image, at a target",
        (pod(image=f"localhost:30081/team/app@{E}"),),
        upstream(D, E),
        (Verdict.ADOPTED, E, "image"),
    ),
    (
        "a digest at a place that the rule cannot write",
        (pod(image=f"localhost:30081/other/app@{E}"),),
        upstream(D, E),
        (Verdict.UNKNOWN, "", ""),
    ),
    (
        "what runs, where the tag names it still",
        (pod(running=f"registry.example.com/team/app@{D}"),),
        upstream(D),
        (Verdict.ADOPTED, D, "running"),
    ),
    (
        "not where the tag names another: it may be a child, or another index of the same content",
        (pod(running=f"registry.example.com/team/app@{E}"),),
        upstream(D, E),
        (Verdict.UNKNOWN, "", ""),
    ),
    ("an imageID without a name is a configuration's", (pod(running=D),), upstream(D), (Verdict.UNKNOWN, "", "")),
    ("no Pods", (), upstream(D), (Verdict.UNKNOWN, "", "")),
    (
        "a child of an index is never adopted",
        (pod(image=f"registry.example.com/team/app@{E}"),),
        upstream(D, children=(E,)),
        (Verdict.UNKNOWN, "", ""),
    ),
    (
        "an image of one platform is, where the tag names one",
        (pod(image=f"registry.example.com/team/app@{E}"),),
        upstream(D, E, index=False),
        (Verdict.ADOPTED, E, "image"),
    ),
    (
        "the annotation goes before what stands in the image",
        (pod(said=D, image=f"registry.example.com/team/app@{E}"),),
        upstream(D, E),
        (Verdict.ADOPTED, D, "annotation"),
    ),
]


@pytest.mark.parametrize(("pods", "answer", "expected"), [row[1:] for row in SOURCES], ids=[row[0] for row in SOURCES])
def test_where_a_missing_pin_comes_from(
    pods: tuple[Seen, ...], answer: Callable[[Ask], Fact], expected: tuple[Verdict, str, str]
) -> None:
    assert outcome(adopted(living(*pods), answer)) == expected


def test_why_nothing_is_known_is_told() -> None:
    moved = adopted(living(pod(running=f"registry.example.com/team/app@{E}")), upstream(D, E))
    assert moved.notes == ((Reason.NO_POD_SHOWS, 1, D),)
    down = adopted(living(pod(running=f"registry.example.com/team/app@{E}")), lambda _: DOWN)
    assert [note[0] for note in down.notes] == [Reason.UNAVAILABLE]
    child = adopted(living(pod(image=f"registry.example.com/team/app@{E}")), upstream(D, children=(E,)))
    assert child.notes == ((Reason.CHILD_OF_INDEX, E),)


def test_what_runs_is_not_compared_with_an_old_answer() -> None:
    old = known(D, source="stale", trouble=Reason.UNAVAILABLE)
    one = adopted(living(pod(running=f"registry.example.com/team/app@{D}")), lambda _: old)
    assert outcome(one) == (Verdict.UNKNOWN, "", "")
    assert [note[0] for note in one.notes] == [Reason.UNAVAILABLE]


def test_pods_that_disagree_are_told_and_none_is_chosen() -> None:
    found = living(pod("a", said=D), pod("b", said=E), pod("c", said=E))
    one = adopted(found, upstream(D, E))
    assert one.verdict is Verdict.DISAGREE
    assert one.notes == ((Reason.PODS_DISAGREE, D, 1), (Reason.PODS_DISAGREE, E, 2))
    assert renewed(found, [one], SEALER, LATER) is None


def test_of_pods_that_disagree_the_newest_ready_one_decides_when_asked_to() -> None:
    pods = (
        pod("a", said=D, created=NOON + 1),
        pod("b", said=E, created=NOON),
        pod("c", said=F, created=NOON + 2, is_ready=False),
    )
    assert outcome(adopted(living(*pods), upstream(D, E, F), newest=True)) == (Verdict.ADOPTED, D, "annotation")


STANDING: list[tuple[str, Sealer, Callable[[Ask], Fact], Rule, tuple[Verdict, str, str]]] = [
    ("a pin that is well", SEALER, upstream(E, D), PRIVATE, (Verdict.KEPT, D, "pin")),
    ("a registry that is down has lost nothing", SEALER, lambda _: DOWN, PRIVATE, (Verdict.KEPT, D, "pin")),
    ("nor one that lets us not in", SEALER, lambda _: DENIED, PRIVATE, (Verdict.KEPT, D, "pin")),
    ("a digest that is gone: what the tag names now", SEALER, upstream(E), PRIVATE, (Verdict.REPINNED, E, "upstream")),
    (
        "a digest that is gone, kept by the rule: told, not changed",
        SEALER,
        upstream(E),
        msgspec.structs.replace(PRIVATE, on_pin_gone="keep"),
        (Verdict.GONE, D, "pin"),
    ),
    ("digest and tag are gone", SEALER, upstream(GONE), PRIVATE, (Verdict.GONE, D, "pin")),
    (
        "a digest that is gone while of its tag only an old answer is there",
        SEALER,
        upstream(known(D, source="stale", trouble=Reason.UNAVAILABLE)),
        PRIVATE,
        (Verdict.GONE, D, "pin"),
    ),
    ("a pin that nobody sealed and the upstream knows", FOREIGN, upstream(E, D), PRIVATE, (Verdict.ADOPTED, D, "pin")),
    ("a pin that nobody sealed and nobody knows", FOREIGN, upstream(E), PRIVATE, (Verdict.UNKNOWN, "", "")),
]


@pytest.mark.parametrize(
    ("by", "answer", "rule", "expected"), [row[1:] for row in STANDING], ids=[row[0] for row in STANDING]
)
def test_what_becomes_of_a_pin(
    by: Sealer, answer: Callable[[Ask], Fact], rule: Rule, expected: tuple[Verdict, str, str]
) -> None:
    assert outcome(adopted(living(pins=pin(by=by)), answer, rule)) == expected


def test_a_forged_pin_gives_way_to_what_the_pods_run() -> None:
    found = living(pod(said=E), pins=pin(F, by=FOREIGN))
    assert outcome(adopted(found, upstream(D, E))) == (Verdict.ADOPTED, E, "annotation")


def held(found: Living, annotations: Any, sealer: Sealer = SEALER) -> dict[str, str]:
    left = {key: text for key, text in {**found.revision.annotations, **annotations}.items() if text is not None}
    revision = msgspec.structs.replace(found.revision, annotations=left)
    return {name: one.digest for name, one in judge(revision, sealer).images.items() if one.sealed}


def test_what_is_written_holds_and_takes_the_place_of_what_stood_there() -> None:
    found = living(pins={"x": "y", **pin()})
    annotations = renewed(found, [adopted(found, upstream(E))], SEALER, LATER)
    assert annotations is not None
    assert held(found, annotations) == {TAG: E}
    assert [key for key, text in annotations.items() if text is None] == list(pin())
    assert "x" not in annotations


def test_seals_of_an_old_key_are_renewed_before_it_goes() -> None:
    found = living(pins=pin(by=Sealer((OLD,))))
    one = adopted(found, upstream(E, D), sealer=Sealer((NEW, OLD)))
    assert outcome(one) == (Verdict.RESEALED, D, "pin")
    annotations = renewed(found, [one], Sealer((NEW, OLD)), LATER)
    assert annotations is not None
    assert held(found, annotations, Sealer((NEW,))) == {TAG: D}


KEYLESS: list[tuple[str, Callable[[Ask], Fact], tuple[Verdict, str, str]]] = [
    ("the upstream knows it", upstream(E, D), (Verdict.KEPT, D, "pin")),
    ("the upstream is down", lambda _: DOWN, (Verdict.KEPT, D, "pin")),
    ("the upstream does not have it", upstream(E), (Verdict.UNKNOWN, "", "")),
]


@pytest.mark.parametrize(("answer", "expected"), [row[1:] for row in KEYLESS], ids=[row[0] for row in KEYLESS])
def test_without_the_keys_of_the_webhook_no_pin_is_written_over(
    answer: Callable[[Ask], Fact], expected: tuple[Verdict, str, str]
) -> None:
    """Under another key what the webhook sealed looks like what anybody wrote."""
    found = living(pins=pin())
    one = adopted(found, answer, sealer=FOREIGN, knows_seals=False)
    assert outcome(one) == expected
    assert renewed(found, [one], FOREIGN, LATER, knows_seals=False) is None


def test_without_the_keys_of_the_webhook_a_missing_pin_is_written_beside_those_that_stand() -> None:
    other = "registry.example.com/team/side:1"
    found = living(pins=pin(), images=(TAG, other))
    every = [
        Adopted(TAG, "private", Verdict.UNKNOWN, before=D),
        Adopted(other, "private", Verdict.ADOPTED, E, "", "annotation"),
    ]
    annotations = renewed(found, every, FOREIGN, LATER, knows_seals=False)
    assert annotations is not None
    assert None not in annotations.values()
    assert held(found, annotations) == {TAG: D}
    assert held(found, annotations, FOREIGN) == {other: E}


def test_an_image_that_could_not_be_judged_keeps_its_pin_when_another_gets_a_new_one() -> None:
    other = "registry.example.com/team/side:1"
    found = living(pod(said=E), pins=pin(), images=(TAG, other))
    kept = Adopted(TAG, "private", Verdict.KEPT, D, D, "pin")
    new = Adopted(other, "private", Verdict.ADOPTED, E, "", "annotation")
    annotations = renewed(found, [kept, new], SEALER, LATER)
    assert annotations is not None
    assert held(found, annotations) == {TAG: D, other: E}


def test_nothing_is_written_where_nothing_changes_or_nothing_fits() -> None:
    found = living(pins=pin())
    assert renewed(found, [adopted(found, upstream(D))], SEALER, LATER) is None
    full = living(pod(said=E), pins={"others": "x" * 262_000})
    assert renewed(full, [adopted(full, upstream(D))], SEALER, LATER) is None


@pytest.mark.parametrize(
    ("images", "rule"),
    [
        ((f"registry.example.com/team/app@{D}",), PRIVATE),
        (("nginx:1",), PRIVATE),
        ((TAG,), msgspec.structs.replace(PRIVATE, pin="pod")),
        ((TAG,), msgspec.structs.replace(PRIVATE, write="tag")),
    ],
)
def test_what_is_not_pinned_is_not_adopted(images: tuple[str, ...], rule: Rule) -> None:
    assert plan_adoption(living(images=images), RuleSet((rule,)), SEALER, 7.0) == []


def test_an_image_that_stands_twice_in_a_template_is_one() -> None:
    assert len(plan_adoption(living(images=(TAG, TAG)), RuleSet((PRIVATE,)), SEALER, 7.0)) == 1


def test_any_target_of_the_rule_is_mapped_back() -> None:
    regional = Target("regional", Place("eu.example.net/{registry}/{path}"))
    rule = msgspec.structs.replace(PRIVATE, targets=(KRAKEN, regional))
    found = living(pod(image=f"eu.example.net/registry.example.com/team/app@{E}"))
    assert outcome(adopted(found, upstream(D, E), rule)) == (Verdict.ADOPTED, E, "image")
