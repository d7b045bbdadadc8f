"""Does a target hold a digest: asked once, remembered for a while, with the credentials of the target's own host."""

import asyncio

import pytest
from msgspec.structs import replace

from tests.doors import HOST, SPARE, Clock, Registries, Wallets, digest_ask, held_ask, login, settled, soon
from tests.support.until import STALL
from webhook.core.ask import Absent, AskHeld, Fact, Failed, Passed
from webhook.core.hosts import Registries as Hosts
from webhook.core.hosts import Registry
from webhook.core.reason import Reason
from webhook.flights import TRIPS_AFTER, Gates
from webhook.holdings import HELD_FOR, LACKED_FOR, Held, Holdings

DOWN = Failed(Reason.UNAVAILABLE, f"{HOST}/team/app", "it answers 503")


class World:
    """Holdings, and everything that they ask."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.registries = Registries()
        self.wallets = Wallets()
        self.gates = Gates(self.clock)
        self.memory = Held(100, self.clock)
        self.reload(100)

    def reload(self, entries: int) -> None:
        self.holdings = Holdings(
            self.registries,
            self.wallets,
            Hosts((Registry(HOST, max_in_flight=1), Registry(SPARE))),
            memory=self.memory,
            gates=self.gates,
            budget=4.0,
            entries=entries,
        )

    async def fetch(self, ask: AskHeld | None = None, seconds: float = 5.0) -> Fact:
        return await self.holdings.fetch(ask or held_ask(), deadline=soon(seconds))


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("said", "seconds"), [(Passed(1.0), HELD_FOR), (Absent(HOST), LACKED_FOR)])
async def test_what_a_target_said_is_believed_for_a_while(world: World, said: Passed | Absent, seconds: float) -> None:
    world.registries.held = said
    assert world.holdings.peek(held_ask()) is None
    assert await world.fetch() == said
    world.clock.forward(seconds - 0.1)
    assert world.holdings.peek(held_ask()) == said
    world.clock.forward(0.1)
    assert world.holdings.peek(held_ask()) is None
    assert len(world.registries.asked) == 1


async def test_a_failure_is_not_remembered(world: World) -> None:
    world.registries.held = DOWN
    assert await world.fetch() == DOWN
    world.registries.held = Passed()
    assert await world.fetch() == Passed()


async def test_many_at_once_are_one_question(world: World) -> None:
    door = world.registries.hang()
    askers = [asyncio.create_task(world.fetch()) for _ in range(200)]
    await settled()
    askers[0].cancel()
    await settled()
    door.set()
    assert (await asyncio.gather(*askers, return_exceptions=True))[1:] == [Passed(1.0)] * 199
    assert len(world.registries.asked) == 1


async def test_a_hanging_target_is_answered_for_in_time_and_the_work_goes_on(world: World) -> None:
    door = world.registries.hang()
    deadline = soon(0.04)
    fact = await world.holdings.fetch(held_ask(), deadline=deadline)
    assert soon(0) <= deadline + STALL
    assert isinstance(fact, Failed)
    assert fact.reason is Reason.OUT_OF_TIME
    door.set()
    await settled()
    assert world.holdings.peek(held_ask()) == Passed(1.0)


async def test_a_hanging_target_leaves_time_for_the_one_behind_it(world: World) -> None:
    door, slow = world.registries.hang(HOST), world.registries.hang(SPARE)
    deadline = soon(1.0)
    fact = await world.holdings.fetch(held_ask(has_next=True), deadline=deadline)
    assert isinstance(fact, Failed)
    assert fact.reason is Reason.OUT_OF_TIME
    asyncio.get_running_loop().call_later(0.05, slow.set)
    assert await world.holdings.fetch(held_ask(SPARE), deadline=deadline) == Passed(1.0)
    door.set()


async def test_a_target_that_is_down_is_let_be_and_another_is_not(world: World) -> None:
    world.registries.held = DOWN
    for _ in range(TRIPS_AFTER):
        await world.fetch()
    refused = world.holdings.peek(held_ask())
    assert isinstance(refused, Failed)
    assert refused.reason is Reason.UNAVAILABLE
    assert world.holdings.peek(held_ask(SPARE)) is None
    assert len(world.registries.asked) == TRIPS_AFTER


async def test_a_hanging_target_slows_no_other(world: World) -> None:
    door = world.registries.hang()
    stuck = [asyncio.create_task(world.fetch(held_ask(platforms=(str(number),)))) for number in range(5)]
    await settled()
    assert world.registries.peak[HOST] == 1
    other = asyncio.create_task(world.fetch(held_ask(SPARE)))
    await settled()
    assert other.done()
    door.set()
    await asyncio.gather(*stuck)


async def test_one_tenants_answer_is_not_anothers(world: World) -> None:
    world.wallets.holds = {"rich": (login("owner"),), "twin": (login("owner"),), "poor": (login("stranger"),)}
    await world.fetch(held_ask(namespace="rich"))
    assert world.holdings.peek(held_ask(namespace="poor")) is None
    assert world.holdings.peek(held_ask(namespace="twin")) == Passed(1.0)


async def test_a_reload_that_keeps_less_keeps_what_was_used_last(world: World) -> None:
    first, last = held_ask(), held_ask(SPARE)
    assert await world.fetch(first) == await world.fetch(last) == Passed(1.0)
    world.reload(1)
    assert (world.holdings.peek(first), world.holdings.peek(last)) == (None, Passed(1.0))


async def test_what_was_told_over_plain_http_is_no_answer_over_tls(world: World) -> None:
    await world.fetch(replace(held_ask(), scheme="http"))
    assert world.holdings.peek(replace(held_ask(), scheme="https")) is None


async def test_other_platforms_are_another_question(world: World) -> None:
    await world.fetch(held_ask(platforms=("linux/amd64",)))
    assert world.holdings.peek(held_ask(platforms=("linux/arm64",))) is None


async def test_what_was_said_in_the_clear_is_not_believed_where_tls_is_wanted(world: World) -> None:
    await world.fetch(replace(held_ask(), scheme="http"))
    assert world.holdings.peek(held_ask()) is None


async def test_a_target_gets_the_credentials_of_its_own_host(world: World) -> None:
    world.wallets.at = {HOST: (login("here"),), SPARE: (login("there"),)}
    await world.fetch(held_ask(SPARE))
    assert [one.username for _, asked in world.registries.asked for one in asked.credentials] == ["there"]


async def test_credentials_that_had_to_be_waited_for_do_not_make_it_ask_again(world: World) -> None:
    await world.fetch()
    world.wallets.is_slow = True
    assert world.holdings.peek(held_ask()) is None
    assert await world.fetch() == Passed(1.0)
    assert len(world.registries.asked) == 1


def test_they_answer_no_other_questions(world: World) -> None:
    with pytest.raises(TypeError, match="AskDigest"):
        world.holdings.peek(digest_ask())
