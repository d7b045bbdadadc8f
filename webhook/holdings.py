"""Does a target hold a digest: asked there, remembered for a while."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from cachetools import LRUCache

from webhook.bounded import of_size
from webhook.core.ask import Absent, Ask, AskHeld, Fact, Failed, Oracle, Passed
from webhook.core.credential import Candidates, Keyrings
from webhook.core.hosts import Registries
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.flights import MARGIN, Flights, Gates, wait_until

HELD_FOR: Final = 600.0
"""Seconds for which a yes is believed: a cache may drop what nobody pulls."""
LACKED_FOR: Final = 10.0
"""Seconds for which a no is believed: it may be on its way there."""

SHARE: Final = 0.6
"""Of the time that is left, how much of it a target is waited for when another one stands behind it."""
SHORTEST: Final = 0.25
"""Seconds that it is waited for at least: less would find every target wanting."""

Answer = Passed | Absent | Failed
Key = tuple[Reference, tuple[str, ...], str, bytes]
"""Place, platforms, scheme and the fingerprint of the credentials that are used there."""


class Places(Protocol):
    """Who asks targets: `webhook.registry.RegistryClient`."""

    async def holds(
        self, image: Reference, candidates: Candidates, *, scheme: str, platforms: tuple[str, ...], deadline: float
    ) -> Answer:
        """Whether this place holds the digest, with the children for these platforms."""


class _Kept(msgspec.Struct, gc=False):
    fact: Passed | Absent
    until: float


class Held:
    """What outlives a reload: what targets said, and work under way."""

    def __init__(self, entries: int, now: Callable[[], float]) -> None:
        self.now = now
        self.answers: LRUCache[Key, _Kept] = LRUCache(entries)
        self.flights: Flights[Answer] = Flights(now)

    def resize(self, entries: int) -> None:
        """Keep at most so many answers."""
        self.answers = of_size(self.answers, entries)


class Holdings(Oracle):
    """The oracle for AskHeld. A target is asked with the credentials of its own host, never the upstream's; `gates`
    are those of the resolver, because a host that is both is one registry."""

    def __init__(
        self,
        places: Places,
        credentials: Keyrings,
        registries: Registries,
        *,
        memory: Held,
        gates: Gates,
        budget: float,
        entries: int,
    ) -> None:
        self._places = places
        self._credentials = credentials
        self._registries = registries
        self._memory = memory
        self._gates = gates
        self._budget = budget
        memory.resize(entries)

    def peek(self, ask: Ask) -> Fact | None:
        """What was found a moment ago, or that the target must not be asked now."""
        asked = _read(ask)
        candidates = self._credentials.peek(asked.place, asked.audience)
        return self._recall(asked, candidates) if candidates is not None else None

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Ask the target."""
        asked = _read(ask)
        within = deadline - MARGIN
        if asked.has_next:
            now = asyncio.get_running_loop().time()
            within = min(within, now + max(SHORTEST, (within - now) * SHARE))
        candidates = await self._credentials.fetch(asked.place, asked.audience, deadline=within)
        fact = self._recall(asked, candidates)
        if fact is None:
            # The work outlives an asker in a hurry: the next one finds what it brought.
            until = max(within, asyncio.get_running_loop().time() + self._budget)
            key = _key(asked, candidates)
            task = self._memory.flights.join(key, lambda: self._look(asked, candidates, until))
            fact = await wait_until(task, within)
        return fact if fact is not None else Failed(Reason.OUT_OF_TIME, asked.place.repository, "no answer in time")

    def _recall(self, ask: AskHeld, candidates: Candidates) -> Answer | None:
        kept = self._memory.answers.get(_key(ask, candidates))
        if kept is not None and self._memory.now() < kept.until:
            return kept.fact
        gate = self._gates.find(ask.place.registry)
        return gate.refusal(ask.place.repository) if gate is not None else None

    async def _look(self, ask: AskHeld, candidates: Candidates, deadline: float) -> Answer:
        fact = await self._ask(ask, candidates, deadline)
        if not isinstance(fact, Failed):
            life = HELD_FOR if isinstance(fact, Passed) else LACKED_FOR
            self._memory.answers[_key(ask, candidates)] = _Kept(fact, self._memory.now() + life)
        return fact

    async def _ask(self, ask: AskHeld, candidates: Candidates, deadline: float) -> Answer:
        async def look() -> Answer:
            return await self._places.holds(
                ask.place, candidates, scheme=ask.scheme, platforms=ask.platforms, deadline=deadline
            )

        registry = self._registries.find(ask.place.registry)
        if registry is None:
            return await look()
        return await self._gates.get(registry).send(look, what=ask.place.repository, deadline=deadline)


def _read(ask: Ask) -> AskHeld:
    if not isinstance(ask, AskHeld):
        raise TypeError(f"{type(ask).__name__} is no question about holdings")
    return ask


def _key(ask: AskHeld, candidates: Candidates) -> Key:
    return ask.place, ask.platforms, ask.scheme, candidates.fingerprint
