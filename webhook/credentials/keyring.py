"""What a docker config holds, looked up the kubelet's way (Keyring) or podman's way (AuthFile). Reads no file.

The two ways differ, and both are kept because each is what the owner of such a file relies on:

- The kubelet (kubernetes pkg/credentialprovider/keyring.go): `*` within a label of the host, as many labels on
  both sides, equal ports, the path as a prefix of *bytes* (`host/team` also covers `host/teams/app`); every match
  counts, the reverse-sorted keys giving the order, so that credentials can be rotated.
- podman (containers-auth.json(5)): no patterns; the path is cut segment by segment, and only the first match counts.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from operator import itemgetter
from typing import Any, Final, Self

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.core.credential import Credential
from webhook.core.reference import DOCKER_HUB, looks_like_host
from webhook.core.secret import Secret

HUB_KEY: Final = "index.docker.io"
"""What `https://index.docker.io/v1/`, the key under which `docker login` files Docker Hub, comes down to."""

_HUB_NAMES: Final = frozenset({DOCKER_HUB, HUB_KEY})
_HUB_ALIASES: Final = _HUB_NAMES | {"registry-1.docker.io"}
_API_PATHS: Final = ("/v1/", "/v2/")
_FIELDS: Final = ("auth", "username", "password", "identitytoken", "registrytoken")
_VISIBLE = re.compile(r"[!-~]*", re.ASCII)

Entry = tuple[str, Credential]


class BadDockerConfig(ValueError):
    """A text that is no docker config at all. Never shows what stands in it."""


class Keyring:
    """Credentials by registry host and path, looked up as the kubelet does.

    `problems` names the entries that could not be read, and why; they are left out, the others work.
    """

    def __init__(self, entries: Iterable[Entry], problems: Iterable[str] = ()) -> None:
        by_key: dict[str, list[Credential]] = {}
        for place, credential in entries:
            by_key.setdefault(_key(place), []).append(credential)
        # Go sorts by bytes; Python's order of code points is the same for UTF-8.
        self._index = tuple((key, _Pattern.of(key), tuple(by_key[key])) for key in sorted(by_key, reverse=True))
        self._hub = tuple(by_key.get(HUB_KEY, ()))
        self.problems = tuple(problems)

    @classmethod
    def from_docker_config(cls, config: Mapping[str, Any] | str | bytes, *, kind: str = "file") -> Self:
        """From `{"auths": {…}}` or the old `.dockercfg` form; `kind` is what traces call its credentials.

        Raises:
            BadDockerConfig: it is no JSON object.
        """
        return cls(*read_auths(config, kind=kind))

    def lookup(self, repository: str) -> tuple[Credential, ...]:
        """The credentials for `host/path` in the order in which the kubelet tries them; empty when none fits."""
        return look_up((self,), repository)

    def matches(self, repository: str) -> list[tuple[str, tuple[Credential, ...]]]:
        """The keys that cover `host/path` with their credentials, in the order in which the kubelet tries them."""
        host, slash, path = repository.partition("/")
        name, port = _split_port(host)
        labels = name.split(".")
        return [(key, ones) for key, pattern, ones in self._index if pattern.covers(labels, port, slash + path)]

    @property
    def hub(self) -> tuple[Credential, ...]:
        """What is filed under Docker Hub's own name."""
        return self._hub

    def __bool__(self) -> bool:
        return bool(self._index)

    def __repr__(self) -> str:
        return f"Keyring({len(self._index)} places)"


def look_up(rings: Sequence[Keyring], repository: str) -> tuple[Credential, ...]:
    """The credentials for `host/path` in several keyrings, as if all that they hold stood in one: so does the kubelet
    with the pull secrets of a Pod. The longest path goes first, in whichever of them it stands."""
    found = [match for ring in rings for match in ring.matches(repository)]
    if found:
        if len(rings) > 1:
            found.sort(key=itemgetter(0), reverse=True)
        return tuple([one for _, ones in found for one in ones])
    host, slash, _ = repository.partition("/")
    # Docker Hub is filed under a name that no image has. Unlike the kubelet, which also takes a bare `localhost/x`
    # for Docker Hub, a host gets these credentials only if it is Docker Hub.
    if host in _HUB_NAMES or (host and not (slash and looks_like_host(host))):
        return tuple([one for ring in rings for one in ring.hub])
    return ()


class AuthFile:
    """Credentials by registry host and path, looked up as podman, skopeo and buildah do; `problems` as in Keyring."""

    def __init__(self, entries: Iterable[Entry], problems: Iterable[str] = ()) -> None:
        self._exact: dict[str, Credential] = {}
        self._hosts: dict[str, Credential] = {}
        for place, credential in entries:
            self._exact.setdefault(place.rstrip("/"), credential)
            # A key that is a URL was written by docker and means the host; `host/v1` without a scheme is a namespace.
            if "://" in place or "/" not in place:
                self._hosts.setdefault(_hub_folded(_without_scheme(place).partition("/")[0]), credential)
        self.problems = tuple(problems)

    @classmethod
    def from_auth_json(cls, config: Mapping[str, Any] | str | bytes, *, kind: str = "file") -> Self:
        """From an auth.json.

        Raises:
            BadDockerConfig: it is no JSON object.
        """
        return cls(*read_auths(config, kind=kind))

    def lookup(self, repository: str) -> tuple[Credential, ...]:
        """The credential of the longest run of segments that has one; empty when none has."""
        host = repository.partition("/")[0]
        place = repository
        while True:
            if place in self._exact:
                return (self._exact[place],)
            place, slash, _ = place.rpartition("/")
            if not slash:
                break
        found = self._hosts.get(_hub_folded(host))
        return (found,) if found is not None else ()

    def __bool__(self) -> bool:
        return bool(self._exact)

    def __repr__(self) -> str:
        return f"AuthFile({len(self._exact)} places)"


class _Pattern(msgspec.Struct, frozen=True):
    """A key of the index: patterns for the host's labels, its port, and a prefix of the path."""

    labels: tuple[str, ...]
    port: str
    path: str

    @classmethod
    def of(cls, key: str) -> Self:
        host, slash, path = key.partition("/")
        name, port = _split_port(host)
        return cls(tuple(name.split(".")), port, slash + path)

    def covers(self, labels: list[str], port: str, path: str) -> bool:
        return (
            port == self.port
            and len(labels) == len(self.labels)
            and path.startswith(self.path)
            and all(
                mine in (label, "*") or fnmatchcase(label, mine)
                for mine, label in zip(self.labels, labels, strict=True)
            )
        )


def decode(config: Mapping[str, Any] | str | bytes) -> Mapping[str, Any]:
    """A docker config as a mapping.

    Raises:
        BadDockerConfig: it is no JSON object.
    """
    if isinstance(config, str | bytes):
        data = config.encode(errors="replace") if isinstance(config, str) else config
        try:
            config = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
        except UNREADABLE:
            raise BadDockerConfig("a docker config must be JSON, and this is not") from None
    if not isinstance(config, Mapping):
        raise BadDockerConfig("a docker config must be a JSON object")
    return config


def read_auths(config: Mapping[str, Any] | str | bytes, *, kind: str) -> tuple[list[Entry], list[str]]:
    """The places of a docker config with their credentials, and what is wrong with the entries that have none."""
    entries: list[Entry] = []
    problems: list[str] = []
    for place, value in _auths(decode(config)):
        found = _credential(value, kind)
        if isinstance(found, Credential):
            entries.append((place, found))
        elif found:
            problems.append(f"auths[{_shown(place)}]: {found}")
    return entries, problems


def _auths(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if "auths" in config:
        auths = config["auths"]
        if not isinstance(auths, Mapping | None):
            raise BadDockerConfig("auths of a docker config must be a JSON object")
        yield from (auths or {}).items()
        return
    for place, value in config.items():
        # The old form is the bare map; a config.json without auths has settings there, which are no places.
        if isinstance(value, Mapping):
            if any(field in value for field in _FIELDS):
                yield place, value
        elif any(sign in _without_scheme(place).partition("/")[0] for sign in ".:"):
            yield place, value


def _credential(value: object, kind: str) -> Credential | str:
    """The credential of an entry, or what is wrong with it.

    An empty text stands for an entry that holds none: `docker login` writes such beside a credential store.
    """
    if not isinstance(value, Mapping):
        return "not a JSON object"
    texts = {field: value.get(field) or "" for field in _FIELDS}
    for field, text in texts.items():
        if not isinstance(text, str):
            return f"{field} is no text"
        if not _is_sendable(text):
            return f"{field} holds characters that cannot be sent"
    username, password = texts["username"], texts["password"]
    if texts["auth"]:
        decoded = _decoded(texts["auth"])
        if decoded is None:
            return "auth is not base64 of user:password"
        username, password = decoded
    for field in ("identitytoken", "registrytoken"):
        if not _VISIBLE.fullmatch(texts[field]):
            return f"{field} holds characters that no token has"
    credential = Credential(
        kind, username, Secret(password), Secret(texts["identitytoken"]), Secret(texts["registrytoken"])
    )
    return "" if credential.is_anonymous else credential


def _decoded(auth: str) -> tuple[str, str] | None:
    # Both padded and unpadded base64 are met, and Go's decoder, which the kubelet uses, skips line breaks.
    packed = auth.strip().replace("\r", "").replace("\n", "").rstrip("=")
    try:
        text = b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode()
    except ValueError:
        return None
    username, colon, password = text.partition(":")
    # docker's own client writes trailing NULs into some files and cuts them when reading.
    return (username, password.strip("\0")) if colon else None


def _is_sendable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(place: str) -> str:
    """The form under which a place is indexed: no scheme, no user, `/v1/` and `/v2/` folded into the host."""
    host, slash, path = re.split(r"[?#]", _without_scheme(place), maxsplit=1)[0].partition("/")
    whole = slash + path
    if whole.startswith(_API_PATHS):
        whole = whole[3:]
    return host if whole in {"", "/"} else host + whole


def _without_scheme(place: str) -> str:
    bare = place.removeprefix("https://").removeprefix("http://")
    host, slash, path = bare.partition("/")
    return host.rpartition("@")[2] + slash + path


def _shown(place: str) -> str:
    """A place as a message may show it: without what a URL may carry before its host or behind its path."""
    return re.split(r"[?#]", _without_scheme(place), maxsplit=1)[0][:128]


def _hub_folded(host: str) -> str:
    return HUB_KEY if host in _HUB_ALIASES else host


def _split_port(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and "]" not in port else (host, "")
