"""Living revisions, read from the API server's lists: those that have Pods or will have some, each with a few of its Pods."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from webhook.core.annotation import key_of
from webhook.core.broken import UNREADABLE
from webhook.core.revision import CONTROLLER_REVISION, JOB, REPLICA_SET, Kind, Revision, short_hash
from webhook.core.rollout import Stored, revision_of
from webhook.core.subject import Metadata, PodSpec, Subject, pod_slots, revision_hash

SAMPLE: Final = 20
"""Pods of one revision that are looked at."""


class Seen(msgspec.Struct, frozen=True):
    """A Pod of a revision. `images` are the texts of its spec and `running` its imageIDs, by `field/container`;
    `created` in unix milliseconds."""

    name: str
    created: int
    is_ready: bool
    annotations: Mapping[str, str]
    images: Mapping[str, str]
    running: Mapping[str, str]


class Living(msgspec.Struct, frozen=True):
    """A revision that has Pods or will have some, its template, the uid of their controller, and Pods of it."""

    revision: Revision
    subject: Subject
    controller: str
    pods: tuple[Seen, ...] = ()


class _Metadata(Metadata, rename="camel"):
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _Running(msgspec.Struct, rename="camel"):
    name: str = ""
    image_id: str = msgspec.field(default="", name="imageID")


class _PodStatus(msgspec.Struct, rename="camel"):
    conditions: list[_Condition] | None = None
    container_statuses: list[_Running] | None = None
    init_container_statuses: list[_Running] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: PodSpec
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


_pod: Final = msgspec.json.Decoder(_Pod)
_stored: Final = msgspec.json.Decoder(Stored)


class Pods:
    """Pods by the uid of their controller and the hash of their revision, a sample of each."""

    def __init__(self) -> None:
        self._pods: defaultdict[tuple[str, str], list[Seen]] = defaultdict(list)

    def add(self, item: bytes | msgspec.Raw) -> None:
        """Take in one item of a list; one that is no Pod of a controller is passed over."""
        try:
            pod = _pod.decode(item)
        except UNREADABLE:
            return
        metadata = pod.metadata
        owner = next((one for one in metadata.owner_references or () if one.controller), None)
        if owner is None or metadata.deletion_timestamp is not None:
            return
        found = self._pods[owner.uid, short_hash(revision_hash(metadata.labels or {}))]
        if len(found) < SAMPLE:
            found.append(_seen(pod))

    def of(self, uid: str, name: str) -> tuple[Seen, ...]:
        """Those of a controller and a revision, the oldest first."""
        return tuple(sorted(self._pods.get((uid, name), ()), key=lambda one: (one.created, one.name)))


def _seen(pod: _Pod) -> Seen:
    slots = pod_slots(pod.spec)
    running = {"containers": pod.status.container_statuses, "initContainers": pod.status.init_container_statuses}
    conditions = pod.status.conditions or ()
    born = pod.metadata.creation_timestamp
    return Seen(
        pod.metadata.name or "",
        int(born.timestamp() * 1000) if born is not None else 0,
        any(one.type == "Ready" and one.status == "True" for one in conditions),
        pod.metadata.annotations or {},
        {key_of(slot): slot.text for slot in slots},
        {f"{field}/{one.name}": one.image_id for field, every in running.items() for one in every or ()},
    )


def living_of(kind: Kind, items: Iterable[bytes | msgspec.Raw], pods: Pods) -> list[Living]:
    """Of the revisions of one kind those that have Pods or will have some; what cannot be read is passed over."""
    every: list[tuple[Stored, Living]] = []
    for item in items:
        try:
            one = _stored.decode(item)
            found = revision_of(kind, one, one.metadata.namespace or "")
        except UNREADABLE:
            continue
        if found is None:
            continue
        revision, subject = found
        controller = revision.controller if kind is CONTROLLER_REVISION else revision.uid
        name = "" if kind is JOB else revision.hash
        every.append((one, Living(revision, subject, controller, pods.of(controller, name))))
    newest: dict[str, int] = {}
    for one, living in every:
        newest[living.controller] = max(newest.get(living.controller, 0), one.revision)
    return [living for one, living in every if _lives(kind, one, living, newest)]


def _lives(kind: Kind, stored: Stored, living: Living, newest: Mapping[str, int]) -> bool:
    if living.pods:
        return True
    if kind is REPLICA_SET:
        return stored.has_pods
    if kind is JOB:
        return not stored.has_ended and not (stored.spec is not None and stored.spec.suspend)
    return stored.revision == newest[living.controller]
