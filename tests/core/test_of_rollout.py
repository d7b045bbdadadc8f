"""A Pod of a rollout: the pin, then the siblings, then the upstream; and what is believed of each."""

from typing import Any

import msgspec
import pytest

from tests.core.world import NOON, PRIVATE, SEALER, Answer, D, E, decide, known
from webhook.core.ask import Absent, Ask, AskDigest, AskPin, AskSibling, Failed, Known, NotAsked
from webhook.core.decision import Action, Decision, Source
from webhook.core.plan import plan
from webhook.core.reason import Reason, sentence
from webhook.core.rules import Rule, RuleSet
from webhook.core.siblings import selector_of
from webhook.core.subject import Owner, Subject, subjects_of

TAG = "registry.example.com/team/app:stable"
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f", "uid": "uid-1", "controller": True}
LABELS = {"app": "web", "pod-template-hash": "5d4f"}
DOWN = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "connection refused")
UNREAD = Failed(Reason.CLUSTER_NOT_ASKED, "ReplicaSet web-5d4f", "the API server refuses the connection")
FRESH = msgspec.structs.replace(PRIVATE, on_reuse="fresh")


def pod(owner: dict[str, Any] | None = OWNER, **labels: str) -> Subject:
    metadata = {"generateName": "web-5d4f-", "labels": labels or LABELS, "ownerReferences": [owner] if owner else []}
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "app", "image": TAG}]},
    }
    ((_, _, subject),) = subjects_of(document, namespace="shop")
    return subject


def settled(
    answers: dict[str, Answer], *, rule: Rule = PRIVATE, subject: Subject | None = None
) -> tuple[Decision, list[Ask]]:
    (step,) = plan(subject or pod(), RuleSet((rule,)), sealer=SEALER, milliseconds=NOON)
    return decide(step, **answers)


def pinned(digest: str = D, *, hint: bool = False) -> Known:
    return Known(digest, "pin", "web-5d4f", is_hint=hint)


def sibling(digest: str = D, *, hint: bool = False) -> Known:
    return Known(digest, "sibling", "web-5d4f", is_hint=hint)


def confirms(*digests: str) -> Answer:
    """An upstream that knows these digests, and names E for the tag."""

    def answer(ask: Ask) -> Any:
        assert isinstance(ask, AskDigest)
        wanted = ask.images[0].digest
        return known(wanted or E) if wanted is None or wanted in digests else Absent("registry.example.com")

    return answer


PIN, SIBLING, DIGEST = AskPin, AskSibling, AskDigest
ROWS: list[tuple[str, dict[str, Answer], tuple[str, Source], list[type]]] = [
    ("the pin decides, and nobody else is asked", {"pin": pinned()}, (D, Source.PIN), [PIN]),
    ("no pin: a sibling decides", {"pin": Absent(), "sibling": sibling()}, (D, Source.SIBLING), [PIN, SIBLING]),
    (
        "neither: the upstream decides",
        {"pin": Absent(), "sibling": Absent()},
        (E, Source.FRESH),
        [PIN, SIBLING, DIGEST],
    ),
    ("the pin cannot be read: a sibling", {"pin": UNREAD, "sibling": sibling()}, (D, Source.SIBLING), [PIN, SIBLING]),
    (
        "nothing can be read: the upstream",
        {"pin": UNREAD, "sibling": UNREAD},
        (E, Source.FRESH),
        [PIN, SIBLING, DIGEST],
    ),
    (
        "a pin without our seal, confirmed",
        {"pin": pinned(hint=True), "digest": confirms(D)},
        (D, Source.PIN),
        [PIN, DIGEST],
    ),
    (
        "a pin without our seal that the upstream does not know: the siblings",
        {"pin": pinned(hint=True), "digest": confirms(), "sibling": sibling(E)},
        (E, Source.SIBLING),
        [PIN, DIGEST, SIBLING],
    ),
    (
        "hints that the upstream does not know: the upstream's own",
        {"pin": pinned(hint=True), "digest": confirms(), "sibling": sibling(hint=True)},
        (E, Source.FRESH),
        [PIN, DIGEST, SIBLING, DIGEST, DIGEST],
    ),
    (
        "no cluster",
        {"pin": NotAsked(Reason.NO_CLUSTER), "sibling": NotAsked(Reason.NO_CLUSTER)},
        (E, Source.FRESH),
        [PIN, SIBLING, DIGEST],
    ),
]


@pytest.mark.parametrize(("answers", "expected", "asked"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_decides(answers: dict[str, Answer], expected: tuple[str, Source], asked: list[type]) -> None:
    decision, questions = settled({"digest": known(E), **answers})
    assert (decision.digest, decision.source) == expected
    assert decision.action is Action.REWRITTEN
    assert decision.to == f"localhost:30081/team/app@{expected[0]}"
    assert [type(question) for question in questions] == asked


def test_a_pin_needs_no_registry_even_for_a_cache_without_password() -> None:
    decision, _ = settled({"pin": pinned(), "digest": DOWN})
    assert decision.to == f"localhost:30081/team/app@{D}"


def test_a_hint_during_an_outage_is_not_believed() -> None:
    decision, _ = settled({"pin": pinned(hint=True), "sibling": Absent(), "digest": DOWN})
    assert (decision.action, decision.reason) == (Action.FAILED, Reason.UNAVAILABLE)
    assert any(note[0] is Reason.HINT_NOT_CONFIRMED for note in decision.trace)


def test_the_trace_tells_what_was_passed_over() -> None:
    copy = (Reason.PIN_IGNORED, "5d4f.1800000000000", "it was not made for this object: a copy")
    decision, _ = settled({"pin": Absent(notes=(copy,)), "sibling": UNREAD, "digest": known(E)})
    told = [sentence(note) for note in decision.trace]
    assert "pin 5d4f.1800000000000 ignored: it was not made for this object: a copy" in told
    assert "ReplicaSet web-5d4f could not be read: the API server refuses the connection" in told


def test_where_revisions_may_be_pinned_anew_the_pin_is_read_anew() -> None:
    _, (ask, *_) = settled({"pin": pinned()}, rule=FRESH)
    assert isinstance(ask, AskPin)
    assert ask.anew


@pytest.mark.parametrize("pin", ["pod", "off"])
def test_a_rule_may_want_each_pod_by_itself(pin: Any) -> None:
    _, asked = settled({}, rule=msgspec.structs.replace(PRIVATE, pin=pin))
    assert [type(ask) for ask in asked] == [AskDigest]


def test_a_bare_pod_is_resolved_by_itself() -> None:
    _, asked = settled({}, subject=pod(None))
    assert [type(ask) for ask in asked] == [AskDigest]


SELECTORS = [
    (
        "by the hash of a Deployment's",
        LABELS,
        Owner("ReplicaSet", "web-5d4f", "u", "5d4f", "apps"),
        "pod-template-hash=5d4f",
    ),
    (
        "by the revision of a StatefulSet",
        {"app": "db", "controller-revision-hash": "db-6b7c", "statefulset.kubernetes.io/pod-name": "db-0"},
        Owner("StatefulSet", "db", "u", "db-6b7c", "apps"),
        "controller-revision-hash=db-6b7c",
    ),
    (
        "by all that one template gives",
        {"app": "web", "tier": "front", "apps.kubernetes.io/pod-index": "3"},
        Owner("ReplicationController", "web", "u"),
        "app=web,tier=front",
    ),
    (
        "not by what an operator writes on each of them",
        {"app": "web", "kafka.example.com/pod-name": "web-0", "training.example.org/replica-index": "0"},
        Owner("PodSet", "web", "u"),
        "app=web",
    ),
    ("without labels by nothing", {}, Owner("Gang", "web", "u"), ""),
]


@pytest.mark.parametrize(
    ("labels", "owner", "selector"), [row[1:] for row in SELECTORS], ids=[row[0] for row in SELECTORS]
)
def test_how_siblings_are_found(labels: dict[str, str], owner: Owner, selector: str) -> None:
    assert selector_of(labels, owner, "web-0") == selector


def test_a_pod_without_a_name_yet_is_found_by_empty_labels_too() -> None:
    assert selector_of({"app": "web", "tier": ""}, Owner("PodSet", "web", "u"), "") == "app=web,tier="
