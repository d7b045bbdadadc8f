r"""What an image name is: the grammar of distribution/reference, as a value that is right for ever once parsed.

Source: distribution/reference regexp.go, reference.go and normalize.go (v0.6.0). Python's `$`, `\w` and
`lower()` differ from Go's, so every pattern is ASCII and matched in full.
"""

import re
from functools import lru_cache
from typing import Self

import msgspec

DOCKER_HUB = "docker.io"
LATEST = "latest"
MAX_PATH = 255

_HUB_ALIAS = "index.docker.io"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_IMAGE = re.compile(rf"({_HOST})/({_PART}(?:/{_PART})*)(?::({_TAG}))?(?:@({_DIGEST}))?", re.ASCII)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}", re.ASCII)
_HEX = re.compile(r"[a-f0-9]+", re.ASCII)
_HOST_ALONE = re.compile(_HOST, re.ASCII)
_DIGEST_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_MAX_TEXT = 1024
"""More than host (253 and a port), path (255), tag (128) and digest (135) can have together."""
_REMEMBERED = 320
_MAX_PORT = 65535
_MAX_PORT_DIGITS = 16


class BadReference(ValueError):
    """The text is no image name; says which text and why."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{_shown(text)}: {why}")
        self.text = text
        self.why = why


class Reference(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """A parsed image name: registry host with its port, path, and a tag, a digest, both or neither."""

    registry: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an image name as containerd and the kubelet do; short names get docker.io and library/.

        Raises:
            BadReference: the text does not follow the grammar, or is 64 hex digits and so could be an image ID.
        """
        host, rest = _split_host(text)
        found = _IMAGE.fullmatch(f"{host}/{rest}") if len(text) <= _MAX_TEXT else None
        if found is None:
            raise BadReference(text, _why_not(text, host, rest))
        registry, path, tag, digest = found.groups()
        if registry != host:
            raise BadReference(text, f"{_shown(host)} is no registry host")
        if len(path) > MAX_PATH:
            raise BadReference(text, f"the path has more than {MAX_PATH} characters")
        if _IDENTIFIER.fullmatch(text):
            raise BadReference(text, "64 hexadecimal digits could be an image ID; add a tag")
        if digest is not None and not is_digest(digest):
            raise BadReference(
                text, "the digest must be sha256, sha384 or sha512 in lower-case hexadecimal of full length"
            )
        return cls(registry, path, tag, digest)

    def __str__(self) -> str:
        text = f"{self.registry}/{self.path}"
        if self.tag is not None:
            text += f":{self.tag}"
        if self.digest is not None:
            text += f"@{self.digest}"
        return text

    @property
    def repository(self) -> str:
        """Host and path, without tag and digest."""
        return f"{self.registry}/{self.path}"

    @property
    def floating(self) -> str:
        """The tag that a registry is asked for: the written one, or `latest`."""
        return self.tag if self.tag is not None else LATEST

    @property
    def tagged(self) -> str:
        """Host, path and the tag that a registry is asked for: the name under which digests are locked and pinned."""
        return f"{self.registry}/{self.path}:{self.floating}"

    def pinned(self, digest: str, *, keep_tag: bool = False) -> "Reference":
        """The same image by digest."""
        return Reference(self.registry, self.path, self.tag if keep_tag else None, digest)

    def moved_to(self, registry: str, path: str) -> "Reference":
        """The same tag and digest at another place."""
        return Reference(registry, path, self.tag, self.digest)


def parsed(text: str) -> Reference | BadReference:
    """`Reference.parse`, remembered, with doubt as a value: Pods name the same few images again and again. Not the
    longest ones, so that nobody can fill memory with them."""
    return _remembered(text) if len(text) <= _REMEMBERED else _parsed(text)


def _parsed(text: str) -> Reference | BadReference:
    try:
        return Reference.parse(text)
    except BadReference as bad:
        return bad.with_traceback(None)


_remembered = lru_cache(maxsize=16384)(_parsed)


def is_digest(text: str) -> bool:
    """Whether the text is a whole digest of a known algorithm (go-digest's Validate)."""
    algorithm, _, encoded = text.partition(":")
    return len(encoded) == _DIGEST_LENGTH.get(algorithm, -1) and _HEX.fullmatch(encoded) is not None


def is_host(text: str) -> bool:
    """Whether the text is a registry host with an optional port."""
    return _HOST_ALONE.fullmatch(text) is not None


def is_dialable(host: str) -> bool:
    """Whether the port of a registry host, if it has one, exists: the grammar takes any digits."""
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or (len(port) <= _MAX_PORT_DIGITS and 1 <= int(port) <= _MAX_PORT)


def looks_like_host(segment: str) -> bool:
    """Whether the first segment of a name is a host and not part of a docker.io path (normalize.go, splitDockerDomain)."""
    return segment == "localhost" or "." in segment or ":" in segment or not _is_lower(segment)


def _split_host(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return DOCKER_HUB, f"library/{text}"
    if not looks_like_host(first):
        first, rest = DOCKER_HUB, text
    elif first == _HUB_ALIAS:
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _is_lower(text: str) -> bool:
    return not any("A" <= character <= "Z" for character in text)


def _why_not(text: str, host: str, rest: str) -> str:
    if not text:
        return "the name is empty"
    if len(text) > _MAX_TEXT:
        return f"the name has more than {_MAX_TEXT} characters"
    if not text.isascii():
        return "only ASCII characters may stand in an image name"
    if text != text.strip():
        return "blanks around the name"
    if "://" in text:
        return "a URL is no image name; leave the scheme out"
    if _HOST_ALONE.fullmatch(host) is None:
        return f"{_shown(host)} is no registry host"
    if not _is_lower(rest.partition("@")[0].partition(":")[0]):
        return "the path must be lower-case"
    return "it does not follow the grammar host/path:tag@digest"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 128 else text[:125] + "...")
