"""Revisions at their admission: what is pinned, when, and what is left alone."""

import copy
from typing import Any

import msgspec
import pytest

from tests.core.revisions import HASH, NAME, admit, controller_revision, job, replica_set, review, stored, template
from tests.core.world import NOON, PRIVATE, SEALER, D, E, decide, known
from webhook.core.admission import decode
from webhook.core.ask import Absent, AskDigest, Failed
from webhook.core.pinning import plan_pins
from webhook.core.pins import MAX_ANNOTATIONS, written
from webhook.core.reason import Reason
from webhook.core.revision import Revision
from webhook.core.rules import Rule, RuleSet

HELD = {NAME: D}
FRESH = msgspec.structs.replace(PRIVATE, on_reuse="fresh")
DOWN = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "connection refused")

CREATED = [
    ("ReplicaSet of a Deployment", "replicasets", replica_set()),
    ("ReplicaSet of an Argo Rollout", "replicasets", replica_set(label="rollouts-pod-template-hash")),
    ("ControllerRevision of a StatefulSet", "controllerrevisions", controller_revision()),
    ("ControllerRevision of a DaemonSet", "controllerrevisions", controller_revision(owner="DaemonSet")),
    ("Job", "jobs", job()),
]


@pytest.mark.parametrize(("resource", "made"), [row[1:] for row in CREATED], ids=[row[0] for row in CREATED])
def test_a_revision_is_pinned_at_its_creation(resource: str, made: dict[str, Any]) -> None:
    before = copy.deepcopy(made)
    admitted = admit(resource, made)
    assert admitted.judged(resource) == HELD
    (operation,) = admitted.operations
    assert operation["op"] == "add"
    assert admitted.warnings == []
    admitted.made["metadata"]["annotations"] = before["metadata"].get("annotations")
    before["metadata"].setdefault("annotations", None)
    assert admitted.made == before, "nothing but our annotation may change, the template least of all"


def test_the_upstream_is_asked_anew_as_the_pods_would() -> None:
    read = decode(review("replicasets", replica_set()), NOON)
    assert read.rollout is not None
    assert read.subject is not None
    (step,) = plan_pins(read.rollout, read.subject, RuleSet((PRIVATE,)), SEALER, 7.0)
    (ask,) = decide(step)[1]
    assert isinstance(ask, AskDigest)
    assert ask.since == 7.0
    assert (ask.audience.namespace, ask.audience.secrets) == ("shop", ("pull",))


UNPINNED: list[tuple[str, str, dict[str, Any]]] = [
    ("bare ReplicaSet", "replicasets", {**replica_set(), "metadata": {"name": "web", "labels": {"app": "web"}}}),
    ("suspended Job", "jobs", job(suspend=True)),
    (
        "ControllerRevision of a kind we do not know",
        "controllerrevisions",
        controller_revision(version="apps.kruise.io/v1"),
    ),
    ("ControllerRevision with other data", "controllerrevisions", controller_revision() | {"data": {"x": 1}}),
    ("ControllerRevision without data", "controllerrevisions", controller_revision() | {"data": None}),
    ("no template", "replicasets", replica_set() | {"spec": {}}),
    ("an image with a digest", "replicasets", replica_set(f"registry.example.com/team/app@{D}")),
    ("an image of nobody's rule", "replicasets", replica_set("nginx:1")),
    (
        "opted out",
        "replicasets",
        replica_set() | {"spec": {"template": template(annotations={"moorage.dev/skip": "true"})}},
    ),
]


@pytest.mark.parametrize(("resource", "made"), [row[1:] for row in UNPINNED], ids=[row[0] for row in UNPINNED])
def test_is_left_alone(resource: str, made: dict[str, Any]) -> None:
    admitted = admit(resource, made)
    assert (admitted.allowed, admitted.operations, admitted.warnings) == (True, [], [])


@pytest.mark.parametrize("change", [{"pin": "pod"}, {"pin": "off"}, {"write": "tag"}])
def test_a_rule_may_ask_for_no_pin(change: dict[str, Any]) -> None:
    rule = msgspec.structs.replace(PRIVATE, **change)
    assert admit("replicasets", replica_set(), None, rule).operations == []


@pytest.mark.parametrize("wrong", [[], {"template": []}, {"template": {"spec": {"containers": {}}}}])
def test_a_template_of_another_shape_is_allowed_with_a_reason(wrong: Any) -> None:
    admitted = admit("replicasets", replica_set() | {"spec": wrong})
    assert (admitted.allowed, admitted.operations) == (True, [])
    assert len(admitted.warnings) == 1


REFUSE = msgspec.structs.replace(PRIVATE, on_failure="refuse")
TROUBLES = [
    ("absent", PRIVATE, Absent(), "AbsentOrDenied"),
    ("down", PRIVATE, DOWN, "Unavailable"),
    ("down, and the rule refuses: a revision is never denied", REFUSE, DOWN, "Unavailable"),
    (
        "an old answer: a rollout comes because of something newer",
        PRIVATE,
        known(source="stale", trouble=Reason.OUT_OF_TIME),
        "OutOfTime",
    ),
]


@pytest.mark.parametrize(("rule", "fact", "word"), [row[1:] for row in TROUBLES], ids=[row[0] for row in TROUBLES])
def test_without_a_fresh_digest_there_is_no_pin_and_a_warning(rule: Rule, fact: Any, word: str) -> None:
    admitted = admit("replicasets", replica_set(), None, rule, digest=fact)
    assert (admitted.allowed, admitted.operations) == (True, [])
    assert word in admitted.warnings[0]


def test_what_could_be_resolved_is_pinned_though_the_rest_could_not() -> None:
    made = replica_set(NAME, "registry.example.com/team/side:1")
    admitted = admit("replicasets", made, digest=lambda ask: known() if "app" in str(ask) else DOWN)
    assert admitted.judged("replicasets") == HELD


def test_a_second_round_of_one_admission_changes_nothing() -> None:
    first = admit("replicasets", replica_set())
    again = admit("replicasets", first.made, at=NOON + 200)
    assert again.operations == []
    assert [one.reason for one in again.decisions] == [Reason.PIN_KEPT]


def test_a_copied_pin_does_not_hold_where_the_tag_has_moved() -> None:
    """A ReplicaSet that was deleted and comes back within a moment carries the pin of the one before."""
    copied = admit("replicasets", replica_set()).made
    admitted = admit("replicasets", copied, at=NOON + 9_000, digest=known(E))
    assert admitted.judged("replicasets") == {NAME: E}


def test_a_copied_pin_that_is_nearly_too_old_is_written_anew() -> None:
    copied = admit("replicasets", replica_set()).made
    assert len(admit("replicasets", copied, at=NOON + 40_000).operations) == 1


def came_back(digest: str, rule: Rule = PRIVATE, *, at: int = NOON + 3_600_000, **answers: Any) -> Any:
    old = stored(admit("replicasets", replica_set()).made)
    new = copy.deepcopy(old)
    new["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    return admit("replicasets", new, old, rule, at=at, digest=known(digest), **answers)


def test_undo_keeps_the_old_digest_and_says_that_the_tag_names_another() -> None:
    admitted = came_back(E)
    assert admitted.operations == []
    assert admitted.judged("replicasets") == HELD
    assert admitted.decisions[0].reason is Reason.TAG_MOVED
    assert f"the tag names {E}"[:20] in admitted.warnings[0]


def test_undo_says_nothing_where_the_tag_names_the_same() -> None:
    admitted = came_back(D)
    assert (admitted.operations, admitted.warnings) == ([], [])


def test_undo_may_ask_for_the_newest_digest() -> None:
    admitted = came_back(E, FRESH)
    assert admitted.judged("replicasets") == {NAME: E}
    assert '"uid":"uid-1"' in admitted.operations[0]["value"]


def test_undo_while_the_registry_is_down_is_silent_and_keeps_what_stands() -> None:
    old = stored(admit("replicasets", replica_set()).made)
    new = copy.deepcopy(old)
    new["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    admitted = admit("replicasets", new, old, digest=DOWN)
    assert (admitted.operations, admitted.warnings) == ([], [])


def test_a_revision_without_pin_that_comes_back_is_not_pinned_over_the_heads_of_its_pods() -> None:
    old = stored(replica_set())
    new = copy.deepcopy(old)
    new["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    assert admit("replicasets", new, old).operations == []


@pytest.mark.parametrize("rule", [PRIVATE, FRESH])
def test_other_updates_are_nobodys_business(rule: Rule) -> None:
    old = stored(admit("replicasets", replica_set()).made)
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 30
    admitted = admit("replicasets", new, old, rule, digest=known(E))
    assert (admitted.operations, admitted.decisions) == ([], [])


def test_a_first_revision_number_is_no_reuse() -> None:
    old = stored(replica_set())
    del old["metadata"]["annotations"]
    assert admit("replicasets", stored(replica_set()), old, FRESH).decisions == []


def test_a_controller_revision_comes_back_by_its_number() -> None:
    old = stored(admit("controllerrevisions", controller_revision()).made)
    new = old | {"revision": 3}
    admitted = admit("controllerrevisions", new, old, digest=known(E))
    assert admitted.decisions[0].reason is Reason.TAG_MOVED
    assert admit("controllerrevisions", new, old, FRESH, digest=known(E)).judged("controllerrevisions") == {NAME: E}


def test_a_job_is_pinned_when_it_is_resumed_and_keeps_its_digest_when_it_is_resumed_again() -> None:
    resumed = admit("jobs", stored(job()), stored(job(suspend=True)), at=NOON + 3_600_000)
    assert resumed.judged("jobs") == HELD
    old = copy.deepcopy(resumed.made)
    old["spec"]["suspend"] = True
    again = admit("jobs", resumed.made, old, FRESH, at=NOON + 7_200_000, digest=known(E))
    assert again.operations == []
    assert again.judged("jobs") == HELD


def test_other_updates_of_a_running_job_are_nobodys_business() -> None:
    old = stored(job())
    new = copy.deepcopy(old)
    new["spec"]["parallelism"] = 30
    admitted = admit("jobs", new, old)
    assert (admitted.operations, admitted.decisions) == ([], [])


def keel(digest: str, *answers: Any) -> tuple[Any, list[Any]]:
    made = replica_set()
    made["metadata"]["annotations"]["keel.sh/digest"] = digest
    said = list(answers)
    asked: list[Any] = []

    def next_one(ask: Any) -> Any:
        asked.append(ask)
        return said.pop(0)

    return admit("replicasets", made, digest=next_one), asked


def test_where_keel_has_seen_another_digest_the_upstream_is_asked_once_more() -> None:
    admitted, asked = keel(E, known(D), known(E))
    assert [ask.anew for ask in asked] == [False, True]
    assert admitted.judged("replicasets") == {NAME: E}
    assert admitted.warnings == []


def test_where_keel_and_the_upstream_stay_apart_the_upstream_is_right_and_it_is_told() -> None:
    admitted, _ = keel(E, known(D), known(D))
    assert admitted.judged("replicasets") == HELD
    (warning,) = admitted.warnings
    assert "keel.sh/digest" in warning


def test_where_the_second_question_fails_the_first_answer_counts() -> None:
    admitted, _ = keel(E, known(D), DOWN)
    assert admitted.judged("replicasets") == HELD


@pytest.mark.parametrize("digest", [D, "", "latest"])
def test_keel_says_nothing_or_the_same(digest: str) -> None:
    admitted, asked = keel(digest, known(D))
    assert len(asked) == 1
    assert admitted.warnings == []


def test_what_keel_rolled_out_since_does_not_matter_to_an_undo() -> None:
    old = stored(admit("replicasets", replica_set()).made)
    new = copy.deepcopy(old)
    new["metadata"]["annotations"] |= {"deployment.kubernetes.io/revision": "3", "keel.sh/digest": "sha256:" + "f" * 64}
    admitted = admit("replicasets", new, old, digest=known(E))
    assert [one.reason for one in admitted.decisions] == [Reason.TAG_MOVED]
    assert not any("keel.sh/digest" in one for one in admitted.warnings)


def test_of_several_containers_keel_means_one() -> None:
    made = replica_set(NAME, "registry.example.com/team/side:1")
    made["metadata"]["annotations"]["keel.sh/digest"] = E
    admitted = admit("replicasets", made, digest=lambda ask: known(E if "side" in str(ask) else D))
    assert admitted.warnings == []


def test_annotations_that_are_nearly_full_are_not_filled_up() -> None:
    made = replica_set()
    made["metadata"]["annotations"]["others"] = "x" * (MAX_ANNOTATIONS - 300)
    admitted = admit("replicasets", made)
    assert (admitted.allowed, admitted.operations) == (True, [])
    assert "AnnotationsFull" in admitted.warnings[0]


def test_a_pin_that_stands_needs_no_more_room_when_its_rollout_comes_back() -> None:
    old = stored(admit("replicasets", replica_set()).made)
    old["metadata"]["annotations"]["others"] = "x" * (MAX_ANNOTATIONS - 600)
    new = copy.deepcopy(old)
    new["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    admitted = admit("replicasets", new, old, digest=known(E))
    assert [one.reason for one in admitted.decisions] == [Reason.TAG_MOVED]
    assert [one.reason for one in admit("replicasets", new, old, FRESH, digest=known(E)).decisions] == [
        Reason.ANNOTATIONS_FULL
    ]


@pytest.mark.parametrize("digest", [D, E])
def test_pins_that_somebody_wrote_are_no_reason_to_leave_ours_out(digest: str) -> None:
    revision = Revision("ReplicaSet", "shop", f"web-{HASH}", HASH, created=NOON)
    key, value = written({NAME: digest}, revision, SEALER, NOON)
    made = replica_set()
    made["metadata"]["annotations"][key] = value.replace('"seal":"', '"seal":"0')
    admitted = admit("replicasets", made, at=NOON + 1)
    assert len(admitted.operations) == 1
    assert admitted.judged("replicasets") == HELD
