"""One digest per rollout for StatefulSets, DaemonSets and Jobs, and Pods alike where no object stands for a rollout."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.test_pins_deployment import pins_of, placed, sources
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import cron_job, daemon_set, job, pod, replica_set, stateful_set
from tests.support.until import until
from webhook.core.reason import Reason

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]
HASH = "controller-revision-hash"


@pytest.fixture
def image(upstream: Upstream) -> str:
    return upstream.image("team/app", "stable")


@pytest.fixture
def three(upstream: Upstream, webhooks: Start) -> Webhooks:
    """Three processes, each review to another."""
    return webhooks(3, configuration(upstream.host), spread="requests")


def by_name(namespace: Namespace, app: str) -> dict[str, str]:
    """What each Pod of a workload runs."""
    return {one["metadata"]["name"]: images_of(one)[0] for one in namespace.objects("Pod", app=app)}


def test_a_partial_update_of_a_stateful_set_keeps_old_pods_old(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    old = upstream.push("team/app", "stable")
    namespace.create(stateful_set("app", image, replicas=4))
    namespace.await_rollout("StatefulSet", "app")
    new = upstream.push("team/app", "stable")
    partition = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    namespace.patch("StatefulSet", "app", {"spec": {"updateStrategy": partition}})
    namespace.kubectl("set", "env", "statefulset/app", "COLOUR=blue")
    expected = {"app-0": old, "app-1": old, "app-2": new, "app-3": new}
    placed_as = {name: f"{CACHE}/team/app@{digest}" for name, digest in expected.items()}
    until("two Pods are new", lambda: by_name(namespace, "app") == placed_as)
    namespace.await_pods("app", 4)
    upstream.push("team/app", "stable")
    upstream.forget()
    for name in ("app-1", "app-3"):
        namespace.delete("Pod", name)
    namespace.await_pods("app", 4)
    assert by_name(namespace, "app") == placed_as
    assert upstream.requests() == []
    namespace.kubectl("rollout", "undo", "statefulset/app")
    until("all are old again", lambda: set(by_name(namespace, "app").values()) == set(placed(old)))
    told = until("it is told", lambda: three.told(Reason.TAG_MOVED))
    assert three.metric("moorage_pins_total", resource="controllerrevisions", outcome="tag-moved") >= len(told)


def test_a_rolling_update_of_a_daemon_set_keeps_old_pods_old(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    old = upstream.push("team/app", "stable")
    made = daemon_set("app", image)
    made["spec"]["updateStrategy"] = {"type": "OnDelete"}
    namespace.create(made)
    namespace.await_rollout("DaemonSet", "app")
    new = upstream.push("team/app", "stable")
    namespace.kubectl("set", "env", "daemonset/app", "COLOUR=blue")
    until("there are two revisions", lambda: len(namespace.objects("ControllerRevision")) == 2)
    first, second, third = sorted(by_name(namespace, "app"))
    namespace.delete("Pod", first)
    until(
        "one Pod is new", lambda: sorted(by_name(namespace, "app").values()) == sorted([*placed(old) * 2, *placed(new)])
    )
    assert {second, third} <= by_name(namespace, "app").keys()
    namespace.await_pods("app", 3)
    namespace.kubectl("rollout", "undo", "daemonset/app")
    until("the revision has come back", lambda: three.told(Reason.TAG_MOVED))
    for name, found in by_name(namespace, "app").items():
        if found not in placed(old):
            namespace.delete("Pod", name)
    until("all are old again", lambda: list(by_name(namespace, "app").values()) == placed(old) * 3)


def test_a_controller_revision_that_was_cut_off_and_comes_back_gets_a_new_pin(
    namespace: Namespace, upstream: Upstream, webhooks: Start, image: str
) -> None:
    """Its name is the same, its uid another: within the time for which a pin is remembered all processes know."""
    resolving = {"pins": "1s"}
    webhooks(3, configuration(upstream.host, resolving=resolving), spread="requests")
    upstream.push("team/app", "stable")
    made = stateful_set("app", image, replicas=2)
    made["spec"]["revisionHistoryLimit"] = 0
    namespace.create(made)
    namespace.await_rollout("StatefulSet", "app")
    (first,) = (one["metadata"] for one in namespace.objects("ControllerRevision"))
    namespace.kubectl("set", "env", "statefulset/app", "COLOUR=blue")
    namespace.await_rollout("StatefulSet", "app")
    until("the first revision is cut off", lambda: namespace.find("ControllerRevision", first["name"]) is None)
    newest = upstream.push("team/app", "stable")
    namespace.kubectl("set", "env", "statefulset/app", "COLOUR-")
    again = until("it comes back", lambda: namespace.find("ControllerRevision", first["name"]))
    assert again is not None
    assert again["metadata"]["uid"] != first["uid"]
    assert [pin["images"] for pin in pins_of(again).values()] == [{image: newest}]

    def is_new() -> bool:
        for name, found in by_name(namespace, "app").items():
            if found not in placed(newest):
                namespace.delete("Pod", name)
        return list(by_name(namespace, "app").values()) == placed(newest) * 2

    until("all Pods are new", is_new)


def test_a_job_has_one_digest_whatever_is_retried(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    digest = upstream.push("team/app", "stable")
    namespace.create(job("app", image, parallelism=2, completions=2))
    first = until("there are Pods", lambda: namespace.objects("Pod"))[0]
    upstream.push("team/app", "stable")
    upstream.forget()
    namespace.delete("Pod", first["metadata"]["name"])
    namespace.await_job("app")
    assert {found for one in namespace.objects("Pod") for found in images_of(one)} == set(placed(digest))
    assert upstream.requests() == []
    assert sources(three) == {"pin"}


def test_each_run_of_a_cron_job_is_a_rollout(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    namespace.create(cron_job("app", image, completions=2, parallelism=2))
    for run in ("one", "two"):
        digest = upstream.push("team/app", "stable")
        namespace.kubectl("create", "job", run, "--from=cronjob/app")
        namespace.await_job(run)
        pods = namespace.api.objects("Pod", namespace.name, labels=f"job-name={run}")
        assert [images_of(one) for one in pods] == [placed(digest)] * 2


def test_a_suspended_job_is_pinned_when_it_is_resumed(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    upstream.push("team/app", "stable")
    namespace.create(job("app", image, suspend=True, completions=2, parallelism=1))
    assert pins_of(namespace.get("Job", "app")) == {}
    digest = upstream.push("team/app", "stable")
    namespace.patch("Job", "app", {"spec": {"suspend": False}})
    until("it is pinned", lambda: pins_of(namespace.get("Job", "app")))
    upstream.push("team/app", "stable")
    namespace.await_job("app")
    assert {found for one in namespace.objects("Pod") for found in images_of(one)} == set(placed(digest))


def test_pods_of_a_bare_replica_set_are_alike_also_over_a_restart_of_all_processes(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    digest = upstream.push("team/app", "stable")
    namespace.create(replica_set("app", image, replicas=3))
    namespace.await_pods("app", 3)
    upstream.push("team/app", "stable")
    three.replace()
    namespace.scale("ReplicaSet", "app", 9)
    namespace.await_pods("app", 9)
    assert namespace.images("app") == placed(digest)
    assert pins_of(namespace.get("ReplicaSet", "app")) == {}
    assert sources(three) == {"sibling"}


# Three processes are started anew.
def test_pods_of_a_replication_controller_are_alike_also_over_a_restart_of_all_processes(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    digest = upstream.push("team/app", "stable")
    made = replica_set("app", image, replicas=3)
    made |= {"kind": "ReplicationController", "spec": {**made["spec"], "selector": {"app": "app"}}}
    namespace.create(made)
    namespace.await_pods("app", 3)
    upstream.push("team/app", "stable")
    three.replace()
    namespace.scale("ReplicationController", "app", 9)
    namespace.await_pods("app", 9)
    assert namespace.images("app") == placed(digest)


def owner(namespace: Namespace) -> dict[str, Any]:
    """A reference to a controller of a kind that we do not know."""
    made = namespace.create({"kind": "ConfigMap", "metadata": {"name": "clones"}}).body["metadata"]
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "clones", "uid": made["uid"], "controller": True}


def clone(namespace: Namespace, reference: dict[str, Any], number: int, image: str, **labels: str) -> str:
    """What a Pod runs that a controller of an unknown kind makes."""
    made = pod(f"app-{number}", image, labels={"app": "app", **(labels or {HASH: "clones-6b7c9"})})
    made["metadata"]["ownerReferences"] = [reference]
    return images_of(namespace.create(made).body)[0]


# Three processes are started anew.
def test_pods_of_an_owner_that_nobody_knows_are_alike_also_over_a_restart_of_all_processes(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    reference = owner(namespace)
    digest = upstream.push("team/app", "stable")
    clone(namespace, reference, 0, image)
    upstream.push("team/app", "stable")
    three.replace()
    for number in range(1, 7):
        clone(namespace, reference, number, image)
    assert namespace.images("app") == placed(digest)


def test_pods_that_an_operator_tells_apart_by_labels_are_alike(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    """As those of StrimziPodSets and CloudNativePG, which name no revision and carry their own name as a label."""
    reference = owner(namespace)
    digest = upstream.push("team/app", "stable")
    clone(namespace, reference, 0, image, **{"example.com/pod-name": "app-0"})
    upstream.push("team/app", "stable")
    later = [
        clone(namespace, reference, number, image, **{"example.com/pod-name": f"app-{number}"}) for number in (1, 2, 3)
    ]
    assert later == placed(digest) * 3


def test_the_next_rollout_of_an_owner_that_nobody_knows_gets_the_new_digest(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    """The owner is the same object, and what its Pods of the rollout before run is remembered still."""
    three.configure(configuration(upstream.host, resolving={"fresh": "1ms"}))
    reference = owner(namespace)
    before = upstream.push("team/app", "stable")
    assert [clone(namespace, reference, number, image) for number in range(6)] == placed(before) * 6
    after = upstream.push("team/app", "stable")
    later = [clone(namespace, reference, number, image, **{HASH: "clones-77f9d"}) for number in range(6, 9)]
    upstream.push("team/app", "stable")
    later += [clone(namespace, reference, number, image, **{HASH: "clones-77f9d"}) for number in range(9, 12)]
    assert later == placed(after) * 6
    assert clone(namespace, reference, 12, image) == placed(before)[0]


def test_a_bare_pod_is_resolved_by_itself(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    resolving = {"fresh": "1ms"}
    three.configure(configuration(upstream.host, resolving=resolving))
    first = upstream.push("team/app", "stable")
    namespace.create(pod("one", image, labels={"app": "app"}))
    second = upstream.push("team/app", "stable")
    namespace.create(pod("two", image, labels={"app": "app"}))
    assert namespace.images("app") == sorted([*placed(first), *placed(second)])


def test_an_injected_sidecar_follows_the_siblings(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    """An image that is not in the template, as another webhook puts it in, has no pin."""
    upstream.push("team/app", "stable")
    proxy = upstream.push("team/proxy", "1")
    reference = owner(namespace)

    def injected(number: int) -> str:
        made = pod(f"app-{number}", image, upstream.image("team/proxy", "1"))
        made["metadata"] |= {"labels": {"app": "app"}, "ownerReferences": [reference]}
        return images_of(namespace.create(made).body)[1]

    first = injected(0)
    upstream.push("team/proxy", "1")
    assert {first, *(injected(number) for number in range(1, 4))} == {f"{CACHE}/team/proxy@{proxy}"}


def test_sidecars_and_image_volumes_of_a_template_are_pinned_with_it(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str
) -> None:
    digests = {name: upstream.push(f"team/{name}", "stable") for name in ("app", "side", "model")}
    names = {name: upstream.image(f"team/{name}", "stable") for name in digests}
    made = stateful_set("app", names["app"], replicas=1)
    made["spec"]["template"]["spec"] |= {
        "initContainers": [{"name": "side", "image": names["side"], "restartPolicy": "Always"}],
        "volumes": [{"name": "model", "image": {"reference": names["model"]}}],
    }
    namespace.create(made)
    namespace.await_pods("app", 1)
    (revision,) = namespace.objects("ControllerRevision")
    assert [pin["images"] for pin in pins_of(revision).values()] == [
        {names[name]: digests[name] for name in sorted(digests)}
    ]
    (found,) = namespace.objects("Pod", app="app")
    written = [
        found["spec"]["containers"][0]["image"],
        found["spec"]["initContainers"][0]["image"],
        found["spec"]["volumes"][0]["image"]["reference"],
    ]
    assert written == [f"{CACHE}/team/{name}@{digests[name]}" for name in ("app", "side", "model")]


@pytest.mark.parametrize(
    "annotation",
    [
        "{",
        json.dumps(
            {"images": {"containers/c0": {"from": "x", "digest": "sha256:" + "0" * 64}}, "time": 1, "seal": "0"}
        ),
    ],
    ids=["malformed", "forged"],
)
def test_an_annotation_that_an_author_wrote_is_replaced(
    namespace: Namespace, upstream: Upstream, three: Webhooks, image: str, annotation: str
) -> None:
    digest = upstream.push("team/app", "stable")
    made: dict[str, Any] = pod("app", image)
    made["metadata"]["annotations"] = {"moorage.dev/images": annotation}
    namespace.create(made)
    found = namespace.get("Pod", "app")
    assert images_of(found) == placed(digest)
    entry = json.loads(found["metadata"]["annotations"]["moorage.dev/images"])["images"]["containers/c0"]
    assert (entry["from"], entry["digest"]) == (image, digest)
