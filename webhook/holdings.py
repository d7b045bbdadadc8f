"""Does a target hold a digest: asked there, remembered for a while."""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from cachetools import LRUCache

from webhook.core.ask import Absent, Ask, AskHeld, Fact, Failed, Passed
from webhook.core.credential import Candidates
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.flights import Flights, wait_until
from webhook.resolver import MARGIN, Keyrings

HELD_FOR: Final = 600.0
LACKED_FOR: Final = 10.0


class Places(Protocol):
    """Who asks targets: `webhook.registry.RegistryClient`."""

    async def holds(
        self, image: Reference, candidates: Candidates, *, scheme: str, platforms: tuple[str, ...], deadline: float
    ) -> Passed | Absent | Failed:
        """Whether this place holds the digest, with the children for these platforms."""


class _Kept(msgspec.Struct, gc=False):
    fact: Passed | Absent
    until: float


class Holdings:
    """The oracle for AskHeld. A target is asked with the credentials of its own host, never the upstream's."""

    def __init__(self, places: Places, credentials: Keyrings, *, entries: int, now: Callable[[], float]) -> None:
        self._places = places
        self._credentials = credentials
        self._now = now
        self._kept: LRUCache[tuple[AskHeld, bytes], _Kept] = LRUCache(entries)
        self._flights: Flights[Passed | Absent | Failed] = Flights(now)

    def peek(self, ask: Ask) -> Fact | None:
        """What was found a moment ago."""
        if not isinstance(ask, AskHeld):
            raise TypeError(f"{type(ask).__name__} is no question about holdings")
        candidates = self._credentials.peek(ask.place, ask.audience)
        kept = self._kept.get((ask, candidates.fingerprint)) if candidates is not None else None
        return kept.fact if kept is not None and self._now() < kept.until else None

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Ask the target."""
        if not isinstance(ask, AskHeld):
            raise TypeError(f"{type(ask).__name__} is no question about holdings")
        candidates = await self._credentials.fetch(ask.place, ask.audience, deadline=deadline)
        key = (ask, candidates.fingerprint)
        task = self._flights.join(key, lambda: self._look(key, candidates, deadline - MARGIN))
        fact = await wait_until(task, deadline - MARGIN)
        return fact if fact is not None else Failed(Reason.OUT_OF_TIME, ask.place.repository, "no answer in time")

    async def _look(
        self, key: tuple[AskHeld, bytes], candidates: Candidates, deadline: float
    ) -> Passed | Absent | Failed:
        ask, _ = key
        fact = await self._places.holds(
            ask.place, candidates, scheme=ask.scheme, platforms=ask.platforms, deadline=deadline
        )
        if not isinstance(fact, Failed):
            self._kept[key] = _Kept(fact, self._now() + (HELD_FOR if isinstance(fact, Passed) else LACKED_FOR))
        return fact
