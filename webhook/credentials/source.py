"""Which credentials to try for an image and in which order: those that the configuration grants to the asker."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import msgspec

from webhook.core.credential import ANONYMOUS, ANONYMOUS_KIND, Candidates, Credential, candidates
from webhook.core.hosts import CredentialSource, Registries
from webhook.core.memo import Memo
from webhook.core.reason import Trace
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.credentials.keyring import BadDockerConfig, Keyring, decode
from webhook.reading import content

FILE_KIND: Final = "file"
_HELPERS: Final = ("credsStore", "credHelpers")

_USUAL: Final = 1024
"""Bytes that the candidates for an image take at most, but for the names of many secrets."""

Place = tuple[str, str, Audience]
"""Registry and path, and who asks."""


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
class Doubting(Protocol):
    """A provider that looks again whether a credential is the right one, once a registry has refused it."""

    def doubt(self, credential: Credential) -> None:
        """A registry refused this one."""


@runtime_checkable
class Rereading(Doubting, Protocol):
    """One that does so where somebody who asks a registry waits for it."""

    def doubts(self, credentials: Sequence[Credential]) -> bool:
        """Whether one of these was refused not long ago."""


class Given(msgspec.Struct, frozen=True, gc=False):
    """Credentials; until when (monotonic, in seconds) no others would be given; and what a trace is to say of them."""

    credentials: tuple[Credential, ...]
    until: float = 0.0
    notes: Trace = ()


NOTHING: Final = Given((), math.inf)


@runtime_checkable
class Dated(Protocol):
    """A provider that says for how long its credentials are good, so that they need not be put together anew each
    time, and why some are missing."""

    @property
    def problems(self) -> tuple[str, ...]:
        """As in Provider."""

    def give(self, image: Reference, audience: Audience) -> Given | None:
        """From memory; None when it would have to wait. Never waits, never raises."""

    async def give_by(self, image: Reference, audience: Audience, *, deadline: float) -> Given:
        """By the absolute loop time `deadline`."""


@runtime_checkable
class Renewing(Dated, Doubting, Protocol):
    """A provider whose credentials are the operator's and change on their own."""


class _Undated:
    """A provider that says nothing of the sort; what it gives is good until the given time."""

    def __init__(self, provider: Provider, until: float = 0.0) -> None:
        self._provider: Final = provider
        self._until = until

    @property
    def problems(self) -> tuple[str, ...]:
        return self._provider.problems

    def give(self, image: Reference, audience: Audience) -> Given | None:
        found = self._provider.peek(image, audience)
        return Given(found, self._until) if found is not None else None

    async def give_by(self, image: Reference, audience: Audience, *, deadline: float) -> Given:
        return Given(await self._provider.fetch(image, audience, deadline=deadline), self._until)


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
            read = content(self._path)
        except OSError as failed:
            self._trouble = f"cannot be read ({failed.strerror}); no credential comes from it"
            had_any = bool(self._keyring)
            self._content, self._keyring, self._unused = None, Keyring(()), ()
            return had_any
        if read == self._content:
            self._trouble = ""
            return False
        try:
            config = decode(read)
            keyring = Keyring.from_docker_config(config, kind=FILE_KIND)
        except BadDockerConfig as bad:
            kept = "what it held before is used on" if self._content is not None else "no credential comes from it"
            self._trouble = f"{bad}; {kept}"
            return False
        self._content, self._keyring, self._trouble = read, keyring, ""
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
    outlive a reload, so that one which is half written then still gives what it held before. `now` is monotonic.
    """

    def __init__(
        self,
        registries: Registries,
        *,
        key: bytes,
        providers: Mapping[str, Provider | Dated] | None = None,
        entries: int = 10_000,
        files: dict[str, OperatorFile] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registries = registries
        # Most repositories of a registry share their candidates.
        self._seal = lru_cache(maxsize=1024)(lambda ordered: candidates(ordered, key))
        self._now = now
        self._providers: Mapping[str, Dated] = {
            kind: one if isinstance(one, Dated) else _Undated(one) for kind, one in (providers or {}).items()
        }
        self._doubting = {kind: one for kind, one in (providers or {}).items() if isinstance(one, Doubting)}
        self._rereading = [one for one in (providers or {}).values() if isinstance(one, Rereading)]
        self._renewing = {kind: one for kind, one in (providers or {}).items() if isinstance(one, Renewing)}
        known = files if files is not None else {}
        for path in _files(registries):
            if path in known:
                known[path].refresh()
            else:
                known[path] = OperatorFile(Path(path))
        self._files = {path: known[path] for path in _files(registries)}
        self._from_files: Mapping[str, Dated] = {path: _Undated(one, math.inf) for path, one in self._files.items()}
        self._settled: Memo[Place, tuple[float, Candidates]] = Memo(entries * _USUAL)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with files and providers, in sentences without a secret."""
        every: Iterable[Provider | Dated] = (*self._files.values(), *self._providers.values())
        return tuple(line for one in every for line in one.problems)

    def doubt(self, credential: Credential) -> None:
        """A registry refused this one: who can get another looks whether it has to."""
        if credential.kind in self._doubting:
            self._doubting[credential.kind].doubt(credential)
        if credential.kind in self._renewing:
            # It may be due now, before the time that it was good for.
            self._settled.clear()

    async def prepare(self, *, deadline: float) -> None:
        """Have the providers ask now for what all Pods will want of the hosts that stand literally in the configuration."""
        everyone = Audience("")
        waits = [
            self._renewing[kind].give_by(Reference(host, "any", "any"), everyone, deadline=deadline)
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
        settled = self._settled.get((image.registry, image.path, audience))
        if settled is not None and self._now() < settled[0]:
            return settled[1]
        return self._from_memory(image, audience)

    def _from_memory(self, image: Reference, audience: Audience) -> Candidates | None:
        found: list[Given] = []
        for source in self._granted(image, audience):
            given = self._provider(source).give(image, audience)
            if given is None:
                return None
            found.append(given)
        return self._put_together((image.registry, image.path, audience), found)

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> Candidates:
        """The candidates, for who is about to ask a registry: what one has refused is looked at again. Sources that do not
        answer by the absolute loop time `deadline` contribute nothing."""
        known = self.peek(image, audience)
        if known is not None and not any(one.doubts(known.credentials) for one in self._rereading):
            return known
        sources = [self._provider(source) for source in self._granted(image, audience)]
        found = await asyncio.gather(*[one.give_by(image, audience, deadline=deadline) for one in sources])
        # Put together from memory, where that can be: a file may have been read again meanwhile.
        return self._from_memory(image, audience) or self._put_together((image.registry, image.path, audience), found)

    def _granted(self, image: Reference, audience: Audience) -> Iterator[CredentialSource]:
        registry = self._registries.find(image.registry)
        for source in registry.credentials if registry is not None else ():
            if source.namespaces.matches(audience.namespace) and source.paths.matches(image.path):
                yield source

    def _provider(self, source: CredentialSource) -> Dated:
        if source.kind == FILE_KIND:
            return self._from_files[source.file]
        return _NOBODY if source.kind == ANONYMOUS_KIND else self._providers.get(source.kind, _NONE)

    def _put_together(self, place: Place, found: Sequence[Given]) -> Candidates:
        """The candidates, remembered for as long as every source would give the same."""
        every = [one for given in found for one in given.credentials]
        sealed = self._seal(tuple(every) if len(every) == 1 else tuple(_once_each(every)))
        notes = tuple(dict.fromkeys([note for given in found for note in given.notes]))
        if notes:
            sealed = msgspec.structs.replace(sealed, notes=notes)
        until = min([given.until for given in found], default=math.inf)
        if until > self._now():
            self._settled.keep(place, (until, sealed), _weight(place[2], notes))
        return sealed


class _Always:
    """A source that needs nothing to be read."""

    problems = ()

    def __init__(self, *credentials: Credential) -> None:
        self._given = Given(credentials, math.inf)

    def give(self, image: Reference, audience: Audience) -> Given:
        del image, audience
        return self._given

    async def give_by(self, image: Reference, audience: Audience, *, deadline: float) -> Given:
        del deadline
        return self.give(image, audience)


def _weight(audience: Audience, notes: Trace) -> int:
    """Bytes, roughly: an author may write many names, which are kept with what is said of them."""
    return _USUAL + sum([100 + len(name) for name in audience.secrets]) + 200 * len(notes)


_NOBODY: Final = _Always(ANONYMOUS)
_NONE: Final = _Always()


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
