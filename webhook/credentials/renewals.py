"""Keeps what expires: asked for once for all who wait, renewed ahead of its end, used on while renewal fails."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from cachetools import LRUCache

from webhook.core.lasting import Kept, Lasting, kept

PLACES: Final = 1_024
"""How many are kept: a `*` of the configuration lets authors choose among more registries than anyone has."""

Value = TypeVar("Value")


class NoLogin(Exception):
    """A login could not be had. The text is ours: what libraries raise carries addresses, answers and more, and goes no
    further, not even as a cause."""


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
        self._tell = tell or (lambda _place, _trouble: None)
        self._kept: LRUCache[Hashable, Kept[Value]] = LRUCache(PLACES)
        self._flying: dict[Hashable, asyncio.Task[None]] = {}

    def peek(self, place: Hashable, ask: Callable[[], Awaitable[Lasting[Value]]]) -> Value | NoLogin | None:
        """What is known: the value, or why there is none just now; None when it has to be asked for. A value that is due
        is asked for anew meanwhile."""
        return self.peek_dated(place, ask)[0]

    def peek_dated(
        self, place: Hashable, ask: Callable[[], Awaitable[Lasting[Value]]]
    ) -> tuple[Value | NoLogin | None, float]:
        """The same, and the moment until which nobody need look again, unless it is doubted; 0 for none."""
        known = self._kept.get(place)
        if known is None:
            return None, 0.0
        now = self._now()
        value = known.usable(now)
        if value is None:
            return (NoLogin(known.trouble) if known.is_let_be(now) else None), 0.0
        if known.is_due(now):
            self._fly(place, ask)
        return value, known.due

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
        for place, known in tuple(self._kept.items()):
            self._kept[place] = known.doubted(value, self._now())

    @property
    def troubles(self) -> dict[Hashable, str]:
        """What could not be had the last time, and why."""
        return {place: known.trouble for place, known in self._kept.items() if known.trouble}

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
        try:
            found = kept(await ask(), self._now(), self._jitter())
        except NoLogin as none:
            before: Kept[Value] = self._kept.get(place) or Kept()
            found = before.failed(str(none), self._now(), self._jitter())
        self._kept[place] = found
        self._tell(place, found.trouble)
