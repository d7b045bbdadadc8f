"""Pins of live revisions and what siblings run, by their controller's uid: read at the API server when they are needed,
remembered for a while, and used on when the API server cannot be asked."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from webhook.books import Api, Book, Page, Refused, decoded, unheard
from webhook.core.ask import Absent, Ask, AskPin, AskSibling, Fact, Failed, Known, Oracle
from webhook.core.pins import Pinned, judge
from webhook.core.reason import Reason, Trace
from webhook.core.revision import Place, Revision, place_of
from webhook.core.seal import Sealer
from webhook.core.siblings import LIMIT, Sibling, decide
from webhook.core.subject import Owner
from webhook.kube import METADATA, METADATA_LIST, named

LOST: Final = 5.0
"""Seconds for which it is believed that a revision is not there: it was deleted, or its Pod came before it."""

NO_REVISION: Final = Absent()
"""No object stands for this rollout."""


class _OwnerReference(msgspec.Struct):
    uid: str = ""
    controller: bool | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    creation_timestamp: datetime | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[_OwnerReference] | None = None

    @property
    def created(self) -> int:
        """In unix milliseconds."""
        return int(self.creation_timestamp.timestamp() * 1000) if self.creation_timestamp is not None else 0

    @property
    def controller(self) -> str:
        """The uid of the controller, empty for none."""
        return next((one.uid for one in self.owner_references or () if one.controller), "")


class _Object(msgspec.Struct):
    metadata: _Metadata


class _Objects(msgspec.Struct):
    items: list[_Object] | None


_object: Final = msgspec.json.Decoder(_Object)
_objects: Final = msgspec.json.Decoder(_Objects)


class _Read(Page, gc=False):
    """What was found for one controller: facts by image name, and the fact for every other name."""

    facts: Mapping[str, Known]
    otherwise: Absent

    def fact(self, name: str) -> Fact:
        """What it says of an image."""
        return self.facts.get(name, self.otherwise)


class Pins(Oracle):
    """The oracle for AskPin. `remembered` in seconds: how long a pin is used before it is read again, because names come
    back with other contents and pins are written anew when their digest is gone."""

    def __init__(
        self, api: Api, book: Book[_Read], sealer: Sealer, *, remembered: float, refused: Refused = unheard
    ) -> None:
        self._api = api
        self._book = book
        self._sealer = sealer
        self._remembered = remembered
        self._refused = refused

    def peek(self, ask: Ask) -> Fact | None:
        """What was read a moment ago."""
        asked = _pin(ask)
        read = self._book.peek((asked.owner.uid, asked.owner.hash))
        if read is not None:
            return None if asked.anew else read.fact(asked.name)
        return NO_REVISION if place_of(asked.owner, asked.namespace) is None else None

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Read the revision."""
        asked = _pin(ask)
        place = place_of(asked.owner, asked.namespace)
        if place is None:
            return NO_REVISION
        key = (asked.owner.uid, asked.owner.hash)
        found = await self._book.look_up(
            key, lambda within: self._read(place, within), place.shown, deadline=deadline, anew=asked.anew
        )
        return found if isinstance(found, Failed) else found.fact(asked.name)

    async def _read(self, place: Place, within: float) -> _Read | Failed:
        answer = await self._api.get(place.path, deadline=within, accept=METADATA)
        if answer.status == 404:
            return _Read({}, Absent(notes=((Reason.PIN_IGNORED, place.shown, "it is not there"),)), life=LOST)
        metadata = decoded(_object, answer, place.kind.resource, self._refused)
        if isinstance(metadata, Failed):
            return metadata
        found = _revision(place, metadata.metadata)
        if not place.is_of(found):
            return _Read(
                {}, Absent(notes=((Reason.PIN_IGNORED, place.shown, "it belongs to another rollout"),)), life=LOST
            )
        judged = judge(found, self._sealer)
        facts = {name: _known(one, "pin", place.name, judged.ignored) for name, one in judged.images.items()}
        return _Read(facts, Absent(notes=judged.ignored), life=self._remembered)


class Siblings(Oracle):
    """The oracle for AskSibling."""

    def __init__(
        self, api: Api, book: Book[_Read], sealer: Sealer, *, remembered: float, refused: Refused = unheard
    ) -> None:
        self._api = api
        self._book = book
        self._sealer = sealer
        self._remembered = remembered
        self._refused = refused

    def peek(self, ask: Ask) -> Fact | None:
        """What siblings were seen to run a moment ago. That none runs an image is believed by nobody: the first one may
        just have come."""
        asked = _sibling(ask)
        read = self._book.peek(_key(asked))
        return read.facts.get(asked.name) if read is not None else None

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Look at the siblings."""
        asked = _sibling(ask)
        what = f"{asked.owner.kind} {asked.owner.name}"
        found = await self._book.look_up(
            _key(asked), lambda within: self._read(asked, within), what, deadline=deadline, anew=False
        )
        return found if isinstance(found, Failed) else found.fact(asked.name)

    async def _read(self, ask: AskSibling, within: float) -> _Read | Failed:
        siblings = await siblings_of(self._api, ask.owner, ask.namespace, ask.selector, within, self._refused)
        if isinstance(siblings, Failed):
            return siblings
        decided = decide(siblings, ask.owner, ask.namespace, self._sealer)
        facts = {name: _known(one, "sibling", ask.owner.name) for name, one in decided.items()}
        return _Read(facts, NO_REVISION, life=self._remembered if facts else 0.0)


async def siblings_of(
    api: Api, owner: Owner, namespace: str, selector: str, deadline: float, refused: Refused = unheard
) -> list[Sibling] | Failed:
    """Pods of the same controller, by the absolute loop time `deadline`; not more than LIMIT are looked at."""
    answer = await api.get(
        named("api", "v1", "namespaces", namespace, "pods"),
        deadline=deadline,
        accept=METADATA_LIST,
        query={"labelSelector": selector, "limit": str(LIMIT)},
    )
    found = decoded(_objects, answer, "pods", refused)
    if isinstance(found, Failed):
        return found
    every = [one.metadata for one in found.items or () if one.metadata.controller == owner.uid]
    return [Sibling(one.name, one.created, one.annotations or {}) for one in every]


def _pin(ask: Ask) -> AskPin:
    if not isinstance(ask, AskPin):
        raise TypeError(f"{type(ask).__name__} is no question about pins")
    return ask


def _sibling(ask: Ask) -> AskSibling:
    if not isinstance(ask, AskSibling):
        raise TypeError(f"{type(ask).__name__} is no question about siblings")
    return ask


def _key(ask: AskSibling) -> tuple[str, str]:
    """Who the siblings are: a controller that has no revisions of its own kind keeps its uid from rollout to rollout."""
    return ask.owner.uid, ask.selector


def _known(pinned: Pinned, source: str, by: str, notes: Trace = ()) -> Known:
    return Known(pinned.digest, source, by, is_hint=not pinned.sealed, notes=notes, at=pinned.at)


def _revision(place: Place, metadata: _Metadata) -> Revision:
    return Revision(
        place.kind.name,
        place.namespace,
        metadata.name,
        place.hash,
        metadata.uid,
        metadata.created,
        metadata.annotations or {},
        metadata.controller,
    )
