"""Whether every node has a ready agent of the node-local cache."""

from collections.abc import Iterable, Sequence
from typing import Final

from webhook.diagnosis.finding import Check, Finding, doubtful, few, fine, wrong
from webhook.diagnosis.shapes import Node, Pod, Workload, is_ready

_FALL_BACK: Final = "a Pod that is sent there and finds nobody hangs in ErrImagePull: no registry is tried instead"


def judge(daemon_set: Workload, pods: Iterable[Pod], nodes: Sequence[Node]) -> Finding:
    """Which nodes have no ready Pod of it. Nodes that take no Pods, or are not ready, count for nothing."""
    looked = f"daemonset {daemon_set.shown}"
    served = {one.spec.node_name for one in pods if one.is_ready}
    wanted = {one.metadata.name for one in nodes if not one.spec.unschedulable and is_ready(one.status.conditions)}
    missing = wanted - served
    if not missing:
        return fine(Check.AGENTS, looked, f"an agent is ready on each of {len(wanted)} nodes")
    advice = (
        f"kubectl -n {daemon_set.metadata.namespace} get pods -o wide: do its Pods tolerate the taints of these nodes, "
        "and why are they not ready?"
    )
    if not served & wanted:
        return wrong(Check.AGENTS, looked, f"no node has a ready agent; {_FALL_BACK}", advice)
    return doubtful(
        Check.AGENTS, looked, f"{len(missing)} of {len(wanted)} nodes have no ready agent: {few(missing)}", advice
    )


def judge_missing(name: str, why: str) -> Finding:
    """The DaemonSet that the configuration names is not there."""
    return wrong(
        Check.AGENTS,
        f"daemonset {name}",
        f"{why}: {_FALL_BACK}",
        "install it, or correct health.daemonSet of the target",
    )


def judge_service(shown: str, ready: int) -> Finding:
    """What a NodePort leads to is no DaemonSet: nodes share what is there."""
    looked = f"behind service {shown}"
    if ready:
        return fine(Check.AGENTS, looked, f"{ready} endpoints are ready, for all nodes together (no DaemonSet)")
    return wrong(Check.AGENTS, looked, f"nobody is ready; {_FALL_BACK}", "look at the Pods that the service selects")
