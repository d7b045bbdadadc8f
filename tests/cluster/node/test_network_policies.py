"""The component network-policy where it is enforced: who reaches Moorage's Pods, and whom they reach."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.namespace import Namespace
from tests.cluster.node.installing import Moorage, image_of, patched
from tests.cluster.node.policies import beyond, enforced, reached
from tests.cluster.node.running import placed, plain
from tests.cluster.real.plane import Running
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import pod
from tests.support.until import until

pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.timeout(240)]

SLOW: Final = 90
REGISTRY: Final = "203.0.113.7"
MACHINE: Final = "169.254.169.254"
AGENT: Final = "169.254.170.23"
GKE: Final = "169.254.169.252"
PORTS: Final = (53, 80, 443, 988, 5000, 6443)
EVERYWHERE: Final = {f"{host}:{port}" for host in (REGISTRY, MACHINE, AGENT, GKE) for port in PORTS}
USUAL: Final = {one for one in EVERYWHERE if one.rpartition(":")[2] in {"53", "443", "6443"}}


@pytest.fixture(scope="module")
def moorage(
    plane: Running, upstream_of_the_run: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Moorage]:
    """The install that these tests share, once its policy is in force."""
    folder = tmp_path_factory.mktemp("install")
    configuration = plain(upstream_of_the_run)
    with (
        enforced(plane, folder),
        beyond(plane, (REGISTRY, MACHINE, AGENT, GKE), PORTS),
        Moorage.installed(plane, upstream_of_the_run, folder / "overlay", configuration, "network-policy") as made,
    ):
        made.hurry_adopter()
        for one in names(made):
            until("its policy is in force", lambda one=one: reached(made, one, *EVERYWHERE) == USUAL)  # type: ignore[misc]
        yield made


@pytest.fixture(autouse=True)
def told(moorage: Moorage, evidence: Any) -> None:
    evidence.add("Moorage", moorage.said)


def names(moorage: Moorage) -> list[str]:
    """Of all its Pods."""
    return [one["metadata"]["name"] for one in (*moorage.servers(), *moorage.adopters())]


def stranger(namespace: Namespace, upstream: Upstream, name: str) -> str:
    """A Pod that can dial, and is none of Moorage's."""
    idle = ["python3", "-c", "import signal; signal.pause()"]
    made = pod(name, image_of(upstream))
    made["spec"]["containers"][0]["command"] = idle
    made["metadata"]["annotations"] = {"moorage.dev/skip": "true"}
    namespace.create(made)
    namespace.await_pods(name, 1, seconds=SLOW)
    return name


def test_the_api_server_reaches_it_and_it_reaches_its_registry(
    namespace: Namespace, upstream: Upstream, moorage: Moorage
) -> None:
    digest = upstream.push("guarded/app", "stable")
    made = namespace.create(pod("app", upstream.image("guarded/app", "stable")), dry_run=True).body
    assert made["spec"]["containers"][0]["image"] == placed("guarded/app", digest)
    assert len(moorage.servers()) == 3


# Two Pods start, and what is dropped is known only after the 2 s that a dial takes.
def test_others_reach_admission_and_nothing_else_and_prometheus_its_metrics(
    plane: Running, namespace: Namespace, upstream: Upstream, moorage: Moorage, tmp_path: Path
) -> None:
    servers, adopters = ({one["status"]["podIP"] for one in each} for each in (moorage.servers(), moorage.adopters()))
    assert (len(servers), len(adopters)) == (3, 1)
    every = {f"{address}:{port}" for address in servers | adopters for port in (8443, 8080)}
    admission = {f"{address}:8443" for address in servers}
    metrics = {f"{address}:8080" for address in servers | adopters}
    assert reached(namespace, stranger(namespace, upstream, "neighbour"), *every) == admission

    plane.api.create({"kind": "Namespace", "metadata": {"name": "monitoring"}})
    until("the service account is there", lambda: plane.api.find("ServiceAccount", "default", "monitoring"))
    monitoring = Namespace(plane.api, "monitoring", plane.kubeconfig, tmp_path)
    try:
        assert reached(monitoring, stranger(monitoring, upstream, "prometheus"), *every) == admission | metrics
    finally:
        plane.api.delete("Namespace", "monitoring")


# The same, four times.
def test_what_is_not_listed_is_reached_once_it_is(
    namespace: Namespace, upstream: Upstream, moorage: Moorage, tmp_path: Path
) -> None:
    """All of it is there for others: nothing but the policy is between."""
    assert reached(namespace, stranger(namespace, upstream, "free"), *EVERYWHERE) == EVERYWHERE
    one, *_ = names(moorage)
    assert reached(moorage, one, *EVERYWHERE) == USUAL

    registry = {"op": "add", "path": "/spec/egress/-", "value": {"ports": [{"protocol": "TCP", "port": 5000}]}}
    moorage.apply("network-policy", "cloud-metadata", patches=[patched("NetworkPolicy", "moorage", registry)])
    clouds = {f"{MACHINE}:80", f"{AGENT}:80", f"{GKE}:988"}
    registries = {each for each in EVERYWHERE if each.endswith(":5000")}
    wanted = USUAL | clouds | registries
    until("the policies are in force", lambda: reached(moorage, one, *EVERYWHERE) == wanted)
