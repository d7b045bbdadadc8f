"""Pins that nobody wrote at the time, and pins whose digest is gone: what `moorage adopt` does about them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.account import ADOPTER, Account, made_account, rights
from tests.cluster.adopters import Adopter
from tests.cluster.configuration import configuration
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.process import ran
from tests.cluster.real.plane import Running
from tests.cluster.test_pins_deployment import pins_of, placed, replica_sets
from tests.cluster.upstream import Upstream
from tests.cluster.webhook import SEAL_KEY
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import daemon_set, deployment, stateful_set
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]
Tend = Callable[..., list[Adopter]]


@pytest.fixture
def image(upstream: Upstream) -> str:
    return upstream.image("team/app", "stable")


def digests(made: Any) -> set[str]:
    """What the pins on an object name."""
    return {digest for pin in pins_of(made).values() for digest in pin["images"].values()}


def events(namespace: Namespace, reason: str) -> list[Any]:
    """The Events with this reason."""
    return [one for one in namespace.objects("Event") if one["reason"] == reason]


def roll_out(namespace: Namespace, image: str, replicas: int = 3) -> None:
    namespace.create(deployment("app", image, replicas=replicas))
    namespace.await_rollout("Deployment", "app")


def test_where_a_pinned_digest_is_gone_the_rollout_is_pinned_anew_and_grows(
    namespace: Namespace, upstream: Upstream, webhooks: Start, adopters: Tend, image: str
) -> None:
    old = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host, resolving={"pins": "100ms"}))
    roll_out(namespace, image)
    new = upstream.push("team/app", "stable")
    upstream.delete("team/app", old)
    (adopter,) = adopters(started)
    (event,) = until("an event tells it", lambda: events(namespace, "PinRepinned"))
    assert event["involvedObject"]["name"] == replica_sets(namespace)[0]["metadata"]["name"]
    assert old in event["message"]
    assert new in event["message"]
    assert adopter.metric("moorage_pins_gone_total", rule="private") == 1
    assert adopter.metric("moorage_pins_total", resource="replicasets", outcome="repinned") == 1
    # By this metric the alert MoorageDown knows servers.
    serving = "moorage_certificate_reload_success"
    assert [any(one.name == serving and one.samples for one in each.metrics()) for each in (adopter, started[0])] == [
        False,
        True,
    ]
    first = {one["metadata"]["name"] for one in namespace.objects("Pod", app="app")}
    until("the webhook has read the new pin", lambda: next_image(namespace) == placed(new))
    namespace.scale("Deployment", "app", 30)
    young = [one for one in namespace.await_pods("app", 30) if one["metadata"]["name"] not in first]
    assert {one for each in young for one in images_of(each)} == set(placed(new))


def test_on_pin_gone_keep_it_is_told_and_not_changed(
    namespace: Namespace, upstream: Upstream, webhooks: Start, adopters: Tend, image: str
) -> None:
    old = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host, rule={"onPinGone": "keep"}))
    roll_out(namespace, image)
    upstream.push("team/app", "stable")
    upstream.delete("team/app", old)
    (adopter,) = adopters(started)
    until("an event tells it", lambda: events(namespace, "PinGone"))
    rounds = sum(line["event"] == "looked" for line in adopter.lines())
    until("it looks again", lambda: sum(line["event"] == "looked" for line in adopter.lines()) > rounds + 1)
    assert len(events(namespace, "PinGone")) == 1
    assert adopter.metric("moorage_pins_gone_total", rule="private") == 1
    assert digests(replica_sets(namespace)[0]) == {old}


# A right that is missing, and what begins the line of the log that tells of it.
MISSING: Final = [
    ("leases", "create", "lease not held", 'cannot create resource "leases"'),
    ("leases", "get", "lease not held", 'cannot get resource "leases"'),
    ("leases", "update", "lease not held", 'cannot update resource "leases"'),
    ("replicasets", "list", "round failed", 'cannot list resource "replicasets"'),
    ("replicasets", "patch", "round failed", 'cannot patch resource "replicasets"'),
    ("namespaces", "get", "cluster not read", 'cannot get resource "namespaces"'),
]


# A process takes 2 s to start, and some of them need a rollout first.
@pytest.mark.parametrize(
    ("resource", "verb", "event", "words"), MISSING, ids=[f"{verb} {resource}" for resource, verb, *_ in MISSING]
)
def test_each_right_that_is_missing_is_a_line_of_the_log(
    namespace: Namespace,
    upstream: Upstream,
    webhooks: Start,
    plane: Running,
    image: str,
    tmp_path: Path,
    resource: str,
    verb: str,
    event: str,
    words: str,
) -> None:
    started = webhooks(1, configuration(upstream.host))
    if resource != "leases":
        # There is something to do for who gets as far.
        old = upstream.push("team/app", "stable")
        roll_out(namespace, image)
        upstream.push("team/app", "stable")
        upstream.delete("team/app", old)
    held = [
        {**one, "verbs": [each for each in one["verbs"] if resource not in one["resources"] or each != verb]}
        for one in rights(ADOPTER)
    ]
    account = made_account(plane, f"less-{verb}-{resource}", tmp_path, [one for one in held if one["verbs"]])
    adopter = Adopter("less", started.folder, account.kubeconfig, namespace.name)
    try:
        adopter.start()
        until("it is told", lambda: any(words in line.get("problem", "") for line in adopter.lines()))
    finally:
        adopter.end()
    told = [line for line in adopter.lines() if words in line.get("problem", "")]
    assert [line["event"] for line in told] == [event]


def test_without_the_right_to_events_a_line_of_the_log_tells_it_and_the_pin_is_renewed(
    namespace: Namespace, upstream: Upstream, webhooks: Start, plane: Running, image: str, tmp_path: Path
) -> None:
    old = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host))
    roll_out(namespace, image)
    new = upstream.push("team/app", "stable")
    upstream.delete("team/app", old)
    account = made_account(
        plane, "silent", tmp_path, [one for one in rights(ADOPTER) if "events" not in one["resources"]]
    )
    adopter = Adopter("silent", started.folder, account.kubeconfig, namespace.name)
    try:
        adopter.start()
        until("it is told", lambda: adopter.says("events not written"))
    finally:
        adopter.end()
    (line,) = [one for one in adopter.lines() if one["event"] == "events not written"]
    assert line["events"] == 1
    assert 'cannot create resource "events"' in line["problem"]
    assert digests(replica_sets(namespace)[0]) == {new}


def test_a_registry_that_is_down_has_lost_nothing(
    namespace: Namespace, upstream: Upstream, webhooks: Start, adopters: Tend, image: str
) -> None:
    old = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host))
    roll_out(namespace, image)
    upstream.stop()
    (adopter,) = adopters(started)
    until("it has looked twice", lambda: sum(line["event"] == "looked" for line in adopter.lines()) > 1)
    assert digests(replica_sets(namespace)[0]) == {old}
    assert events(namespace, "PinGone") == events(namespace, "PinRepinned") == []


def test_an_install_on_a_living_cluster_splits_no_rollout(
    namespace: Namespace, upstream: Upstream, webhooks: Start, adopter_account: Account, image: str, tmp_path: Path
) -> None:
    digest = upstream.push("team/app", "stable", platforms=("amd64", "arm64"))
    namespace.create(deployment("app", image, replicas=2))
    namespace.create(stateful_set("set", image, replicas=2))
    namespace.create(daemon_set("daemon", image))
    for kind, name in (("Deployment", "app"), ("StatefulSet", "set"), ("DaemonSet", "daemon")):
        namespace.await_rollout(kind, name)
    for one in namespace.objects("Pod"):
        run_by_kubelet(namespace, one, f"{upstream.host}/team/app@{digest}")
    config = tmp_path / "moorage.yaml"
    config.write_text(configuration(upstream.host))
    keys = tmp_path / "seal.keys"
    keys.write_text(SEAL_KEY)
    words: list[str | Path] = ["adopt", "--config", config, "--kubeconfig", adopter_account.kubeconfig]
    words += ["-n", namespace.name, "--seal-key-file", keys, "-o", "json"]
    shown = ran(*words)
    assert [one["images"][0]["verdict"] for one in json.loads(shown)["items"]] == ["adopted"] * 3
    assert not pins_of(replica_sets(namespace)[0])
    ran(*words, "--yes")
    assert digests(replica_sets(namespace)[0]) == {digest}

    upstream.push("team/app", "stable")
    started = webhooks(3, configuration(upstream.host), spread="requests")
    upstream.forget()
    namespace.scale("Deployment", "app", 8)
    namespace.scale("StatefulSet", "set", 4)
    namespace.delete("Pod", namespace.objects("Pod", app="daemon")[0]["metadata"]["name"])
    for name, count in (("app", 8), ("set", 4), ("daemon", 3)):
        namespace.await_pods(name, count)
        assert set(namespace.images(name)) == {image, *placed(digest)}
    assert upstream.requests() == []
    assert started.metric("moorage_pins_total", resource="pods", outcome="pin") == 6 + 2 + 1


def test_who_does_not_have_the_seal_keys_takes_no_pin_away(
    namespace: Namespace, upstream: Upstream, webhooks: Start, adopter_account: Account, image: str
) -> None:
    """As people do on a laptop. Only under the webhook's own seal a rollout grows while the registry is down."""
    digest = upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host, resolving={"pins": "1ms"}))
    roll_out(namespace, image)
    before = pins_of(replica_sets(namespace)[0])
    upstream.push("team/app", "stable")
    config, kubeconfig = started.folder / "moorage.yaml", adopter_account.kubeconfig
    words = ("adopt", "--yes", "-n", namespace.name, "--config", config, "--kubeconfig", kubeconfig, "-o", "json")
    shown = ran(*words)
    assert [one["images"][0]["verdict"] for one in json.loads(shown)["items"]] == ["kept"]
    assert pins_of(replica_sets(namespace)[0]) == before
    upstream.stop()
    namespace.scale("Deployment", "app", 9)
    namespace.await_pods("app", 9)
    assert namespace.images("app") == placed(digest)
    assert started.metric("moorage_pins_total", resource="pods", outcome="sibling") == 0


# The webhook is started anew twice, so that it has no memory.
def test_after_a_change_of_keys_old_pins_hold_until_they_are_sealed_anew(
    namespace: Namespace, upstream: Upstream, webhooks: Start, adopters: Tend, image: str
) -> None:
    """With no Pods, no memory and no registry only a pin under a key that is believed makes a rollout grow."""
    digest = upstream.push("team/app", "stable")
    first, second = "1" * 32, "2" * 32
    started = webhooks(1, configuration(upstream.host), seal_keys=[first])
    roll_out(namespace, image)
    (before,) = pins_of(replica_sets(namespace)[0]).values()

    def grow(replicas: int, *keys: str) -> None:
        """From nothing, during an outage, under these keys."""
        (started.folder / "seal.keys").write_text("".join(f"{key}\n" for key in keys))
        namespace.scale("Deployment", "app", 0)
        until("all Pods are gone", lambda: not namespace.api.objects("Pod", namespace.name))
        upstream.stop()
        started.replace()
        namespace.scale("Deployment", "app", replicas)
        namespace.await_pods("app", replicas)
        assert namespace.images("app") == placed(digest)
        upstream.start()

    grow(2, second, first)
    assert [*pins_of(replica_sets(namespace)[0]).values()] == [before]
    adopters(started)
    until("it is sealed anew", lambda: [*pins_of(replica_sets(namespace)[0]).values()] != [before])
    grow(6, second)


def test_of_two_one_works_and_hands_over_when_it_ends(
    namespace: Namespace, upstream: Upstream, webhooks: Start, adopters: Tend, image: str
) -> None:
    upstream.push("team/app", "stable")
    started = webhooks(1, configuration(upstream.host))
    roll_out(namespace, image)
    both = adopters(started, 2)
    (worker,) = until("one is elected", lambda: [one for one in both if one.says("elected")])
    (other,) = [one for one in both if one is not worker]
    until("it looks", lambda: worker.says("looked"))
    assert not other.says("elected")
    assert worker.terminate() == 0
    until("the other one looks", lambda: other.says("looked"))


def next_image(namespace: Namespace) -> list[str]:
    """What the next Pod of the ReplicaSet would run."""
    (made,) = replica_sets(namespace)
    metadata = made["metadata"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": metadata["name"], "uid": metadata["uid"]}
    template = made["spec"]["template"]
    probe = {
        "kind": "Pod",
        "metadata": {
            "name": "probe",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": template["spec"],
    }
    return images_of(namespace.create(probe, dry_run=True).body)


def run_by_kubelet(namespace: Namespace, made: Any, image: str) -> None:
    """What a kubelet would say of a Pod: KWOK does not know what it runs."""
    status = made["status"]
    for one in status["containerStatuses"]:
        one["imageID"] = image
    namespace.patch("Pod", made["metadata"]["name"], {"status": status}, subresource="status")
