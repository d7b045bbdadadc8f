"""Keeps what expires: asked for once for all who wait, renewed ahead of its end, used on while renewal fails."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

import msgspec
from cachetools import LRUCache

PLACES: Final = 1_024
"""How many are kept: a `*` of the configuration lets authors choose among more registries than anyone has."""
RENEW_AT: Final = 0.5
"""The share of its life after which it is renewed, and a tenth more by chance: replicas shall not ask at once."""
SPREAD: Final = 0.1
MARGIN: Final = 30.0
"""Seconds before its end from which on it is not used any more, where it lives long enough."""
AGAIN: Final = 5.0
"""Seconds after which one that could not be had is asked for again; twice as many after each further failure."""
AGAIN_AT_MOST: Final = 120.0
DOUBTED_AFTER: Final = 300.0
"""Seconds for which one that is new is not taken for revoked because a registry refuses it: it may be about the image."""

Value = TypeVar("Value")


class NoLogin(Exception):
    """A login could not be had. The text is ours: what libraries raise carries addresses, answers and more, and goes no
    further, not even as a cause."""


class Lasting(msgspec.Struct, Generic[Value], frozen=True):
    """Something that may be used for so many seconds from now."""

    value: Value
    life: float


class _Kept(msgspec.Struct, Generic[Value]):
    """Times are of the monotonic clock; `until` is 0 where there never was a value."""

    value: Value | None = None
    born: float = 0.0
    due: float = 0.0
    until: float = 0.0
    again: float = 0.0
    failures: int = 0
    trouble: str = ""


class Renewals(Generic[Value]):
    """Values by place. `tell` hears of each attempt: the place, and the trouble, empty where there was none."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        jitter: Callable[[], float] = random.random,
        tell: Callable[[Hashable, str], None] | None = None,
    ) -> None:
        self._now = now
        self._jitter = jitter
        self.tell = tell or (lambda _place, _trouble: None)
        self._kept: LRUCache[Hashable, _Kept[Value]] = LRUCache(PLACES)
        self._flying: dict[Hashable, asyncio.Task[None]] = {}

    def peek(self, place: Hashable, ask: Callable[[], Awaitable[Lasting[Value]]]) -> Value | NoLogin | None:
        """What is known: the value, or why there is none just now; None when it has to be asked for. A value that is due
        is asked for anew meanwhile."""
        kept = self._kept.get(place)
        if kept is None:
            return None
        now = self._now()
        if now < kept.until and kept.value is not None:
            if now >= kept.due and now >= kept.again:
                self._fly(place, ask)
            return kept.value
        return NoLogin(kept.trouble) if now < kept.again else None

    async def get(
        self, place: Hashable, ask: Callable[[], Awaitable[Lasting[Value]]], *, deadline: float
    ) -> Value | NoLogin:
        """The same, asked for where it must be, by the absolute loop time `deadline`. Who gives up harms nobody else."""
        known = self.peek(place, ask)
        if known is not None:
            return known
        task = self._fly(place, ask)
        await asyncio.wait({task}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        known = self.peek(place, ask) if task.done() else None
        return known if known is not None else NoLogin("no answer in time")

    def doubt(self, value: Value) -> None:
        """It was refused: if it is not all new, it is due."""
        for kept in self._kept.values():
            if kept.value == value and self._now() - kept.born >= DOUBTED_AFTER:
                kept.due = kept.again = 0.0

    @property
    def troubles(self) -> dict[Hashable, str]:
        """What could not be had the last time, and why."""
        return {place: kept.trouble for place, kept in self._kept.items() if kept.trouble}

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = tuple(self._flying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fly(self, place: Hashable, ask: Callable[[], Awaitable[Lasting[Value]]]) -> asyncio.Task[None]:
        task = self._flying.get(place)
        if task is None:
            task = self._flying[place] = asyncio.get_running_loop().create_task(self._ask(place, ask))
            task.add_done_callback(lambda _: self._flying.pop(place, None))
        return task

    async def _ask(self, place: Hashable, ask: Callable[[], Awaitable[Lasting[Value]]]) -> None:
        kept = self._kept.get(place) or _Kept()
        try:
            found = await ask()
        except NoLogin as none:
            kept.failures += 1
            pause = min(AGAIN * 2 ** (kept.failures - 1), AGAIN_AT_MOST)
            kept.again = self._now() + pause * (1 - SPREAD * self._jitter())
            kept.trouble = str(none)
        else:
            now = self._now()
            wait = found.life * (RENEW_AT + SPREAD * self._jitter())
            until = now + found.life - min(MARGIN, found.life * SPREAD)
            kept = _Kept(found.value, now, now + wait, until)
        self._kept[place] = kept
        self.tell(place, kept.trouble)
