"""The engine: memory first, one task a slot, one answer a review, and no fault of ours stops a Pod."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from tests.core.test_admission import answer as pure_answer
from tests.core.test_admission import checked, patched, review
from tests.core.world import NOON, PRIVATE, SEALER, D, E, known, pod
from webhook.core.admission import MAX_SLOTS, BadReview, Review
from webhook.core.ask import Ask, AskDigest, AskHeld, AskPin, AskSibling, AskStanding, Fact, NotAsked, Oracle
from webhook.core.decision import Decision
from webhook.core.globs import Globs
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.core.targets import Target
from webhook.desk import Desk
from webhook.engine import Clocks, Engine, Unasked, Waiting

TAG = "registry.example.com/team/app:stable"
OTHER = "registry.example.com/team/other:stable"


class Scripted(Oracle):
    """An oracle for digests: what memory holds, and what a fetch gives, waits for or raises."""

    def __init__(self, memory: Fact | None = None, fetched: Callable[[Ask], Any] = lambda _: known()) -> None:
        self.memory = memory
        self.fetched = fetched
        self.asked: list[Ask] = []

    def peek(self, ask: Ask) -> Fact | None:
        return self.memory

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        self.asked.append(ask)
        found = self.fetched(ask)
        if asyncio.isfuture(found) or asyncio.iscoroutine(found):
            found = await found
        if isinstance(found, Exception):
            raise found
        fact: Fact = found
        return fact


class Notebook:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.bugs: list[tuple[str, str, BaseException]] = []
        self.foreigners: list[str] = []

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)

    def foreign(self, namespace: str) -> None:
        self.foreigners.append(namespace)

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        self.bugs.append((identity, uid, error))


ORACLES: dict[type, Oracle] = {
    AskPin: Unasked(Reason.NO_CLUSTER),
    AskSibling: Unasked(Reason.NO_CLUSTER),
    AskStanding: Unasked(Reason.NO_CLUSTER),
    AskHeld: Unasked(Reason.OFFLINE),
}


def engine(
    digests: Oracle,
    notebook: Notebook | None = None,
    *,
    rules: Sequence[Rule] = (PRIVATE,),
    pins: Oracle | None = None,
) -> Engine:
    oracles: dict[type, Oracle] = {
        **ORACLES,
        AskDigest: digests,
        AskPin: pins or ORACLES[AskPin],
    }
    return Engine(
        RuleSet(rules),
        oracles,
        sealer=SEALER,
        clocks=Clocks(lambda: 0.0, lambda: NOON),
        new_id=lambda: "id-7",
        observer=notebook,
    )


async def answered(the_engine: Engine, body: bytes, *, within: float = 5.0) -> dict[str, Any]:
    outcome = the_engine.answer_now(body)
    if isinstance(outcome, Waiting):
        outcome = await the_engine.answer(outcome, deadline=asyncio.get_running_loop().time() + within)
    return checked(json.loads(outcome))


async def test_what_memory_knows_is_answered_without_waiting() -> None:
    digests = Scripted(known(source="cached"))
    outcome = engine(digests).answer_now(review(pod(TAG, OTHER)))
    assert isinstance(outcome, bytes)
    assert digests.asked == []
    assert checked(json.loads(outcome)) == pure_answer(review(pod(TAG, OTHER)), digest=known(source="cached"))


async def test_what_has_to_be_fetched_comes_to_the_same_answer() -> None:
    assert await answered(engine(Scripted()), review(pod(TAG, "nginx", OTHER))) == pure_answer(
        review(pod(TAG, "nginx", OTHER))
    )


async def test_slots_are_fetched_side_by_side() -> None:
    both = asyncio.Barrier(2)

    async def meet() -> Fact:
        await both.wait()
        return known()

    response = await answered(engine(Scripted(fetched=lambda _: meet())), review(pod(TAG, OTHER)))
    assert "patch" in response


async def test_two_slots_with_one_image_get_one_answer_whatever_happens_in_between() -> None:
    digests = iter([D, E])
    oracle = Scripted(fetched=lambda _: known(next(digests)))
    document = pod(TAG, TAG)
    result = patched(document, await answered(engine(oracle), review(document)))
    assert len({one["image"] for one in result["spec"]["containers"]}) == 1
    assert len(oracle.asked) == 1


class Moving(Scripted):
    """Memory whose answer changes each time that it is looked at."""

    def __init__(self, *digests: str) -> None:
        super().__init__()
        self.digests = iter(digests)

    def peek(self, ask: Ask) -> Fact | None:
        return known(next(self.digests), source="cached")


async def test_an_image_has_one_digest_in_a_review_also_when_one_slot_had_to_wait_for_something_else() -> None:
    """The first container's rollout is asked for its pin meanwhile, the second one's digest is there at once."""
    owned = {
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-7d9", "uid": "u1", "controller": True}
        ],
        "labels": {"pod-template-hash": "7d9"},
    }
    rollout = replace(PRIVATE, name="rollout", containers=Globs(("c0",)))
    each = replace(PRIVATE, name="each", pin="pod")
    pins = Scripted(fetched=lambda _: NotAsked(Reason.NO_CLUSTER))
    the_engine = engine(Moving(D, E), rules=(rollout, each), pins=pins)
    document = pod(TAG, TAG, **owned)
    result = patched(document, await answered(the_engine, review(document)))
    assert [one["image"] for one in result["spec"]["containers"]] == [f"localhost:30081/team/app@{D}"] * 2
    assert len(pins.asked) == 1


async def test_an_oracle_that_hangs_past_the_deadline_is_out_of_time_and_the_others_are_done() -> None:
    never: asyncio.Future[Fact] = asyncio.get_running_loop().create_future()
    oracle = Scripted(
        fetched=lambda ask: never if isinstance(ask, AskDigest) and "other" in ask.images[0].path else known()
    )
    document = pod(TAG, OTHER)
    response = await answered(engine(oracle), review(document), within=0.01)
    result = patched(document, response)
    assert [one["image"] for one in result["spec"]["containers"]] == [f"localhost:30081/team/app@{D}", OTHER]
    assert "OutOfTime" in response["warnings"][0]


@pytest.mark.parametrize("images", [(TAG,), (TAG, OTHER)])
async def test_a_fault_of_ours_admits_unchanged_with_an_id_that_is_also_told_inside(images: tuple[str, ...]) -> None:
    notebook = Notebook()
    fault = RuntimeError("secret detail")
    response = await answered(engine(Scripted(fetched=lambda _: fault), notebook), review(pod(*images)))
    assert (response["allowed"], "patch" in response) == (True, False)
    assert response["warnings"] == ["moorage: internal error id-7: admitted unchanged; the log has the same id"]
    ((identity, uid, _),) = notebook.bugs
    assert (identity, uid, notebook.outcomes) == ("id-7", "0b4a", ["error"])


async def test_a_fault_before_anything_is_fetched_admits_too() -> None:
    class Broken(Scripted):
        def peek(self, ask: Ask) -> Fact | None:
            raise RuntimeError("boom")

    notebook = Notebook()
    response = await answered(engine(Broken(), notebook), review(pod(TAG)))
    assert response["allowed"] is True
    assert len(notebook.bugs) == 1


def test_what_is_no_review_is_the_callers_to_refuse() -> None:
    with pytest.raises(BadReview):
        engine(Scripted()).answer_now(b"{}")


@pytest.mark.parametrize(
    ("document", "memory", "outcome"),
    [
        (pod(TAG), known(), "changed"),
        (pod("nginx"), known(), "untouched"),
        ({"spec": {}}, known(), "untouched"),
    ],
)
def test_every_review_is_told_of_once(document: dict[str, Any], memory: Fact, outcome: str) -> None:
    notebook = Notebook()
    engine(Scripted(memory), notebook).answer_now(review(document))
    assert notebook.outcomes == [outcome]


OTHERS = Sealer((Secret("o" * 32),))
A_MINUTE = 60_000


@pytest.mark.parametrize(
    ("by", "at", "told"),
    [
        (OTHERS, NOON, ["default"]),
        (OTHERS, NOON - A_MINUTE, ["default"]),
        # Long ago is no other install: a Pod is written anew with all that it bore.
        (OTHERS, NOON - A_MINUTE - 1, []),
        (SEALER, NOON, []),
    ],
    ids=["another's", "another's, a minute ago", "another's, long ago", "ours"],
)
async def test_what_another_install_wrote_a_moment_ago_is_told_of_and_decided_on_again(
    by: Sealer, at: int, told: list[str]
) -> None:
    notebook = Notebook()
    first = Engine(
        RuleSet([PRIVATE]),
        {**ORACLES, AskDigest: Scripted(known())},
        sealer=by,
        clocks=Clocks(lambda: 0.0, lambda: at),
        new_id=lambda: "id-1",
    )
    document = pod(TAG)
    twice = patched(document, await answered(first, review(document)))
    response = await answered(engine(Scripted(known()), notebook), review(twice))
    assert notebook.foreigners == told
    images = [patched(twice, response) if "patch" in response else twice, twice]
    assert images[0]["spec"] == images[1]["spec"]


def test_an_annotation_that_nobody_sealed_is_no_other_install() -> None:
    notebook = Notebook()
    for text in ("", "{}", f'{{"images":{{}},"time":{NOON},"seal":"x"}}', '{"images":{"containers/c0":{"from":"a"}}}'):
        document = pod("nginx")
        document["metadata"]["annotations"] = {"moorage.dev/images": text}
        engine(Scripted(), notebook).answer_now(review(document))
    assert notebook.foreigners == []


async def test_a_review_whose_caller_left_is_told_of_as_abandoned_and_its_lookup_goes_on_for_others() -> None:
    never: asyncio.Future[Fact] = asyncio.get_running_loop().create_future()
    notebook = Notebook()
    the_engine = engine(Scripted(fetched=lambda _: never), notebook)
    waiting = the_engine.answer_now(review(pod(TAG, OTHER)))
    assert isinstance(waiting, Waiting)
    task = asyncio.create_task(the_engine.answer(waiting, deadline=asyncio.get_running_loop().time() + 5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert notebook.outcomes == ["abandoned"]
    assert notebook.bugs == []


class Deaf(Notebook):
    """Cannot be told anything."""

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        raise OSError("no space left on device")


@pytest.mark.parametrize("memory", [known(source="cached"), None], ids=["at once", "later"])
async def test_a_fault_where_reviews_are_told_of_still_ends_in_an_admission(memory: Fact | None) -> None:
    told: list[str] = []

    def fault(uid: str, error: BaseException) -> str:
        told.append(type(error).__name__)
        return "id-9"

    desk = Desk(engine(Scripted(memory), Deaf()), budget=4.0, fault=fault)
    outcome = desk.reply_now(review(pod(TAG)))
    if isinstance(outcome, Waiting):
        outcome = await desk.reply(outcome, "", asyncio.get_running_loop().time())
    response = checked(json.loads(outcome.body))
    assert (outcome.status, response["allowed"], "patch" in response) == (200, True, False)
    assert "id-9" in response["warnings"][0]
    assert told == ["OSError"]


CROWD = pod(*[TAG] * MAX_SLOTS, "localhost:30081/team/secret@" + D)
STRICT = replace(PRIVATE, on_failure="refuse")
GUARDED = replace(PRIVATE, targets=(replace(Target.of_host("localhost:30081"), guard="refuse"),))


@pytest.mark.parametrize(
    ("rule", "operation", "sub", "allowed"),
    [
        (STRICT, "CREATE", "", False),
        (GUARDED, "CREATE", "", False),
        (GUARDED, "UPDATE", "ephemeralcontainers", False),
        (GUARDED, "UPDATE", "", True),
        (replace(PRIVATE, targets=()), "CREATE", "", True),
    ],
    ids=[
        "a rule refuses",
        "a guard refuses",
        "an ephemeral container",
        "an update, which may end it",
        "nothing refuses",
    ],
)
def test_no_image_hides_behind_more_than_are_looked_at(rule: Rule, operation: str, sub: str, allowed: bool) -> None:
    notebook = Notebook()
    deciding = engine(Scripted(), notebook, rules=[rule])
    # The second one is of the same rollout.
    for _ in range(2):
        answer = deciding.answer_now(review(CROWD, operation=operation, sub=sub))
        assert isinstance(answer, bytes)
        response = checked(json.loads(answer))
        assert response["allowed"] is allowed
        assert str(MAX_SLOTS) in (response["warnings"][0] if allowed else response["status"]["message"])
    assert notebook.outcomes == ["untouched" if allowed else "refused"] * 2
