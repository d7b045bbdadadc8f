"""Which registry hosts may be contacted, and how each is reached. Everything else gets no packet."""

from collections.abc import Iterable, Mapping

import msgspec

from webhook.core.globs import Globs
from webhook.core.reference import DOCKER_HUB

HUB_ENDPOINT = "registry-1.docker.io"
BUILT_IN_REALMS: Mapping[str, tuple[str, ...]] = {
    DOCKER_HUB: ("auth.docker.io",),
    "registry.gitlab.com": ("gitlab.com",),
}
"""Registries whose tokens come from another host, as (registry, realm) pairs (registry-protocol facts: CVE-2026-33540 and kin)."""


class CredentialSource(msgspec.Struct, frozen=True):
    """One entry of `credentials:`. `kind` is pod, file, ecr, acr, gar or anonymous; an operator's own credential
    answers only for the namespaces and repository paths that it is granted to."""

    kind: str
    file: str = ""
    namespaces: Globs = Globs(("*",))
    paths: Globs = Globs(("**",))


class Registry(msgspec.Struct, frozen=True):
    """How one host is reached. `listed` says that it stands literally in the configuration (not matched by `*`):
    private addresses are fine only then. `ca` is PEM text, empty for the system's authorities. A `proxy_cache` may answer
    404 to HEAD for what it has not fetched yet (harbor#13153)."""

    host: str
    credentials: tuple[CredentialSource, ...] = (CredentialSource("pod"), CredentialSource("anonymous"))
    realms: tuple[str, ...] = ()
    proxy: str = ""
    ca: str = ""
    max_in_flight: int = 32
    plain_http: bool = False
    allow_loopback: bool = False
    listed: bool = True
    proxy_cache: bool = False

    @property
    def endpoint(self) -> str:
        """Host and port that are dialled."""
        return HUB_ENDPOINT if self.host == DOCKER_HUB else self.host

    def may_issue_tokens(self, realm: str) -> bool:
        """Whether this host (lower-case, with its port, if any) may issue tokens for the registry."""
        own = (self.endpoint, *self.realms, *BUILT_IN_REALMS.get(self.host, ()))
        return any(realm == one.lower() for one in own)

    def is_at(self, names: Iterable[str]) -> bool:
        """Whether one of these names of a place (lower-case, with and without its port) is the registry's own."""
        return self.endpoint.lower() in names


class Registries:
    """The hosts of the configuration: found literally first, else by a pattern whose `*` stays within one label."""

    def __init__(self, registries: Iterable[Registry]) -> None:
        every = tuple(registries)
        self.literal: Mapping[str, Registry] = {one.host: one for one in every if "*" not in one.host}
        self.patterns = tuple(one for one in every if "*" in one.host)

    def find(self, host: str) -> Registry | None:
        """How to reach this host (with its port, if any); None when it must not be contacted."""
        found = self.literal.get(host)
        if found is not None:
            return found
        for pattern in self.patterns:
            if _fits(host, pattern.host):
                return msgspec.structs.replace(pattern, host=host, listed=False)
        return None


def _fits(host: str, pattern: str) -> bool:
    name, _, port = host.partition(":")
    wanted, _, wanted_port = pattern.partition(":")
    return port == wanted_port and Globs((wanted.replace(".", "/"),)).matches(name.replace(".", "/"))
