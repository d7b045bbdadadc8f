"""How many requests go where at once, and when none goes at all: single flight, and the gate before each registry."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from cachetools import LRUCache

from webhook.core.ask import Fact, Failed
from webhook.core.hosts import Registry
from webhook.core.reason import Reason

MARGIN: Final = 0.02
"""Seconds before the deadline at which waiting ends, so that the answer still goes out in time."""
TRIPS_AFTER: Final = 5
"""Failures in a row that open a breaker."""
OPEN_FOR: Final = 10.0
"""Seconds that it stays open when the registry did not say for how long."""
MAX_WAIT: Final = 300.0
"""Seconds: a registry that asks to wait longer is asked again after this all the same."""
GATES: Final = 1024
"""Hosts that only a `*` of the configuration lets through and whose traffic is remembered."""
QUEUE: Final = 1024
"""Requests that may wait for a place at one registry; more would wait in vain, and each takes memory."""
OTHER: Final = "other"
"""The name in metrics of all hosts that do not stand literally in the configuration: labels must stay few."""

_GRACE: Final = 0.1
_TRIPS: Final = frozenset({Reason.UNAVAILABLE, Reason.OUT_OF_TIME, Reason.THROTTLED})

Result = TypeVar("Result")
Answer = TypeVar("Answer", bound=Fact)


class Flights(Generic[Result]):
    """Joins equal work. The work is a task of its own: a waiter that gives up harms nobody."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._flying: dict[object, tuple[float, asyncio.Task[Result]]] = {}
        self._tasks: set[asyncio.Task[Result]] = set()

    def join(
        self, key: object, work: Callable[[], Coroutine[Any, Any, Result]], *, since: float | None = None
    ) -> asyncio.Task[Result]:
        """The task that does this work: one under way, unless it began before `since`, else a new one."""
        flying = self._flying.get(key)
        if flying is not None and (since is None or flying[0] >= since):
            return flying[1]
        task = asyncio.get_running_loop().create_task(work())
        self._flying[key] = (self._now(), task)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._land(key, task))
        return task

    def _land(self, key: object, task: asyncio.Task[Result]) -> None:
        # The outcome is not looked at here: a fault that no waiter hears of is then reported by the loop.
        self._tasks.discard(task)
        flying = self._flying.get(key)
        if flying is not None and flying[1] is task:
            del self._flying[key]

    def __len__(self) -> int:
        return len(self._tasks)

    async def aclose(self) -> None:
        """End what is under way; its waiters hear that nothing came in time."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def wait_until(task: asyncio.Task[Result], deadline: float) -> Result | None:
    """The task's result; None when the deadline (absolute loop time) passes first, or the task was ended. It is never
    cancelled from here."""
    remaining = deadline - asyncio.get_running_loop().time()
    done, _ = await asyncio.wait({task}, timeout=max(0.0, remaining))
    return task.result() if done and not task.cancelled() else None


class Breaker:
    """Stops asking a registry that does not answer or asked to wait; one probe finds out when it is well again."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures = 0
        self._until = 0.0
        self._because: Failed | None = None
        self._probing = False

    def refusal(self) -> Failed | None:
        """Why no request may be sent now; None when one may: all is well, or the time has come for a probe."""
        if self._because is None or (self._now() >= self._until and not self._probing):
            return None
        return self._because

    @property
    def seconds_left(self) -> float:
        """How long it stays open."""
        return max(0.0, self._until - self._now())

    @contextmanager
    def asking(self) -> Iterator[Callable[[Fact], None]]:
        """While a request is under way that `refusal` let through: what this gives is told the answer.

        The first one after an open time is the probe; it ends with the request, even when no answer came.
        """
        is_probe = self._because is not None
        self._probing = self._probing or is_probe
        try:
            yield lambda fact: self._hear(fact, is_probe=is_probe)
        finally:
            if is_probe:
                self._probing = False

    def _hear(self, fact: Fact, *, is_probe: bool) -> None:
        """Learn from an answer. What says that an image is absent or denied says that the registry is well."""
        reason = fact.reason if isinstance(fact, Failed) else None
        if reason is Reason.NO_LOGIN:
            # The registry was not asked.
            return
        wait = fact.retry_after if isinstance(fact, Failed) else None
        if isinstance(fact, Failed) and reason in _TRIPS and wait is not None and wait > 0:
            self._open(fact, wait)
        elif self._because is not None and not is_probe:
            # Sent before it opened: an answer that was under way does not shorten the time that was asked for.
            return
        elif isinstance(fact, Failed) and reason in _TRIPS:
            self._failures += 1
            if is_probe or self._failures >= TRIPS_AFTER:
                self._open(fact, OPEN_FOR)
        else:
            self._failures = 0
            self._because = None

    def _open(self, because: Failed, seconds: float) -> None:
        self._because = because
        self._until = max(self._until, self._now() + min(seconds, MAX_WAIT))


class Gate:
    """The way to one registry: so many requests at once and no more, and none while its breaker is open."""

    def __init__(self, registry: Registry, now: Callable[[], float]) -> None:
        self.label = registry.host if registry.listed else OTHER
        self.breaker = Breaker(now)
        self._size = registry.max_in_flight
        self._places = asyncio.Semaphore(self._size)
        self._waiting = 0

    def resize(self, places: int) -> None:
        """Let so many through from now on; who is inside already leaves by the old count."""
        if places != self._size:
            self._size = places
            self._places = asyncio.Semaphore(places)

    def refusal(self, what: str) -> Failed | None:
        """The trouble for which the breaker is open, told of `what` (host and repository): whom it happened to first
        is nobody else's business."""
        because = self.breaker.refusal()
        if because is None:
            return None
        left = self.breaker.seconds_left
        wait = f"it is let be for {left:.0f} s more" if left else "another request finds out whether it is well again"
        return Failed(because.reason, what, f"{because.detail}; {wait}", left)

    async def send(self, request: Callable[[], Awaitable[Answer]], *, what: str, deadline: float) -> Answer | Failed:
        """Send a request once there is a place for it, and hear its answer; Failed(BUSY) when none came free before
        the deadline (absolute loop time). The request keeps the deadline itself; one that does not is cut off."""
        refused = self.refusal(what)
        if refused is not None:
            return refused
        places = self._places
        if not await self._enter(places, deadline):
            return Failed(Reason.BUSY, what, "too many requests to this registry are under way")
        try:
            async with asyncio.timeout_at(deadline + _GRACE):
                return await self._ask(request, what)
        except TimeoutError:
            return Failed(Reason.OUT_OF_TIME, what, "no answer in time")
        finally:
            places.release()

    async def _enter(self, places: asyncio.Semaphore, deadline: float) -> bool:
        """Whether a place came free in time."""
        if not places.locked():
            return await places.acquire()
        if self._waiting >= QUEUE:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                return await places.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    async def _ask(self, request: Callable[[], Awaitable[Answer]], what: str) -> Answer | Failed:
        # Again, because the breaker may have opened while this one stood in the queue.
        refused = self.refusal(what)
        if refused is not None:
            return refused
        with self.breaker.asking() as hear:
            try:
                answer = await request()
            except asyncio.CancelledError:
                hear(Failed(Reason.OUT_OF_TIME, what, "no answer in time"))
                raise
            hear(answer)
        return answer


class Gates:
    """The gates of all registries. They outlive a reload: a registry does not recover because we read a file.

    Hosts that only a pattern covers are an author's choice: however many they are, they push no listed one out.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._listed: dict[str, Gate] = {}
        self._others: LRUCache[str, Gate] = LRUCache(GATES)

    def find(self, host: str) -> Gate | None:
        """The gate of a host that was asked before."""
        return self._listed.get(host) or self._others.get(host)

    def get(self, registry: Registry) -> Gate:
        """The gate of this registry, made when it is first needed."""
        gate = self.find(registry.host)
        if gate is None:
            gates = self._listed if registry.listed else self._others
            gate = gates[registry.host] = Gate(registry, self._now)
        gate.resize(registry.max_in_flight)
        return gate

    def states(self) -> dict[str, bool]:
        """Whether the breaker is open, by the registry's name in metrics."""
        states: dict[str, bool] = {}
        for gate in (*self._listed.values(), *self._others.values()):
            states[gate.label] = states.get(gate.label, False) or gate.breaker.refusal() is not None
        return states
