"""KWOK: nodes that run nothing and Pods that only say they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster.real.api import Api
from tests.cluster.real.processes import Processes
from tests.parts import part

PLAYED: Final = {"kwok.x-k8s.io/node": "fake"}
"""The annotation of nodes that KWOK plays."""
_STAGES: Final = Path(__file__).parent / "settings" / "image-pull-back-off.yaml"


def fake_node(name: str, **spec: Any) -> dict[str, Any]:
    """A node with room for a thousand Pods."""
    room = {"cpu": "1000", "memory": "1000Gi", "pods": "1000"}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"type": "kwok"}, "annotations": PLAYED},
        "spec": spec,
        "status": {"capacity": room, "allocatable": room},
    }


@contextmanager
def playing(api: Api, kubeconfig: Path, logs: Path, *nodes: dict[str, Any]) -> Iterator[None]:
    """These nodes, played for as long as the block lasts. Pods labelled `image-pull: fails` hang in ImagePullBackOff."""
    with Processes.ended_after(logs) as processes:
        processes.run(
            "kwok",
            part("kwok"),
            f"--kubeconfig={kubeconfig}",
            f"--manage-nodes-with-annotation-selector={'='.join(*PLAYED.items())}",
            f"--config={part('kwok-stages')}",
            f"--config={_STAGES}",
            "--server-address=127.0.0.1:0",
            # Without leases its nodes count as lost for some seconds of each minute, and their Pods as not ready.
            "--node-lease-duration-seconds=40",
        )
        for node in nodes:
            api.create(node)
        names = {node["metadata"]["name"] for node in nodes}
        processes.wait("KWOK's nodes are ready", lambda: names <= ready_nodes(api))
        yield


def ready_nodes(api: Api) -> frozenset[str]:
    """The names of the nodes that take Pods."""
    return frozenset(node["metadata"]["name"] for node in api.objects("Node") if _is_ready(node))


def _is_ready(node: Any) -> bool:
    conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", ())}
    # Kubernetes' own taint is taken away a moment after the node says that it is ready.
    kept_off = any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", ()))
    return conditions.get("Ready") == "True" and not kept_off
