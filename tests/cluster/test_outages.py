"""When the registry, the API server or the webhook itself is not there: what goes on untroubled, and what is told."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.account import SERVER, Account, made_account, rights
from tests.cluster.configuration import configuration
from tests.cluster.gateway import Gateway
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.real.plane import Running
from tests.cluster.test_pins_deployment import pins_of, placed, sources, traces
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import deployment, pod
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]

OUTAGES: Final[dict[str, Callable[[Upstream], object]]] = {
    "down": lambda upstream: upstream.stop(),
    "hanging": lambda upstream: upstream.proxy.hang(),
}


@pytest.fixture
def image(upstream: Upstream) -> str:
    return upstream.image("team/app", "stable")


def put_out(upstream: Upstream, outage: str) -> None:
    upstream.push("team/app", "stable")
    upstream.forget()
    OUTAGES[outage](upstream)


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_scale_up_during_an_outage_is_untroubled(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str, outage: str
) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(3, configuration(upstream.host), spread="requests")
    namespace.create(deployment("app", image, replicas=3))
    namespace.await_rollout("Deployment", "app")
    put_out(upstream, outage)
    namespace.scale("Deployment", "app", 30)
    namespace.await_pods("app", 30)
    assert namespace.images("app") == placed(digest)
    assert upstream.requests() == []
    assert sources(started) == {"pin"}


def test_the_replacement_of_a_node_during_an_outage_is_untroubled(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str
) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(3, configuration(upstream.host), spread="requests")
    namespace.create(deployment("replaced", image, replicas=6))
    namespace.await_rollout("Deployment", "replaced")
    put_out(upstream, "down")
    node = namespace.objects("Pod", app="replaced")[0]["spec"]["nodeName"]
    try:
        namespace.kubectl("drain", node, "--pod-selector=app=replaced")
        pods = namespace.await_pods("replaced", 6)
    finally:
        namespace.kubectl("uncordon", node)
    assert node not in {one["spec"]["nodeName"] for one in pods}
    assert namespace.images("replaced") == placed(digest)
    assert upstream.requests() == []
    assert sources(started) == {"pin"}


# The first question of the rollout waits for the whole of the time that the API server gives.
@pytest.mark.parametrize("outage", OUTAGES)
def test_a_new_rollout_during_an_outage_runs_the_last_digest_on_all_its_pods(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str, outage: str
) -> None:
    """onFailure: admit. It is not pinned, as the last digest is no answer; its Pods agree by their siblings."""
    digest = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host, resolving={"fresh": "1ms", "budget": "1s"}))
    namespace.create(deployment("app", image, replicas=2))
    namespace.await_rollout("Deployment", "app")
    put_out(upstream, outage)
    namespace.kubectl("set", "env", "deployment/app", "COLOUR=blue")
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == placed(digest)
    revision = next(one for one in namespace.objects("ReplicaSet", app="app") if one["spec"]["replicas"])
    assert pins_of(revision) == {}
    assert started.metric("moorage_pins_total", resource="replicasets", outcome="failed") == 1
    upstream.mend()
    namespace.scale("Deployment", "app", 8)
    namespace.await_pods("app", 8)
    assert namespace.images("app") == placed(digest), "those that came after the outage follow their siblings"
    assert started.metric("moorage_pins_total", resource="pods", outcome="sibling") > 0


def test_a_new_rollout_during_an_outage_is_refused_pod_by_pod_where_the_rule_says_so(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str
) -> None:
    upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host, rule={"onFailure": "refuse"}, resolving={"stale": "1ms", "fresh": "1ms"}))
    put_out(upstream, "down")
    namespace.create(deployment("app", image, replicas=1))

    def told() -> list[str]:
        made = namespace.objects("ReplicaSet", app="app")
        conditions = made[0]["status"].get("conditions", ()) if made else ()
        return [one["message"] for one in conditions if one["type"] == "ReplicaFailure"]

    (message,) = until("the ReplicaSet says why it has no Pod", told)
    assert "digest resolution at" in message
    assert namespace.objects("Pod") == []


def test_what_ran_before_is_known_again_after_all_processes_were_restarted_during_an_outage(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str
) -> None:
    upstream.push("team/app", "stable")
    started = webhooks(3, configuration(upstream.host), spread="requests")
    namespace.create(deployment("app", image, replicas=3))
    namespace.await_rollout("Deployment", "app")
    newest = upstream.push("team/app", "stable")
    namespace.kubectl("rollout", "restart", "deployment/app")
    namespace.await_rollout("Deployment", "app")
    put_out(upstream, "down")
    started.replace()
    namespace.create(pod("lone", image, labels={"app": "lone"}))
    found = namespace.get("Pod", "lone")
    assert images_of(found) == placed(newest)
    learnt = [line for line in started.lines() if line["event"] == "learnt from running Pods"]
    assert [line["tags"] for line in learnt] == [1, 1, 1]


def test_an_api_server_that_is_slow_and_then_gone_stops_no_pod(
    namespace: Namespace, upstream: Upstream, webhooks: Start, gateway: Gateway, image: str
) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host), kubeconfig=gateway.kubeconfig)
    gateway.proxy.delay(1)
    namespace.create(deployment("slow", image, replicas=3))
    namespace.await_pods("slow", 3)
    assert namespace.images("slow") == placed(digest)
    gateway.proxy.shut()
    namespace.create(deployment("gone", image, replicas=3))
    namespace.await_pods("gone", 3)
    assert namespace.images("gone") == placed(digest)
    assert started.metric("moorage_pins_total", resource="pods", outcome="not-read") == 3
    assert any("could not be read: the API server refuses the connection" in line for line in traces(started))
    assert started.metric("moorage_internal_errors_total") == 0


def test_an_account_that_may_read_nothing_stops_no_pod_and_is_told_of_in_the_log(
    namespace: Namespace, upstream: Upstream, webhooks: Start, gateway: Gateway, image: str
) -> None:
    digest = upstream.push("team/app", "stable")
    gateway.proxy.refuse(403)
    started = webhooks(1, configuration(upstream.host), kubeconfig=gateway.kubeconfig)
    assert any(line["event"] == "nothing learnt from running Pods" for line in started.lines())
    started.forget()
    namespace.create(deployment("app", image, replicas=3))
    namespace.await_pods("app", 3)
    assert namespace.images("app") == placed(digest)
    assert started.metric("moorage_pins_total", resource="pods", outcome="not-read") == 3
    assert any("could not be read: this account may not read it" in line for line in traces(started))
    assert started.metric("moorage_internal_errors_total") == 0


OWNERS: Final = (
    ("replicasets", "apps/v1", "ReplicaSet", "pod-template-hash"),
    ("controllerrevisions", "apps/v1", "StatefulSet", "controller-revision-hash"),
    ("jobs", "batch/v1", "Job", "job-name"),
    ("pods", "v1", "ReplicationController", "app"),
)
"""What is read for a Pod of which controller, which knows its Pods by which label."""
UIDS: Final = count(1)


def test_each_right_to_read_that_is_missing_is_a_line_of_the_log_and_stops_no_pod(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str, plane: Running, tmp_path: Path
) -> None:
    digest = upstream.push("team/app", "stable")
    granted = [_less(rule, "namespaces", "get") for rule in rights(SERVER)]
    started = webhooks(1, configuration(upstream.host), kubeconfig=_reading(plane, tmp_path, granted).kubeconfig)
    assert _unread(started) == ["namespaces"]
    for resource, *owner in OWNERS:
        granted = [_less(rule, resource, "list" if resource == "pods" else "get") for rule in granted]
        _grant(plane, granted)
        # The API server's authorizer hears of a role a moment later.
        until(f"{resource} is told of", partial(_is_told, namespace, started, image, resource, owner))
    made = _owned(image, *OWNERS[0][1:])
    assert images_of(namespace.create(made, dry_run=True).body) == placed(digest)
    assert _unread(started) == ["namespaces", *(row[0] for row in OWNERS)]
    for line in started.lines():
        if line["event"] == "cluster not read":
            assert "is forbidden: User" in line["problem"]
            assert f'resource "{line["resource"]}"' in line["problem"]
            assert "moorage doctor" in line["do"]


def _reading(plane: Running, folder: Path, granted: list[Any]) -> Account:
    return made_account(plane, "reading", folder, granted)


def _grant(plane: Running, granted: list[Any]) -> None:
    rules = [rule for rule in granted if rule["verbs"]]
    plane.api.apply({"kind": "ClusterRole", "metadata": {"name": "tests-reading"}, "rules": rules})


def _less(rule: Any, resource: str, verb: str) -> Any:
    verbs = [one for one in rule["verbs"] if resource not in rule["resources"] or one != verb]
    return {**rule, "verbs": verbs}


def _owned(image: str, version: str, kind: str, label: str) -> Any:
    """A Pod of a controller that nobody has asked about yet."""
    made: dict[str, Any] = pod("owned", image, labels={label: f"app-{next(UIDS)}"})
    owner = {"apiVersion": version, "kind": kind, "name": f"app-{next(UIDS)}", "uid": f"uid-{next(UIDS)}"}
    made["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    return made


def _is_told(namespace: Namespace, started: Webhooks, image: str, resource: str, owner: list[str]) -> bool:
    namespace.create(_owned(image, *owner), dry_run=True)
    return resource in _unread(started)


def _unread(started: Webhooks) -> list[str]:
    return [line["resource"] for line in started.lines() if line["event"] == "cluster not read"]


def test_a_namespace_that_is_going_stops_nothing_else(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str, account: Account
) -> None:
    digest = upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host))
    namespace.create(deployment("app", image, replicas=3))
    namespace.await_rollout("Deployment", "app")
    namespace.kubectl("delete", "deployment", "app", "--cascade=foreground")
    made: dict[str, Any] = pod("late", image)
    made["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-gone", "uid": "gone", "controller": True}
    ]
    made["metadata"]["labels"]["pod-template-hash"] = "gone"
    answer = namespace.create(made, dry_run=True)
    assert images_of(answer.body) == placed(digest)
    until("it was looked for", lambda: any(call.status == 404 for call in account.calls("replicasets")))


def test_annotations_of_others_that_fill_the_object_are_no_trouble(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str
) -> None:
    digest = upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host))
    made = deployment("app", image, replicas=2)
    made["metadata"]["annotations"] = {"others.example.com/note": "x" * (256 * 1024 - 400)}
    made["spec"]["template"]["metadata"]["annotations"] = {"others.example.com/note": "x" * (256 * 1024 - 100)}
    namespace.create(made)
    namespace.await_pods("app", 2)
    assert namespace.images("app") == placed(digest)
    (found,) = namespace.objects("ReplicaSet", app="app")
    assert pins_of(found) == {}
