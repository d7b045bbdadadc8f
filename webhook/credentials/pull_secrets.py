"""The pull secrets of a Pod, or of its service account: read by name, in the namespace of the request and nowhere else."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from cachetools import LRUCache

from webhook.books import Api, Book, Page, decoded
from webhook.core.ask import Failed
from webhook.core.credential import Credential
from webhook.core.reason import Note, Reason, Trace, sentence
from webhook.core.reference import Reference
from webhook.core.subject import MOST_SECRETS, Audience, SecretName, is_namespace, names_of
from webhook.credentials.keyring import BadDockerConfig, Keyring, decode, look_up
from webhook.credentials.source import NOTHING, Given
from webhook.kube import named

POD_KIND: Final = "pod"
REMEMBERED: Final = 60.0
"""Seconds for which a secret or an account is used before it is read again."""
LOST: Final = 5.0
"""Seconds for which it is believed that one is not there: it may be on its way."""
AHEAD: Final = 0.75
"""The share of that time after which the next use has it read again, and does not wait."""
AGAIN: Final = 5.0
"""Seconds until the next try where reading ahead did not work, and between two looks at a secret that registries refuse."""
DOUBTED: Final = 1024
"""Logins that were refused and are remembered as such."""
REFRESH_WITHIN: Final = 10.0
LARGEST: Final = 256 * 1024
"""Bytes of a docker config: a thousand logins. What is larger would hold everybody up while it is read."""
LARGE: Final = 16 * 1024
"""Bytes from which one is read beside the loop."""
TOLD: Final = 16
"""Namespaces whose secrets may not be read, and that are named."""

_NAME: Final = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?", re.ASCII)
"""Names as the API server takes them (RFC 1123): nothing else gets into a path, where `.` would name the list of all."""


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Data(msgspec.Struct):
    config: bytes = msgspec.field(default=b"", name=".dockerconfigjson")
    old: bytes = msgspec.field(default=b"", name=".dockercfg")

    def __repr__(self) -> str:
        return "_Data(***)"


class _Secret(msgspec.Struct):
    metadata: _Metadata
    type: str = ""
    data: _Data | None = None


class _Account(msgspec.Struct, rename="camel"):
    image_pull_secrets: list[SecretName] | None = None


_secret: Final = msgspec.json.Decoder(_Secret)
_account: Final = msgspec.json.Decoder(_Account)
_DATA: Final[Mapping[str, Callable[[_Data], bytes]]] = {
    "kubernetes.io/dockerconfigjson": lambda data: data.config,
    "kubernetes.io/dockercfg": lambda data: data.old,
}
_OLD: Final = "kubernetes.io/dockercfg"


_LIGHT: Final = 1024
"""Bytes that any secret weighs."""


class _Kept(Page, kw_only=True):
    """`due` is when the next use has it read again, `note` what a trace says of it."""

    due: float = 0.0
    note: Note | None = None


class _Ring(_Kept, kw_only=True):
    """A secret: its logins, and the version they were read from. `weight` in bytes, roughly; `seen` is when it was read, or
    could not be."""

    seen: float = 0.0
    keyring: Keyring | None = None
    version: str = ""
    weight: int = _LIGHT


class _Names(_Kept, kw_only=True):
    """A service account: the pull secrets that it names."""

    names: tuple[str, ...] = ()


Key = tuple[str, str]
"""A namespace, and a name in it."""
Kept = TypeVar("Kept", bound=_Kept)


class PullSecrets:
    """The provider `pod`. Where secrets may not be read, nothing comes from them and admission goes on: `warn` is told of
    the first such namespace, and of sixteen where others may be read. `count` hears what came of each request, in one
    word."""

    def __init__(
        self,
        api: Api,
        secrets: Book[_Ring],
        accounts: Book[_Names],
        *,
        now: Callable[[], float],
        count: Callable[[str], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._api = api
        self._secrets = secrets
        self._accounts = accounts
        self._now = now
        self._count = count
        self._warn = warn
        # By their hashes: an author may have filled a secret with what he likes, and a chance hit costs one reading.
        self._refused: LRUCache[int, float] = LRUCache(DOUBTED)
        self._may_read = False
        self._unread: dict[str, str] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """Where secrets may not be read; sixteen namespaces at most."""
        return tuple(self._unread.values())

    def give(self, image: Reference, audience: Audience) -> Given | None:
        """What the secrets hold for the repository, from memory; None where one of them has to be read first."""
        if not is_namespace(audience.namespace):
            return NOTHING
        pages: list[_Kept] = []
        names = audience.secrets
        if not names:
            account = self._peek(self._accounts, _account_of(audience), self._read_account)
            if account is None:
                return None
            pages.append(account)
            names = account.names
        good, notes = _readable(names)
        rings: list[_Ring] = []
        for name in good:
            ring = self._peek(self._secrets, (audience.namespace, name), self._read_secret)
            if ring is None or self._is_doubtful(ring, image):
                return None
            rings.append(ring)
        return _given(image, [*pages, *rings], rings, notes)

    async def give_by(self, image: Reference, audience: Audience, *, deadline: float) -> Given:
        """The same, once what is not in memory was read: the account first, where it has to say which secrets, and then
        all of them at once. What could not be read by the absolute loop time `deadline` contributes nothing."""
        known = self.give(image, audience)
        if known is not None:
            return known
        namespace, names = audience.namespace, audience.secrets
        pages: list[_Kept] = []
        if not names:
            account = await self._fetch(self._accounts, _account_of(audience), self._read_account, deadline)
            if isinstance(account, Failed):
                return Given((), notes=(_unread(namespace, account.detail),))
            pages.append(account)
            names = account.names
        good, notes = _readable(names)
        every = await asyncio.gather(*[self._fetch_secret((namespace, name), image, deadline) for name in good])
        rings = [one for one in every if not isinstance(one, Failed)]
        failed = [_unread(namespace, one.detail) for one in every if isinstance(one, Failed)]
        given = _given(image, [*pages, *rings], rings, [*notes, *failed])
        # What is missing for now is asked for again at the next use.
        return msgspec.structs.replace(given, until=0.0) if failed else given

    def doubt(self, credential: Credential) -> None:
        """A registry refused this one: the secrets that hold it may have been replaced."""
        self._refused[hash(credential)] = self._now()

    def doubts(self, credentials: Sequence[Credential]) -> bool:
        """Whether one of these was refused, so that its secret may have to be read again."""
        return bool(self._refused) and any(hash(one) in self._refused for one in credentials)

    def _is_doubtful(self, ring: _Ring, image: Reference) -> bool:
        """Whether what it gives for an image was refused since it was read, some seconds ago at least."""
        if not self._refused or ring.keyring is None or self._now() < ring.seen + AGAIN:
            return False
        found = ring.keyring.lookup(image.repository)
        return any(self._refused.get(hash(one), -math.inf) >= ring.seen for one in found)

    async def _fetch_secret(self, key: Key, image: Reference, deadline: float) -> _Ring | Failed:
        ring = self._peek(self._secrets, key, self._read_secret)
        if ring is None or not self._is_doubtful(ring, image):
            return await self._fetch(self._secrets, key, self._read_secret, deadline)
        found = await self._secrets.look_up(
            key, lambda until: self._read_secret(key, until), key[1], deadline=deadline, anew=False
        )
        if found is ring:
            ring.seen = self._now()
        return found

    def _peek(self, book: Book[Kept], key: Key, read: "_Read[Kept]") -> Kept | None:
        kept = book.peek(key)
        if kept is not None and self._now() >= kept.due:
            kept.due = self._now() + AGAIN
            book.refresh(key, lambda until: read(key, until), within=REFRESH_WITHIN)
        return kept

    async def _fetch(self, book: Book[Kept], key: Key, read: "_Read[Kept]", deadline: float) -> Kept | Failed:
        known = self._peek(book, key, read)
        if known is not None:
            return known
        return await book.look_up(key, lambda until: read(key, until), key[1], deadline=deadline, anew=False)

    async def _read_account(self, key: Key, until: float) -> _Names | Failed:
        namespace, name = key
        answer = await self._api.get(
            named("api", "v1", "namespaces", namespace, "serviceaccounts", name), deadline=until
        )
        if answer.status == 403:
            return _Names(note=self._may_not(namespace, "service accounts"), life=REMEMBERED, due=self._due(REMEMBERED))
        if answer.status == 404:
            self._tell("missing")
            note = _skipped(f"of service account {name}", "the account is not there")
            return _Names(note=note, life=LOST, due=self._due(LOST))
        found = decoded(_account, answer)
        if isinstance(found, Failed):
            self._tell("failed")
            return found
        self._tell("read")
        names = names_of(found.image_pull_secrets or ())
        return _Names(names=names, life=REMEMBERED, due=self._due(REMEMBERED))

    async def _read_secret(self, key: Key, until: float) -> _Ring | Failed:
        namespace, name = key
        began = self._now()
        answer = await self._api.get(named("api", "v1", "namespaces", namespace, "secrets", name), deadline=until)
        if answer.status == 403:
            return _Ring(note=self._may_not(namespace, "secrets"), life=REMEMBERED, due=self._due(REMEMBERED))
        if answer.status == 404:
            self._tell("missing")
            return _Ring(note=_skipped(name, "it is not there"), life=LOST, due=self._due(LOST))
        found = decoded(_secret, answer)
        if isinstance(found, Failed):
            self._tell("failed")
            return found
        self._may_read = True
        self._unread.pop(namespace, None)
        before, version = self._secrets.last(key), found.metadata.resource_version
        if before is not None and version and before.version == version:
            ring = before.keyring if before.keyring is not None else before.note
            weight = before.weight
        else:
            ring, weight = await _ring_of(name, found)
        self._tell("read" if isinstance(ring, Keyring) else "unusable")
        return _Ring(
            keyring=ring if isinstance(ring, Keyring) else None,
            note=_note_of(name, ring) if isinstance(ring, Keyring) else ring,
            version=version,
            weight=weight,
            seen=began,
            life=REMEMBERED,
            due=self._due(REMEMBERED),
        )

    def _due(self, life: float) -> float:
        return self._now() + life * AHEAD

    def _may_not(self, namespace: str, what: str) -> Note:
        self._tell("forbidden")
        note = _unread(namespace, f"no right to get {what} there")
        if namespace not in self._unread and len(self._unread) < TOLD:
            is_first = not self._unread
            self._unread[namespace] = sentence(note)
            if self._warn is not None and (is_first or self._may_read):
                self._warn(sentence(note))
        return note

    def _tell(self, outcome: str) -> None:
        if self._count is not None:
            self._count(outcome)


_Read = Callable[[Key, float], Awaitable[Kept | Failed]]
"""Reads one by the absolute loop time."""


def _account_of(audience: Audience) -> Key:
    account = audience.account or "default"
    return audience.namespace, account if _NAME.fullmatch(account) else "default"


def _readable(names: Sequence[str]) -> tuple[list[str], list[Note]]:
    """The names to look at, each once, and what is to be said of the others."""
    good: list[str] = []
    notes: list[Note] = []
    for name in dict.fromkeys(names):
        if _NAME.fullmatch(name) is None:
            notes.append(_skipped(name[:64], "skipped: that is no name of a secret"))
        elif len(good) == MOST_SECRETS:
            notes.append(_skipped(name, f"skipped, with those after it: {MOST_SECRETS} are looked at"))
            break
        else:
            good.append(name)
    return good, notes


def _given(image: Reference, pages: Iterable[_Kept], rings: Iterable[_Ring], notes: Iterable[Note]) -> Given:
    keyrings = [ring.keyring for ring in rings if ring.keyring is not None]
    every = list(pages)
    told: Trace = tuple(dict.fromkeys([*notes, *(page.note for page in every if page.note is not None)]))
    until = min([min(page.due, page.until) for page in every], default=math.inf)
    return Given(look_up(keyrings, image.repository), until, told)


async def _ring_of(name: str, secret: _Secret) -> tuple[Keyring | Note, int]:
    """What a secret holds, or why it is of no use; and its weight."""
    read = _DATA.get(secret.type)
    config = read(secret.data) if read is not None and secret.data is not None else b""
    if read is None:
        return _skipped(name, "skipped: its type is that of no pull secret"), _LIGHT
    if not config:
        return _skipped(name, "skipped: it holds nothing of its type"), _LIGHT
    if len(config) > LARGEST:
        return _skipped(name, f"skipped: it is larger than {LARGEST // 1024} KiB"), _LIGHT
    is_old = secret.type == _OLD
    try:
        ring = _parsed(config, is_old) if len(config) < LARGE else await asyncio.to_thread(_parsed, config, is_old)
    except BadDockerConfig:
        return _skipped(name, "skipped: it holds no docker config"), _LIGHT
    # A login takes some twelve times the place of its JSON.
    return ring, _LIGHT + 12 * len(config)


def _parsed(config: bytes, is_old: bool) -> Keyring:  # noqa: FBT001 - asyncio.to_thread hands it on so
    """As the kubelet reads it: the old type is the bare map, of the new one only `auths` counts."""
    found = decode(config)
    return Keyring.from_docker_config({"auths": found if is_old else found.get("auths")}, kind=POD_KIND)


def _note_of(name: str, ring: Keyring) -> Note | None:
    """What is wrong with a secret that is used; not which of its hosts, as not all who see a trace may see the secret."""
    if ring.problems:
        return _skipped(name, f"{len(ring.problems)} of its logins cannot be read")
    return None if ring else _skipped(name, "it holds no login")


def _skipped(name: str, why: str) -> Note:
    return (Reason.PULL_SECRET_SKIPPED, name, why)


def _unread(namespace: str, why: str) -> Note:
    return (Reason.PULL_SECRETS_NOT_READ, namespace, why)
