"""Who makes the next Pods of a live object. Shapes as the controllers of Kubernetes 1.36 write them."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.revisions import BORN, HASH, controller_revision, job, replica_set, stored, template
from tests.core.world import pod, subject
from webhook.core.current import Kept, Next, current, is_topmost, is_within, kept, kept_by, next_pods
from webhook.core.revision import CONTROLLER_REVISION, REPLICA_SET, place_of
from webhook.core.subject import Metadata, Owner, OwnerReference

OTHER = "7f6d5c4b3"


def deployment(made: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = {"template": made or template(labels={"app": "web"})}
    return _workload("apps/v1", "Deployment", "web", spec)


def stateful_set(**status: Any) -> dict[str, Any]:
    return _workload("apps/v1", "StatefulSet", "db", {"template": template()}, **status)


def daemon_set() -> dict[str, Any]:
    return _workload("apps/v1", "DaemonSet", "db", {"template": template()})


def _workload(version: str, kind: str, name: str, spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": "owner-1"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


def rs(
    hash_: str = HASH, *, number: int = 1, made: dict[str, Any] | None = None, born: str = BORN, label: str = ""
) -> Kept:
    """A ReplicaSet of the Deployment `web`: its template with the label that the controller adds."""
    label = label or "pod-template-hash"
    one = stored(replica_set(label=label))
    one["metadata"] |= {"name": f"web-{hash_}", "uid": f"uid-{hash_}", "creationTimestamp": born}
    one["metadata"]["labels"] = {"app": "web", label: hash_}
    one["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": str(number)}
    one["spec"]["template"] = copy.deepcopy(made or template(labels={"app": "web"}))
    one["spec"]["template"]["metadata"].setdefault("labels", {})[label] = hash_
    return kept(REPLICA_SET, one)


def cr(hash_: str, number: int, owner: str = "StatefulSet") -> Kept:
    one = stored(controller_revision(owner=owner))
    one["metadata"]["name"] = f"db-{hash_}"
    return kept(CONTROLLER_REVISION, {**one, "revision": number})


def test_a_deployments_pods_come_from_the_replica_set_of_its_template() -> None:
    changed = template("registry.example.com/team/app:next", labels={"app": "web"})
    found = next_pods(deployment(), [rs(OTHER, number=9, made=changed), rs(HASH, number=1)])
    owner = Owner("ReplicaSet", f"web-{HASH}", f"uid-{HASH}", HASH, "apps")
    assert found == Next(owner, "apps/v1", "pod-template-hash", f"web-{HASH}")
    place = place_of(owner, "shop")
    assert place is not None
    assert place.path == f"/apis/apps/v1/namespaces/shop/replicasets/web-{HASH}"


def test_of_two_replica_sets_of_one_template_the_oldest_counts() -> None:
    """FindNewReplicaSet sorts by age."""
    found = current(deployment(), [rs(OTHER, born="2027-01-15T09:00:00Z"), rs(HASH)])
    assert found is not None
    assert found.name == f"web-{HASH}"


def test_a_template_that_no_replica_set_has_yet_is_a_new_rollout() -> None:
    changed = template("registry.example.com/team/app:next", labels={"app": "web"})
    assert next_pods(deployment(changed), [rs()]) is None
    assert next_pods(deployment(), []) is None


def test_a_stateful_sets_pods_come_from_its_update_revision_and_carry_its_whole_name() -> None:
    found = next_pods(stateful_set(updateRevision=f"db-{HASH}"), [cr(HASH, 1), cr(OTHER, 2)])
    owner = Owner("StatefulSet", "db", "owner-1", f"db-{HASH}", "apps")
    assert found == Next(owner, "apps/v1", "controller-revision-hash", f"db-{HASH}")
    place = place_of(owner, "shop")
    assert place is not None
    assert (place.name, place.hash, place.controller) == (f"db-{HASH}", HASH, "owner-1")


def test_a_stateful_set_that_names_no_revision_has_none_yet() -> None:
    assert next_pods(stateful_set(), [cr(HASH, 1)]) is None


def test_a_daemon_sets_pods_come_from_the_newest_revision_and_carry_the_bare_hash() -> None:
    found = next_pods(daemon_set(), [cr(OTHER, 10, "DaemonSet"), cr(HASH, 9, "DaemonSet")])
    owner = Owner("DaemonSet", "db", "owner-1", OTHER, "apps")
    assert found == Next(owner, "apps/v1", "controller-revision-hash", f"db-{OTHER}")
    place = place_of(owner, "shop")
    assert place is not None
    assert (place.name, place.hash) == (f"db-{OTHER}", OTHER)


def test_a_job_is_its_own_revision() -> None:
    found = next_pods(stored(job()), [])
    assert found == Next(Owner("Job", "nightly-29370", "uid-1", "", "batch"), "batch/v1", revision="nightly-29370")


@pytest.mark.parametrize(
    "made",
    [
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "uid": "u"}},
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x", "uid": "u"}},
        {**pod("nginx"), "metadata": {"name": "x", "uid": "u"}},
    ],
    ids=lambda one: str(one["kind"]),
)
def test_what_makes_no_pods_of_a_living_rollout_has_no_owner_for_them(made: dict[str, Any]) -> None:
    assert next_pods(made, []) is None


def test_a_replica_set_is_its_own_revision_and_a_bare_one_stands_for_none() -> None:
    made = stored(replica_set())
    found = next_pods(made, [])
    owner = Owner("ReplicaSet", f"web-{HASH}", "uid-1", HASH, "apps")
    assert found == Next(owner, "apps/v1", "pod-template-hash", f"web-{HASH}")
    made["metadata"]["labels"] = {"app": "web"}
    assert next_pods(made, []) == Next(Owner("ReplicaSet", f"web-{HASH}", "uid-1", "", "apps"), "apps/v1")


def test_a_replication_controllers_pods_are_known_by_each_other() -> None:
    made = _workload("v1", "ReplicationController", "web", {})
    assert next_pods(made, []) == Next(Owner("ReplicationController", "web", "owner-1"), "v1")


ROLLOUT = _workload("argoproj.io/v1alpha1", "Rollout", "web", {"template": template()})


def test_an_argo_rollout_names_its_replica_set_by_the_hash() -> None:
    label = "rollouts-pod-template-hash"
    sets = [rs(HASH, number=1, label=label), rs(OTHER, number=2, label=label)]
    found = next_pods({**ROLLOUT, "status": {"currentPodHash": HASH}}, sets)
    assert found == Next(
        Owner("ReplicaSet", f"web-{HASH}", f"uid-{HASH}", HASH, "apps"), "apps/v1", label, f"web-{HASH}"
    )
    newest = next_pods(ROLLOUT, sets)
    assert newest is not None
    assert newest.revision == f"web-{OTHER}"


def test_an_owner_that_only_its_operator_knows_owns_its_pods_itself() -> None:
    made = _workload("apps.kruise.io/v1alpha1", "CloneSet", "web", {"template": template()})
    assert next_pods(made, []) == Next(
        Owner("CloneSet", "web", "owner-1", "", "apps.kruise.io"), "apps.kruise.io/v1alpha1"
    )
    made["status"] = {"updateRevision": "web-5d4f8c7b9"}
    found = next_pods(made, [])
    assert found is not None
    assert (found.owner.hash, found.label) == ("web-5d4f8c7b9", "controller-revision-hash")


def test_the_next_pod_has_the_labels_and_the_owner_that_a_controller_gives_it() -> None:
    found = next_pods(deployment(), [rs()])
    assert found is not None
    of_template = subject(deployment())
    given_ = found.given_to(of_template)
    assert given_.labels == {"app": "web", "pod-template-hash": HASH}
    assert given_.owner == found.owner
    assert (given_.workload, given_.slots, given_.audience) == (
        of_template.workload,
        of_template.slots,
        of_template.audience,
    )


def test_only_kubernetes_own_kinds_are_known_to_keep_nothing() -> None:
    assert kept_by("apps", "Deployment") is REPLICA_SET
    assert kept_by("apps", "DaemonSet") is CONTROLLER_REVISION
    assert kept_by("batch", "Job") is None
    assert kept_by("argoproj.io", "Rollout") is REPLICA_SET


def _owned(kind: str, version: str, *, controller: bool = True) -> Metadata:
    return Metadata(owner_references=(OwnerReference(kind, "x", "u", controller, version),))


TOP = [
    ("nobody", Metadata(), True),
    ("a Deployment", _owned("Deployment", "apps/v1"), False),
    ("one that does not control it", _owned("Deployment", "apps/v1", controller=False), True),
    ("an operator's own kind", _owned("Prometheus", "monitoring.coreos.com/v1"), True),
    ("a namesake of another group", _owned("Deployment", "example.com/v1"), True),
]


@pytest.mark.parametrize(("metadata", "expected"), [row[1:] for row in TOP], ids=[row[0] for row in TOP])
def test_who_is_made_by_what_we_know_is_not_shown_again(metadata: Metadata, expected: bool) -> None:
    assert is_topmost(metadata, {("apps", "Deployment")}) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_everything_is_within_itself(value: Any) -> None:
    assert is_within(value, value)


@given(st.dictionaries(st.text(max_size=2), JSON, max_size=4), st.dictionaries(st.text(max_size=2), JSON, max_size=4))
def test_what_the_api_server_fills_in_changes_nothing(wanted: dict[str, Any], more: dict[str, Any]) -> None:
    assert is_within(wanted, more | wanted)


WITHIN = [
    ("a default", {"a": 1}, {"a": 1, "b": 2}, True),
    ("nothing said", {"a": None, "b": {}, "c": []}, {}, True),
    ("another value", {"a": 1}, {"a": 2}, False),
    ("something more", {"a": 1, "b": 2}, {"a": 1}, False),
    ("a list that grew", {"a": [1]}, {"a": [1, 2]}, False),
    ("within a list", {"a": [{"name": "x"}]}, {"a": [{"name": "x", "port": 1}]}, True),
    ("a mapping for a text", {"a": {"b": 1}}, {"a": "b"}, False),
    ("nothing there", {"a": {"b": 1}}, None, False),
]


@pytest.mark.parametrize(("wanted", "there", "expected"), [row[1:] for row in WITHIN], ids=[row[0] for row in WITHIN])
def test_a_manifest_is_within_a_live_object(wanted: Any, there: Any, expected: bool) -> None:
    assert is_within(wanted, there) is expected
