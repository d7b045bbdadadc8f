"""Values that expire: asked for once, renewed ahead, used on while renewal fails, and no longer than they live."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.doors import Clock, settled, soon
from webhook.core.lasting import AGAIN_AT_MOST, DOUBTED_AFTER, Lasting
from webhook.credentials.renewals import NoLogin, Renewals


class Source:
    """Gives values that live 1000 s, one after the other, as fast as it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.trouble = ""
        self.open = asyncio.Event()
        self.open.set()
        self.clock = Clock()
        self.told: list[str] = []
        self.kept: Renewals[str] = Renewals(
            self.clock, jitter=lambda: 0.0, tell=lambda _place, trouble: self.told.append(trouble)
        )

    async def ask(self) -> Lasting[str]:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        if self.trouble:
            raise NoLogin(self.trouble)
        return Lasting(f"value {number}", 1000.0)

    def peek(self, place: str = "here") -> str | None:
        found = self.kept.peek(place, self.ask)
        return str(found) if isinstance(found, NoLogin) else found

    async def get(self, place: str = "here", seconds: float = 5.0) -> str:
        found = await self.kept.get(place, self.ask, deadline=soon(seconds))
        return str(found) if isinstance(found, NoLogin) else found


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    source = Source()
    yield source
    source.open.set()
    await source.kept.aclose()


async def test_all_who_wait_share_one_request(source: Source) -> None:
    assert source.peek() is None
    assert await asyncio.gather(*(source.get() for _ in range(50))) == ["value 1"] * 50
    assert source.peek() == "value 1"
    assert await source.get("elsewhere") == "value 2"


async def test_it_is_renewed_ahead_and_nobody_waits(source: Source) -> None:
    await source.get()
    source.clock.forward(499)
    assert source.peek() == "value 1"
    await settled()
    assert source.asked == 1
    source.clock.forward(2)
    source.open.clear()
    assert [source.peek() for _ in range(9)] == ["value 1"] * 9
    await settled()
    assert source.asked == 2
    source.open.set()
    await settled()
    assert source.peek() == "value 2"


async def test_who_gives_up_takes_nothing_from_the_others(source: Source) -> None:
    source.open.clear()
    waiting = asyncio.create_task(source.get())
    assert await source.get(seconds=0.01) == "no answer in time"
    source.open.set()
    assert await waiting == "value 1"


async def test_a_failure_is_told_at_once_to_those_who_ask_soon_after(source: Source) -> None:
    source.trouble = "no"
    assert await source.get() == "no"
    assert await source.get() == "no"
    assert source.asked == 1
    source.clock.forward(6)
    source.trouble = ""
    assert source.peek() is None
    assert await source.get() == "value 2"
    assert source.told == ["no", ""]
    assert source.kept.troubles == {}


async def test_after_each_further_failure_it_waits_longer_up_to_a_bound(source: Source) -> None:
    source.trouble = "no"
    for _ in range(12):
        await source.get()
        source.clock.forward(AGAIN_AT_MOST + 1)
    assert source.asked == 12
    await source.get()
    source.clock.forward(AGAIN_AT_MOST - 1)
    await source.get()
    assert source.asked == 13


async def test_the_old_one_is_used_while_renewal_fails_and_no_longer_than_it_lives(source: Source) -> None:
    await source.get()
    source.trouble = "no"
    source.clock.forward(600)
    assert source.peek() == "value 1"
    await settled()
    assert source.kept.troubles == {"here": "no"}
    source.clock.forward(360)
    assert source.peek() == "value 1"
    await settled()
    source.clock.forward(11)
    assert await source.get() == "no"


async def test_one_that_was_refused_is_due_unless_it_is_new(source: Source) -> None:
    value = await source.get()
    source.kept.doubt(value)
    assert source.peek() == value
    await settled()
    assert source.asked == 1
    source.clock.forward(DOUBTED_AFTER)
    source.kept.doubt("another")
    source.kept.doubt(value)
    assert source.peek() == value
    await settled()
    assert source.peek() == "value 2"


async def test_one_that_lives_for_seconds_is_used_for_most_of_them(source: Source) -> None:
    async def brief() -> Lasting[str]:
        return Lasting("brief", 10.0)

    assert await source.kept.get("here", brief, deadline=soon()) == "brief"
    source.clock.forward(4)
    assert source.kept.peek("here", brief) == "brief"
    source.clock.forward(5.5)
    assert source.kept.peek("here", brief) is None


async def test_a_fault_of_ours_reaches_whoever_looks_and_is_not_kept(source: Source) -> None:
    async def broken() -> Lasting[str]:
        raise RuntimeError

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    assert str(await source.kept.get("here", broken, deadline=soon())) == "no answer in time"
    assert await source.get() == "value 1"
