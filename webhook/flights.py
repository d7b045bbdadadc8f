"""Single flight, bulkhead and breaker: how many requests go where at once, and when none goes at all."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Generic, TypeVar

from webhook.core.ask import Fact, Failed
from webhook.core.reason import Reason

Result = TypeVar("Result")
TRIPS_AFTER: Final = 5
OPEN_FOR: Final = 10.0
MAX_WAIT: Final = 300.0
"""Seconds: an upstream that asks to wait longer is asked again after this all the same."""
_TRIPS: Final = frozenset({Reason.UNAVAILABLE, Reason.OUT_OF_TIME})


class Flights(Generic[Result]):
    """Joins equal work. The work is a task of its own: a waiter that gives up harms nobody."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._flying: dict[object, tuple[float, asyncio.Task[Result]]] = {}

    def join(
        self, key: object, work: Callable[[], Coroutine[Any, Any, Result]], *, since: float | None = None
    ) -> asyncio.Task[Result]:
        """The task that does this work: one under way, unless it began before `since`, else a new one."""
        flying = self._flying.get(key)
        if flying is not None and (since is None or flying[0] >= since):
            return flying[1]
        task = asyncio.create_task(work())
        self._flying[key] = (self._now(), task)
        task.add_done_callback(lambda _: self._land(key, task))
        return task

    def _land(self, key: object, task: asyncio.Task[Result]) -> None:
        flying = self._flying.get(key)
        if flying is not None and flying[1] is task:
            del self._flying[key]
        if not task.cancelled():
            # Looked at here, so that a fault nobody waited for is not lost as a warning of the loop.
            task.exception()

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = [task for _, task in self._flying.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wait_until(task: asyncio.Task[Result], deadline: float) -> Result | None:
    """The task's result, or None when the deadline (absolute loop time) passes first; the task goes on."""
    remaining = deadline - asyncio.get_running_loop().time()
    done, _ = await asyncio.wait({task}, timeout=max(0.0, remaining))
    return task.result() if done else None


class Bulkhead:
    """At most so many requests to one registry at once; the others wait until their deadline, not for ever."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)

    @asynccontextmanager
    async def place(self, deadline: float) -> AsyncIterator[bool]:
        """Hold a place; False when none became free in time."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._places.release()


class Breaker:
    """Stops asking a registry that does not answer or asked to wait; one probe finds out when it is well again."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures = 0
        self._until = 0.0
        self._because: Failed | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether requests are held back at this moment."""
        return self._because is not None and self._now() < self._until

    def refuses(self) -> Failed | None:
        """Why no request may be sent now; None when one may. After the waiting time one is let through as a probe."""
        if self._because is None:
            return None
        if self._now() < self._until or self._probing:
            return self._because
        self._probing = True
        return None

    def peek(self) -> Failed | None:
        """`refuses`, for one who only looks."""
        return self._because if self.is_open or self._probing else None

    @contextmanager
    def listening(self) -> Iterator[Callable[[Fact], None]]:
        """While a request is under way: hand `heard` its answer; one that never comes ends the probe all the same."""
        try:
            yield self.heard
        finally:
            self._probing = False

    def heard(self, fact: Fact) -> None:
        """Learn from an answer. What says that an image is absent or denied says that the registry is well."""
        self._probing = False
        if isinstance(fact, Failed) and fact.reason is Reason.THROTTLED and fact.retry_after is not None:
            self._open(fact, min(fact.retry_after, MAX_WAIT))
        elif isinstance(fact, Failed) and fact.reason in _TRIPS:
            self._failures += 1
            if self._failures >= TRIPS_AFTER:
                self._open(fact, OPEN_FOR)
        elif not isinstance(fact, Failed):
            self._failures = 0
            self._because = None

    def _open(self, because: Failed, seconds: float) -> None:
        self._because = because
        self._until = self._now() + seconds
