"""Moorage's own image as Pods of a real node, installed by the shipped manifests and asked through its Service."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

import httpx
import pytest

from tests.cluster.doctor import doctor, tell_proxy
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.node.installing import Moorage
from tests.cluster.node.running import placed, plain, run_by
from tests.cluster.real.api import ApiError
from tests.cluster.real.plane import Running
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import deployment, pod
from tests.support.figures import FIGURE
from tests.support.until import until

pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.timeout(240)]

SLOW: Final = 90


@pytest.fixture(scope="module")
def moorage(
    plane: Running, upstream_of_the_run: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Moorage]:
    """The install that these tests share."""
    folder = tmp_path_factory.mktemp("install") / "overlay"
    with Moorage.installed(plane, upstream_of_the_run, folder, plain(upstream_of_the_run)) as made:
        yield made


@pytest.fixture(autouse=True)
def told(moorage: Moorage, evidence: Any) -> None:
    evidence.add("Moorage", moorage.said)


def test_a_floating_tag_runs_by_its_digest_and_the_pin_stands_on_the_revision(
    namespace: Namespace, upstream: Upstream, moorage: Moorage
) -> None:
    digest = upstream.push("installed/app", "stable")
    namespace.create(deployment("app", upstream.image("installed/app", "stable"), replicas=2))
    assert run_by(namespace.await_pods("app", 2, seconds=SLOW)) == {placed("installed/app", digest)}
    (revision,) = namespace.objects("ReplicaSet", app="app")
    assert pinned(revision) == {digest}
    assert len(moorage.servers()) == 3


def test_what_its_own_identity_may_have_is_seen_by_asking_in_one_of_its_pods(
    upstream: Upstream, moorage: Moorage
) -> None:
    digest = upstream.push("installed/asked", "stable")
    image = upstream.image("installed/asked", "stable")
    words = ("exec", "deployment/moorage", "-c", "moorage", "--", "moorage", "resolve", "-v", image)
    assert digest in moorage.kubectl(*words)


def test_the_page_is_seen_through_a_forwarded_port_and_in_no_other_way(
    namespace: Namespace, upstream: Upstream, moorage: Moorage
) -> None:
    digest = upstream.push("shown/app", "stable")
    servers = [one["metadata"]["name"] for one in moorage.servers()]
    for address in [one["status"]["podIP"] for one in moorage.servers()]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, 8081), timeout=5)
    namespace.create(pod("app", upstream.image("shown/app", "stable")), dry_run=True)
    seen = []
    for name in servers:
        with (
            moorage.forwarded(f"pod/{name}", 8081) as port,
            httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client,
        ):
            # Each replica reads the registration in its own time.
            until("it is known", lambda: client.get("/api/status").json()["registration"]["covers"] is not None)
            assert client.get("/api/status").json()["registration"] == {"covers": True, "findings": []}
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
            seen += client.get("/api/decisions", params={"namespace": namespace.name}).json()["reviews"]
    # The one replica that was asked tells of it.
    ((image,),) = [one["images"] for one in seen]
    assert (image["reason"], image["digest"]) == ("Resolved", digest)


def pinned(revision: Any) -> set[str]:
    pins = (value for key, value in revision["metadata"]["annotations"].items() if key.startswith("pins.moorage.dev/"))
    return {digest for pin in pins for digest in json.loads(pin)["images"].values()}


class Creating:
    """Pods created ten times a second, by dry runs: they are admitted like any other and cost the node nothing."""

    def __init__(self, namespace: Namespace, image: str) -> None:
        self._namespace = namespace
        self._image = image
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seen: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += 0.1
            try:
                made = self._namespace.create(pod("app", self._image), dry_run=True).body
            except ApiError as error:
                self.seen[str(error)] += 1
            else:
                self.seen[images_of(made)[0]] += 1


def test_a_restart_of_moorage_loses_no_call(
    namespace: Namespace, upstream: Upstream, moorage: Moorage, record_property: Callable[[str, object], None]
) -> None:
    """Ten creations a second, and a registration that would refuse each that is not answered."""
    digest = upstream.push("restarted/app", "stable")
    before = {one["metadata"]["uid"] for one in moorage.servers()}
    moorage.policy("Fail")
    with Creating(namespace, upstream.image("restarted/app", "stable")) as creating:
        until("Pods are created", lambda: creating.seen.total() > 5)
        moorage.kubectl("rollout", "restart", "deployment/moorage")
        moorage.await_rollout("Deployment", "moorage", seconds=SLOW)
        # Until the last of the old ones is gone, and with it every connection to it.
        until("the old ones are gone", lambda: before.isdisjoint(uids(moorage)), seconds=SLOW)
    moorage.policy("Ignore")
    record_property(FIGURE, f"{creating.seen.total()} Pods created during a restart of Moorage: {dict(creating.seen)}")
    assert creating.seen.keys() == {placed("restarted/app", digest)}
    assert len(moorage.servers()) == 3


def uids(moorage: Moorage) -> set[str]:
    return {one["metadata"]["uid"] for one in moorage.api.objects("Pod", moorage.name)}


def test_when_all_of_moorage_is_deleted_at_once_it_comes_back_and_keeps_nobody_waiting(
    namespace: Namespace, upstream: Upstream, moorage: Moorage
) -> None:
    digest = upstream.push("cold/app", "stable")
    image = upstream.image("cold/app", "stable")
    old = uids(moorage)
    moorage.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")
    with Creating(namespace, image) as creating:
        began = time.monotonic()
        moorage.api.create(
            {**pod("part", "localhost/pause:1"), "metadata": {"name": "part", "namespace": "kube-system"}},
            dry_run=True,
        )
        assert time.monotonic() - began < 5
        until("there are as many others", lambda: len(uids(moorage) - old) == len(old), seconds=SLOW)
        moorage.await_ready()
        before = creating.seen[placed("cold/app", digest)]
        until("Pods are pinned again", lambda: creating.seen[placed("cold/app", digest)] > before + 5, seconds=SLOW)
    # Some came while nobody could be asked; none was refused.
    assert creating.seen.keys() <= {placed("cold/app", digest), image}


# After all of it was deleted: a new Pod has the seal key at once, the first one had to wait for it.
def test_a_pin_that_is_lost_is_written_again(namespace: Namespace, upstream: Upstream, moorage: Moorage) -> None:
    moorage.await_adopter()
    moorage.await_ready()
    digest = upstream.push("adopted/app", "stable")
    namespace.create(deployment("app", upstream.image("adopted/app", "stable")))
    namespace.await_pods("app", 1, seconds=SLOW)
    (revision,) = namespace.objects("ReplicaSet", app="app")
    name = revision["metadata"]["name"]
    annotations = revision["metadata"]["annotations"]
    lost: dict[str, None] = {key: None for key in annotations if key.startswith("pins.")}
    assert lost
    namespace.patch("ReplicaSet", name, {"metadata": {"annotations": lost}})
    until("it is pinned again", lambda: pinned(namespace.get("ReplicaSet", name)) == {digest}, seconds=SLOW)
    writers = {one["manager"] for one in namespace.get("ReplicaSet", name)["metadata"]["managedFields"]}
    assert "moorage" in writers
    assert moorage.objects("Lease")


def test_doctor_finds_nothing_to_say_but_ok(plane: Running, moorage: Moorage) -> None:
    moorage.await_adopter()
    tell_proxy(plane.api)
    told = doctor(plane.kubeconfig, "--timeout", "30s")
    assert [one for one in told.findings if one.level != "ok"] == []
    assert told.code == 0
    assert {one.check for one in told.findings} >= {"version", "certificate", "answers", "rights", "localhost", "adopt"}
    (in_force,) = [one for one in told.of("configuration") if "in force" in one.looked]
    assert "all Pods that say so have it" in in_force.found


# The last: it takes away what the others share.
def test_uninstalling_leaves_pods_running_as_they_are(
    namespace: Namespace, upstream: Upstream, moorage: Moorage
) -> None:
    digest = upstream.push("left/app", "stable")
    image = upstream.image("left/app", "stable")
    namespace.create(deployment("app", image))
    (before,) = namespace.await_pods("app", 1, seconds=SLOW)
    said = moorage.uninstall().splitlines()
    removed = [line for line in said if "deleted" in line]
    assert removed[0].startswith("mutatingwebhookconfiguration.admissionregistration.k8s.io")
    assert moorage.api.find("Namespace", moorage.name) is None
    (after,) = namespace.objects("Pod", app="app")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert run_by([after]) == {placed("left/app", digest)}
    assert images_of(namespace.create(pod("other", image), dry_run=True).body) == [image]
