"""A registry client with its real door, a clock that is told to pass, and whom it asks as."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tests.doors import Clock, soon
from tests.support.canary import marked
from tests.support.door import plain
from tests.support.registry import PATH, FakeRegistry
from webhook.core.ask import Absent, Failed, Known
from webhook.core.credential import ANONYMOUS, Candidates, Credential, candidates
from webhook.core.hosts import Registries, Registry
from webhook.core.reference import Reference
from webhook.core.secret import Secret
from webhook.outbound import Outbound
from webhook.registry import RegistryClient

READER: Final = Credential("pod", "reader", Secret(marked("password-of-reader")))
WRITER: Final = Credential("file", "writer", Secret(marked("password-of-writer")))
ROBOT: Final = Credential("file", identity_token=Secret(marked("identity-of-robot")))
WRONG: Final = Credential("file", "reader", Secret(marked("canary-of-the-password")))
SECRETS: Final = ("password-of", "identity-of", "canary-of", "token-")
"""Parts of everything that no message may hold."""


class Asking:
    """A client that asks one registry."""

    def __init__(self, client: RegistryClient, fake: FakeRegistry, clock: Clock) -> None:
        self.client = client
        self.fake = fake
        self.clock = clock

    async def digest(
        self,
        *who: Credential,
        tag: str | None = "stable",
        digest: str | None = None,
        path: str = PATH,
        seconds: float = 5,
    ) -> Known | Absent | Failed:
        """What the client finds out in time."""
        image = Reference(self.fake.host, path, tag, digest)
        return await self.client.digest_of(image, known_as(*who), deadline=soon(seconds))

    def said(self) -> list[str]:
        """What was asked since the last time, in order."""
        asked, self.fake.asked[:] = list(self.fake.asked), []
        return [one.method if one.purpose == "manifest" else f"{one.method} {one.purpose}" for one in asked]


def known_as(*who: Credential) -> Candidates:
    """These credentials, or nobody."""
    return candidates(who or (ANONYMOUS,), b"k" * 32)


@asynccontextmanager
async def asking(
    fake: FakeRegistry, registries: Sequence[Registry] = (), clock: Clock | None = None
) -> AsyncIterator[Asking]:
    """A client that may ask this registry, or these instead."""
    known = Registries(registries or [plain(fake)])
    outbound = Outbound(known)
    passing = clock or Clock()
    try:
        yield Asking(RegistryClient(outbound, known, now=passing, jitter=lambda: 0.0), fake, passing)
    finally:
        await outbound.aclose()
