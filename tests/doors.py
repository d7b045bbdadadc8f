"""Stand-ins for what the resolver and the holdings ask: a clock, credentials by namespace, and registries with switches."""

import asyncio
from collections import Counter
from functools import cache

from msgspec.structs import replace

from tests.core.world import D
from webhook.core.ask import Absent, AskDigest, AskHeld, Failed, Known, Passed
from webhook.core.credential import ANONYMOUS, Candidates, Credential, candidates
from webhook.core.reason import Reason, Trace
from webhook.core.reference import Reference
from webhook.core.secret import Secret
from webhook.core.subject import Audience

HOST = "registry.example.com"
SPARE = "spare.example.com"
TAG = Reference(HOST, "team/app", "stable")
KEY = b"k" * 32


class Clock:
    """Monotonic time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


def login(name: str) -> Credential:
    """A credential that is not another's."""
    return Credential("pod", name, Secret(f"password of {name}"))


@cache
def sealed(found: tuple[Credential, ...]) -> Candidates:
    """The same credentials are the same candidates, as with the real source of them."""
    return candidates(found, KEY)


class Wallets:
    """Credentials by namespace, the same for every host but where `at` says otherwise; anonymous for the rest."""

    def __init__(self) -> None:
        self.holds: dict[str, tuple[Credential, ...]] = {}
        self.at: dict[str, tuple[Credential, ...]] = {}
        self.is_slow = False
        self.notes: Trace = ()

    def peek(self, image: Reference, audience: Audience) -> Candidates | None:
        if self.is_slow:
            return None
        found = self.at.get(image.registry) or self.holds.get(audience.namespace, (ANONYMOUS,))
        return replace(sealed(found), notes=self.notes) if self.notes else sealed(found)

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> Candidates:
        await asyncio.sleep(0)
        found = self.at.get(image.registry) or self.holds.get(audience.namespace, (ANONYMOUS,))
        return sealed(found)


def known(digest: str = D, host: str = HOST) -> Known:
    """A registry's own answer."""
    return Known(digest, "fresh", host, "pod", requests=1, milliseconds=3.0, media_type="m")


class Registries:
    """Registries with switches, by host: what they answer, whether they hang, and what they were asked. Where there is
    an `owner`, everyone else is denied."""

    def __init__(self) -> None:
        self.answers: dict[str, Known | Absent | Failed | Exception] = {}
        self.held: Passed | Absent | Failed = Passed(1.0)
        self.doors: dict[str, asyncio.Event] = {}
        self.asked: list[tuple[Reference, Candidates]] = []
        self.heeds_deadline = True
        self.inside: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.owner = ""

    def hang(self, host: str = HOST) -> asyncio.Event:
        """From now on this host answers when the event is set."""
        self.doors[host] = asyncio.Event()
        return self.doors[host]

    def hosts(self) -> list[str]:
        """Who was asked, in order."""
        return [image.registry for image, _ in self.asked]

    async def digest_of(self, image: Reference, candidates: Candidates, *, deadline: float) -> Known | Absent | Failed:
        if not await self._enter(image, candidates, deadline):
            return Failed(Reason.OUT_OF_TIME, image.repository, "no answer in time")
        if self.owner and all(one.username != self.owner for one in candidates.credentials):
            return Absent(image.registry, str(image), denied=True)
        answer = self.answers.get(image.registry) or known(image.digest or D, image.registry)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def holds(
        self, image: Reference, candidates: Candidates, *, scheme: str, platforms: tuple[str, ...], deadline: float
    ) -> Passed | Absent | Failed:
        if not await self._enter(image, candidates, deadline):
            return Failed(Reason.OUT_OF_TIME, image.repository, "no answer in time")
        return self.held

    async def _enter(self, image: Reference, candidates: Candidates, deadline: float) -> bool:
        host = image.registry
        self.asked.append((image, candidates))
        self.inside[host] += 1
        self.peak[host] = max(self.peak[host], self.inside[host])
        try:
            async with asyncio.timeout_at(deadline if self.heeds_deadline else None):
                await asyncio.sleep(0)
                if host in self.doors:
                    await self.doors[host].wait()
        except TimeoutError:
            return False
        finally:
            self.inside[host] -= 1
        return True


def digest_ask(
    *images: Reference, namespace: str = "default", since: float | None = None, account: str = ""
) -> AskDigest:
    """What does the upstream say?"""
    return AskDigest(images or (TAG,), Audience(namespace, account), since)


def held_ask(
    host: str = HOST, namespace: str = "default", platforms: tuple[str, ...] = (), *, has_next: bool = False
) -> AskHeld:
    """Does this host hold the digest?"""
    place = Reference(host, "team/app", None, D)
    return AskHeld("regional", place, Audience(namespace), platforms, has_next=has_next)


def soon(seconds: float = 5.0) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + seconds


async def settled(turns: int = 20) -> None:
    """Let everything run that can run without waiting."""
    for _ in range(turns):
        await asyncio.sleep(0)
