"""Which credentials to try for an image and in which order: those that the configuration grants to the asker."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from webhook.core.credential import ANONYMOUS, ANONYMOUS_KIND, Candidates, Credential, candidates
from webhook.core.hosts import CredentialSource, Registries
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.credentials.keyring import BadDockerConfig, Keyring, decode

FILE_KIND: Final = "file"
_HELPERS: Final = ("credsStore", "credHelpers")


class Provider(Protocol):
    """One place that credentials come from. One that cannot be asked gives none, and says so in `problems`."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong so far, in sentences without a secret."""

    def peek(self, image: Reference, audience: Audience) -> tuple[Credential, ...] | None:
        """The credentials, from memory; None when it would have to wait. Never waits, never raises."""

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> tuple[Credential, ...]:
        """The credentials, by the absolute loop time `deadline`."""


@runtime_checkable
class Renewing(Provider, Protocol):
    """A provider whose credentials are the operator's and change on their own."""

    def doubt(self, credential: Credential) -> None:
        """A registry refused this one."""


class OperatorFile:
    """A docker config of the operator's, kept in memory.

    Its credential helpers are never run: a server starts no other program.
    """

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._content: bytes | None = None
        self._keyring = Keyring(())
        self._trouble = ""
        self._unused: tuple[str, ...] = ()
        self.refresh()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file or with entries of it."""
        lines = (self._trouble, *self._unused, *self._keyring.problems)
        return tuple(f"{self._path}: {line}" for line in lines if line)

    def refresh(self) -> bool:
        """Read the file again; whether what it gives has changed.

        A file that is gone gives nothing, as its owner took it away. One that cannot be understood leaves the last
        good content in place: it may be half written.
        """
        try:
            content = self._path.read_bytes()
        except OSError as failed:
            self._trouble = f"cannot be read ({failed.strerror}); no credential comes from it"
            had_any = bool(self._keyring)
            self._content, self._keyring, self._unused = None, Keyring(()), ()
            return had_any
        if content == self._content:
            self._trouble = ""
            return False
        try:
            config = decode(content)
            keyring = Keyring.from_docker_config(config, kind=FILE_KIND)
        except BadDockerConfig as bad:
            kept = "what it held before is used on" if self._content is not None else "no credential comes from it"
            self._trouble = f"{bad}; {kept}"
            return False
        self._content, self._keyring, self._trouble = content, keyring, ""
        self._unused = tuple(
            f"{setting} is used on the command line only" for setting in _HELPERS if config.get(setting)
        )
        return True

    def peek(self, image: Reference, audience: Audience) -> tuple[Credential, ...]:
        """What the file holds for the repository, the same for everyone."""
        del audience
        return self._keyring.lookup(image.repository)

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> tuple[Credential, ...]:
        """The same: a file in memory is never waited for."""
        del deadline
        return self.peek(image, audience)


class Credentials:
    """Puts together the candidates for an image from the sources of its registry, in their order.

    `key` is random and lives as long as the process; `providers` answer for the kinds pod, ecr, acr and gar: a kind
    without a provider contributes nothing. A source counts only where it is granted, per namespace and path. `files`
    outlive a reload, so that one which is half written then still gives what it held before.
    """

    def __init__(
        self,
        registries: Registries,
        *,
        key: bytes,
        providers: Mapping[str, Provider] | None = None,
        entries: int = 10_000,
        files: dict[str, OperatorFile] | None = None,
    ) -> None:
        self._registries = registries
        # Most repositories of a registry share their candidates.
        self._seal = lru_cache(maxsize=1024)(lambda ordered: candidates(ordered, key))
        self._providers = dict(providers or {})
        self._renewing = {kind: one for kind, one in self._providers.items() if isinstance(one, Renewing)}
        known = files if files is not None else {}
        for path in _files(registries):
            if path in known:
                known[path].refresh()
            else:
                known[path] = OperatorFile(Path(path))
        self._files = {path: known[path] for path in _files(registries)}
        self._entries = entries
        self._settled: dict[tuple[str, str, str], Candidates] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with files and providers, in sentences without a secret."""
        every: Iterable[Provider] = (*self._files.values(), *self._providers.values())
        return tuple(line for one in every for line in one.problems)

    def doubt(self, credential: Credential) -> None:
        """A registry refused this one: who can get another looks whether it has to."""
        if credential.kind in self._renewing:
            self._renewing[credential.kind].doubt(credential)

    async def prepare(self, *, deadline: float) -> None:
        """Have the providers ask now for what all Pods will want of the hosts that stand literally in the configuration."""
        everyone = Audience("")
        waits = [
            self._renewing[kind].fetch(Reference(host, "any", "any"), everyone, deadline=deadline)
            for host, registry in self._registries.literal.items()
            for kind in {source.kind for source in registry.credentials} & self._renewing.keys()
        ]
        await asyncio.gather(*waits)

    def refresh(self) -> bool:
        """Read the operator's files again; whether any of them changed."""
        changes = [file.refresh() for file in self._files.values()]
        if any(changes):
            self._settled.clear()
        return any(changes)

    def peek(self, image: Reference, audience: Audience) -> Candidates | None:
        """The candidates, from memory; None when a source has to be waited for."""
        place = (image.registry, image.path, audience.namespace)
        settled = self._settled.get(place)
        if settled is not None:
            return settled
        found: list[Credential] = []
        lasting = True
        for source in self._granted(image, audience):
            provider = self._provider(source)
            given = _given(source) if provider is None else provider.peek(image, audience)
            if given is None:
                return None
            found.extend(given)
            lasting = lasting and (provider is None or source.kind == FILE_KIND)
        return self._settle(place, found) if lasting else self._sealed(found)

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> Candidates:
        """The candidates; sources that do not answer by the absolute loop time `deadline` contribute nothing."""
        known = self.peek(image, audience)
        if known is not None:
            return known
        found: list[Credential] = []
        for source in self._granted(image, audience):
            provider = self._provider(source)
            found.extend(
                _given(source) if provider is None else await provider.fetch(image, audience, deadline=deadline)
            )
        return self._sealed(found)

    def _granted(self, image: Reference, audience: Audience) -> Iterator[CredentialSource]:
        registry = self._registries.find(image.registry)
        for source in registry.credentials if registry is not None else ():
            if source.namespaces.matches(audience.namespace) and source.paths.matches(image.path):
                yield source

    def _provider(self, source: CredentialSource) -> Provider | None:
        return self._files[source.file] if source.kind == FILE_KIND else self._providers.get(source.kind)

    def _settle(self, place: tuple[str, str, str], found: list[Credential]) -> Candidates:
        if len(self._settled) >= self._entries:
            # Starting anew costs one look-up each, keeping an order of use would cost every warm review.
            self._settled.clear()
        settled = self._settled[place] = self._sealed(found)
        return settled

    def _sealed(self, found: list[Credential]) -> Candidates:
        return self._seal(tuple(found) if len(found) == 1 else tuple(_once_each(found)))


def _given(source: CredentialSource) -> tuple[Credential, ...]:
    return (ANONYMOUS,) if source.kind == ANONYMOUS_KIND else ()


def _files(registries: Registries) -> frozenset[str]:
    every = (*registries.literal.values(), *registries.patterns)
    return frozenset(source.file for one in every for source in one.credentials if source.kind == FILE_KIND)


def _once_each(found: Iterable[Credential]) -> Iterator[Credential]:
    """Each secret once, under the kind that named it first: trying it again would only count as another refusal."""
    seen = set()
    for one in found:
        secret = (one.username, one.password, one.identity_token, one.registry_token, one.lacks)
        if secret not in seen:
            seen.add(secret)
            yield one
