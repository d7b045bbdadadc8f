"""The webhook as the API server and its controllers see it: three processes behind one address."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import msgspec
import pytest

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import daemon_set, deployment, job, pod, stateful_set

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]


@pytest.mark.parametrize("spread", ["connections", "requests"])
def test_pods_of_a_deployment_get_the_cache_and_the_digest(
    namespace: Namespace, upstream: Upstream, webhooks: Start, spread: str
) -> None:
    digest = upstream.push("team/app", "stable", platforms=("amd64", "arm64"))
    started = webhooks(3, configuration(upstream.host), spread=spread)
    image = upstream.image("team/app", "stable")
    namespace.create(deployment("app", image, replicas=8))
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == [f"{CACHE}/team/app@{digest}"]
    assert images_of(namespace.get("Deployment", "app")["spec"]["template"]) == [image]
    assert started.metric("moorage_images_total", action="rewritten") == 8


def test_pods_of_every_controller_get_the_cache_and_the_digest(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("team/app", "stable")
    image = upstream.image("team/app", "stable")
    webhooks(1, configuration(upstream.host))
    namespace.create(stateful_set("set", image, replicas=2))
    namespace.create(daemon_set("daemon", image))
    namespace.create(job("job", image, completions=2, parallelism=2))
    namespace.await_rollout("StatefulSet", "set")
    namespace.await_rollout("DaemonSet", "daemon")
    namespace.await_job("job")
    pods = namespace.objects("Pod")
    assert len(pods) == 2 + 3 + 2
    assert {one for each in pods for one in images_of(each)} == {f"{CACHE}/team/app@{digest}"}


def test_an_ephemeral_container_is_pinned_and_the_others_stay(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    old = upstream.push("team/app", "stable")
    tools = upstream.push("team/tools", "latest")
    image = upstream.image("team/app", "stable")
    webhooks(1, configuration(upstream.host))
    namespace.create(pod("app", image))
    namespace.await_pods("app", 1)
    upstream.push("team/app", "stable")
    namespace.kubectl("debug", "app", f"--image={upstream.image('team/tools', 'latest')}", "--container=debugger")
    found = namespace.get("Pod", "app")
    assert images_of(found) == [f"{CACHE}/team/app@{old}"]
    assert [one["image"] for one in found["spec"]["ephemeralContainers"]] == [f"{CACHE}/team/tools@{tools}"]


def test_a_server_side_dry_run_shows_the_digest_and_writes_nothing(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host))
    manifest = msgspec.json.encode({"apiVersion": "v1", **pod("app", upstream.image("team/app", "stable"))}).decode()
    shown = namespace.kubectl(
        "apply", "--dry-run=server", "-f", "-", "-o", "jsonpath={.spec.containers[0].image}", given=manifest
    )
    assert shown == f"{CACHE}/team/app@{digest}"
    assert namespace.objects("Pod") == []


def test_kubectl_shows_the_warning_of_a_registry_that_is_down(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    webhooks(1, configuration(upstream.host))
    upstream.stop()
    image = upstream.image("team/app", "stable")
    told = namespace.kubectl("run", "app", f"--image={image}")
    assert f"Warning: moorage: app: {image} kept as is, not resolved (Unavailable)" in told
    assert images_of(namespace.get("Pod", "app")) == [image]


# Two drains of two seconds each, one after the other, and four starts of Python while callers take their share.
def test_a_rolling_restart_loses_no_call(namespace: Namespace, upstream: Upstream, webhooks: Start) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(2, configuration(upstream.host), drain="2s")
    asked = pod("app", upstream.image("team/app", "stable"))
    finished = Event()

    def create(_: int) -> list[str]:
        return images_of(namespace.create(asked, dry_run=True).body)

    def create_on_and_on() -> list[list[str]]:
        """In bursts, so that the API server has many connections, and opens new ones when some are ended."""
        seen = []
        while not finished.wait(0.2):
            seen += list(calling.map(create, range(16)))
        return seen

    with ThreadPoolExecutor(16) as calling, ThreadPoolExecutor(1) as beside:
        caller = beside.submit(create_on_and_on)
        try:
            codes = [started.restart(one) for one in started]
        finally:
            finished.set()
    assert codes == [0, 0]
    # failurePolicy is Fail, so that a lost call would have raised.
    assert {image for images in caller.result() for image in images} == {f"{CACHE}/team/app@{digest}"}
    assert all(any(line["event"] == "review" for line in one.lines()) for one in started)
