"""What a review of a revision says: which rollout it stands for, and what happens to it.

Only three things that happen to a revision matter: it is created, it comes back (undo, or a template that was there
before), or it is a Job that is resumed. Source: pkg/controller/{deployment,statefulset,daemon,job} of Kubernetes 1.36,
as seen on the real controllers.
"""

from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from webhook.core.pins import NEAR
from webhook.core.revision import CONTROLLER_REVISION, JOB, JOB_HASH, KEPT_BY, Kind, Revision, short_hash
from webhook.core.subject import (
    HASH_LABELS,
    Metadata,
    Pod,
    PodSpec,
    Subject,
    audience_of,
    owner_of,
    pod_slots,
    workload_of,
)

NUMBERS: Final = ("deployment.kubernetes.io/revision", "rollout.argoproj.io/revision")
"""Annotations of a ReplicaSet that count its workload's rollouts: one that changes says that it is used again."""
KEEL: Final = "keel.sh/digest"
"""Where Keel says what it rolled out last; the controllers copy it from the workload to its revisions."""


_ENDED: Final = frozenset({"Complete", "Failed", "Suspended"})


class Event(Enum):
    """What happens to a revision."""

    CREATED = "created"
    CAME_BACK = "came back"
    RESUMED = "resumed"


class Rollout(msgspec.Struct, frozen=True):
    """A revision at a turn of its life. `keel` is a digest, or whatever else stands there."""

    revision: Revision
    event: Event
    keel: str = ""


class _Metadata(Metadata, rename="camel"):
    uid: str = ""
    creation_timestamp: datetime | None = None


class _Spec(msgspec.Struct):
    template: Pod | None = None
    suspend: bool | None = None
    replicas: int | None = None


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _Status(msgspec.Struct):
    replicas: int = 0
    conditions: list[_Condition] | None = None


class _Data(msgspec.Struct):
    spec: _Spec | None = None


class Stored(msgspec.Struct):
    """A revision as the API server keeps it, as much of it as counts."""

    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    revision: int = 0
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def has_pods(self) -> bool:
        """Whether a ReplicaSet has or wants Pods."""
        return self.status.replicas > 0 or (self.spec is not None and bool(self.spec.replicas))

    @property
    def has_ended(self) -> bool:
        """Whether a Job starts no more Pods."""
        conditions = self.status.conditions or ()
        return any(one.type in _ENDED and one.status == "True" for one in conditions)


_data: Final = msgspec.json.Decoder(_Data | None)


def read(
    kind: Kind, operation: str, new: Stored, old: Stored | None, namespace: str, milliseconds: int
) -> tuple[Rollout, Subject] | None:
    """The rollout and its template as a subject; None where nothing is to be pinned. `milliseconds` is the wall clock.

    Raises:
        msgspec.ValidationError: the template has an unexpected shape.
    """
    event = _event(kind, operation, new, old)
    if event is None:
        return None
    # A copied pin that is nearly too old for this object must not pass for its own.
    born = milliseconds + NEAR // 2 if event is Event.CREATED else 0
    found = revision_of(kind, new, namespace, born=born)
    if found is None:
        return None
    revision, subject = found
    return Rollout(revision, event, revision.annotations.get(KEEL, "")), subject


def revision_of(kind: Kind, stored: Stored, namespace: str, *, born: int = 0) -> tuple[Revision, Subject] | None:
    """A revision and its template as a subject; None for what stands for no rollout. `born` (unix milliseconds) where
    the API server has not written it yet.

    Raises:
        msgspec.ValidationError: the template has an unexpected shape.
    """
    name = _hash(kind, stored)
    template = _template(kind, stored)
    if not name or template is None or template.spec is None:
        return None
    metadata = stored.metadata
    owner = owner_of(metadata)
    revision = Revision(
        kind.name,
        namespace,
        metadata.name or "",
        name,
        metadata.uid,
        born or _unix(metadata.creation_timestamp),
        metadata.annotations or {},
        owner.uid if owner is not None else "",
    )
    return revision, _subject(kind, metadata, template, namespace)


def _event(kind: Kind, operation: str, new: Stored, old: Stored | None) -> Event | None:
    suspended = kind is JOB and new.spec is not None and bool(new.spec.suspend)
    if operation == "CREATE":
        return None if suspended else Event.CREATED
    if operation != "UPDATE" or old is None:
        return None
    if kind is JOB:
        was = old.spec is not None and bool(old.spec.suspend)
        return Event.RESUMED if was and not suspended else None
    if kind is CONTROLLER_REVISION:
        return Event.CAME_BACK if new.revision != old.revision else None
    return Event.CAME_BACK if _numbers(new) != _numbers(old) and any(_numbers(old)) else None


def _numbers(stored: Stored) -> tuple[str, ...]:
    annotations = stored.metadata.annotations or {}
    return tuple([annotations.get(key, "") for key in NUMBERS])


def _hash(kind: Kind, stored: Stored) -> str:
    """The hash of a revision that stands for a rollout; empty for a bare ReplicaSet, or one of an unknown owner."""
    if kind is JOB:
        return JOB_HASH
    owner = owner_of(stored.metadata)
    if owner is None:
        return ""
    if kind is CONTROLLER_REVISION:
        name = stored.metadata.name or ""
        is_ours = KEPT_BY.get((owner.group, owner.kind)) is CONTROLLER_REVISION and name.startswith(f"{owner.name}-")
        return short_hash(name) if is_ours else ""
    labels = stored.metadata.labels or {}
    return next((labels[label] for label in HASH_LABELS[:2] if label in labels), "")


def _template(kind: Kind, stored: Stored) -> Pod | None:
    if kind is not CONTROLLER_REVISION:
        return stored.spec.template if stored.spec is not None else None
    data = _data.decode(stored.data)
    return data.spec.template if data is not None and data.spec is not None else None


def _subject(kind: Kind, metadata: Metadata, template: Pod, namespace: str) -> Subject:
    inner = template.metadata or Metadata()
    spec = template.spec or PodSpec()
    return Subject(
        kind.name,
        namespace,
        metadata.name or "",
        workload_of(kind.name, metadata),
        audience_of(spec, namespace),
        pod_slots(spec, "/spec/template" if kind is not CONTROLLER_REVISION else "/data/spec/template"),
        inner.labels or {},
        inner.annotations or {},
        owner_of(metadata),
        is_revision=True,
    )


def _unix(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1000) if moment is not None else 0
