"""Tags to digests: the memory of what upstreams said, and the way to ask them again."""

import asyncio
import random
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec
from cachetools import LRUCache

from webhook.bounded import of_size
from webhook.core.ask import Absent, Ask, AskDigest, Fact, Failed, Known, Oracle
from webhook.core.credential import Candidates, Keyrings
from webhook.core.freshness import Age, Entry, Refusal, Resolving, keep, keep_stale, refuse
from webhook.core.hosts import Registries
from webhook.core.reason import Reason
from webhook.core.reference import LATEST, Reference
from webhook.core.subject import Audience
from webhook.flights import MARGIN, OTHER, Flights, Gates, wait_until
from webhook.repeats import Answers, Key, Repeat, Repeats

REFRESH_WITHIN: Final = 10.0
"""Seconds that a refresh ahead may take: nobody waits for it."""
SHARE: Final = 0.6
"""Of the time that is left, what an upstream gets when another one stands behind it."""
SHORTEST: Final = 0.25
"""Seconds that it gets at least: less would find every registry wanting."""

Answer = Known | Absent | Failed
Kept = TypeVar("Kept", Entry, Refusal)
Told = TypeVar("Told", bound=Answer | None)

_NOT_ASKED: Final = frozenset({Reason.HOST_NOT_LISTED})
"""Trouble that the operator made: an old answer does not stand in for it."""


class Upstreams(Protocol):
    """Who asks registries: `webhook.registry.RegistryClient`."""

    async def digest_of(self, image: Reference, candidates: Candidates, *, deadline: float) -> Answer:
        """The digest that an image names now."""


class _Errand(msgspec.Struct, frozen=True, gc=False):
    """What is asked, and with which credentials at each upstream: never one host's at another. `key` follows from both."""

    images: tuple[Reference, ...]
    candidates: tuple[Candidates, ...]
    key: Key


class Memory:
    """What outlives a reload: answers, refusals, work under way, and the gates of the registries."""

    def __init__(self, entries: int, now: Callable[[], float]) -> None:
        self.now = now
        self.answers = Answers(entries)
        self.refusals: LRUCache[Key, Refusal] = LRUCache(entries)
        self.flights: Flights[Answer] = Flights(now)
        self.gates = Gates(now)

    def resize(self, entries: int) -> None:
        """Keep at most so many answers, and as many refusals; those that were used last stay."""
        self.answers = of_size(self.answers, entries)
        self.refusals = of_size(self.refusals, entries)


class Resolver(Oracle):
    """The oracle for AskDigest. A reload makes a new one over the same memory."""

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
        """`observe` is told the registry's name in metrics and the source of each answer, `none` where there is none."""
        self._upstreams = upstreams
        self._credentials = credentials
        self._registries = registries
        self._settings = settings
        self._memory = memory
        self._now = memory.now
        self._observe = observe
        self._jitter = jitter
        memory.resize(settings.entries)
        self._repeats = Repeats(memory.answers)

    def peek(self, ask: Ask) -> Fact | None:
        """From memory: answers and refusals that still count, and what remains while the breakers are open.

        The credentials are looked up each time, so that a secret that was changed counts at once.
        """
        images, audience, since, anew = _read(ask)
        if anew:
            return None
        if len(images) == 1:
            one = self._credentials.peek(images[0], audience)
            if one is None:
                return None
            candidates: tuple[Candidates, ...] = (one,)
            key: Key = (images, one.fingerprint)
            has_notes = bool(one.notes)
        else:
            every = [self._credentials.peek(image, audience) for image in images]
            candidates = tuple([one for one in every if one is not None])
            if len(candidates) < len(images):
                return None
            key = (images, _fingerprint(candidates))
            has_notes = True
        fact = self._recall(key, images, candidates, since)
        return self._tell(images, _noted(fact, candidates) if has_notes else fact)

    def peek_again(self, ask: Ask) -> Fact | None:
        """The same for the very question that a Pod of the same rollout brought."""
        repeat = self._repeats.find(ask, self._now())
        if repeat is not None:
            same = repeat.ask
            if self._credentials.peek(same.images[0], same.audience) is repeat.candidates:
                answer = repeat.entry.cached()
                self._count(repeat.label, answer)
                return answer
        fact = self.peek(ask)
        if isinstance(fact, Known):
            self._have_at_hand(ask)
        return fact

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Ask the upstreams; when they cannot answer in time, the last answer within bounds, marked as stale."""
        images, audience, since, anew = _read(ask)
        within = deadline - MARGIN
        since = self._now() if anew else since
        candidates = await self._find_candidates(images, audience, within)
        errand = _Errand(images, candidates, (images, _fingerprint(candidates)))
        fact = self._recall(errand.key, images, candidates, since)
        if fact is None:
            fact = await self._ask(errand, since, within)
        self._tell(images, fact)
        return _noted(fact, candidates)

    async def prepare(self, ask: AskDigest, *, deadline: float) -> None:
        """Have the credentials at hand by which an answer is remembered, by the absolute loop time `deadline`."""
        images, audience, _, _ = _read(ask)
        await self._find_candidates(images, audience, deadline)

    def remember(self, ask: AskDigest, digest: str, *, age: float = 0.0) -> bool:
        """Take in what a running Pod shows under our seal: a digest that the upstream named to these credentials `age`
        seconds ago. It stands in when the upstream cannot be asked and never counts as fresh. False where something better
        is known, where it is too old, or where credentials are not in memory, or gone: what was told to a login that is no
        more would then be told to all who have none."""
        images, audience, _, _ = _read(ask)
        candidates = [self._credentials.peek(image, audience) for image in images]
        found = tuple([one for one in candidates if one is not None and not _lacks_some(one)])
        key = (images, _fingerprint(found))
        if len(found) < len(images) or key in self._memory.answers or age >= self._settings.stale:
            return False
        known = Known(digest, "stale", images[0].registry, "seal")
        self._memory.answers[key] = keep_stale(known, began=self._now() - age, resolving=self._settings)
        return True

    def _recall(
        self, key: Key, images: tuple[Reference, ...], candidates: tuple[Candidates, ...], since: float | None
    ) -> Answer | None:
        now = self._now()
        memory = self._memory
        found = memory.answers.get(key)
        if found is not None:
            if since is not None:
                if found.answers(since):
                    return found.known
            else:
                age = found.age(now)
                if age is Age.FRESH:
                    return found.cached()
                if age is Age.DUE:
                    self._refresh_ahead(_Errand(images, candidates, key))
                    return found.cached()
        refusal = memory.refusals.get(key)
        if refusal is not None and refusal.holds(now, since):
            return refusal.absent
        held_back = self._held_back(images)
        return self._or_stale(key, held_back) if held_back is not None else None

    def _have_at_hand(self, ask: Ask) -> None:
        images, audience, since, anew = _read(ask)
        candidates = self._credentials.peek(images[0], audience)
        if len(images) > 1 or since is not None or anew or candidates is None or candidates.notes:
            return
        key = (images, candidates.fingerprint)
        entry = self._memory.answers.get(key)
        if entry is not None and isinstance(ask, AskDigest):
            self._repeats.keep(Repeat(ask, candidates, key, entry, self._label(images[0]), self._now()))

    def _held_back(self, images: tuple[Reference, ...]) -> Failed | None:
        """Why no upstream can be asked now; None when one can."""
        first: Failed | None = None
        for image in images:
            gate = self._memory.gates.find(image.registry)
            refused = gate.refusal(image.repository) if gate is not None else None
            if refused is None:
                return None
            first = first or refused
        return first

    def _or_stale(self, key: Key, failed: Failed) -> Known | Failed:
        found = self._memory.answers.get(key)
        now = self._now()
        if found is None or found.age(now) is Age.GONE or failed.reason in _NOT_ASKED:
            return failed
        return found.stale(now, failed.reason)

    def _tell(self, images: tuple[Reference, ...], fact: Answer | None) -> Answer | None:
        if fact is not None:
            self._count(self._label(images[0]), fact)
        return fact

    def _count(self, label: str, fact: Answer) -> None:
        if self._observe is not None:
            self._observe(label, fact.source if isinstance(fact, Known) else "none")

    def _label(self, image: Reference) -> str:
        """The registry's name in metrics."""
        return image.registry if image.registry in self._registries.literal else OTHER

    async def _find_candidates(
        self, images: tuple[Reference, ...], audience: Audience, deadline: float
    ) -> tuple[Candidates, ...]:
        if len(images) == 1:
            return (await self._credentials.fetch(images[0], audience, deadline=deadline),)
        every = [self._credentials.fetch(image, audience, deadline=deadline) for image in images]
        return tuple(await asyncio.gather(*every))

    async def _ask(self, errand: _Errand, since: float | None, within: float) -> Answer:
        # The work outlives an asker in a hurry: the next one finds what it brought.
        until = max(within, asyncio.get_running_loop().time() + self._settings.budget)
        task = self._memory.flights.join(errand.key, lambda: self._ask_all(errand, within, until), since=since)
        fact = await wait_until(task, within)
        if fact is None:
            fact = Failed(Reason.OUT_OF_TIME, errand.images[0].repository, "no answer in time")
        return self._or_stale(errand.key, fact) if isinstance(fact, Failed) else fact

    def _refresh_ahead(self, errand: _Errand) -> None:
        self._memory.flights.join(errand.key, lambda: self._refresh(errand))

    async def _refresh(self, errand: _Errand) -> Answer:
        until = asyncio.get_running_loop().time() + REFRESH_WITHIN
        return await self._ask_all(errand, until, until)

    async def _ask_all(self, errand: _Errand, within: float, until: float) -> Answer:
        """Each upstream in order while they fail; the first that knows, or knows that there is nothing, decides.

        All shall have been asked by `within`; the last one may take until `until`.
        """
        began = self._now()
        # Now, and not only when it failed: whatever becomes of this task, the next use does not start another.
        self._put_off(errand.key)
        clock = asyncio.get_running_loop().time
        trouble: Failed | None = None
        last = len(errand.images) - 1
        for number, (image, candidates) in enumerate(zip(errand.images, errand.candidates, strict=True)):
            now = clock()
            limit = until if number == last else now + max(SHORTEST, (within - now) * SHARE)
            fact = await self._ask_one(image, candidates, min(limit, until))
            if not isinstance(fact, Failed):
                self._remember(errand, fact, began)
                return fact
            trouble = trouble or fact
        self._put_off(errand.key)
        return trouble or Failed(Reason.INTERNAL_ERROR, "", "no upstream to ask")

    async def _ask_one(self, image: Reference, candidates: Candidates, deadline: float) -> Answer:
        registry = self._registries.find(image.registry)
        if registry is None:
            return await self._upstreams.digest_of(image, candidates, deadline=deadline)
        return await self._memory.gates.get(registry).send(
            lambda: self._upstreams.digest_of(image, candidates, deadline=deadline),
            what=image.repository,
            deadline=deadline,
        )

    def _put_off(self, key: Key) -> None:
        found = self._memory.answers.get(key)
        if found is not None:
            found.put_off(self._now())

    def _remember(self, errand: _Errand, fact: Known | Absent, began: float) -> None:
        """Keep what an upstream said, unless something is known from a request that was sent later."""
        key, now, memory = errand.key, self._now(), self._memory
        answer, refusal = memory.answers.get(key), memory.refusals.get(key)
        if (answer is not None and answer.outdates(began)) or (refusal is not None and refusal.outdates(began)):
            return
        if isinstance(fact, Known):
            fixed = errand.images[0].digest is not None
            memory.answers[key] = keep(
                fact, began=began, now=now, resolving=self._settings, spread=self._jitter(), fixed=fixed
            )
            memory.refusals.pop(key, None)
        else:
            # Definite: the tag is gone, or not for these credentials. An older answer must not outlive that.
            memory.refusals[key] = refuse(fact, began=began, now=now, resolving=self._settings)
            memory.answers.pop(key, None)


def _read(ask: Ask) -> tuple[tuple[Reference, ...], Audience, float | None, bool]:
    if not isinstance(ask, AskDigest):
        raise TypeError(f"{type(ask).__name__} is no question for a resolver")
    images = ask.images
    for image in images:
        if (image.tag is None) is (image.digest is None):
            return tuple([_plain(one) for one in images]), ask.audience, ask.since, ask.anew
    return images, ask.audience, ask.since, ask.anew


def _plain(image: Reference) -> Reference:
    """The image as a registry is asked: by its digest if it has one, else by its tag, so that two ways to write one
    thing get one answer."""
    if image.digest is not None:
        return image.pinned(image.digest)
    return Reference(image.registry, image.path, image.tag or LATEST)


def _noted(fact: Told, candidates: tuple[Candidates, ...]) -> Told:
    """An answer with what is to be said of the credentials of this asker: others get the same answer without it."""
    first = candidates[0].notes
    if len(candidates) > 1:
        first = tuple(dict.fromkeys(note for one in candidates for note in one.notes))
    return msgspec.structs.replace(fact, notes=first) if first and fact is not None else fact


def _lacks_some(one: Candidates) -> bool:
    return not one.credentials or any(reason is Reason.PULL_SECRET_SKIPPED for reason, *_ in one.notes)


def _fingerprint(candidates: tuple[Candidates, ...]) -> bytes:
    return b"".join([one.fingerprint for one in candidates])
