"""One digest per rollout, as a real node runs it: the imageID that the kubelet reports is the pinned digest's.

Each story tells several rows; the same rows with other nodes and more trouble are told on the control plane
(test_pins_deployment.py, test_pins_others.py, test_outages.py).
"""

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.cluster.namespace import Namespace
from tests.cluster.node.running import image_of, placed, plain, run_by, running
from tests.cluster.real.containers import end_container
from tests.cluster.real.image import forget_image
from tests.cluster.real.plane import NODE
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import cron_job, daemon_set, deployment, job, stateful_set
from tests.support.until import until
from webhook.core.reason import Reason

pytestmark = pytest.mark.usefixtures("cache")

Start = Callable[..., Webhooks]

SLOW: Final = 90
"""Seconds that a node may take for what is quick where it has nothing else to do."""


# The node takes half a second of a processor for each of 30 Pods.
@pytest.mark.timeout(240)
def test_a_deployment_that_is_scaled_after_the_tag_moved_runs_one_digest(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    webhooks(3, plain(upstream), spread="requests")
    digest = upstream.push("scaled/app", "stable")
    namespace.create(deployment("app", upstream.image("scaled/app", "stable"), replicas=3))
    namespace.await_pods("app", 3, seconds=SLOW)
    upstream.push("scaled/app", "stable")
    upstream.forget()
    namespace.scale("Deployment", "app", 30)
    assert run_by(namespace.await_pods("app", 30, seconds=SLOW)) == {placed("scaled/app", digest)}
    assert upstream.requests() == []


def restart(namespace: Namespace) -> None:
    namespace.kubectl("rollout", "restart", "deployment/app")


def change_the_template(namespace: Namespace) -> None:
    namespace.kubectl("set", "env", "deployment/app", "COLOUR=blue")


def stamp_as_keel_does(namespace: Namespace) -> None:
    annotations = {"keel.sh/update-time": "2027-01-15 08:00:00 +0000 UTC"}
    template = {"metadata": {"annotations": annotations}}
    namespace.patch("Deployment", "app", {"spec": {"template": template}})


# Five rollouts, one after the other.
@pytest.mark.timeout(240)
def test_each_rollout_runs_what_the_tag_names_then_and_undo_goes_back_to_what_it_named(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    started = webhooks(3, plain(upstream), spread="requests")
    digests = [upstream.push("rolled/app", "stable")]
    namespace.create(deployment("app", upstream.image("rolled/app", "stable"), replicas=2))
    rolled_out(namespace, placed("rolled/app", digests[-1]))
    for roll_out in (restart, change_the_template, stamp_as_keel_does):
        digests.append(upstream.push("rolled/app", "stable"))
        roll_out(namespace)
        rolled_out(namespace, placed("rolled/app", digests[-1]))
    namespace.kubectl("rollout", "undo", "deployment/app")
    rolled_out(namespace, placed("rolled/app", digests[-2]))
    told = until("it is told", lambda: started.told(Reason.TAG_MOVED))
    assert started.metric("moorage_pins_total", resource="replicasets", outcome="tag-moved") >= len(told)
    assert len(set(digests)) == 4


def test_undo_runs_what_the_tag_names_now_where_the_rule_says_fresh(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    webhooks(3, plain(upstream, onReuse="fresh"), spread="requests")
    upstream.push("undone/app", "stable")
    namespace.create(deployment("app", upstream.image("undone/app", "stable"), replicas=2))
    namespace.await_rollout("Deployment", "app", seconds=SLOW)
    restart(namespace)
    namespace.await_rollout("Deployment", "app", seconds=SLOW)
    newest = upstream.push("undone/app", "stable")
    namespace.kubectl("rollout", "undo", "deployment/app")
    rolled_out(namespace, placed("undone/app", newest))


def rolled_out(namespace: Namespace, expected: str) -> None:
    """Once the Deployment's rollout is over, all its Pods run this."""
    namespace.await_rollout("Deployment", "app", seconds=SLOW)
    assert run_by(namespace.objects("Pod", app="app")) == {expected}


# Both sets are updated twice, and Pods of a StatefulSet follow one another.
@pytest.mark.timeout(240)
def test_pods_of_sets_run_the_digest_of_their_own_revision(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    """One is updated in part, the other when its Pod is deleted."""
    webhooks(3, plain(upstream), spread="requests")
    image = upstream.image("sets/app", "stable")
    old = placed("sets/app", upstream.push("sets/app", "stable"))
    namespace.create(stateful_set("set", image, replicas=3))
    daemon = daemon_set("daemon", image)
    daemon["spec"]["updateStrategy"] = {"type": "OnDelete"}
    namespace.create(daemon)
    assert run_by(namespace.await_pods("set", 3, seconds=SLOW) + namespace.await_pods("daemon", 1)) == {old}
    first = in_use(namespace)

    new = placed("sets/app", upstream.push("sets/app", "stable"))
    partition = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    namespace.patch("StatefulSet", "set", {"spec": {"updateStrategy": partition}})
    for workload in ("statefulset/set", "daemonset/daemon"):
        namespace.kubectl("set", "env", workload, "COLOUR=blue")
    expected = {"set-0": old, "set-1": new, "set-2": new}
    until("two Pods of the StatefulSet are new", lambda: running(namespace, "set") == expected, seconds=SLOW)
    assert list(running(namespace, "daemon").values()) == [old]

    upstream.push("sets/app", "stable")
    upstream.forget()
    for name in ("set-0", "set-2", *running(namespace, "daemon")):
        namespace.delete("Pod", name)
    until("the Pod of the DaemonSet is new", lambda: [*running(namespace, "daemon").values()] == [new], seconds=SLOW)
    until("both Pods are back as they were", lambda: running(namespace, "set") == expected, seconds=SLOW)
    assert upstream.requests() == []

    for workload in ("statefulset/set", "daemonset/daemon"):
        namespace.kubectl("rollout", "undo", workload)
    until("both revisions have come back", lambda: in_use(namespace) == first)
    for name in running(namespace, "daemon"):
        namespace.delete("Pod", name)
    until("the DaemonSet is old", lambda: [*running(namespace, "daemon").values()] == [old], seconds=SLOW)
    until("the StatefulSet is old", lambda: [*running(namespace, "set").values()] == [old] * 3, seconds=SLOW)


def in_use(namespace: Namespace) -> dict[str, str]:
    """The name of the revision that each set is at, by the set's."""
    revisions = sorted(namespace.objects("ControllerRevision"), key=lambda one: int(one["revision"]))
    return {one["metadata"]["ownerReferences"][0]["name"]: one["metadata"]["name"] for one in revisions}


# A Job waits ten seconds before it tries again.
@pytest.mark.timeout(240)
def test_pods_of_a_job_run_one_digest_and_each_run_of_a_cron_job_another(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    webhooks(3, plain(upstream), spread="requests")
    image = upstream.image("jobs/app", "stable")
    first = placed("jobs/app", upstream.push("jobs/app", "stable"))
    namespace.create(job("app", image, parallelism=2, completions=2))
    failing, _ = await_job_pods(namespace, "app", 2)
    newest = placed("jobs/app", upstream.push("jobs/app", "stable"))
    end_container(container(failing), "SIGKILL")

    namespace.create(cron_job("cron", image))
    for run in ("one", "two"):
        namespace.kubectl("create", "job", run, "--from=cronjob/cron")
        assert run_by(await_job_pods(namespace, run, 1)) == {newest}
        newest = placed("jobs/app", upstream.push("jobs/app", "stable"))

    until("the Job has tried again", lambda: len(job_pods(namespace, "app")) == 3, seconds=SLOW)
    for pod in await_job_pods(namespace, "app", 2):
        end_container(container(pod), "SIGTERM")
    namespace.await_job("app", seconds=SLOW)
    pods = job_pods(namespace, "app")
    assert sorted(pod["status"]["phase"] for pod in pods) == ["Failed", "Succeeded", "Succeeded"]
    assert run_by(pods) == {first}


def job_pods(namespace: Namespace, name: str) -> list[Any]:
    return namespace.api.objects("Pod", namespace.name, labels=f"job-name={name}")


def await_job_pods(namespace: Namespace, name: str, count: int) -> list[Any]:
    """The Pods of a Job that run, once there are so many."""

    def alive() -> list[Any]:
        pods = [one for one in job_pods(namespace, name) if image_of(one)]
        return pods if len(pods) == count else []

    return until(f"{count} Pods of {name} run", alive, seconds=SLOW)


def container(pod: Any) -> str:
    """The identity of a Pod's only container."""
    return str(pod["status"]["containerStatuses"][0]["containerID"])


OUTAGES: Final[dict[str, Callable[[Upstream], object]]] = {
    "down": lambda upstream: upstream.stop(),
    "hanging": lambda upstream: upstream.proxy.hang(),
}


# Pods go and come on the only node, and each question of the new rollout waits for its time to be up.
@pytest.mark.timeout(240)
@pytest.mark.parametrize("outage", OUTAGES)
def test_during_an_outage_pods_are_added_and_replaced_and_a_new_rollout_runs_the_last_digest(
    namespace: Namespace, upstream: Upstream, webhooks: Start, outage: str
) -> None:
    """Only the new rollout asks the registry, and its later Pods follow those that it had in the outage."""
    # Of its own: that a registry failed is remembered for a while.
    webhooks(1, plain(upstream, resolving={"fresh": "1ms", "budget": "1s"}), own=True)
    name = f"during-{outage}"
    digest = upstream.push(f"outages/{outage}", "stable")
    expected = {placed(f"outages/{outage}", digest)}
    namespace.create(deployment(name, upstream.image(f"outages/{outage}", "stable"), replicas=1))
    namespace.await_pods(name, 1, seconds=SLOW)
    upstream.push(f"outages/{outage}", "stable")
    upstream.forget()
    OUTAGES[outage](upstream)

    forget_image(digest)
    namespace.scale("Deployment", name, 3)
    assert run_by(namespace.await_pods(name, 3, seconds=SLOW)) == expected
    try:
        namespace.kubectl("drain", NODE, f"--pod-selector=app={name}")
    finally:
        namespace.kubectl("uncordon", NODE)
    assert run_by(namespace.await_pods(name, 3, seconds=SLOW)) == expected
    assert upstream.requests() == []

    namespace.kubectl("set", "env", f"deployment/{name}", "COLOUR=blue")
    namespace.await_rollout("Deployment", name, seconds=SLOW)
    assert run_by(namespace.objects("Pod", app=name)) == expected
    upstream.mend()
    namespace.scale("Deployment", name, 4)
    assert run_by(namespace.await_pods(name, 4, seconds=SLOW)) == expected
