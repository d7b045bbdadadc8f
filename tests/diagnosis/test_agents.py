"""Nodes with and without a ready agent of the cache."""

import pytest

from webhook.diagnosis.agents import judge, judge_missing, judge_service
from webhook.diagnosis.finding import Level
from webhook.diagnosis.shapes import Condition, Metadata, Node, NodeSpec, NodeStatus, Pod, PodSpec, PodStatus, Workload

AGENT = Workload(Metadata("kraken-agent", "kraken"))
READY = [Condition("Ready", "True")]
NOT_READY = [Condition("Ready", "False")]


def node(name: str, conditions: list[Condition] = READY, *, unschedulable: bool = False) -> Node:
    return Node(Metadata(name), NodeSpec(unschedulable), NodeStatus(conditions))


def pod(on: str, conditions: list[Condition] = READY, *, going: bool = False) -> Pod:
    when = "2026-11-26T00:00:00Z" if going else None
    return Pod(Metadata(deletion_timestamp=when), PodSpec(node_name=on), PodStatus("Running", conditions))


@pytest.mark.parametrize(
    ("pods", "nodes", "level", "said"),
    [
        ([pod("a"), pod("b")], [node("a"), node("b")], Level.OK, "an agent is ready on each of 2 nodes"),
        ([pod("a")], [node("a"), node("b")], Level.WARNING, "1 of 2 nodes have no ready agent: b"),
        ([pod("a"), pod("b", NOT_READY)], [node("a"), node("b")], Level.WARNING, "have no ready agent: b"),
        ([pod("a"), pod("b", going=True)], [node("a"), node("b")], Level.WARNING, "have no ready agent: b"),
        ([pod("a")], [node("a"), node("b", NOT_READY)], Level.OK, "on each of 1 nodes"),
        ([pod("a")], [node("a"), node("b", unschedulable=True)], Level.OK, "on each of 1 nodes"),
        ([], [node("a")], Level.ERROR, "no node has a ready agent"),
        ([], [], Level.OK, "on each of 0 nodes"),
    ],
)
def test_every_node_has_one(pods: list[Pod], nodes: list[Node], level: Level, said: str) -> None:
    found = judge(AGENT, pods, nodes)
    assert (found.level, said in found.found) == (level, True), found


def test_many_names_are_told_in_few_words() -> None:
    found = judge(AGENT, [pod("n0")], [node(f"n{number}") for number in range(9)])
    assert found.found == "8 of 9 nodes have no ready agent: n1, n2, n3, n4, n5 and 3 more"


def test_what_is_no_daemon_set_is_shared_by_all_nodes() -> None:
    assert judge_service("default/cache", 1).level is Level.OK
    assert judge_service("default/cache", 0).level is Level.ERROR
    assert judge_missing("kraken/agent", "it is not there").level is Level.ERROR
