"""What was read of a cluster: asked for when it is needed, remembered for a while, and used on when the API server cannot
be asked."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from cachetools import LRUCache

from webhook.core.ask import Failed, Passed
from webhook.core.reason import Reason
from webhook.flights import MARGIN, Breaker, Flights, wait_until
from webhook.kube import Answer, said

SHARE: Final = 0.4
"""Of the time that is left, what the API server gets for one question: the registry has to be asked after it."""
ENTRIES: Final = 10_000
SECRETS: Final = 32 * 1024 * 1024
"""Bytes that all pull secrets may weigh: some ten thousand of the usual size."""

Refused = Callable[[str, str], None]
"""Told of a resource that the account may not read, and of what the API server says."""

_FORBIDDEN: Final = frozenset({401, 403})


class Api(Protocol):
    """Who asks the API server: `webhook.kube.Kube`."""

    async def get(
        self, path: str, *, deadline: float, accept: str = ..., query: Mapping[str, str] | None = ...
    ) -> Answer:
        """Read by the absolute loop time `deadline`."""


class Page(msgspec.Struct, kw_only=True):
    """What was read at once. `life` in seconds: how long it is used without asking again."""

    life: float
    until: float = 0.0


Read = TypeVar("Read", bound=Page)


class Book(Generic[Read]):
    """What was read of one sort, bounded, and the reading that is under way."""

    def __init__(
        self,
        now: Callable[[], float],
        breaker: Breaker,
        entries: int,
        *,
        weigh: Callable[[Read], int] | None = None,
    ) -> None:
        """`entries` is how many pages are kept, or what they weigh together, where `weigh` says what one does."""
        self._now = now
        self._breaker = breaker
        self._read: LRUCache[object, Read] = LRUCache(entries, weigh)
        self._flights: Flights[Read | Failed] = Flights(now)

    def peek(self, key: object) -> Read | None:
        """What was read a moment ago."""
        read = self._read.get(key)
        return read if read is not None and self._now() < read.until else None

    def last(self, key: object) -> Read | None:
        """What was read last, however long ago."""
        read: Read | None = self._read.get(key)
        return read

    def refresh(self, key: object, read: Callable[[float], Awaitable[Read | Failed]], *, within: float) -> None:
        """Read ahead of time, in so many seconds, where the API server may be asked: nobody waits for it."""
        if self._breaker.refusal() is None:
            until = asyncio.get_running_loop().time() + within
            self._flights.join(key, lambda: self._ask(key, read, until))

    async def look_up(
        self, key: object, read: Callable[[float], Awaitable[Read | Failed]], what: str, *, deadline: float, anew: bool
    ) -> Read | Failed:
        """Read by the absolute loop time `deadline`; where that fails what was read before, however long ago."""
        time = asyncio.get_running_loop().time()
        within = min(deadline - MARGIN, time + (deadline - time) * SHARE)
        outcome: Read | Failed | None = self._breaker.refusal()
        if outcome is None:
            task = self._flights.join(key, lambda: self._ask(key, read, within), since=self._now() if anew else None)
            outcome = await wait_until(task, within)
        if outcome is not None and not isinstance(outcome, Failed):
            return outcome
        before: Read | None = self._read.get(key)
        if before is not None:
            return before
        detail = outcome.detail if outcome is not None else "the API server did not answer in time"
        return Failed(Reason.CLUSTER_NOT_ASKED, what, detail)

    async def _ask(
        self, key: object, read: Callable[[float], Awaitable[Read | Failed]], within: float
    ) -> Read | Failed:
        with self._breaker.asking() as hear:
            outcome = await read(within)
            hear(outcome if isinstance(outcome, Failed) else Passed())
        if not isinstance(outcome, Failed) and outcome.life > 0:
            outcome.until = self._now() + outcome.life
            self._read[key] = outcome
        return outcome

    def forget(self) -> None:
        """Read everything again."""
        self._read.clear()

    async def aclose(self) -> None:
        """End what is under way."""
        await self._flights.aclose()


class Books:
    """What outlives a reload: the books, and the standing of the API server."""

    def __init__(self, now: Callable[[], float], entries: int = ENTRIES) -> None:
        breaker = Breaker(now)
        self.pins: Book[Any] = Book(now, breaker, entries)
        self.siblings: Book[Any] = Book(now, breaker, entries)
        self.namespaces: Book[Any] = Book(now, breaker, entries)
        self.accounts: Book[Any] = Book(now, breaker, entries)
        self.secrets: Book[Any] = Book(now, breaker, SECRETS, weigh=lambda secret: secret.weight)

    def forget_pins(self) -> None:
        """Read all pins and siblings again."""
        self.pins.forget()
        self.siblings.forget()

    async def aclose(self) -> None:
        """End what is under way."""
        await self.pins.aclose()
        await self.siblings.aclose()
        await self.namespaces.aclose()
        await self.accounts.aclose()
        await self.secrets.aclose()


Decoded = TypeVar("Decoded")


def unheard(_resource: str, _said: str) -> None:
    """Nobody is told of what may not be read."""


def decoded(
    decoder: "msgspec.json.Decoder[Decoded]", answer: Answer, resource: str = "", refused: Refused = unheard
) -> Decoded | Failed:
    """What the API server said, or why that is of no use; `refused` is told where it says that nobody lets us."""
    if answer.is_good:
        try:
            return decoder.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Failed(Reason.BAD_REGISTRY, "", "the API server answers something else than was asked for")
    if answer.status in _FORBIDDEN:
        refused(resource, said(answer))
        return Failed(Reason.ABSENT, "", "this account may not read it")
    return Failed(Reason.UNAVAILABLE, "", answer.trouble or f"the API server answers {answer.status}")
