"""The components for control planes that do not reach every port of Pods, on a real node: `host-network` and `port-10250`."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.doctor import Told, doctor, tell_proxy
from tests.cluster.evidence import Evidence
from tests.cluster.namespace import Namespace
from tests.cluster.node.installing import SERVER, Moorage
from tests.cluster.node.running import placed, plain
from tests.cluster.real.node import ADDRESS
from tests.cluster.real.plane import Running
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import pod
from tests.support.until import until

pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.timeout(240)]

SLOW: Final = 90


def is_pinned(namespace: Namespace, image: str, to: str) -> bool:
    made = namespace.create(pod("app", image), dry_run=True).body
    return bool(made["spec"]["containers"][0]["image"] == to)


def endpoints(plane: Running) -> set[tuple[str, int]]:
    """Where the Service leads."""
    path = "/apis/discovery.k8s.io/v1/namespaces/moorage-system/endpointslices"
    slices = plane.api.ask("GET", path, labelSelector="kubernetes.io/service-name=moorage").body["items"]
    return {
        (address, port["port"])
        for one in slices
        for each in one["endpoints"]
        if each["conditions"]["ready"]
        for address in each["addresses"]
        for port in one["ports"]
    }


def on_the_way(told: Told) -> set[str]:
    """What doctor thinks of the way from the API server to Moorage, and of what it meets there."""
    return {one.level for check in ("version", "service", "certificate", "answers") for one in told.of(check)}


def why_pending(one: Any) -> str:
    conditions = {each["type"]: each for each in one["status"].get("conditions", ())}
    return str(conditions.get("PodScheduled", {}).get("message", ""))


# An install of its own comes and goes, and with host-network a Pod ends before its successor starts: a minute.
def test_on_the_nodes_own_network_there_is_one_replica_a_node_and_it_is_replaced_in_its_place(
    plane: Running, namespace: Namespace, upstream: Upstream, tmp_path: Path, evidence: Evidence
) -> None:
    digest = upstream.push("hosted/app", "stable")
    image, to = upstream.image("hosted/app", "stable"), placed("hosted/app", digest)
    with Moorage.installed(
        plane, upstream, tmp_path / "overlay", plain(upstream), "host-network", replicas=1
    ) as moorage:
        evidence.add("Moorage", moorage.said)
        assert endpoints(plane) == {(ADDRESS, 10260)}
        until("a review is answered", lambda: is_pinned(namespace, image, to))
        tell_proxy(plane.api)
        assert on_the_way(doctor(plane.kubeconfig, "--timeout", "30s")) == {"ok"}

        # Ports of the node are there once.
        moorage.scale("Deployment", "moorage", 2)
        pods = until("there is another Pod", lambda: two(moorage))
        (waiting,) = (one for one in pods if one["metadata"]["name"] != moorage.servers()[0]["metadata"]["name"])
        name = waiting["metadata"]["name"]
        until("it is told why it waits", lambda: "free ports" in why_pending(moorage.get("Pod", name)))
        assert is_pinned(namespace, image, to)
        moorage.scale("Deployment", "moorage", 1)

        before = {one["metadata"]["uid"] for one in moorage.servers()}
        moorage.kubectl("rollout", "restart", "deployment/moorage")
        moorage.await_rollout("Deployment", "moorage", seconds=SLOW)
        assert before.isdisjoint(one["metadata"]["uid"] for one in moorage.servers())
        until("a review is answered", lambda: is_pinned(namespace, image, to))


def two(moorage: Moorage) -> list[Any]:
    pods = moorage.api.objects("Pod", moorage.name, labels=SERVER)
    return pods if len(pods) == 2 else []


# An install of its own comes and goes: 40 s.
def test_at_port_10250_of_a_pod_reviews_are_answered(
    plane: Running, namespace: Namespace, upstream: Upstream, tmp_path: Path, evidence: Evidence
) -> None:
    digest = upstream.push("other/app", "stable")
    image, to = upstream.image("other/app", "stable"), placed("other/app", digest)
    with Moorage.installed(plane, upstream, tmp_path / "overlay", plain(upstream), "port-10250", replicas=2) as moorage:
        evidence.add("Moorage", moorage.said)
        assert endpoints(plane) == {(one["status"]["podIP"], 10250) for one in moorage.servers()}
        until("a review is answered", lambda: is_pinned(namespace, image, to))
        tell_proxy(plane.api)
        assert on_the_way(doctor(plane.kubeconfig, "--timeout", "30s")) == {"ok"}
