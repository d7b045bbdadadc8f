"""Who makes the next Pods of a live object: the revision that is current now, and the owner that they will have.

What decides is what the controllers go by (pkg/controller of Kubernetes 1.36): a Deployment's ReplicaSet is the oldest
one of its own template, a StatefulSet names its update revision, a DaemonSet's is the newest.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from webhook.core.revision import CONTROLLER_REVISION, REPLICA_SET, Kind, short_hash
from webhook.core.rollout import NUMBERS, Stored
from webhook.core.subject import HASH_LABELS, Metadata, Owner, Subject, owner_of, revision_hash

KEEPS: Final[Mapping[tuple[str, str], Kind | None]] = {
    ("apps", "Deployment"): REPLICA_SET,
    ("apps", "StatefulSet"): CONTROLLER_REVISION,
    ("apps", "DaemonSet"): CONTROLLER_REVISION,
    ("apps", "ReplicaSet"): None,
    ("batch", "CronJob"): None,
    ("batch", "Job"): None,
    ("", "Pod"): None,
    ("", "PodTemplate"): None,
    ("", "ReplicationController"): None,
}
"""Group and kind to the kind of the revisions that it keeps beside it; for kinds that are not here see `kept_by`."""

_TEMPLATE_HASHES: Final = HASH_LABELS[:2]
_CONTROLLER_HASH: Final = HASH_LABELS[2]


class Kept(msgspec.Struct, frozen=True):
    """A revision beside its workload. `template` is the JSON of its Pod template, None where that is kept otherwise."""

    kind: Kind
    stored: Stored
    template: Any = None

    @property
    def name(self) -> str:
        """Its own."""
        return self.stored.metadata.name or ""

    @property
    def controller(self) -> str:
        """The uid of its workload."""
        owner = owner_of(self.stored.metadata)
        return owner.uid if owner is not None else ""

    @property
    def number(self) -> int:
        """Which rollout it is, counted from 1; 0 where nothing says so."""
        if self.kind is CONTROLLER_REVISION:
            return self.stored.revision
        annotations = self.stored.metadata.annotations or {}
        numbers = [annotations[key] for key in NUMBERS if key in annotations]
        return max([int(text) for text in numbers if text.isascii() and text.isdigit()], default=0)

    @property
    def hash(self) -> str:
        """The hash of its template, as its Pods carry it."""
        return revision_hash(self.stored.metadata.labels or {})


class Next(msgspec.Struct, frozen=True):
    """The owner of the next Pods, its apiVersion, the label that names their revision (empty for none), and the name of
    the revision (empty where no object of its own stands for it)."""

    owner: Owner
    api_version: str
    label: str = ""
    revision: str = ""

    def given_to(self, subject: Subject) -> Subject:
        """The template as one of its Pods: with the owner and the label that a controller gives it."""
        labels = {**subject.labels, self.label: self.owner.hash} if self.label else subject.labels
        return msgspec.structs.replace(subject, owner=self.owner, labels=labels)


def kept_by(group: str, kind: str) -> Kind | None:
    """The kind of the revisions that objects of this kind keep; None for none. What is not Kubernetes' own may keep
    ReplicaSets, as Argo Rollouts do."""
    return KEEPS.get((group, kind), REPLICA_SET)


def kept(kind: Kind, manifest: Mapping[str, Any]) -> Kept:
    """A revision from its JSON.

    Raises:
        msgspec.ValidationError: it has an unexpected shape.
    """
    spec = manifest.get("spec")
    template = spec.get("template") if kind is REPLICA_SET and isinstance(spec, Mapping) else None
    # The data of a ControllerRevision is read where a template is wanted, and it never decides which one is current.
    parts = {key: value for key, value in manifest.items() if key != "data"}
    stored = msgspec.convert(parts, Stored)
    if "data" in manifest:
        stored.data = msgspec.Raw(msgspec.json.encode(manifest["data"]))
    return Kept(kind, stored, template)


def is_topmost(metadata: Metadata, known: Collection[tuple[str, str]]) -> bool:
    """Whether no controller of an object, by group and kind, is known to make it: then it is shown itself."""
    owner = owner_of(metadata)
    return owner is None or (owner.group, owner.kind) not in known


def current(manifest: Mapping[str, Any], revisions: Iterable[Kept]) -> Kept | None:
    """The revision of a workload that makes its next Pods; None where there is none yet. `revisions` are its own."""
    every = sorted(revisions, key=lambda one: one.number)
    status = _mapping(manifest.get("status"))
    match group_and_kind(manifest):
        case ("apps", "Deployment"):
            wanted = _bare(_mapping(manifest.get("spec")).get("template"))
            return min([one for one in every if _bare(one.template) == wanted], key=_age, default=None)
        case ("apps", "StatefulSet"):
            return next((one for one in every if one.name == status.get("updateRevision")), None)
        case _ if "currentPodHash" in status:
            # An Argo Rollout, whose template the API server does not complete, says it itself.
            return next((one for one in every if one.hash == status["currentPodHash"]), None)
        case _:
            return every[-1] if every else None


def next_pods(manifest: Mapping[str, Any], revisions: Sequence[Kept]) -> Next | None:
    """The owner of the next Pods of a live object; None where the next Pods are of a rollout that does not exist yet, and
    for a Pod, which has its owner already."""
    group, kind = group_and_kind(manifest)
    metadata = msgspec.convert(_mapping(manifest.get("metadata")), _Metadata)
    version = str(manifest.get("apiVersion", ""))
    itself = Owner(kind, metadata.name or "", metadata.uid, "", group)
    match group, kind:
        case ("", "Pod") | ("", "PodTemplate") | ("batch", "CronJob"):
            return None
        case ("batch", "Job"):
            return Next(itself, version, revision=itself.name)
        case ("", "ReplicationController"):
            return Next(itself, version)
        case ("apps", "ReplicaSet"):
            labels = metadata.labels or {}
            label = next((one for one in _TEMPLATE_HASHES if one in labels), "")
            owner = msgspec.structs.replace(itself, hash=labels.get(label, ""))
            return Next(owner, version, label, itself.name if label else "")
        case _:
            found = current(manifest, revisions)
            return _next_of(found, itself, version, _mapping(manifest.get("status")))


def _next_of(found: Kept | None, itself: Owner, version: str, status: Mapping[str, Any]) -> Next | None:
    if found is None:
        if (itself.group, itself.kind) in KEEPS:
            return None
        # An owner of a kind that only its operator knows: its Pods are known by each other.
        name = str(status.get("updateRevision") or "")
        owner = msgspec.structs.replace(itself, hash=name)
        return Next(owner, version, _CONTROLLER_HASH if name else "")
    if found.kind is REPLICA_SET:
        labels = found.stored.metadata.labels or {}
        label = next((one for one in _TEMPLATE_HASHES if one in labels), "")
        owner = Owner("ReplicaSet", found.name, found.stored.metadata.uid, found.hash, REPLICA_SET.group)
        return Next(owner, "apps/v1", label, found.name)
    # A StatefulSet's Pods carry the whole name of their revision, a DaemonSet's the bare hash.
    name = found.name if itself.kind == "StatefulSet" else short_hash(found.name)
    return Next(msgspec.structs.replace(itself, hash=name), version, _CONTROLLER_HASH, found.name)


class _Metadata(Metadata, rename="camel"):
    uid: str = ""


def group_and_kind(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Of an object."""
    return str(manifest.get("apiVersion", "")).rpartition("/")[0], str(manifest.get("kind", ""))


def _age(one: Kept) -> float:
    born = one.stored.metadata.creation_timestamp
    return born.timestamp() if born is not None else 0.0


def _bare(template: Any) -> Any:
    """A template without the label that its ReplicaSet adds (deployment_util.go, EqualIgnoreHash)."""
    metadata = _mapping(_mapping(template).get("metadata"))
    labels = {name: text for name, text in _mapping(metadata.get("labels")).items() if name not in _TEMPLATE_HASHES}
    return {**_mapping(template), "metadata": {**metadata, "labels": labels}}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def is_within(wanted: Any, there: Any) -> bool:
    """Whether everything that a manifest says stands in the live object already: to apply it changes nothing. What the
    API server filled in is only there; `1000m` beside `1` counts as a change."""
    if wanted in (None, {}, []) and there in (None, {}, []):
        return True
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(is_within(value, there.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(wanted) == len(there) and all(map(is_within, wanted, there))
    return bool(wanted == there)
