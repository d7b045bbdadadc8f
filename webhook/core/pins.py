"""Pins: the digest of each tag, decided once for a rollout and written on the object that stands for it.

`pins.moorage.dev/<hash>.<unix milliseconds>: {"images":{"host/path:tag":"sha256:…"},"seal":"…"}`. Undo copies a
ReplicaSet's annotations to its Deployment, whose controller copies them to later ReplicaSets, also to one of the same
hash that was deleted and came back, and overwrites an equal key. So a pin counts only on the object that it was made
for: by its time, or by the uid in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.core.reason import Note, Reason
from webhook.core.reference import is_digest
from webhook.core.revision import Revision
from webhook.core.seal import Sealer

PREFIX: Final = "pins.moorage.dev/"
NEAR: Final = 60_000
"""Milliseconds between a pin's time and its revision's creation: the time stamp of a creation has whole seconds, clocks
differ, and a copy comes later."""
MAX_ANNOTATIONS: Final = 256 * 1024
"""Bytes of all keys and values: the API server refuses an object with more (apimachinery, TotalAnnotationSizeLimitB)."""

_KEY: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,47})\.([0-9]{1,15})", re.ASCII)
_MAX_NOTES: Final = 3
_MAX_FRAME: Final = 256
"""Bytes of a pin besides its entries: key, braces, uid, seal."""
_MAX_ENTRY: Final = 144
"""Bytes of an entry besides its name: a sha512 and what JSON puts around."""


class Pin(msgspec.Struct, frozen=True):
    """One annotation: image names to digests. `time` in unix milliseconds; `uid` names the revision where the pin was
    added later than at its creation; `sealed` says that Moorage wrote it for this very revision."""

    hash: str
    time: int
    images: Mapping[str, str]
    uid: str = ""
    sealed: bool = False


class Pinned(msgspec.Struct, frozen=True, gc=False):
    """The digest that holds for an image, named by the upstream `at` (unix milliseconds). Without a seal it is a hint,
    which the upstream has to confirm."""

    digest: str
    sealed: bool
    at: int = 0


class Judged(msgspec.Struct, frozen=True):
    """What the pins on a revision come to: by image name, and notes on those that were ignored."""

    images: Mapping[str, Pinned]
    ignored: tuple[Note, ...] = ()


class _Value(msgspec.Struct):
    images: dict[str, str]
    uid: str = ""
    seal: str = ""


_decoder: Final = msgspec.json.Decoder(_Value)
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def written(
    images: Mapping[str, str], revision: Revision, sealer: Sealer, milliseconds: int, *, uid: str = ""
) -> tuple[str, str]:
    """Key and value of a new pin. `uid` is given where the revision was created long ago."""
    parts = _sealed_parts(revision, milliseconds, uid, images)
    value = {"images": dict(images), **({"uid": uid} if uid else {}), "seal": sealer.seal(*parts)}
    return f"{PREFIX}{revision.hash}.{milliseconds}", _encode(value).decode()


def judge(revision: Revision, sealer: Sealer) -> Judged:
    """Which pins hold. For each image the newest sealed one, where none is the newest other: what an author writes
    never outdoes what Moorage wrote."""
    held: dict[str, tuple[bool, int, str]] = {}
    ignored: list[Note] = []
    for outcome in _read(revision, sealer):
        if isinstance(outcome, Pin):
            for name, digest in outcome.images.items():
                held[name] = max(held.get(name, (False, -1, "")), (outcome.sealed, outcome.time, digest))
        elif len(ignored) < _MAX_NOTES:
            ignored.append(outcome)
    return Judged({name: Pinned(digest, sealed, at) for name, (sealed, at, digest) in held.items()}, tuple(ignored))


def needs_seal(revision: Revision, sealer: Sealer) -> bool:
    """Whether a pin that holds is under an older key than the one that signs: it is to be written again before that key
    goes."""
    under_newest = judge(revision, sealer.newest()).images
    return any(one.sealed and not under_newest[name].sealed for name, one in judge(revision, sealer).images.items())


def fits(annotations: Mapping[str, str], key: str, value: str) -> bool:
    """Whether an object with these annotations can take one more: with too many the API server refuses the object."""
    size = sum(len(name.encode()) + len(text.encode()) for name, text in annotations.items() if name != key)
    return size + len(key.encode()) + len(value.encode()) <= MAX_ANNOTATIONS


def has_room(annotations: Mapping[str, str], names: Iterable[str]) -> bool:
    """Whether a pin of these images is sure to fit."""
    return fits(annotations, "", "x" * (_MAX_FRAME + sum(len(name) + _MAX_ENTRY for name in names)))


def _read(revision: Revision, sealer: Sealer) -> Iterator[Pin | Note]:
    for key, text in revision.annotations.items():
        if key.startswith(PREFIX):
            yield _read_one(key, text, revision, sealer)


def _read_one(key: str, text: str, revision: Revision, sealer: Sealer) -> Pin | Note:
    found = _KEY.fullmatch(key, len(PREFIX))
    if found is None:
        return _ignored(key, "its key is no hash with a time")
    name, time = found[1], int(found[2])
    if name != revision.hash:
        return _ignored(key, "it is another revision's")
    try:
        value = _decoder.decode(text)
    except UNREADABLE:
        return _ignored(key, "it cannot be read")
    if not all(map(is_digest, value.images.values())):
        return _ignored(key, "it holds something that is no digest")
    if not (value.uid == revision.uid if value.uid else abs(time - revision.created) <= NEAR):
        return _ignored(key, "it was not made for this object: a copy")
    sealed = bool(value.seal) and sealer.believes(value.seal, *_sealed_parts(revision, time, value.uid, value.images))
    return Pin(name, time, value.images, value.uid, sealed)


def _ignored(key: str, why: str) -> Note:
    return (Reason.PIN_IGNORED, key.removeprefix(PREFIX)[:64], why)


def _sealed_parts(revision: Revision, time: int, uid: str, images: Mapping[str, str]) -> Iterable[bytes]:
    texts = (revision.namespace, revision.kind, revision.hash, str(time), uid)
    return (b"pin", *(text.encode() for text in texts), _encode(dict(images)))
