"""Tags to digests: the memory of what upstreams said, and the way to ask them again."""

import asyncio
import random
import secrets
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from cachetools import LRUCache

from webhook.core.ask import Absent, Ask, AskDigest, Fact, Failed, Known
from webhook.core.credential import Candidates
from webhook.core.freshness import Age, Entry, Resolving, entry
from webhook.core.hosts import Registries
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.flights import Breaker, Bulkhead, Flights, wait_until

MARGIN: Final = 0.02
"""Seconds before the deadline at which waiting ends, so that the answer still goes out in time."""
REFRESH_WITHIN: Final = 10.0
SHARE: Final = 0.6
"""Of the time that is left, what an upstream gets when another one stands behind it."""

Key = tuple[tuple[Reference, ...], bytes]


class Upstreams(Protocol):
    """Who asks registries: `webhook.registry.RegistryClient`."""

    async def digest_of(self, image: Reference, candidates: Candidates, *, deadline: float) -> Known | Absent | Failed:
        """The digest that an image names now."""


class Keyrings(Protocol):
    """Who finds credentials: `webhook.credentials.source.Credentials`."""

    def peek(self, image: Reference, audience: Audience) -> Candidates | None:
        """From memory, or None."""

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> Candidates:
        """The candidates by the deadline."""


class _Refusal(msgspec.Struct, gc=False):
    absent: Absent
    began: float
    until: float


class Memory:
    """What outlives a reload: answers, refusals, breakers and bulkheads. Bounded by entries.

    Answers are kept per credential: what one tenant's login was told no other can read, nor learn by timing.
    """

    def __init__(self, entries: int, now: Callable[[], float]) -> None:
        self.now = now
        self.key = secrets.token_bytes(32)
        self.answers: LRUCache[Key, Entry] = LRUCache(entries)
        self.refusals: LRUCache[Key, _Refusal] = LRUCache(entries)
        self.flights: Flights[Known | Absent | Failed] = Flights(now)
        self.breakers: dict[str, Breaker] = {}
        self.bulkheads: dict[str, tuple[int, Bulkhead]] = {}

    def resize(self, entries: int) -> None:
        """Another bound; what is kept stays as far as it fits."""
        if entries != self.answers.maxsize:
            for name in ("answers", "refusals"):
                kept: LRUCache[Key, Any] = LRUCache(entries)
                for key, value in list(getattr(self, name).items())[-entries:]:
                    kept[key] = value
                setattr(self, name, kept)

    def breaker(self, host: str) -> Breaker:
        """The breaker of a registry."""
        return self.breakers.setdefault(host, Breaker(self.now))

    def bulkhead(self, host: str, places: int) -> Bulkhead:
        """The bulkhead of a registry, made anew when its size changes."""
        size, bulkhead = self.bulkheads.get(host, (0, None))
        if bulkhead is None or size != places:
            bulkhead = Bulkhead(places)
            self.bulkheads[host] = (places, bulkhead)
        return bulkhead


class Resolver:
    """The oracle for AskDigest."""

    def __init__(
        self,
        upstreams: Upstreams,
        credentials: Keyrings,
        registries: Registries,
        settings: Resolving,
        *,
        memory: Memory,
        observe: Callable[[str, str], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._upstreams = upstreams
        self._credentials = credentials
        self._registries = registries
        self._settings = settings
        self._memory = memory
        self._now = memory.now
        self._observe = observe or (lambda _host, _source: None)
        self._jitter = jitter

    def peek(self, ask: Ask) -> Fact | None:
        """From memory: fresh answers and refusals; an answer that is due starts its own refresh."""
        if not isinstance(ask, AskDigest):
            raise TypeError(f"{type(ask).__name__} is no question for a resolver")
        candidates = self._credentials.peek(ask.images[0], ask.audience)
        if candidates is None:
            return None
        key = (ask.images, candidates.fingerprint)
        now = self._now()
        found = self._memory.answers.get(key)
        if found is not None:
            return self._judge(found, key, ask, candidates, now)
        refusal = self._memory.refusals.get(key)
        if refusal is not None and now < refusal.until and (ask.since is None or refusal.began >= ask.since):
            return refusal.absent
        return None

    def _judge(self, found: Entry, key: Key, ask: AskDigest, candidates: Candidates, now: float) -> Known | None:
        if ask.since is not None:
            return found.known if found.began >= ask.since else None
        match found.age(now):
            case Age.FRESH:
                pass
            case Age.DUE:
                self._memory.flights.join(key, lambda: self._refresh(key, ask, candidates))
            case Age.STALE | Age.GONE:
                return None
        self._observe(ask.images[0].registry, "cached")
        return found.cached(now)

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Ask the upstreams; when they cannot answer in time, the last answer within bounds, marked as stale."""
        if not isinstance(ask, AskDigest):
            raise TypeError(f"{type(ask).__name__} is no question for a resolver")
        candidates = await self._credentials.fetch(ask.images[0], ask.audience, deadline=deadline)
        key = (ask.images, candidates.fingerprint)
        within = deadline - MARGIN
        # The work outlives an asker in a hurry: the next one finds what it brought.
        until = max(within, asyncio.get_running_loop().time() + self._settings.budget)
        task = self._memory.flights.join(
            key, lambda: self._ask_all(key, ask.images, candidates, until), since=ask.since
        )
        fact = await wait_until(task, within)
        if fact is None:
            fact = Failed(Reason.OUT_OF_TIME, ask.images[0].repository, "no answer in time")
        if isinstance(fact, Failed):
            stale = self._stale(key, fact.reason)
            if stale is not None:
                fact = stale
        self._observe(ask.images[0].registry, fact.source if isinstance(fact, Known) else "none")
        return fact

    def _stale(self, key: Key, trouble: Reason) -> Known | None:
        found = self._memory.answers.get(key)
        now = self._now()
        return found.stale(now, trouble) if found is not None and found.age(now) is not Age.GONE else None

    async def _refresh(self, key: Key, ask: AskDigest, candidates: Candidates) -> Known | Absent | Failed:
        deadline = asyncio.get_running_loop().time() + REFRESH_WITHIN
        fact = await self._ask_all(key, ask.images, candidates, deadline)
        found = self._memory.answers.get(key)
        if not isinstance(fact, Known) and found is not None:
            found.put_off(self._now())
        return fact

    async def _ask_all(
        self, key: Key, images: tuple[Reference, ...], candidates: Candidates, deadline: float
    ) -> Known | Absent | Failed:
        """Each upstream in order while they fail; the first that knows, or knows that there is nothing, decides."""
        began = self._now()
        fact: Known | Absent | Failed = Failed(Reason.HOST_NOT_LISTED, images[0].repository)
        for number, image in enumerate(images):
            now = asyncio.get_running_loop().time()
            last = number == len(images) - 1
            fact = await self._ask_one(image, candidates, deadline if last else now + (deadline - now) * SHARE)
            if not isinstance(fact, Failed):
                break
        self._remember(key, images, fact, began)
        return fact

    async def _ask_one(self, image: Reference, candidates: Candidates, deadline: float) -> Known | Absent | Failed:
        registry = self._registries.find(image.registry)
        if registry is None:
            return await self._upstreams.digest_of(image, candidates, deadline=deadline)
        breaker = self._memory.breaker(registry.host)
        refused = breaker.refuses()
        if refused is not None:
            return refused
        async with self._memory.bulkhead(registry.host, registry.max_in_flight).place(deadline) as free:
            if not free:
                return Failed(Reason.BUSY, image.repository, "too many requests to this registry are under way")
            with breaker.listening() as heard:
                fact = await self._upstreams.digest_of(image, candidates, deadline=deadline)
                heard(fact)
        return fact

    def _remember(self, key: Key, images: tuple[Reference, ...], fact: Known | Absent | Failed, began: float) -> None:
        now = self._now()
        if isinstance(fact, Known):
            self._memory.answers[key] = entry(
                fact,
                began=began,
                now=now,
                resolving=self._settings,
                fixed=images[0].digest is not None,
                spread=self._jitter(),
            )
            self._memory.refusals.pop(key, None)
        elif isinstance(fact, Absent):
            # Definite: the tag is gone, or not for these credentials. An older answer must not outlive that.
            self._memory.answers.pop(key, None)
            life = self._settings.denied if fact.denied else self._settings.not_found
            self._memory.refusals[key] = _Refusal(fact, began, now + life)
