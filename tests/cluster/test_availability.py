"""Several nodes: where the scheduler puts replicas, and what evictions and drains may take. KWOK plays nodes and Pods."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.cluster.account import HOME
from tests.cluster.conftest import Kubectl
from tests.cluster.namespace import Namespace, is_ready
from tests.cluster.real.api import STRATEGIC, ApiError
from tests.cluster.real.kwok import fake_node, playing
from tests.cluster.real.plane import Running, control_plane
from tests.deploy.manifests import kustomization
from tests.support.until import until

SERVER: Final = "app.kubernetes.io/component=server"
ZONES: Final = {"a-0": "a", "b-0": "b", "c-0": "c"}


@pytest.fixture(scope="module")
def plane() -> Iterator[Running]:
    """A control plane for this module, with three nodes in three zones."""
    with control_plane() as running:
        nodes = [fake_node(name) for name in ZONES]
        for node in nodes:
            node["metadata"]["labels"]["kubernetes.io/hostname"] = node["metadata"]["name"]
            node["metadata"]["labels"]["topology.kubernetes.io/zone"] = ZONES[node["metadata"]["name"]]
        with playing(running.api, running.kubeconfig, running.logs, *nodes):
            yield running


@pytest.fixture(scope="module")
def installed(plane: Running, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    """The install with high-availability, which these tests share."""
    folder = tmp_path_factory.mktemp("overlay")
    kubectl("apply", "-k", kustomization(folder, "high-availability"))
    return Namespace(plane.api, HOME, plane.kubeconfig, folder)


@pytest.fixture
def moorage(installed: Namespace) -> Namespace:
    """The same, with all nodes and all Pods in their places."""
    installed.kubectl("uncordon", *ZONES)
    installed.await_rollout("Deployment", "moorage")
    installed.await_rollout("Deployment", "moorage-adopt")
    return installed


def servers(moorage: Namespace) -> list[Any]:
    """The server's Pods that are not about to go."""
    pods = moorage.api.objects("Pod", HOME, labels=SERVER)
    return [one for one in pods if "deletionTimestamp" not in one["metadata"]]


def places(pods: list[Any]) -> Counter[str]:
    """How many Pods each node has; one that waits for a node counts under no name."""
    return Counter(one["spec"].get("nodeName", "") for one in pods)


def evict(moorage: Namespace, one: Any) -> str:
    """What a drain asks for each Pod; why it is refused, empty where it is not."""
    name = one["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": HOME}}
    try:
        moorage.api.ask("POST", f"/api/v1/namespaces/{HOME}/pods/{name}/eviction", body)
    except ApiError as error:
        return str(error)
    return ""


def test_replicas_are_on_three_nodes_also_after_a_rollout(moorage: Namespace) -> None:
    assert places(servers(moorage)) == dict.fromkeys(ZONES, 1)
    before = {one["metadata"]["uid"] for one in servers(moorage)}
    moorage.kubectl("rollout", "restart", "deployment/moorage")
    moorage.await_rollout("Deployment", "moorage")
    after = servers(moorage)
    assert before.isdisjoint(one["metadata"]["uid"] for one in after)
    assert places(after) == dict.fromkeys(ZONES, 1)
    adopters = [one for one in moorage.objects("Pod") if one["metadata"]["name"].startswith("moorage-adopt-")]
    assert sorted(places(adopters).values()) == [1, 1]


# A drain that is refused is tried for 5 s.
def test_a_node_is_drained_and_the_next_one_waits_until_its_replica_is_back(moorage: Namespace) -> None:
    ready = {one["spec"]["nodeName"]: one for one in servers(moorage)}
    first, second, third = ZONES
    moorage.kubectl("drain", first, "--timeout=40s")
    until("its replica has no place", lambda: places(servers(moorage))[""] == 1)
    assert places(servers(moorage)) == {"": 1, second: 1, third: 1}

    assert "429" in evict(moorage, ready[second])
    assert "disruption budget" in moorage.kubectl("drain", second, "--timeout=5s", fine=(1,))
    assert sum(is_ready(one) for one in servers(moorage)) == 2

    moorage.kubectl("uncordon", first)
    moorage.await_rollout("Deployment", "moorage")
    assert places(servers(moorage)) == dict.fromkeys(ZONES, 1)
    moorage.kubectl("drain", second, "--timeout=40s")
    until("its replica has no place", lambda: places(servers(moorage))[""] == 1)


def test_one_that_does_not_work_is_evicted_though_another_is_missing(moorage: Namespace) -> None:
    one, other, _ = servers(moorage)
    moorage.kubectl("cordon", *ZONES)
    assert evict(moorage, one) == ""
    until("another waits in its place", lambda: places(servers(moorage))[""] == 1)
    assert "429" in evict(moorage, other)
    status = {"conditions": [{"type": "Ready", "status": "False"}]}
    name = other["metadata"]["name"]
    moorage.patch("Pod", name, {"status": status}, subresource="status", content_type=STRATEGIC)
    until("it may go", lambda: evict(moorage, other) == "")
