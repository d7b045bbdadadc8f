"""What an answer about a manifest proves: the digest, or that a body has to be hashed, or that this is no registry.

Sources: distribution-spec (pulling manifests; the digest header is optional up to v1.1.1), CVE-2021-41190 (media type
and Content-Type must agree; documents with both manifests and layers are refused).
"""

import hashlib
import re
from typing import Final

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.core.challenge import Response, Trouble
from webhook.core.reason import Reason
from webhook.core.reference import is_digest

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
KNOWN_TYPES: Final = INDEXES | {OCI_MANIFEST, DOCKER_MANIFEST}
ACCEPT: Final = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
"""One line: servers that read only the first Accept line answer 406 to several (distribution#4596)."""
MANIFEST_BODY: Final = 4 * 1024 * 1024
MAX_PARTS: Final = 20_000
"""JSON objects in a document: an image has at most some hundreds, and each becomes one of ours."""
_USUAL_VARIANT: Final = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
# What servers of plain files call every file; only these leave it to the document to name its type.
_VAGUE: Final = frozenset({"", "application/json", "application/octet-stream", "binary/octet-stream", "text/plain"})
_LENGTH = re.compile(r"0*[1-9][0-9]*", re.ASCII)
_DIGEST_HEADER = "docker-content-digest"
_USUAL_DIGEST: Final = "sha256:"
_NULL = msgspec.Raw(b"null")


class Proof(msgspec.Struct, frozen=True):
    """A digest and the media type of what it names."""

    digest: str
    media_type: str


class Platform(msgspec.Struct):
    """The platform of a child of an index."""

    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def is_meant_by(self, text: str) -> bool:
        """Whether a person who writes `linux/arm64` means this one: some indexes name the variant that is meant anyway
        (containerd/platforms, normalizeArch)."""
        system, _, rest = text.partition("/")
        architecture, _, variant = rest.partition("/")
        usual = _USUAL_VARIANT.get(architecture, "")
        return self.os == system and self.architecture == architecture and (self.variant or usual) == (variant or usual)


class Child(msgspec.Struct):
    """One entry of an index."""

    digest: str = ""
    platform: Platform | None = None


class _Blob(msgspec.Struct):
    digest: str = ""


class _Document(msgspec.Struct, rename="camel"):
    media_type: str = ""
    schema_version: int = 0
    manifests: list[Child] | None = None
    config: _Blob | None = None
    layers: list[_Blob] | None = None
    fs_layers: msgspec.Raw = _NULL


def media_type_of(response: Response) -> str:
    """Content-Type without its parameters."""
    return (response.header("content-type") or "").partition(";")[0].strip().lower()


def head_proof(response: Response, wanted: str | None) -> Proof | None:
    """What a HEAD answer proves; None when the body has to be fetched and hashed.

    `wanted` is the digest that was asked for, if one was.
    """
    digest, media_type = response.header(_DIGEST_HEADER), media_type_of(response)
    length = response.header("content-length") or ""
    if digest is None or not is_digest(digest) or media_type not in KNOWN_TYPES or _LENGTH.fullmatch(length) is None:
        return None
    # Another algorithm, which nobody asked for, is to be verified first (distribution-spec, pulling manifests).
    is_enough = digest.startswith(_USUAL_DIGEST) if wanted is None else digest == wanted
    return Proof(digest, media_type) if is_enough else None


def body_proof(response: Response, wanted: str | None) -> Proof | Trouble:
    """What a GET answer proves: the body's own hash, whatever the header says."""
    document = _read(response)
    if isinstance(document, Trouble):
        return document
    if wanted is not None:
        if _digest_like(wanted, response.body) != wanted:
            return _bad("it answers with a document of another digest")
        return Proof(wanted, document.media_type)
    claimed = response.header(_DIGEST_HEADER) or ""
    # Another algorithm than sha256 is taken from one who proves to use it.
    is_proven = is_digest(claimed) and _digest_like(claimed, response.body) == claimed
    return Proof(claimed if is_proven else _digest_like(_USUAL_DIGEST, response.body), document.media_type)


def _digest_like(digest: str, body: bytes) -> str:
    algorithm = digest.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


class Contents(msgspec.Struct, frozen=True):
    """The entries of an index, or the digest of a single image's configuration."""

    children: tuple[Child, ...] = ()
    config: str = ""

    def child_for(self, platform: str) -> str:
        """The digest of the child for a platform, written as `linux/arm64`; empty when there is none."""
        for child in self.children:
            if child.platform is not None and child.platform.is_meant_by(platform) and is_digest(child.digest):
                return child.digest
        return ""


def contents_of(response: Response) -> Contents | Trouble:
    """What a manifest lists."""
    document = _read(response)
    if isinstance(document, Trouble):
        return document
    config = document.config.digest if document.config is not None else ""
    return Contents(tuple(document.manifests or ()), config if is_digest(config) else "")


def platform_of(body: bytes, wanted: str) -> Platform | Trouble:
    """The platform that the image configuration of this digest names."""
    if _digest_like(wanted, body) != wanted:
        return _bad("it answers with a configuration of another digest")
    try:
        return msgspec.json.decode(body, type=Platform)
    except UNREADABLE:
        return _bad("it answers with something that is no image configuration")


def _read(response: Response) -> _Document | Trouble:
    if response.body.count(b"{") > MAX_PARTS:
        return _bad("it answers with a document of more parts than an image has")
    try:
        document = msgspec.json.decode(response.body, type=_Document)
    except UNREADABLE:
        return _bad("it answers with something that is no manifest")
    stated = media_type_of(response)
    if document.schema_version != 2 or document.fs_layers != _NULL:
        return _bad("it answers with a schema 1 manifest or something that is none")
    if document.manifests is not None and (document.layers is not None or document.config is not None):
        return _bad("it answers with a document that is both an index and an image")
    if stated not in _VAGUE and document.media_type not in {"", stated}:
        return _bad("Content-Type and mediaType contradict each other")
    media_type = document.media_type or (stated if stated in KNOWN_TYPES else "")
    is_empty = document.manifests is None and document.config is None and document.layers is None
    if media_type not in KNOWN_TYPES or is_empty or (media_type in INDEXES) is not (document.manifests is not None):
        return _bad("it answers with a document of another type")
    return msgspec.structs.replace(document, media_type=media_type)


def _bad(detail: str) -> Trouble:
    return Trouble(Reason.BAD_REGISTRY, detail)
