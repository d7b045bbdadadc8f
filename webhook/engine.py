"""Where deciding meets the doors: drives each slot's ladder from memory at once, or in a task that may wait."""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from webhook.core.admission import Review, answer_to, crowded_out, decode, encode, encode_rest, fault_warning, untouched
from webhook.core.annotation import IMAGES, is_foreign, owner_of
from webhook.core.ask import (
    Ask,
    AskDigest,
    AskHeld,
    AskLogin,
    AskNamespace,
    AskPin,
    AskSibling,
    AskStanding,
    Fact,
    Failed,
    NotAsked,
    Oracle,
)
from webhook.core.decision import Action, Decision
from webhook.core.ladder import Asking, settle
from webhook.core.namespace import Plan, in_namespace, place
from webhook.core.pinning import plan_pins
from webhook.core.plan import Step, guard_only, plan
from webhook.core.reason import Reason
from webhook.core.rollout import Rollout
from webhook.core.rules import RuleSet
from webhook.core.seal import Sealer
from webhook.core.subject import Subject
from webhook.recall import Heard, Outcome, Recall

Concluded = TypeVar("Concluded")

ABANDONED = "abandoned"
"""The outcome of a review that was given up before its answer was there: its caller left, or it gave way."""
LATE = 0.05
"""Seconds after the deadline at which an oracle that has not answered is taken to be out of time."""


class Clocks(msgspec.Struct, frozen=True):
    """`monotonic` in seconds for durations, `wall` in unix milliseconds for the seal's time."""

    monotonic: Callable[[], float]
    wall: Callable[[], int]


class Observer(Protocol):
    """Who is told of every review and of every fault of ours."""

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        """A review was answered."""

    def foreign(self, namespace: str) -> None:
        """A Pod of this namespace came with what another Moorage wrote on it a moment ago."""

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        """An internal error was turned into an untouched admission."""


class Silent:
    """Tells nobody."""

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        """Say nothing."""

    def foreign(self, namespace: str) -> None:
        """Say nothing."""

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        """Say nothing."""


class Unasked(Oracle):
    """The oracle for what cannot be asked here: no cluster, or offline by choice."""

    def __init__(self, reason: Reason) -> None:
        self._answer = NotAsked(reason)

    def peek(self, ask: Ask) -> Fact | None:  # noqa: ARG002 - every question has the same answer
        """Always at once."""
        return self._answer

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:  # noqa: ARG002 - as above
        """Always the same."""
        return self._answer


class Waiting(msgspec.Struct):
    """A review of which some slots still wait for an answer; `heard` is what memory has told the others."""

    review: Review
    started: float
    decisions: list[Decision | None]
    asking: list[tuple[int, Asking, Ask]]
    heard: list[Heard] = []


class _Talk:
    """What one review has heard so far, and what it waits for: a question gets one answer, whatever happens at the
    registry in between (CVE-2022-47633: a tag that was resolved twice)."""

    def __init__(self, heard: Sequence[Heard]) -> None:
        self.told: dict[Ask, Fact] = {ask: fact for _, ask, fact in heard}
        self.awaited: dict[Ask, asyncio.Future[Fact]] = {}


class Engine:
    """Decides reviews and subjects under one configuration. Immutable: a reload makes a new one."""

    def __init__(
        self,
        rules: RuleSet,
        oracles: Mapping[type, Oracle],
        *,
        sealer: Sealer,
        clocks: Clocks,
        new_id: Callable[[], str],
        observer: Observer | None = None,
    ) -> None:
        self.rules = rules
        self._oracles = oracles
        self._knows_namespaces = AskNamespace in oracles
        self._sealer = sealer
        self._clocks = clocks
        self._new_id = new_id
        self._observer = observer if observer is not None else Silent()
        self._recall = Recall()

    def answer_now(self, body: bytes) -> bytes | Waiting:
        """Answer from memory alone, or say what has to be waited for.

        Raises:
            BadReview: the body cannot be answered and gets HTTP 400.
        """
        started = self._clocks.monotonic()
        review = decode(body, self._clocks.wall())
        try:
            return self._begin(review, started)
        except Exception as error:  # noqa: BLE001 - an outer door: a fault of ours must not stop a Pod
            return self._admit_untouched(review, error, started)

    async def answer(self, waiting: Waiting, *, deadline: float) -> bytes:
        """Answer a review that waits, by the absolute loop time `deadline`. It is cancelled when its caller is gone."""
        try:
            decisions = await self._finish(waiting.decisions, waiting.asking, waiting.heard, deadline)
            return self._encode(waiting.review, decisions, waiting.started)
        except asyncio.CancelledError:
            self._observer.review(waiting.review, (), ABANDONED, self._clocks.monotonic() - waiting.started)
            raise
        except Exception as error:  # noqa: BLE001 - the same outer door
            return self._admit_untouched(waiting.review, error, waiting.started)

    async def decide(
        self,
        subject: Subject,
        *,
        deadline: float,
        since: float | None = None,
        may_change: bool = True,
        rollout: Rollout | None = None,
    ) -> tuple[Decision, ...]:
        """The decisions for a subject, one for each slot; what a command line shows beforehand. With a `rollout` the
        subject is its revision, whose tags are pinned."""
        heard: list[Heard] = []
        ladders = self._ladders_of(subject, rollout, since, may_change=may_change)
        decisions, asking = self._advance(ladders, heard)
        if asking:
            return tuple(await self._finish(decisions, asking, heard, deadline))
        return tuple([one for one in decisions if one is not None])

    async def conclude(self, asking: Generator[Ask, Fact, Concluded], *, deadline: float) -> Concluded:
        """What a generator of questions comes to, by the absolute loop time `deadline`."""
        try:
            ask = next(asking)
            while True:
                oracle = self._oracles[type(ask)]
                fact = oracle.peek(ask)
                ask = asking.send(fact if fact is not None else await oracle.fetch(ask, deadline=deadline))
        except StopIteration as done:
            outcome: Concluded = done.value
            return outcome

    def _begin(self, review: Review, started: float) -> bytes | Waiting:
        subject = review.subject
        if review.is_crowded and self.rules.refuses:
            self._observer.review(review, (), "refused", self._clocks.monotonic() - started)
            return crowded_out(review)
        if subject is None or not subject.slots:
            self._observer.review(review, (), "untouched", self._clocks.monotonic() - started)
            return untouched(review)
        milliseconds = self._clocks.wall()
        known = self._recall.find(review)
        if known is not None:
            if not known.is_sealed(milliseconds):
                rest = encode_rest(review, known.decisions, self._sealer, milliseconds)
                known = msgspec.structs.replace(known, rest=rest, sealed=milliseconds)
                self._recall.keep(review, known)
            self._observer.review(review, known.decisions, known.name, self._clocks.monotonic() - started)
            return answer_to(review.uid, known.rest)
        if IMAGES in subject.annotations and review.rollout is None and self._is_foreign(subject, milliseconds):
            self._observer.foreign(subject.namespace)
        heard: list[Heard] = []
        decisions, asking = self._advance(self._ladders_for(review, subject, started), heard)
        if asking:
            return Waiting(review, started, decisions, asking, heard)
        done = tuple([one for one in decisions if one is not None])
        rest = encode_rest(review, done, self._sealer, milliseconds)
        self._recall.keep(review, Outcome(subject, tuple(heard), done, outcome_of(done), rest, milliseconds))
        self._observer.review(review, done, outcome_of(done), self._clocks.monotonic() - started)
        return answer_to(review.uid, rest)

    async def placed(self, subject: Subject, *, deadline: float) -> Subject:
        """The subject with its namespace's labels, as far as the cluster tells them by the absolute loop time `deadline`."""
        return (await self.conclude(place(subject), deadline=deadline))[0] if self._knows_namespaces else subject

    def _ladders_for(self, review: Review, subject: Subject, started: float) -> list[Asking]:
        # Of a revision only what the upstream is asked from now on counts.
        since = started if review.rollout is not None else None
        return self._ladders_of(subject, review.rollout, since, may_change=review.may_change)

    def _ladders_of(
        self, subject: Subject, rollout: Rollout | None, since: float | None, *, may_change: bool
    ) -> list[Asking]:
        if not may_change:
            return [settle(step) for step in guard_only(subject, self.rules)]
        if rollout is None:
            return self._ladders(subject, lambda known: self._plan(known, since))
        asked = since if since is not None else self._clocks.monotonic()
        return self._ladders(subject, lambda known: plan_pins(rollout, known, self.rules, self._sealer, asked))

    def _ladders(self, subject: Subject, plan: Plan) -> list[Asking]:
        return in_namespace(subject, plan) if self._knows_namespaces else [settle(step) for step in plan(subject)]

    def _plan(self, subject: Subject, since: float | None) -> Sequence[Step]:
        return plan(subject, self.rules, sealer=self._sealer, milliseconds=self._clocks.wall(), since=since)

    def _is_foreign(self, subject: Subject, milliseconds: int) -> bool:
        return is_foreign(subject.annotations, subject.namespace, owner_of(subject), self._sealer, milliseconds)

    def _advance(
        self, ladders: Sequence[Asking], heard: list[Heard]
    ) -> tuple[list[Decision | None], list[tuple[int, Asking, Ask]]]:
        """Run every ladder as far as memory carries it; `heard` takes down what memory said."""
        decisions: list[Decision | None] = []
        asking: list[tuple[int, Asking, Ask]] = []
        for index, ladder in enumerate(ladders):
            outcome = self._climb(ladder, heard)
            if isinstance(outcome, Decision):
                decisions.append(outcome)
            else:
                decisions.append(None)
                asking.append((index, ladder, outcome))
        return decisions, asking

    def _climb(self, ladder: Asking, heard: list[Heard]) -> Decision | Ask:
        """Send all that memory knows; the decision, or the Ask that must wait."""
        try:
            ask = next(ladder)
            while True:
                oracle = self._oracles[type(ask)]
                known = oracle.peek(ask)
                if known is None:
                    return ask
                heard.append((oracle, ask, known))
                ask = ladder.send(known)
        except StopIteration as done:
            decision: Decision = done.value
            return decision

    async def _finish(
        self,
        decisions: list[Decision | None],
        asking: Sequence[tuple[int, Asking, Ask]],
        heard: Sequence[Heard],
        deadline: float,
    ) -> list[Decision]:
        """Each slot that waits goes on in a task of its own, so that a hanging registry delays no other slot."""
        talk = _Talk(heard)
        if len(asking) == 1:
            index, ladder, ask = asking[0]
            decisions[index] = await self._wait(ladder, ask, deadline, talk)
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    (index, group.create_task(self._wait(ladder, ask, deadline, talk))) for index, ladder, ask in asking
                ]
            for index, task in tasks:
                decisions[index] = task.result()
        return [one for one in decisions if one is not None]

    async def _wait(self, ladder: Asking, ask: Ask, deadline: float, talk: _Talk) -> Decision:
        try:
            while True:
                fact = talk.told.get(ask) or self._oracles[type(ask)].peek(ask)
                if fact is None:
                    fact = await self._hear(ask, deadline, talk)
                talk.told[ask] = fact
                ask = ladder.send(fact)
        except StopIteration as done:
            decision: Decision = done.value
            return decision

    async def _hear(self, ask: Ask, deadline: float, talk: _Talk) -> Fact:
        """Ask once a review, for all slots that wait for the same."""
        if ask in talk.awaited:
            return await talk.awaited[ask]
        future = talk.awaited[ask] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(deadline + LATE):
                fact = await self._oracles[type(ask)].fetch(ask, deadline=deadline)
        except TimeoutError:
            fact = Failed(Reason.OUT_OF_TIME, _name(ask), "no answer in time")
        except BaseException:
            future.cancel()
            raise
        future.set_result(fact)
        return fact

    def _encode(self, review: Review, decisions: Sequence[Decision], started: float) -> bytes:
        answer = encode(review, decisions, self._sealer, self._clocks.wall())
        self._observer.review(review, decisions, outcome_of(decisions), self._clocks.monotonic() - started)
        return answer

    def _admit_untouched(self, review: Review, error: Exception, started: float) -> bytes:
        """A fault of ours is never a denial and never silent."""
        identity = self._new_id()
        self._observer.bug(identity, review.uid, error)
        self._observer.review(review, (), "error", self._clocks.monotonic() - started)
        return untouched(review, fault_warning(identity))


def _name(ask: Ask) -> str:
    match ask:
        case AskDigest():
            return ask.images[0].repository
        case AskHeld() | AskLogin():
            return ask.place.repository
        case AskStanding():
            return ask.target
        case AskPin() | AskSibling():
            return ask.owner.name
        case AskNamespace():
            return ask.name


def outcome_of(decisions: Sequence[Decision]) -> str:
    """What came of a review, in the word of the metrics."""
    actions = {one.action for one in decisions}
    if Action.REFUSED in actions:
        return "refused"
    if actions & {Action.REWRITTEN, Action.PINNED, Action.RECORDED}:
        return "changed"
    return "failed" if Action.FAILED in actions else "untouched"
