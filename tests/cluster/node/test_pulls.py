"""Pods that a real node runs as the webhook wrote them: pulled from its own cache, by digest."""

from collections.abc import Callable

import pytest

from tests.cluster.configuration import CACHE
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.node.running import plain
from tests.cluster.real.image import forget_image
from tests.cluster.real.plane import NODE
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import deployment, pod
from tests.support.until import until

pytestmark = pytest.mark.usefixtures("cache")

Start = Callable[..., Webhooks]


@pytest.mark.parametrize("platforms", [(), ("amd64", "arm64")], ids=["image", "index"])
def test_a_floating_tag_runs_by_digest_from_the_cache_of_the_node(
    namespace: Namespace, upstream: Upstream, webhooks: Start, platforms: tuple[str, ...]
) -> None:
    repository = f"pulled/{'index' if platforms else 'image'}"
    digest = upstream.push(repository, "stable", platforms=platforms)
    webhooks(3, plain(upstream))
    namespace.create(deployment("app", upstream.image(repository, "stable"), replicas=2))
    pods = namespace.await_pods("app", 2)
    expected = f"{CACHE}/{repository}@{digest}"
    assert [images_of(one) for one in pods] == [[expected]] * 2
    assert [one["status"]["containerStatuses"][0]["imageID"] for one in pods] == [expected] * 2
    assert [one["spec"]["nodeName"] for one in pods] == [NODE] * 2
    # The webhook asked for the tag; what was pulled came by digest, through the cache.
    asked = {request.target.rpartition("/")[2] for request in upstream.requests(repository)}
    assert asked >= {"stable", digest}


def test_without_a_target_the_node_pulls_the_digest_from_the_upstream(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("direct/app", "stable")
    webhooks(1, plain(upstream, targets=[]))
    namespace.create(pod("app", upstream.image("direct/app", "stable")))
    (running,) = namespace.await_pods("app", 1)
    assert running["status"]["containerStatuses"][0]["imageID"] == f"{upstream.host}/direct/app@{digest}"


def test_a_sidecar_and_a_debugger_run_by_digest_too(namespace: Namespace, upstream: Upstream, webhooks: Start) -> None:
    digests = {name: upstream.push(f"beside/{name}", "1") for name in ("app", "sidecar", "debugger")}
    webhooks(1, plain(upstream))
    sidecar = {"name": "sidecar", "image": upstream.image("beside/sidecar", "1"), "restartPolicy": "Always"}
    namespace.create(pod("app", upstream.image("beside/app", "1"), initContainers=[sidecar]))
    namespace.await_pods("app", 1)
    image = upstream.image("beside/debugger", "1")
    namespace.kubectl("debug", "app", f"--image={image}", "--container=debugger", "--profile=general")

    def running() -> dict[str, str]:
        status = namespace.get("Pod", "app")["status"]
        kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
        found = [one for kind in kinds for one in status.get(kind, ()) if "running" in one["state"]]
        return {one["name"]: one["imageID"] for one in found} if len(found) == 3 else {}

    assert until("all three run", running) == {
        "c0": f"{CACHE}/beside/app@{digests['app']}",
        "sidecar": f"{CACHE}/beside/sidecar@{digests['sidecar']}",
        "debugger": f"{CACHE}/beside/debugger@{digests['debugger']}",
    }


def test_what_the_cache_holds_is_pulled_while_the_upstream_is_down(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("outage/app", "stable")
    webhooks(1, plain(upstream))
    image = upstream.image("outage/app", "stable")
    namespace.create(pod("before", image))
    namespace.await_pods("before", 1)
    namespace.kubectl("delete", "pod", "before")
    forget_image(digest)
    upstream.stop()
    namespace.create(pod("after", image))
    (running,) = namespace.await_pods("after", 1)
    assert running["status"]["containerStatuses"][0]["imageID"] == f"{CACHE}/outage/app@{digest}"
    assert "Successfully pulled image" in namespace.kubectl("events", "--for=pod/after")
