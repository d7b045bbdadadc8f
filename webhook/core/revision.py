"""The object that stands for one rollout: a ReplicaSet, a ControllerRevision, a Job. Which it is, and where it is found.

Seen on real controllers: a StatefulSet's Pods carry the whole name of their ControllerRevision in
`controller-revision-hash`, a DaemonSet's the bare hash; both are names without a hyphen behind the workload's own.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from webhook.core.subject import Owner

JOB_HASH: Final = "job"
"""A Job is its own only revision."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of revision, and where the API server keeps objects of it."""

    name: str
    group: str
    resource: str


REPLICA_SET: Final = Kind("ReplicaSet", "apps", "replicasets")
CONTROLLER_REVISION: Final = Kind("ControllerRevision", "apps", "controllerrevisions")
JOB: Final = Kind("Job", "batch", "jobs")

KINDS: Final[Mapping[str, Kind]] = {kind.resource: kind for kind in (REPLICA_SET, CONTROLLER_REVISION, JOB)}
NAMED: Final[Mapping[str, Kind]] = {kind.name: kind for kind in KINDS.values()}
"""By resource, as a review names it."""

KEPT_BY: Final[Mapping[tuple[str, str], Kind]] = {
    ("apps", "ReplicaSet"): REPLICA_SET,
    ("apps", "StatefulSet"): CONTROLLER_REVISION,
    ("apps", "DaemonSet"): CONTROLLER_REVISION,
    ("batch", "Job"): JOB,
}
"""Group and kind of a Pod's controller to the kind that stands for its rollout; owners of other kinds have none."""


class Revision(msgspec.Struct, frozen=True):
    """As much of a revision as its pins depend on.

    `hash` names it within its workload; `uid` is empty and `created` (unix milliseconds) is now while it is being
    created; `controller` is the uid of the workload that it belongs to.
    """

    kind: str
    namespace: str
    name: str
    hash: str
    uid: str = ""
    created: int = 0
    annotations: Mapping[str, str] = {}
    controller: str = ""


class Place(msgspec.Struct, frozen=True):
    """Where the revision of a Pod is found, and how it must look to be the right one: names come back with other
    contents, uids never do."""

    kind: Kind
    namespace: str
    name: str
    hash: str
    uid: str = ""
    controller: str = ""

    @property
    def path(self) -> str:
        """The object's path at the API server."""
        return f"/apis/{self.kind.group}/v1/namespaces/{self.namespace}/{self.kind.resource}/{self.name}"

    @property
    def shown(self) -> str:
        """How people name it."""
        return f"{self.kind.name} {self.name}"

    def is_of(self, found: Revision) -> bool:
        """Whether what stands there is the revision that was meant."""
        return (not self.uid or found.uid == self.uid) and (not self.controller or found.controller == self.controller)


def place_of(owner: Owner, namespace: str) -> Place | None:
    """The revision that stands for a Pod's rollout; None where siblings have to decide: a bare ReplicaSet, a
    ReplicationController, owners of other kinds."""
    kind = KEPT_BY.get((owner.group, owner.kind))
    if kind is JOB:
        return Place(JOB, namespace, owner.name, JOB_HASH, uid=owner.uid)
    if kind is None or not owner.hash:
        return None
    if kind is REPLICA_SET:
        return Place(REPLICA_SET, namespace, owner.name, owner.hash, uid=owner.uid)
    own = short_hash(owner.hash)
    return Place(CONTROLLER_REVISION, namespace, f"{owner.name}-{own}", own, controller=owner.uid)


def short_hash(text: str) -> str:
    """The hash of a ControllerRevision from its name, or from the label of a Pod."""
    return text.rpartition("-")[2]
