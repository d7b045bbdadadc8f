"""One digest per rollout, for Deployments and whatever makes ReplicaSets. Three processes, and each review to another one,
so that what one of them remembers helps none of the others."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import deployment, pod, replica_set
from tests.support.until import until
from webhook.core.pins import NEAR
from webhook.core.reason import Reason

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]
PINS = "pins.moorage.dev/"


def placed(digest: str) -> list[str]:
    """What every Pod of a rollout with this digest runs."""
    return [f"{CACHE}/team/app@{digest}"]


def replica_sets(namespace: Namespace, app: str = "app") -> list[Any]:
    """The ReplicaSets of a Deployment, those with Pods first."""
    return sorted(namespace.objects("ReplicaSet", app=app), key=lambda one: -one["spec"]["replicas"])


def pins_of(made: Any) -> dict[str, Any]:
    """The pins on an object, by key."""
    annotations = made["metadata"].get("annotations", {})
    return {key: json.loads(text) for key, text in annotations.items() if key.startswith(PINS)}


def sources(webhooks: Webhooks) -> set[str]:
    """Where the digests of Pods came from, of all reviews so far."""
    return {one for one in ("pin", "sibling") if webhooks.metric("moorage_pins_total", resource="pods", outcome=one)}


def traces(webhooks: Webhooks) -> list[str]:
    """Why images were decided on as they were, of all decisions that are explained in the logs."""
    return [line for told in webhooks.lines() for one in told.get("decisions", ()) for line in one.get("trace", ())]


@pytest.fixture
def rolled_out(namespace: Namespace, upstream: Upstream, webhooks: Start) -> Callable[..., tuple[str, Webhooks]]:
    """Rolls a Deployment out; gives its digest and the processes."""

    def start(replicas: int = 3, pins: str = "60s", **rule: Any) -> tuple[str, Webhooks]:
        digest = upstream.push("team/app", "stable", platforms=("amd64", "arm64"))
        text = configuration(upstream.host, rule=rule, resolving={"pins": pins})
        started = webhooks(3, text, spread="requests")
        namespace.create(deployment("app", upstream.image("team/app", "stable"), replicas=replicas))
        namespace.await_rollout("Deployment", "app")
        return digest, started

    return start


def test_scaled_up_after_the_tag_moved_all_pods_are_alike_and_no_registry_is_asked(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    digest, started = rolled_out()
    upstream.push("team/app", "stable")
    upstream.forget()
    namespace.scale("Deployment", "app", 30)
    namespace.await_pods("app", 30)
    assert namespace.images("app") == placed(digest)
    assert upstream.requests() == []
    assert sources(started) == {"pin"}


def test_a_pin_stands_on_the_replica_set_and_nowhere_else(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    digest, _ = rolled_out()
    (made,) = replica_sets(namespace)
    ((key, pin),) = pins_of(made).items()
    assert key.startswith(f"{PINS}{made['metadata']['labels']['pod-template-hash']}.")
    assert pin["images"] == {f"{upstream.host}/team/app:stable": digest}
    template = made["spec"]["template"]
    assert [one["image"] for one in template["spec"]["containers"]] == [upstream.image("team/app", "stable")]
    assert "annotations" not in template["metadata"]
    assert pins_of(namespace.get("Deployment", "app")) == {}


def restart(namespace: Namespace, upstream: Upstream) -> None:
    namespace.kubectl("rollout", "restart", "deployment/app")


def change_the_template(namespace: Namespace, upstream: Upstream) -> None:
    namespace.kubectl("set", "env", "deployment/app", "COLOUR=blue")


def stamp_as_keel_does(namespace: Namespace, upstream: Upstream) -> None:
    """keel.sh/update-time in the template, keel.sh/digest on the workload, the same image again."""
    template = {"metadata": {"annotations": {"keel.sh/update-time": "2027-01-15 08:00:00 +0000 UTC"}}}
    annotations = {"keel.sh/digest": upstream.digest("team/app", "stable")}
    namespace.patch("Deployment", "app", {"metadata": {"annotations": annotations}, "spec": {"template": template}})


ROLLOUTS = [restart, change_the_template, stamp_as_keel_does]


@pytest.mark.parametrize("roll_out", ROLLOUTS, ids=lambda one: one.__name__)
def test_a_new_rollout_gets_the_new_digest_for_all_its_pods(
    namespace: Namespace,
    upstream: Upstream,
    rolled_out: Callable[..., tuple[str, Webhooks]],
    roll_out: Callable[[Namespace, Upstream], None],
) -> None:
    rolled_out(replicas=6)
    digest = upstream.push("team/app", "stable")
    roll_out(namespace, upstream)
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == placed(digest)


def test_a_new_tag_is_a_new_rollout(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    rolled_out()
    digest = upstream.push("team/app", "1.2")
    namespace.kubectl("set", "image", "deployment/app", f"c0={upstream.image('team/app', '1.2')}")
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == placed(digest)


def test_undo_goes_back_to_the_old_digest_and_says_that_the_tag_names_another(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    old, started = rolled_out()
    new = upstream.push("team/app", "stable")
    restart(namespace, upstream)
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == placed(new)
    namespace.kubectl("rollout", "undo", "deployment/app")
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == placed(old)
    told = until("it is told", lambda: started.told(Reason.TAG_MOVED))
    assert started.metric("moorage_pins_total", resource="replicasets", outcome="tag-moved") >= len(told)
    assert {(one["image"], one["action"]) for one in told} == {(upstream.image("team/app", "stable"), "unchanged")}


def test_undo_with_fresh_gets_the_new_digest_before_the_first_pod(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    rolled_out(onReuse="fresh")
    upstream.push("team/app", "stable")
    restart(namespace, upstream)
    namespace.await_rollout("Deployment", "app")
    newest = upstream.push("team/app", "stable")
    namespace.kubectl("rollout", "undo", "deployment/app")
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == placed(newest)


def test_pins_that_are_copied_do_not_hold(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    """Undo copies a ReplicaSet's annotations to the Deployment, whose controller copies them to what comes next."""
    rolled_out()
    first = replica_sets(namespace)[0]["metadata"]["name"]
    upstream.push("team/app", "stable")
    change_the_template(namespace, upstream)
    namespace.await_rollout("Deployment", "app")
    namespace.kubectl("rollout", "undo", "deployment/app")
    namespace.await_rollout("Deployment", "app")
    assert len(pins_of(namespace.get("Deployment", "app"))) == 1
    change_the_template_back(namespace)
    namespace.await_rollout("Deployment", "app")
    namespace.delete("ReplicaSet", first)
    until("the old ReplicaSet is gone", lambda: namespace.find("ReplicaSet", first) is None)
    newest = upstream.push("team/app", "stable")
    namespace.kubectl("set", "env", "deployment/app", "COLOUR-")
    namespace.await_rollout("Deployment", "app")
    again = next(one for one in replica_sets(namespace) if one["metadata"]["name"] == first)
    assert len(pins_of(again)) == 2, "the copy and its own"
    assert namespace.images("app") == placed(newest)


def change_the_template_back(namespace: Namespace) -> None:
    namespace.kubectl("set", "env", "deployment/app", "COLOUR=green")


def test_a_pin_that_somebody_wrote_on_the_deployment_is_confirmed_or_ignored(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    digest, started = rolled_out(pins="1ms")
    ((key, _),) = pins_of(replica_sets(namespace)[0]).items()
    name, _, time = key.rpartition(".")
    old = f"{name}.{int(time) - 2 * NEAR}"
    forged = json.dumps({"images": {upstream.image("team/app", "stable"): "sha256:" + "0" * 64}, "seal": "0" * 32})
    namespace.kubectl("annotate", "deployment/app", f"{key}={forged}", f"{old}={forged}")
    until(
        "the controller has copied them",
        lambda: [*pins_of(replica_sets(namespace)[0]).values()] == [json.loads(forged)] * 2,
    )
    started.forget()
    namespace.scale("Deployment", "app", 9)
    namespace.await_pods("app", 9)
    assert namespace.images("app") == placed(digest), "the siblings decide"
    assert sources(started) == {"sibling"}
    told = until("it is told", lambda: traces(started))
    assert f"pin {old.removeprefix(PINS)} ignored: it was not made for this object: a copy" in told
    assert any("is no more than a hint, and the upstream did not confirm it" in line for line in told)


def test_a_deployment_of_the_same_name_is_another_rollout(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    rolled_out()
    before = replica_sets(namespace)[0]["metadata"]["name"]
    namespace.kubectl("delete", "deployment", "app", "--cascade=foreground")
    digest = upstream.push("team/app", "stable")
    namespace.create(deployment("app", upstream.image("team/app", "stable"), replicas=9))
    namespace.await_rollout("Deployment", "app")
    assert replica_sets(namespace)[0]["metadata"]["name"] == before
    assert namespace.images("app") == placed(digest)


def test_a_replica_set_of_an_argo_rollout_is_pinned_as_a_deployments(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(3, configuration(upstream.host), spread="requests")
    made = argo(namespace, upstream.image("team/app", "stable"))
    namespace.create(made)
    namespace.await_pods("app", 3)
    upstream.push("team/app", "stable")
    namespace.scale("ReplicaSet", "app-6b7c9", 9)
    namespace.await_pods("app", 9)
    assert namespace.images("app") == placed(digest)
    assert sources(started) == {"pin"}


def argo(namespace: Namespace, image: str) -> dict[str, Any]:
    """As the Rollouts controller makes it; its owner is of a kind that this cluster does not know."""
    made = replica_set("app", image, replicas=3)
    owner = namespace.create({"kind": "ConfigMap", "metadata": {"name": "stands-for-the-rollout"}}).body["metadata"]
    labels = {"app": "app", "rollouts-pod-template-hash": "6b7c9"}
    made["metadata"] = {
        "name": "app-6b7c9",
        "labels": labels,
        "annotations": {"rollout.argoproj.io/revision": "1"},
        "ownerReferences": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": owner["name"],
                "uid": owner["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    made["spec"]["selector"]["matchLabels"] = labels
    made["spec"]["template"]["metadata"]["labels"] = labels
    return made


def test_a_tag_that_is_pushed_while_its_answer_is_on_the_way_is_asked_for_anew(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    """A Pod's question is under way, answered from before the push, when the rollout comes that the push has caused."""
    old = upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host))
    held = upstream.proxy.hold()
    image = upstream.image("team/app", "stable")
    with ThreadPoolExecutor(2) as threads:
        early = threads.submit(namespace.create, pod("early", image))
        until("the Pod's question is on its way", lambda: held.held == 1)
        new = upstream.push("team/app", "stable")
        threads.submit(namespace.create, deployment("app", image))
        until("the rollout's question is on its way", lambda: held.held == 2)
        upstream.proxy.release()
        early.result()
    namespace.await_rollout("Deployment", "app")
    assert old != new
    assert namespace.images("app") == placed(new)


def test_where_keel_has_seen_another_digest_the_registry_is_asked_twice_and_the_difference_is_told(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host))
    made = deployment("app", upstream.image("team/app", "stable"))
    made["metadata"]["annotations"] = {"keel.sh/digest": "sha256:" + "0" * 64}
    namespace.create(made)
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == placed(digest)
    assert len(upstream.requests()) == 2
    assert started.metric("moorage_pins_total", resource="replicasets", outcome="keel-differs") == 1


def test_nothing_differs_for_those_who_compare(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    """kubectl diff, a second apply, a server-side dry run, and a comparison of what stands in Git with what runs."""
    image = upstream.image("team/app", "stable")
    manifest = json.dumps({"apiVersion": "apps/v1", **deployment("app", image, replicas=3)})
    rolled_out()
    namespace.kubectl("apply", "-f", "-", given=manifest)
    upstream.push("team/app", "stable")
    before = namespace.get("Deployment", "app")
    assert namespace.kubectl("diff", "-f", "-", given=manifest) == ""
    assert "unchanged" in namespace.kubectl("apply", "-f", "-", given=manifest)
    namespace.kubectl("apply", "--dry-run=server", "-f", "-", given=manifest)
    after = namespace.get("Deployment", "app")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert len(replica_sets(namespace)) == 1


def test_a_dry_run_of_a_rollout_leaves_nothing_behind(
    namespace: Namespace, upstream: Upstream, rolled_out: Callable[..., tuple[str, Webhooks]]
) -> None:
    rolled_out()
    (made,) = replica_sets(namespace)
    before = (made["metadata"]["resourceVersion"], pins_of(made))
    number = "deployment.kubernetes.io/revision=9"
    namespace.kubectl("annotate", "replicaset", made["metadata"]["name"], number, "--overwrite", "--dry-run=server")
    (again,) = replica_sets(namespace)
    assert (again["metadata"]["resourceVersion"], pins_of(again)) == before
