"""The resolver: once from the upstream, then from memory; stale and marked when it is silent; one tenant's answers its own."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import D, E
from tests.doors import HOST, SPARE, TAG, Clock, Registries, Wallets, digest_ask, known, login, settled, soon
from tests.support.examples import many
from tests.support.until import STALL
from webhook.core.ask import Absent, AskDigest, AskStanding, Fact, Failed, Known
from webhook.core.credential import ANONYMOUS, Credential
from webhook.core.freshness import RECHECK, Resolving
from webhook.core.hosts import Registries as Hosts
from webhook.core.hosts import Registry
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.flights import OPEN_FOR
from webhook.resolver import Memory, Resolver

AT_SPARE = Reference(SPARE, "team/app", "stable")
DOWN = Failed(Reason.UNAVAILABLE, f"{HOST}/team/app", "it answers 503")
USUAL = Resolving()
HOSTS = (Registry(HOST, max_in_flight=2), Registry(SPARE, max_in_flight=2))


class World:
    """A resolver, and everything that it asks. With `repeats`, equal questions are one and the same object, as those of
    the Pods of one rollout are: the answers must be those that new objects get."""

    def __init__(
        self, resolving: Resolving = USUAL, *, hosts: tuple[Registry, ...] = HOSTS, repeats: bool = False
    ) -> None:
        self.same: dict[AskDigest, AskDigest] | None = {} if repeats else None
        self.clock = Clock()
        self.registries = Registries()
        self.wallets = Wallets()
        self.told: list[tuple[str, str]] = []
        self.hosts = hosts
        self.memory = Memory(resolving.entries, self.clock)
        self.resolver = self.reload(resolving)

    def reload(self, resolving: Resolving = USUAL) -> Resolver:
        """Another resolver over the same memory."""
        self.resolver = Resolver(
            self.registries,
            self.wallets,
            Hosts(self.hosts),
            resolving,
            memory=self.memory,
            observe=lambda host, source: self.told.append((host, source)),
            jitter=lambda: 0.5,
        )
        return self.resolver

    def peek(self, ask: AskDigest | None = None) -> Fact | None:
        question = self.question(ask)
        return self.resolver.peek(question) if self.same is None else self.resolver.peek_again(question)

    async def fetch(self, ask: AskDigest | None = None, seconds: float = 5.0) -> Fact:
        return await self.resolver.fetch(self.question(ask), deadline=soon(seconds))

    def question(self, ask: AskDigest | None = None) -> AskDigest:
        ask = ask or digest_ask()
        return ask if self.same is None else self.same.setdefault(ask, ask)

    async def ask(self, ask: AskDigest | None = None, seconds: float = 5.0) -> Fact:
        """As the engine does: memory first."""
        found = self.peek(ask)
        return found if found is not None else await self.fetch(ask, seconds)

    async def break_down(self, host: str = HOST) -> None:
        """Open the breaker of a host."""
        for number in range(5):
            self.registries.answers[host] = DOWN
            await self.fetch(digest_ask(Reference(host, f"broken/{number}", "x")))
        assert self.memory.gates.states()[host]


@pytest.fixture(params=[False, True], ids=["new", "repeated"])
def world(request: pytest.FixtureRequest) -> World:
    return World(repeats=request.param)


def digest_of(fact: Fact | None) -> str:
    assert isinstance(fact, Known), fact
    return fact.digest


def reason_of(fact: Fact | None) -> Reason:
    assert isinstance(fact, Failed), fact
    return fact.reason


# From the upstream once, then from memory


async def test_the_first_asks_the_upstream_and_the_second_memory(world: World) -> None:
    assert world.peek() is None
    assert await world.fetch() == known()
    world.clock.forward(12.0)
    assert world.peek() == Known(D, "cached", HOST, "pod", media_type="m")
    assert len(world.registries.asked) == 1


async def test_after_its_time_the_upstream_is_asked_again(world: World) -> None:
    await world.fetch()
    world.clock.forward(30.0)
    world.registries.answers[HOST] = known(E)
    assert world.peek() is None
    assert await world.fetch() == known(E)


async def test_500_at_once_are_one_request(world: World) -> None:
    door = world.registries.hang()
    askers = [asyncio.create_task(world.ask(digest_ask(account=str(number)))) for number in range(500)]
    await settled()
    door.set()
    assert await asyncio.gather(*askers) == [known()] * 500
    assert len(world.registries.asked) == 1


async def test_the_first_asker_may_go_away(world: World) -> None:
    door = world.registries.hang()
    askers = [asyncio.create_task(world.ask()) for _ in range(500)]
    await settled()
    askers[0].cancel()
    await settled()
    door.set()
    assert (await asyncio.gather(*askers, return_exceptions=True))[1:] == [known()] * 499
    assert len(world.registries.asked) == 1


@pytest.mark.parametrize(
    ("written", "same"),
    [
        (Reference(HOST, "team/app"), Reference(HOST, "team/app", "latest")),
        (Reference(HOST, "team/app", "v1", E), Reference(HOST, "team/app", "v2", E)),
        (Reference(HOST, "team/app", "v1", E), Reference(HOST, "team/app", None, E)),
    ],
)
async def test_two_ways_to_write_one_thing_get_one_answer(world: World, written: Reference, same: Reference) -> None:
    await world.fetch(digest_ask(written))
    assert digest_of(world.peek(digest_ask(same))) in {D, E}
    assert len(world.registries.asked) == 1


async def test_credentials_that_had_to_be_waited_for_do_not_make_it_ask_again(world: World) -> None:
    await world.fetch()
    world.wallets.is_slow = True
    assert world.peek() is None
    fact = await world.fetch()
    assert isinstance(fact, Known)
    assert fact.source == "cached"
    assert len(world.registries.asked) == 1


async def test_a_secret_that_was_changed_counts_at_once(world: World) -> None:
    world.wallets.holds["default"] = (login("old"),)
    await world.fetch()
    assert [digest_of(world.peek()), digest_of(world.peek())] == [D, D]
    world.wallets.holds["default"] = (login("new"),)
    assert world.peek() is None


async def test_a_digest_that_was_confirmed_is_not_asked_for_again(world: World) -> None:
    confirm = digest_ask(TAG.pinned(E))
    assert digest_of(await world.fetch(confirm)) == E
    world.clock.forward(3600.0)
    assert digest_of(world.peek(confirm)) == E
    assert len(world.registries.asked) == 1


async def test_memory_is_bounded_and_what_was_used_last_stays() -> None:
    world = World(Resolving(entries=3))
    asks = [digest_ask(Reference(HOST, f"app{number}", "x")) for number in range(4)]
    for ask in asks[:3]:
        await world.fetch(ask)
    world.peek(asks[0])
    await world.fetch(asks[3])
    assert [world.peek(ask) is not None for ask in asks] == [True, False, True, True]


async def test_an_answer_that_was_pushed_out_of_memory_is_not_given_to_who_asks_again() -> None:
    world = World(Resolving(entries=3), repeats=True)
    await world.fetch()
    assert [digest_of(world.peek()), digest_of(world.peek())] == [D, D]
    for number in range(3):
        await world.fetch(digest_ask(Reference(HOST, f"app{number}", "x")))
    assert world.peek() is None


async def test_an_answer_in_use_is_not_pushed_out_of_memory_by_others(world: World) -> None:
    world.reload(Resolving(entries=3))
    await world.fetch()
    for number in range(10):
        world.clock.forward(1.1)
        assert digest_of(world.peek()) == D
        await world.fetch(digest_ask(Reference(HOST, f"app{number}", "x")))
    assert len([image for image, _ in world.registries.asked if image == TAG]) == 1


async def test_an_answer_that_was_replaced_is_not_given_to_who_asks_again(world: World) -> None:
    await world.fetch()
    assert [digest_of(world.peek()), digest_of(world.peek())] == [D, D]
    world.clock.forward(1.0)
    world.registries.answers[HOST] = known(E)
    # A revision asks anew, in the middle of the fresh time.
    await world.fetch(digest_ask(since=world.clock()))
    assert digest_of(world.peek()) == E


def test_it_answers_no_other_questions(world: World) -> None:
    with pytest.raises(TypeError, match="AskStanding"):
        world.resolver.peek(AskStanding("kraken"))


# Refreshed ahead


async def test_an_answer_in_use_is_refreshed_before_it_is_too_old(world: World) -> None:
    await world.fetch()
    world.clock.forward(26.0)
    world.registries.answers[HOST] = known(E)
    assert digest_of(world.peek()) == D
    await settled()
    assert digest_of(world.peek()) == E
    world.clock.forward(25.0)
    assert digest_of(world.peek()) == E
    assert len(world.registries.asked) == 2


async def test_one_that_is_not_used_is_not_refreshed(world: World) -> None:
    await world.fetch()
    world.clock.forward(29.0)
    await settled()
    assert len(world.registries.asked) == 1


async def test_there_is_one_refresh_at_a_time(world: World) -> None:
    await world.fetch()
    door = world.registries.hang()
    world.clock.forward(26.0)
    for _ in range(50):
        assert digest_of(world.peek()) == D
        await settled(1)
    assert len(world.registries.asked) == 2
    door.set()
    await settled()


@pytest.mark.parametrize("trouble", [DOWN, ValueError("a fault of ours")])
async def test_a_refresh_that_fails_leaves_the_answer_and_waits(world: World, trouble: Failed | Exception) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    world.reload(Resolving(fresh=300.0))
    await world.fetch()
    world.clock.forward(256.0)
    world.registries.answers[HOST] = trouble
    world.peek()
    await settled()
    world.clock.forward(RECHECK - 1)
    assert digest_of(world.peek()) == D
    await settled()
    assert len(world.registries.asked) == 2
    world.clock.forward(1.0)
    world.peek()
    await settled()
    assert len(world.registries.asked) == 3


async def test_the_wait_begins_when_the_refresh_failed_and_not_when_it_began(world: World) -> None:
    world.reload(Resolving(fresh=300.0))
    await world.fetch()
    world.clock.forward(256.0)
    world.registries.answers[HOST] = DOWN
    door = world.registries.hang()
    world.peek()
    await settled()
    world.clock.forward(9.0)
    door.set()
    await settled()
    world.clock.forward(RECHECK - 1)
    world.peek()
    await settled()
    assert len(world.registries.asked) == 2


async def test_a_refresh_that_failed_makes_nothing_fresher(world: World) -> None:
    await world.fetch()
    world.clock.forward(29.0)
    world.registries.answers[HOST] = DOWN
    world.peek()
    await settled()
    world.clock.forward(1.0)
    assert world.peek() is None


async def test_a_refresh_that_finds_the_tag_gone_ends_the_answer(world: World) -> None:
    await world.fetch()
    world.clock.forward(26.0)
    world.registries.answers[HOST] = Absent(HOST, str(TAG))
    world.peek()
    await settled()
    assert world.peek() == Absent(HOST, str(TAG))


# Refusals


@pytest.mark.parametrize(("denied", "seconds"), [(False, 10.0), (True, 5.0)])
async def test_a_refusal_is_remembered_for_a_while(world: World, denied: bool, seconds: float) -> None:
    absent = world.registries.answers[HOST] = Absent(HOST, str(TAG), denied)
    assert await world.fetch() == absent
    world.clock.forward(seconds - 0.1)
    assert world.peek() == absent
    world.clock.forward(0.1)
    assert world.peek() is None
    world.registries.answers[HOST] = known()
    assert digest_of(await world.fetch()) == D
    assert digest_of(world.peek()) == D


async def test_what_was_refused_is_not_served_from_before(world: World) -> None:
    await world.fetch()
    world.clock.forward(30.0)
    world.registries.answers[HOST] = Absent(HOST, str(TAG), denied=True)
    await world.fetch()
    world.clock.forward(6.0)
    world.registries.answers[HOST] = DOWN
    assert reason_of(await world.ask()) is Reason.UNAVAILABLE


async def test_an_answer_ends_the_refusal_before_it(world: World) -> None:
    world.reload(Resolving(fresh=1.0))
    world.registries.answers[HOST] = Absent()
    await world.fetch()
    world.registries.answers[HOST] = known()
    world.clock.forward(1.0)
    await world.fetch(digest_ask(since=world.clock()))
    world.clock.forward(2.0)
    assert world.peek() is None


async def test_refusals_do_not_push_answers_out_of_memory() -> None:
    world = World(Resolving(entries=3), repeats=True)
    await world.fetch()
    world.registries.answers[HOST] = Absent()
    for number in range(10):
        await world.fetch(digest_ask(Reference(HOST, f"guess{number}", "x")))
    assert digest_of(world.peek()) == D


# The upstream is silent

TROUBLES = [
    Reason.UNAVAILABLE,
    Reason.THROTTLED,
    Reason.OUT_OF_TIME,
    Reason.BAD_REGISTRY,
    Reason.LOGIN_REFUSED,
    Reason.ADDRESS_REFUSED,
    Reason.BUSY,
]


@pytest.mark.parametrize("reason", TROUBLES)
async def test_the_last_answer_stands_in_and_says_so(world: World, reason: Reason) -> None:
    await world.fetch()
    world.clock.forward(60.0)
    world.registries.answers[HOST] = Failed(reason, f"{HOST}/team/app")
    assert await world.ask() == Known(D, "stale", HOST, "pod", age=60.0, media_type="m", trouble=reason)


@pytest.mark.parametrize("reason", TROUBLES)
async def test_without_one_the_trouble_is_the_answer_and_is_not_remembered(world: World, reason: Reason) -> None:
    world.registries.answers[HOST] = Failed(reason, f"{HOST}/team/app")
    assert reason_of(await world.ask()) is reason
    world.registries.answers[HOST] = known()
    assert digest_of(await world.ask()) == D


async def test_too_old_is_not_served(world: World) -> None:
    await world.fetch()
    world.clock.forward(86_400.0)
    world.registries.answers[HOST] = DOWN
    assert reason_of(await world.ask()) is Reason.UNAVAILABLE


async def test_a_host_that_the_operator_took_out_gives_no_stale_answers(world: World) -> None:
    await world.fetch()
    world.clock.forward(60.0)
    world.registries.answers[HOST] = Failed(Reason.HOST_NOT_LISTED)
    assert reason_of(await world.ask()) is Reason.HOST_NOT_LISTED


async def test_when_it_is_back_its_answer_counts_at_once(world: World) -> None:
    await world.fetch()
    world.clock.forward(60.0)
    world.registries.answers[HOST] = DOWN
    await world.ask()
    world.registries.answers[HOST] = known(E)
    assert await world.ask() == known(E)


@pytest.mark.parametrize("heeds", [True, False])
async def test_it_is_never_later_than_the_deadline_and_the_work_goes_on(world: World, heeds: bool) -> None:
    world.registries.heeds_deadline = heeds
    door = world.registries.hang()
    deadline = soon(0.04)
    fact = await world.resolver.fetch(digest_ask(), deadline=deadline)
    assert soon(0) <= deadline + STALL
    assert reason_of(fact) is Reason.OUT_OF_TIME
    door.set()
    await settled()
    assert digest_of(world.peek()) == D
    assert len(world.registries.asked) == 1


async def test_a_hanging_registry_gives_the_stale_answer_in_time(world: World) -> None:
    await world.fetch()
    world.clock.forward(60.0)
    world.registries.hang()
    deadline = soon(0.04)
    fact = await world.resolver.fetch(digest_ask(), deadline=deadline)
    assert soon(0) <= deadline + STALL
    assert fact == Known(D, "stale", HOST, "pod", age=60.0, media_type="m", trouble=Reason.OUT_OF_TIME)
    await world.memory.flights.aclose()


async def test_a_deadline_that_is_over_is_answered_at_once(world: World) -> None:
    world.registries.hang()
    assert reason_of(await world.fetch(seconds=-1.0)) is Reason.OUT_OF_TIME
    await world.memory.flights.aclose()


async def test_an_asker_in_a_hurry_joins_one_with_time(world: World) -> None:
    door = world.registries.hang()
    patient = asyncio.create_task(world.ask())
    await settled()
    assert reason_of(await world.ask(seconds=0.03)) is Reason.OUT_OF_TIME
    door.set()
    assert await patient == known()


async def test_a_fault_goes_to_all_who_wait_and_is_not_kept(world: World) -> None:
    world.registries.answers[HOST] = ValueError("fault")
    outcomes = await asyncio.gather(world.ask(), world.ask(), return_exceptions=True)
    assert [str(one) for one in outcomes] == ["fault", "fault"]
    world.registries.answers[HOST] = known()
    assert digest_of(await world.ask()) == D


# The breaker and the bulkhead


async def test_while_the_breaker_is_open_memory_answers_without_waiting(world: World) -> None:
    await world.fetch()
    world.clock.forward(60.0)
    await world.break_down()
    asked = len(world.registries.asked)
    assert world.peek() == Known(D, "stale", HOST, "pod", age=60.0, media_type="m", trouble=Reason.UNAVAILABLE)
    other = world.peek(digest_ask(Reference(HOST, "team/other", "x")))
    assert isinstance(other, Failed)
    assert (other.reason, other.what) == (Reason.UNAVAILABLE, f"{HOST}/team/other")
    assert "broken" not in repr(other)
    assert len(world.registries.asked) == asked


async def test_what_is_fresh_stays_fresh_while_the_breaker_is_open(world: World) -> None:
    await world.fetch()
    await world.break_down()
    fact = world.peek()
    assert isinstance(fact, Known)
    assert fact.source == "cached"


async def test_after_the_open_time_one_asks_and_the_others_need_not_wait(world: World) -> None:
    await world.fetch()
    world.clock.forward(60.0)
    await world.break_down()
    world.clock.forward(OPEN_FOR)
    world.registries.answers[HOST] = known(E)
    door = world.registries.hang()
    assert world.peek() is None
    probe = asyncio.create_task(world.fetch())
    await settled()
    stale = world.peek()
    assert isinstance(stale, Known)
    assert stale.source == "stale"
    door.set()
    assert await probe == known(E)
    assert not world.memory.gates.states()[HOST]


async def test_retry_after_of_one_image_holds_for_the_registry(world: World) -> None:
    world.registries.answers[HOST] = Failed(Reason.THROTTLED, f"{HOST}/team/app", "it asks to wait (429)", 40.0)
    await world.fetch()
    asked = len(world.registries.asked)
    other = digest_ask(Reference(HOST, "team/other", "x"))
    assert reason_of(world.peek(other)) is Reason.THROTTLED
    assert reason_of(await world.fetch(other)) is Reason.THROTTLED
    assert len(world.registries.asked) == asked
    world.clock.forward(40.0)
    assert world.peek(other) is None


async def test_a_hanging_registry_slows_no_other_and_no_answer_in_memory(world: World) -> None:
    await world.fetch()
    door = world.registries.hang()
    stuck = [
        asyncio.create_task(world.fetch(digest_ask(Reference(HOST, f"stuck/{number}", "x")))) for number in range(20)
    ]
    await settled()
    assert world.registries.peak[HOST] == 2
    assert digest_of(world.peek()) == D
    elsewhere = asyncio.create_task(world.fetch(digest_ask(AT_SPARE)))
    await settled()
    assert elsewhere.done()
    door.set()
    await asyncio.gather(*stuck)


async def test_who_gets_no_turn_hears_that_it_is_busy() -> None:
    world = World(Resolving(budget=0.01))
    world.registries.heeds_deadline = False
    door = world.registries.hang()
    stuck = [
        asyncio.create_task(world.fetch(digest_ask(Reference(HOST, f"stuck/{number}", "x")))) for number in range(2)
    ]
    await settled()
    assert reason_of(await world.ask(seconds=0.05)) in {Reason.BUSY, Reason.OUT_OF_TIME}
    await settled()
    assert [image.path for image, _ in world.registries.asked] == ["stuck/0", "stuck/1"]
    door.set()
    await asyncio.gather(*stuck)


# What is true from a moment on


async def test_an_older_answer_does_not_count_for_a_revision(world: World) -> None:
    await world.fetch()
    world.clock.forward(1.0)
    world.registries.answers[HOST] = known(E)
    since = digest_ask(since=world.clock())
    assert world.peek(since) is None
    assert await world.fetch(since) == known(E)
    assert digest_of(world.peek()) == E


async def test_an_answer_to_a_later_request_counts_as_fresh(world: World) -> None:
    since = digest_ask(since=world.clock())
    world.clock.forward(1.0)
    await world.fetch()
    world.clock.forward(50.0)
    assert world.peek(since) == known()
    assert await world.fetch(since) == known()
    assert len(world.registries.asked) == 1


async def test_one_that_wants_to_hear_it_again_gets_another_request(world: World) -> None:
    """Where Keel has seen another digest than the one that was just told."""
    await world.fetch()
    world.clock.forward(0.1)
    world.registries.answers[HOST] = known(E)
    again = msgspec.structs.replace(digest_ask(), anew=True)
    assert world.peek(again) is None
    assert await world.fetch(again) == known(E)
    assert len(world.registries.asked) == 2


async def test_a_revision_joins_only_a_request_that_was_sent_after_it_came(world: World) -> None:
    door = world.registries.hang()
    before = asyncio.create_task(world.fetch())
    await settled()
    world.clock.forward(1.0)
    since = digest_ask(since=world.clock())
    revisions = [asyncio.create_task(world.fetch(since)) for _ in range(3)]
    await settled()
    assert len(world.registries.asked) == 2
    door.set()
    assert await asyncio.gather(before, *revisions) == [known()] * 4


@pytest.mark.parametrize("old_answer", [known(D), Absent(HOST, "gone")])
async def test_an_older_request_that_lands_late_replaces_no_newer_answer(
    world: World, old_answer: Known | Absent
) -> None:
    doors = [asyncio.Event(), asyncio.Event()]
    answers: list[Known | Absent] = [old_answer, known(E)]
    world.registries.doors[HOST] = doors[0]
    before = asyncio.create_task(world.fetch())
    await settled()
    world.clock.forward(1.0)
    world.registries.doors[HOST] = doors[1]
    after = asyncio.create_task(world.fetch(digest_ask(since=world.clock())))
    await settled()
    world.registries.answers[HOST] = answers[1]
    doors[1].set()
    assert await after == answers[1]
    world.registries.answers[HOST] = answers[0]
    doors[0].set()
    assert await before == answers[0]
    assert digest_of(world.peek()) == E


async def test_an_older_refusal_does_not_count_for_a_revision(world: World) -> None:
    world.registries.answers[HOST] = Absent()
    await world.fetch()
    world.clock.forward(1.0)
    world.registries.answers[HOST] = known()
    assert world.peek(digest_ask(since=world.clock())) is None
    assert digest_of(await world.fetch(digest_ask(since=world.clock()))) == D


async def test_an_older_answer_stands_in_for_a_revision_when_the_upstream_is_silent(world: World) -> None:
    await world.fetch()
    world.clock.forward(10.0)
    world.registries.answers[HOST] = DOWN
    fact = await world.ask(digest_ask(since=world.clock()))
    assert fact == Known(D, "stale", HOST, "pod", age=10.0, media_type="m", trouble=Reason.UNAVAILABLE)


# Several upstreams


async def test_the_next_upstream_answers_while_the_first_is_down(world: World) -> None:
    world.registries.answers[HOST] = DOWN
    fact = await world.fetch(digest_ask(TAG, AT_SPARE))
    assert fact == known(host=SPARE)
    assert world.registries.hosts() == [HOST, SPARE]


@pytest.mark.parametrize("denied", [False, True])
async def test_the_next_upstream_is_never_asked_because_the_first_says_no(world: World, denied: bool) -> None:
    world.registries.answers[HOST] = Absent(denied=denied)
    assert isinstance(await world.fetch(digest_ask(TAG, AT_SPARE)), Absent)
    assert world.registries.hosts() == [HOST]


async def test_a_hanging_upstream_leaves_time_for_the_next(world: World) -> None:
    world.registries.hang()
    deadline = soon(0.6)
    assert await world.resolver.fetch(digest_ask(TAG, AT_SPARE), deadline=deadline) == known(host=SPARE)
    assert soon(0) <= deadline + STALL


async def test_when_all_fail_the_first_trouble_is_told(world: World) -> None:
    world.registries.answers = {HOST: DOWN, SPARE: Failed(Reason.BAD_REGISTRY)}
    assert await world.fetch(digest_ask(TAG, AT_SPARE)) == DOWN


async def test_an_upstream_with_an_open_breaker_is_passed_over(world: World) -> None:
    await world.break_down()
    world.registries.asked.clear()
    assert await world.ask(digest_ask(TAG, AT_SPARE)) == known(host=SPARE)
    assert world.registries.hosts() == [SPARE]


async def test_only_when_all_breakers_are_open_nobody_waits(world: World) -> None:
    ask = digest_ask(TAG, AT_SPARE)
    await world.break_down()
    assert world.peek(ask) is None
    await world.break_down(SPARE)
    assert reason_of(world.peek(ask)) is Reason.UNAVAILABLE


async def test_another_order_is_another_question(world: World) -> None:
    await world.fetch(digest_ask(TAG, AT_SPARE))
    assert world.peek(digest_ask(AT_SPARE, TAG)) is None


async def test_each_upstream_gets_its_own_credentials_and_none_of_another(world: World) -> None:
    world.wallets.at = {HOST: (login("here"),), SPARE: (login("there"),)}
    world.registries.answers[HOST] = DOWN
    await world.fetch(digest_ask(TAG, AT_SPARE))
    sent = {image.registry: [one.username for one in asked.credentials] for image, asked in world.registries.asked}
    assert sent == {HOST: ["here"], SPARE: ["there"]}


async def test_a_secret_changed_at_the_second_upstream_counts_at_once(world: World) -> None:
    world.wallets.at = {HOST: (login("here"),), SPARE: (login("old"),)}
    await world.fetch(digest_ask(TAG, AT_SPARE))
    world.wallets.at[SPARE] = (login("new"),)
    assert world.peek(digest_ask(TAG, AT_SPARE)) is None


# Tenants


@pytest.fixture
def tenants(world: World) -> World:
    world.wallets.holds = {"rich": (login("owner"),), "poor": (login("stranger"),), "twin": (login("owner"),)}
    world.registries.owner = "owner"
    return world


async def test_one_tenants_answer_is_not_anothers(tenants: World) -> None:
    assert digest_of(await tenants.ask(digest_ask(namespace="rich"))) == D
    assert tenants.peek(digest_ask(namespace="poor")) is None
    assert isinstance(await tenants.ask(digest_ask(namespace="poor")), Absent)
    assert tenants.peek(digest_ask(namespace="nobody")) is None


async def test_one_tenants_refusal_is_not_anothers(tenants: World) -> None:
    await tenants.ask(digest_ask(namespace="poor"))
    assert tenants.peek(digest_ask(namespace="rich")) is None
    assert digest_of(await tenants.ask(digest_ask(namespace="rich"))) == D
    assert isinstance(tenants.peek(digest_ask(namespace="poor")), Absent)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_stranger_learns_nothing_by_speed(tenants: World, warm: bool) -> None:
    """It takes the same requests, whether someone else has the answer or not (and none is joined on its way)."""
    if warm:
        await tenants.ask(digest_ask(namespace="rich"))
    door = tenants.registries.hang()
    owner = asyncio.create_task(tenants.ask(digest_ask(namespace="rich", since=tenants.clock())))
    await settled()
    before = len(tenants.registries.asked)
    stranger = asyncio.create_task(tenants.ask(digest_ask(namespace="poor")))
    await settled()
    assert len(tenants.registries.asked) == before + 1
    assert not stranger.done()
    door.set()
    assert isinstance(await stranger, Absent)
    assert digest_of(await owner) == D


async def test_a_stranger_gets_no_stale_answer_of_another(tenants: World) -> None:
    await tenants.ask(digest_ask(namespace="rich"))
    tenants.clock.forward(60.0)
    tenants.registries.owner = ""
    tenants.registries.answers[HOST] = DOWN
    assert digest_of(await tenants.ask(digest_ask(namespace="rich"))) == D
    assert reason_of(await tenants.ask(digest_ask(namespace="poor"))) is Reason.UNAVAILABLE
    await tenants.break_down()
    assert reason_of(tenants.peek(digest_ask(namespace="poor"))) is Reason.UNAVAILABLE


async def test_a_digest_confirmed_to_one_tenant_is_not_confirmed_to_another(tenants: World) -> None:
    image = TAG.pinned(D)
    await tenants.ask(digest_ask(image, namespace="rich"))
    assert isinstance(await tenants.ask(digest_ask(image, namespace="poor")), Absent)


async def test_tenants_with_the_same_credentials_share(tenants: World) -> None:
    await tenants.ask(digest_ask(namespace="rich"))
    assert digest_of(tenants.peek(digest_ask(namespace="twin"))) == D
    assert len(tenants.registries.asked) == 1


async def test_no_secret_stands_in_memory_in_the_clear(tenants: World) -> None:
    await tenants.ask(digest_ask(namespace="rich"))
    await tenants.ask(digest_ask(namespace="poor"))
    kept = repr([*tenants.memory.answers.items(), *tenants.memory.refusals.items()])
    assert "password" not in kept
    assert "owner" not in kept


# Reload, warm-up, telemetry


async def test_a_reload_keeps_what_is_known(world: World) -> None:
    await world.fetch()
    await world.break_down()
    world.reload(Resolving(fresh=10.0))
    assert digest_of(world.peek()) == D
    assert reason_of(world.peek(digest_ask(Reference(HOST, "team/other", "x")))) is Reason.UNAVAILABLE


async def test_work_under_way_serves_those_who_come_after_a_reload(world: World) -> None:
    door = world.registries.hang()
    before = asyncio.create_task(world.fetch())
    await settled()
    world.reload()
    after = asyncio.create_task(world.fetch())
    await settled()
    door.set()
    assert {await before, await after} == {known()}
    assert len(world.registries.asked) == 1


async def test_a_reload_that_makes_memory_smaller_keeps_what_was_used_last(world: World) -> None:
    asks = [digest_ask(Reference(HOST, f"app{number}", "x")) for number in range(5)]
    for ask in asks:
        await world.fetch(ask)
    world.peek(asks[0])
    world.reload(Resolving(entries=2))
    assert [world.peek(ask) is not None for ask in asks] == [True, False, False, False, True]


async def test_what_running_pods_show_stands_in_when_the_upstream_is_silent(world: World) -> None:
    assert world.resolver.remember(digest_ask(), E, age=100.0)
    assert world.peek() is None
    world.registries.answers[HOST] = DOWN
    assert await world.ask() == Known(E, "stale", HOST, "seal", age=100.0, trouble=Reason.UNAVAILABLE)
    world.registries.answers[HOST] = known()
    assert await world.ask() == known()


async def test_what_running_pods_show_counts_for_no_revision(world: World) -> None:
    world.resolver.remember(digest_ask(), E)
    assert world.peek(digest_ask(since=world.clock() - 1)) is None


async def test_what_running_pods_show_replaces_nothing_better(world: World) -> None:
    await world.fetch()
    assert not world.resolver.remember(digest_ask(), E)
    assert digest_of(world.peek()) == D


@pytest.mark.parametrize(("age", "slow"), [(86_400.0, False), (0.0, True)])
async def test_what_cannot_be_remembered_is_not(world: World, age: float, slow: bool) -> None:
    world.wallets.is_slow = slow
    assert not world.resolver.remember(digest_ask(), E, age=age)
    assert not world.memory.answers


@pytest.mark.parametrize("left", [(), (ANONYMOUS,)], ids=["no login", "a secret that is not there"])
async def test_what_a_login_was_told_that_is_gone_is_not_told_to_those_who_have_none(
    world: World, left: tuple[Credential, ...]
) -> None:
    world.wallets.holds["shop"] = world.wallets.holds["stranger"] = left
    world.wallets.notes = ((Reason.PULL_SECRET_SKIPPED, "pull", "it is not there"),) if left else ()
    assert not world.resolver.remember(digest_ask(namespace="shop"), E)
    world.wallets.notes = ()
    world.registries.answers[HOST] = DOWN
    assert reason_of(await world.ask(digest_ask(namespace="stranger"))) is Reason.UNAVAILABLE


async def test_what_is_known_of_running_pods_counts_where_secrets_may_not_be_read(world: World) -> None:
    world.wallets.notes = ((Reason.PULL_SECRETS_NOT_READ, "shop", "no right to get secrets there"),)
    assert world.resolver.remember(digest_ask(), E)


async def test_every_answer_is_counted_once_under_few_names(world: World) -> None:
    world.hosts = (Registry(HOST), Registry("*.example.net"))
    world.reload()
    await world.ask()
    await world.ask()
    await world.ask(digest_ask(Reference("a.example.net", "app", "x")))
    world.registries.answers["not.listed"] = Failed(Reason.HOST_NOT_LISTED)
    await world.ask(digest_ask(Reference("not.listed", "app", "x")))
    world.clock.forward(60.0)
    world.registries.answers[HOST] = DOWN
    await world.ask()
    world.registries.answers[HOST] = Absent()
    await world.ask()
    await world.ask()
    assert world.told == [
        (HOST, "fresh"),
        (HOST, "cached"),
        ("other", "fresh"),
        ("other", "none"),
        (HOST, "stale"),
        (HOST, "none"),
        (HOST, "none"),
    ]


async def test_a_host_that_is_not_listed_gets_no_gate(world: World) -> None:
    world.registries.answers["not.listed"] = Failed(Reason.HOST_NOT_LISTED)
    await world.ask(digest_ask(Reference("not.listed", "app", "x")))
    assert world.memory.gates.states() == {}


# Whatever happens

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("forward"), st.sampled_from([0.5, 4.0, 11.0, 26.0, 31.0, 400.0])),
        st.tuples(st.just("ask"), st.booleans()),
        st.tuples(st.just("answer"), st.sampled_from([known(D), known(E), DOWN, Absent(), Absent(denied=True)])),
    ),
    max_size=40,
)


@many(60)
@given(steps=STEPS, repeats=st.booleans())
def test_an_answer_is_true_within_its_bounds(steps: list[tuple[str, object]], repeats: bool) -> None:
    """A digest was the registry's own at the moment that its age says; fresh is never cached, stale always has a reason."""
    asyncio.run(_walk(steps, repeats=repeats))


async def _walk(steps: list[tuple[str, object]], *, repeats: bool) -> None:
    world = World(Resolving(fresh=30.0, stale=300.0), repeats=repeats)
    history: list[tuple[float, object]] = [(world.clock(), known())]
    for what, value in steps:
        if what == "forward" and isinstance(value, float):
            world.clock.forward(value)
        elif what == "answer" and isinstance(value, Known | Absent | Failed):
            world.clock.forward(0.125)
            world.registries.answers[HOST] = value
            history.append((world.clock(), value))
            world.clock.forward(0.125)
        else:
            fact = await world.ask(digest_ask(since=world.clock() if value else None))
            await settled(10)
            if isinstance(fact, Known):
                assert fact.digest in _true_then(history, world.clock(), fact)
                assert fact.age < 300.0
                assert (fact.trouble is not None) is (fact.source == "stale")
                assert not (value and fact.source == "cached")


def _true_then(history: list[tuple[float, object]], now: float, fact: Known) -> set[str]:
    """What the registry said at the moment that an answer's age names; for one from memory, while it was fresh."""
    first, last = (now - 30.0, now) if fact.source == "cached" else (now - fact.age, now - fact.age)
    before = [answer for at, answer in history if at <= first][-1:]
    within = [answer for at, answer in history if first < at <= last]
    return {answer.digest for answer in (*before, *within) if isinstance(answer, Known)}
