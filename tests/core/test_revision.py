"""Which object stands for a Pod's rollout. Owners and labels as the controllers of Kubernetes 1.36 write them."""

import pytest

from webhook.core.revision import CONTROLLER_REVISION, JOB, REPLICA_SET, Kind, Place, Revision, place_of, short_hash
from webhook.core.subject import Owner

UID = "0f4d1c1e"
ROWS = [
    (
        "Deployment",
        Owner("ReplicaSet", "web-5d4f8c7b9", UID, "5d4f8c7b9", "apps"),
        Place(REPLICA_SET, "shop", "web-5d4f8c7b9", "5d4f8c7b9", uid=UID),
    ),
    (
        "StatefulSet: the label is the revision's name",
        Owner("StatefulSet", "db-main", UID, "db-main-6b7c9", "apps"),
        Place(CONTROLLER_REVISION, "shop", "db-main-6b7c9", "6b7c9", controller=UID),
    ),
    (
        "DaemonSet: the label is the bare hash",
        Owner("DaemonSet", "log-agent", UID, "6b7c9", "apps"),
        Place(CONTROLLER_REVISION, "shop", "log-agent-6b7c9", "6b7c9", controller=UID),
    ),
    ("Job", Owner("Job", "nightly-29370", UID, "", "batch"), Place(JOB, "shop", "nightly-29370", "job", uid=UID)),
    ("bare ReplicaSet", Owner("ReplicaSet", "web", UID, "", "apps"), None),
    ("ReplicationController", Owner("ReplicationController", "web", UID, "", ""), None),
    ("OpenKruise's StatefulSet is another kind", Owner("StatefulSet", "db", UID, "db-6b7c9", "apps.kruise.io"), None),
    ("CloneSet", Owner("CloneSet", "web", UID, "web-6b7c9", "apps.kruise.io"), None),
]


@pytest.mark.parametrize(("owner", "place"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_revision_of_a_pod(owner: Owner, place: Place | None) -> None:
    assert place_of(owner, "shop") == place


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (REPLICA_SET, "/apis/apps/v1/namespaces/shop/replicasets/web"),
        (CONTROLLER_REVISION, "/apis/apps/v1/namespaces/shop/controllerrevisions/web"),
        (JOB, "/apis/batch/v1/namespaces/shop/jobs/web"),
    ],
)
def test_where_the_api_server_keeps_it(kind: Kind, path: str) -> None:
    assert Place(kind, "shop", "web", "h").path == path


@pytest.mark.parametrize(
    ("place", "uid", "controller", "expected"),
    [
        (Place(REPLICA_SET, "shop", "web", "h", uid="a"), "a", "x", True),
        (Place(REPLICA_SET, "shop", "web", "h", uid="a"), "b", "x", False),
        (Place(CONTROLLER_REVISION, "shop", "web", "h", controller="x"), "a", "x", True),
        (Place(CONTROLLER_REVISION, "shop", "web", "h", controller="x"), "a", "y", False),
    ],
)
def test_a_name_that_came_back_is_another_object(place: Place, uid: str, controller: str, *, expected: bool) -> None:
    assert place.is_of(Revision("ReplicaSet", "shop", "web", "h", uid, controller=controller)) is expected


def test_hashes_hold_no_hyphen_so_names_may() -> None:
    assert (short_hash("a-b-6b7c9"), short_hash("6b7c9")) == ("6b7c9", "6b7c9")
