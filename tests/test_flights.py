"""Single flight, and the gate before a registry: so many at once, none while it is let be."""

import asyncio
from typing import Any

import pytest

from tests.doors import HOST, Clock, settled, soon
from webhook.core.ask import Absent, Fact, Failed, Known, Passed
from webhook.core.hosts import Registry
from webhook.core.reason import Reason
from webhook.flights import GATES, MAX_WAIT, OPEN_FOR, QUEUE, Breaker, Flights, Gate, Gates, wait_until

WELL = Known("sha256:" + "d" * 64, "fresh")
DOWN = Failed(Reason.UNAVAILABLE, "registry.example.com/secret/app", "it answers 503")
LATE = Failed(Reason.OUT_OF_TIME, "registry.example.com/secret/app")


def throttled(seconds: float | None) -> Failed:
    return Failed(Reason.THROTTLED, "registry.example.com/secret/app", "it asks to wait (429)", seconds)


class Work:
    """Work that counts how often it begins and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.done = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.done.wait()
        if self.error is not None:
            raise self.error
        return number


# Flights


async def test_500_equal_asks_are_one_flight() -> None:
    flights: Flights[int] = Flights(Clock())
    work = Work()
    waiters = [asyncio.create_task(wait_until(flights.join("a", work), soon())) for _ in range(500)]
    await settled()
    work.done.set()
    assert await asyncio.gather(*waiters) == [1] * 500


async def test_other_keys_are_other_flights() -> None:
    flights: Flights[int] = Flights(Clock())
    work = Work()
    assert flights.join("a", work) is not flights.join("b", work)
    await settled()
    assert work.begun == 2
    await flights.aclose()


async def test_a_waiter_that_is_cancelled_harms_nobody() -> None:
    flights: Flights[int] = Flights(Clock())
    work = Work()
    waiters = [asyncio.create_task(wait_until(flights.join("a", work), soon())) for _ in range(500)]
    await settled()
    waiters[0].cancel()
    await settled()
    work.done.set()
    assert (await asyncio.gather(*waiters, return_exceptions=True))[1:] == [1] * 499
    assert waiters[0].cancelled()


async def test_a_waiter_whose_time_is_over_leaves_the_work_alone() -> None:
    flights: Flights[int] = Flights(Clock())
    work = Work()
    task = flights.join("a", work)
    assert await wait_until(task, soon(0.005)) is None
    work.done.set()
    assert await wait_until(task, soon()) == 1


async def test_a_fault_is_shared_and_then_forgotten() -> None:
    flights: Flights[int] = Flights(Clock())
    work = Work()
    work.error = ValueError("fault")
    waiters = [asyncio.create_task(wait_until(flights.join("a", work), soon())) for _ in range(3)]
    await settled()
    work.done.set()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(one) for one in outcomes] == [ValueError] * 3
    assert len(flights) == 0
    work.error = None
    assert await wait_until(flights.join("a", work), soon()) == 2


async def test_a_fault_that_nobody_waited_for_is_told_to_the_loop() -> None:
    flights: Flights[int] = Flights(Clock())
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    work = Work()
    work.error = ValueError("fault")
    work.done.set()
    flights.join("a", work)
    await settled()
    assert [str(one["exception"]) for one in told] == ["fault"]


async def test_who_wants_to_know_what_is_true_from_now_on_joins_nothing_that_began_before() -> None:
    clock = Clock()
    flights: Flights[int] = Flights(clock)
    work = Work()
    first = flights.join("a", work)
    clock.forward(1.0)
    assert flights.join("a", work, since=clock()) is not first
    second = flights.join("a", work, since=clock())
    assert flights.join("a", work) is second
    work.done.set()
    await settled()
    assert (first.result(), second.result(), work.begun) == (1, 2, 2)
    assert len(flights) == 0


async def test_an_older_flight_that_lands_late_takes_no_newer_one_away() -> None:
    clock = Clock()
    flights: Flights[int] = Flights(clock)
    old, new = Work(), Work()
    flights.join("a", old)
    clock.forward(1.0)
    newer = flights.join("a", new, since=clock())
    old.done.set()
    await settled()
    assert flights.join("a", new) is newer
    await flights.aclose()


async def test_closing_ends_every_flight_and_its_waiters_hear_nothing() -> None:
    clock = Clock()
    flights: Flights[int] = Flights(clock)
    work = Work()
    tasks = [flights.join("a", work), flights.join("a", work, since=clock() + 1)]
    waiters = [asyncio.create_task(wait_until(task, soon())) for task in tasks]
    await settled()
    await flights.aclose()
    assert await asyncio.gather(*waiters) == [None, None]
    assert len(flights) == 0


# Breaker


def hear(breaker: Breaker, *facts: Fact) -> None:
    for fact in facts:
        with breaker.asking() as heard:
            heard(fact)


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ([DOWN] * 4, 0.0),
        ([DOWN] * 5, OPEN_FOR),
        ([LATE] * 5, OPEN_FOR),
        ([DOWN, LATE, DOWN, LATE, DOWN], OPEN_FOR),
        ([DOWN, DOWN, DOWN, DOWN, WELL, DOWN], 0.0),
        ([DOWN, DOWN, DOWN, DOWN, Absent(), DOWN], 0.0),
        ([Absent()] * 9, 0.0),
        ([Absent(denied=True)] * 9, 0.0),
        ([Failed(Reason.BAD_REGISTRY)] * 9, 0.0),
        ([Failed(Reason.LOGIN_REFUSED)] * 9, 0.0),
        ([throttled(30.0)], 30.0),
        ([throttled(86_400.0)], MAX_WAIT),
        # A registry that is asked too much and does not say for how long is let be too (knative/serving#11251).
        ([throttled(None)] * 4, 0.0),
        ([throttled(None)] * 5, OPEN_FOR),
        ([throttled(0.0)] * 5, OPEN_FOR),
        ([throttled(None)] * 4 + [WELL] + [throttled(None)] * 4, 0.0),
        ([Failed(Reason.UNAVAILABLE, retry_after=60.0)], 60.0),
        ([Failed(Reason.BAD_REGISTRY, retry_after=60.0)], 0.0),
    ],
)
def test_what_opens_a_breaker_and_for_how_long(facts: list[Fact], seconds: float) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    hear(breaker, *facts)
    assert breaker.seconds_left == seconds
    assert (breaker.refusal() is not None) is (seconds > 0)
    clock.forward(seconds)
    assert breaker.refusal() is None


def opened(clock: Clock, *, by: Fact = DOWN) -> Breaker:
    breaker = Breaker(clock)
    hear(breaker, *[by] * 5)
    return breaker


@pytest.mark.parametrize(
    ("answer", "is_open"),
    [
        (WELL, False),
        (Passed(), False),
        (Absent(denied=True), False),
        (Failed(Reason.BAD_REGISTRY), False),
        (DOWN, True),
        (LATE, True),
        (throttled(None), True),
        (throttled(7.0), True),
    ],
)
@pytest.mark.parametrize("because", [DOWN, throttled(7.0)], ids=["down", "throttled"])
def test_one_probe_decides(because: Fact, answer: Fact, is_open: bool) -> None:
    clock = Clock()
    breaker = opened(clock, by=because)
    clock.forward(OPEN_FOR)
    assert breaker.refusal() is None
    with breaker.asking() as heard:
        assert breaker.refusal() == because
        heard(answer)
    assert (breaker.refusal() is not None) is is_open


def test_a_login_that_could_not_be_had_says_nothing_about_the_registry() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    missing = Failed(Reason.NO_LOGIN, "r.io/app", "no ecr login")
    for _ in range(100):
        with breaker.asking() as hear:
            hear(missing)
    assert breaker.refusal() is None
    breaker = opened(clock)
    clock.forward(11)
    with breaker.asking() as hear:
        hear(missing)
    with breaker.asking() as hear:
        assert breaker.refusal() is not None
        hear(DOWN)
    assert breaker.refusal() is not None


def test_a_probe_that_is_given_up_lets_another_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.forward(OPEN_FOR)
    with breaker.asking():
        pass
    assert breaker.refusal() is None


def test_an_answer_that_was_under_way_does_not_shorten_the_time_that_was_asked_for() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    with breaker.asking() as early:
        hear(breaker, throttled(60.0))
        early(WELL)
    assert breaker.refusal() == throttled(60.0)
    assert breaker.seconds_left == 60.0
    with breaker.asking() as another:
        another(DOWN)
    assert breaker.seconds_left == 60.0


# Gate


class Caller:
    """Requests through one gate, that end when they are told to."""

    def __init__(self, clock: Clock, places: int = 2) -> None:
        self.gate = Gate(Registry(HOST, max_in_flight=places), clock)
        self.done = asyncio.Event()
        self.answer: Fact = WELL
        self.inside = 0
        self.sent = 0

    async def _request(self) -> Fact:
        self.sent += 1
        self.inside += 1
        await self.done.wait()
        self.inside -= 1
        return self.answer

    def call(self, seconds: float = 5.0) -> asyncio.Task[Fact]:
        return asyncio.create_task(self.gate.send(self._request, what=f"{HOST}/mine", deadline=soon(seconds)))


async def test_no_more_than_so_many_are_inside() -> None:
    caller = Caller(Clock())
    calls = [caller.call() for _ in range(10)]
    await settled()
    assert caller.inside == 2
    caller.done.set()
    assert await asyncio.gather(*calls) == [WELL] * 10


async def test_who_finds_no_place_in_time_hears_that_it_is_busy() -> None:
    caller = Caller(Clock())
    calls = [caller.call() for _ in range(2)]
    await settled()
    late = await caller.call(0.01)
    assert isinstance(late, Failed)
    assert (late.reason, late.what) == (Reason.BUSY, f"{HOST}/mine")
    assert caller.sent == 2
    caller.done.set()
    await asyncio.gather(*calls)


async def test_a_queue_without_end_is_not_begun() -> None:
    caller = Caller(Clock(), places=1)
    calls = [caller.call() for _ in range(QUEUE + 10)]
    await settled()
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    turned_away = [call.result() for call in calls if call.done()]
    assert [one.reason for one in turned_away if isinstance(one, Failed)] == [Reason.BUSY] * 9
    caller.done.set()
    answers = await asyncio.gather(*calls)
    assert answers.count(WELL) == QUEUE + 1
    assert await caller.call() == WELL


async def test_busy_says_nothing_about_the_registry_and_holds_no_probe() -> None:
    clock = Clock()
    caller = Caller(clock, places=1)
    inside = caller.call()
    await settled()
    for _ in range(6):
        await caller.call(0.002)
    assert caller.gate.breaker.refusal() is None
    caller.done.set()
    assert await inside == WELL
    assert await caller.call() == WELL


async def test_who_stands_in_the_queue_while_the_breaker_opens_is_not_let_through() -> None:
    caller = Caller(Clock(), places=5)
    calls = [caller.call() for _ in range(50)]
    await settled()
    caller.answer = DOWN
    caller.done.set()
    answers = await asyncio.gather(*calls)
    assert caller.sent <= 10
    assert {one.reason for one in answers if isinstance(one, Failed)} == {Reason.UNAVAILABLE}


async def test_a_request_that_does_not_keep_its_deadline_is_cut_off_and_counted() -> None:
    caller = Caller(Clock(), places=5)
    calls = [caller.call(0.01) for _ in range(5)]
    answers = await asyncio.gather(*calls)
    assert [one.reason for one in answers if isinstance(one, Failed)] == [Reason.OUT_OF_TIME] * 5
    assert caller.gate.breaker.refusal() is not None


async def test_a_refusal_names_who_asks_now_and_not_whom_it_happened_to() -> None:
    clock = Clock()
    caller = Caller(clock)
    hear(caller.gate.breaker, throttled(30.0))
    clock.forward(10.0)
    refused = await caller.call()
    assert refused == Failed(
        Reason.THROTTLED, f"{HOST}/mine", "it asks to wait (429); it is let be for 20 s more", 20.0
    )
    assert "secret" not in repr(refused)
    assert caller.sent == 0


async def test_only_one_probe_goes_through_the_gate() -> None:
    clock = Clock()
    caller = Caller(clock, places=8)
    hear(caller.gate.breaker, *[DOWN] * 5)
    clock.forward(OPEN_FOR)
    calls = [caller.call() for _ in range(8)]
    await settled()
    assert caller.sent == 1
    caller.done.set()
    answers = await asyncio.gather(*calls)
    assert [one for one in answers if not isinstance(one, Failed)] == [WELL]
    assert await caller.call() == WELL


async def test_a_fault_leaves_the_gate_as_it_was() -> None:
    gate = Gate(Registry(HOST, max_in_flight=1), Clock())

    async def fault() -> Fact:
        raise ValueError("fault")

    for _ in range(2):
        with pytest.raises(ValueError, match="fault"):
            await gate.send(fault, what=HOST, deadline=soon())
    assert gate.breaker.refusal() is None


async def test_a_new_size_counts_from_now_on() -> None:
    clock = Clock()
    gates = Gates(clock)
    caller = Caller(clock, places=1)
    caller.gate = gates.get(Registry(HOST, max_in_flight=1))
    calls = [caller.call() for _ in range(3)]
    await settled()
    assert caller.inside == 1
    assert gates.get(Registry(HOST, max_in_flight=2)) is caller.gate
    calls += [caller.call() for _ in range(3)]
    await settled()
    assert caller.inside == 3
    caller.done.set()
    assert await asyncio.gather(*calls) == [WELL] * 6


def test_hosts_of_an_authors_choice_push_no_listed_registry_out() -> None:
    gates = Gates(Clock())
    hear(gates.get(Registry(HOST)).breaker, throttled(60.0))
    for number in range(2 * GATES):
        gates.get(Registry(f"h{number}.example.com", listed=False))
    assert gates.find("h0.example.com") is None
    found = gates.find(HOST)
    assert found is not None
    assert found.refusal(HOST) is not None


async def test_metrics_know_which_breakers_are_open_under_few_names() -> None:
    clock = Clock()
    gates = Gates(clock)
    hear(gates.get(Registry(HOST)).breaker, WELL)
    assert gates.states() == {HOST: False}
    hear(gates.get(Registry(HOST)).breaker, throttled(9.0))
    hear(gates.get(Registry("a.example.com", listed=False)).breaker, throttled(20.0))
    hear(gates.get(Registry("b.example.com", listed=False)).breaker, WELL)
    assert gates.states() == {HOST: True, "other": True}
    clock.forward(9.0)
    assert gates.states() == {HOST: False, "other": True}
