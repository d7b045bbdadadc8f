"""One way to log in at a registry, as found: its kind may be told to anyone, its secrets to nobody."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from webhook.core.reason import Trace
from webhook.core.reference import Reference
from webhook.core.secret import Secret
from webhook.core.subject import Audience

ANONYMOUS_KIND: Final = "anonymous"


class Credential(msgspec.Struct, frozen=True, gc=False):
    """A user name with a password, or an identity token (OAuth2 refresh token), or a ready registry token.

    `kind` is the provider that found it (file, pod, …): the only part that a trace, log or metric may show.
    `principal` says whose it is where the secret itself changes by the hour: then it stands for the secret in cache
    keys, so that what was learnt outlives a token. `lacks` says in our own words why there is no secret just now.
    """

    kind: str
    username: str = ""
    password: Secret = Secret("")
    identity_token: Secret = Secret("")
    registry_token: Secret = Secret("")
    principal: str = ""
    lacks: str = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether it carries nothing."""
        return not (self.username or self.password or self.identity_token or self.registry_token or self.lacks)

    def __repr__(self) -> str:
        return f"Credential({self.kind})"


ANONYMOUS: Final = Credential(ANONYMOUS_KIND)


class Candidates(msgspec.Struct, frozen=True, gc=False):
    """The credentials to try for one repository, in order. `fingerprint` stands for them in cache keys: a keyed hash,
    so that neither a dump of the cache nor a metric gives a secret away. `notes` tell a trace which ones are missing."""

    credentials: tuple[Credential, ...]
    fingerprint: bytes
    notes: Trace = ()


def candidates(credentials: Iterable[Credential], key: bytes) -> Candidates:
    """Put an order of credentials together; `key` is random and lives as long as the process."""
    ordered = tuple(credentials)
    sealed = blake2b(key=key, digest_size=16)
    for one in ordered:
        # A login never has the fingerprint of a principal, whatever its user is called.
        sealed.update(b"principal" if one.principal else b"login")
        for part in _stands_for(one):
            text = part.encode()
            sealed.update(len(text).to_bytes(4, "big") + text)
    return Candidates(ordered, sealed.digest())


def _stands_for(one: Credential) -> tuple[str, ...]:
    if one.principal:
        return (one.kind, one.principal)
    return (one.username, one.password.reveal(), one.identity_token.reveal(), one.registry_token.reveal())


class Keyrings(Protocol):
    """Who finds the candidates for an image: `webhook.credentials.source.Credentials`."""

    def peek(self, image: Reference, audience: Audience) -> Candidates | None:
        """From memory; None when a source has to be waited for. Never waits, never raises."""

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> Candidates:
        """By the absolute loop time `deadline`."""
