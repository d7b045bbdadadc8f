"""`moorage.dev/images`: what Moorage did to a Pod, written on it, and read back with distrust."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.core.decision import Action, Decision, Source
from webhook.core.seal import Sealer
from webhook.core.subject import Slot, Subject

IMAGES: Final = "moorage.dev/images"
FRESH_FOR: Final = 60_000
"""Milliseconds for which a sealed entry answers for its digest without asking: the rounds of one admission."""

_SOURCES: Final = {source.value: source for source in Source}
_ACTS = frozenset({Action.REWRITTEN, Action.PINNED, Action.RECORDED})


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What was done to one slot. `from` is the author's text; `at` (unix milliseconds) is when the upstream named the
    digest, where that was long before the annotation."""

    from_: str = msgspec.field(name="from")
    digest: str = ""
    target: str = ""
    rule: str = ""
    source: str = ""
    arm: str = ""
    at: int = 0


class Images(msgspec.Struct, frozen=True, gc=False):
    """The annotation: entries by `field/container`, the time in unix milliseconds, the seal over all of it."""

    images: dict[str, Entry]
    time: int = 0
    seal: str = ""


NOTHING: Final = Images({})
_decoder = msgspec.json.Decoder(Images)
_encode = msgspec.json.Encoder().encode


def key_of(slot: Slot) -> str:
    """The name of a slot in the annotation: unlike its index it survives containers put in before it."""
    return f"{slot.field}/{slot.container}"


def read(annotations: Mapping[str, str]) -> Images:
    """The annotation of an object; what cannot be read counts as absent."""
    text = annotations.get(IMAGES)
    if text is None:
        return NOTHING
    try:
        return _decoder.decode(text)
    except UNREADABLE:
        return NOTHING


def is_ours(images: Images, namespace: str, owner: str, sealer: Sealer) -> bool:
    """Whether Moorage sealed this for this namespace and owner (the uid of the controller, empty for none)."""
    parts = _sealed_parts(images.images, images.time, namespace, owner)
    return bool(images.seal) and sealer.believes(images.seal, *parts)


def is_foreign(annotations: Mapping[str, str], namespace: str, owner: str, sealer: Sealer, milliseconds: int) -> bool:
    """Whether somebody else sealed the annotation a moment ago: most likely another Moorage, which is asked about the same
    Pods in the same admission. `milliseconds` is the wall clock."""
    images = read(annotations)
    if not images.images or not images.seal or abs(milliseconds - images.time) > FRESH_FOR:
        return False
    return not is_ours(images, namespace, owner, sealer)


def entries(decisions: Iterable[Decision]) -> dict[str, Entry]:
    """What the annotation has to say about these decisions."""
    return {
        key_of(one.slot): Entry(one.slot.text, one.digest, one.target, one.rule, one.source.value, one.arm, one.at)
        for one in decisions
        if one.action in _ACTS
    }


def say_the_same(one: Mapping[str, Entry], other: Mapping[str, Entry]) -> bool:
    """Whether two annotations tell the same, wherever their digests came from."""
    return one.keys() == other.keys() and all(
        msgspec.structs.replace(entry, source="", at=0) == msgspec.structs.replace(other[key], source="", at=0)
        for key, entry in one.items()
    )


def written(images: dict[str, Entry], subject: Subject, sealer: Sealer, milliseconds: int) -> str:
    """The annotation's text, sealed."""
    parts = _sealed_parts(images, milliseconds, subject.namespace, owner_of(subject))
    return (b'{"images":%b,"time":%b,"seal":"%b"}' % (parts[3], parts[2], sealer.seal(*parts).encode())).decode()


def source_of(entry: Entry) -> Source:
    """Where the digest of an entry came from; what is no known word counts as none."""
    return _SOURCES.get(entry.source, Source.NONE)


def owner_of(subject: Subject) -> str:
    """The uid of a subject's controller, empty for none: a seal holds for one rollout's Pods."""
    return subject.owner.uid if subject.owner is not None else ""


def _sealed_parts(
    images: Mapping[str, Entry], milliseconds: int, namespace: str, owner: str
) -> tuple[bytes, bytes, bytes, bytes]:
    return (namespace.encode(), owner.encode(), b"%d" % milliseconds, _encode(images))
