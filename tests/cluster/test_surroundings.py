"""What other tests rely on: the upstream that fails on purpose, processes that are killed, calls that are counted."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.cluster.account import Account
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.evidence import Evidence
from tests.cluster.gateway import Gateway
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.real.api import Api, ApiError
from tests.cluster.real.plane import Running
from tests.cluster.real.processes import Processes, StartFailed
from tests.cluster.upstream import ACCEPT, Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import deployment, pod
from tests.support.until import until

Start = Callable[..., Webhooks]


@pytest.fixture
def client(upstream: Upstream) -> Iterator[httpx.Client]:
    """Somebody who asks the upstream, through its proxy."""
    with httpx.Client(base_url=f"http://{upstream.host}", headers=ACCEPT, trust_env=False, timeout=10) as made:
        yield made


def test_requests_are_counted_and_pushes_are_not(upstream: Upstream, client: httpx.Client) -> None:
    digest = upstream.push("team/app", "stable")
    assert upstream.requests() == []
    answer = client.head("/v2/team/app/manifests/stable")
    assert answer.headers["Docker-Content-Digest"] == digest
    assert [(one.method, one.target) for one in upstream.requests("team/app")] == [
        ("HEAD", "/v2/team/app/manifests/stable")
    ]
    assert upstream.requests("team/other") == []
    upstream.forget()
    assert upstream.requests() == []


def test_a_tag_moves_back_and_a_deleted_digest_is_gone(upstream: Upstream, client: httpx.Client) -> None:
    first, second = upstream.push("team/app", "stable"), upstream.push("team/app", "stable")
    assert first != second == upstream.digest("team/app", "stable")
    upstream.tag("team/app", first, "stable")
    assert upstream.digest("team/app", "stable") == first
    upstream.delete("team/app", first)
    assert client.head(f"/v2/team/app/manifests/{first}").status_code == 404
    assert client.head("/v2/team/app/manifests/stable").status_code == 404


def test_a_stopped_upstream_refuses_and_comes_back_with_its_contents(upstream: Upstream, client: httpx.Client) -> None:
    digest = upstream.push("team/app", "stable")
    client.head("/v2/team/app/manifests/stable").raise_for_status()
    upstream.stop()
    with pytest.raises(httpx.TransportError):
        client.head("/v2/team/app/manifests/stable")
    upstream.start()
    assert client.head("/v2/team/app/manifests/stable").headers["Docker-Content-Digest"] == digest


def test_a_hanging_upstream_answers_nothing_and_then_again(upstream: Upstream, client: httpx.Client) -> None:
    upstream.push("team/app", "stable")
    fault = upstream.proxy.hang(lambda request: request.method == "HEAD")
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(client.head, "/v2/team/app/manifests/stable")
        until("the request hangs", lambda: fault.held == 1)
        assert not asking.done()
        assert client.get("/v2/").status_code == 200
        upstream.proxy.release()
        assert isinstance(asking.exception(10), httpx.TransportError)
    assert client.head("/v2/team/app/manifests/stable").status_code == 200


def test_an_answer_that_is_held_is_of_the_time_when_it_was_asked(upstream: Upstream, client: httpx.Client) -> None:
    before = upstream.push("team/app", "stable")
    fault = upstream.proxy.hold()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(client.head, "/v2/team/app/manifests/stable")
        until("the answer is held", lambda: fault.held == 1)
        after = upstream.push("team/app", "stable")
        upstream.proxy.release()
        assert asking.result(10).headers["Docker-Content-Digest"] == before
    assert client.head("/v2/team/app/manifests/stable").headers["Docker-Content-Digest"] == after


def test_a_refusal_reaches_the_caller_and_not_the_registry(upstream: Upstream, client: httpx.Client) -> None:
    upstream.push("team/app", "stable")
    upstream.proxy.refuse(429)
    assert client.get("/v2/team/app/manifests/stable").status_code == 429
    upstream.proxy.release()
    assert client.get("/v2/team/app/manifests/stable").status_code == 200


def test_an_upstream_with_passwords_asks_for_them(tmp_path: Path) -> None:
    with Upstream.running(tmp_path, passwords={"reader": "right"}) as upstream:
        upstream.push("team/app", "stable")
        url = f"http://{upstream.host}/v2/team/app/manifests/stable"
        assert httpx.head(url, headers=ACCEPT, trust_env=False).status_code == 401
        assert httpx.head(url, headers=ACCEPT, auth=("reader", "right"), trust_env=False).status_code == 200


def test_what_an_account_asks_is_written_down(plane: Running, namespace: Namespace, account: Account) -> None:
    api = Api.from_kubeconfig(account.kubeconfig)
    assert api.find("ReplicaSet", "app-1", namespace.name) is None
    with pytest.raises(ApiError, match="403"):
        api.objects("ConfigMap", namespace.name)
    api.close()
    until("all is written down", lambda: account.calls("configmaps"))
    told = [(one.verb, one.namespace, one.name, one.status) for one in account.calls("replicasets")]
    assert told == [("get", namespace.name, "app-1", 404)]
    assert account.calls("configmaps")[0].status == 403


def test_the_gateway_counts_and_refuses_what_it_is_told_to(namespace: Namespace, gateway: Gateway) -> None:
    api = Api.from_kubeconfig(gateway.kubeconfig)
    path = f"/apis/apps/v1/namespaces/{namespace.name}/replicasets/app-1"
    gateway.proxy.requests.clear()
    gateway.proxy.refuse(410, fits=lambda request: request.target.startswith(path))
    with pytest.raises(ApiError, match="410"):
        api.find("ReplicaSet", "app-1", namespace.name)
    assert api.objects("Pod", namespace.name) == []
    assert [one.target for one in gateway.proxy.requests] == [path, f"/api/v1/namespaces/{namespace.name}/pods"]
    gateway.proxy.release()
    assert api.find("ReplicaSet", "app-1", namespace.name) is None
    api.close()


def test_a_killed_process_gets_no_more_calls_until_it_is_back(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(2, configuration(upstream.host))
    asked = pod("app", upstream.image("team/app", "stable"))
    first, second = started
    first.kill()
    started.await_down(first)
    for _ in range(4):
        assert images_of(namespace.create(asked, dry_run=True).body) == [f"{CACHE}/team/app@{digest}"]
    started.start(first)
    assert first.metric("moorage_admission_reviews_total") == 0
    assert second.metric("moorage_images_total", action="rewritten") == 4


def test_another_configuration_is_in_force_when_configure_returns(
    namespace: Namespace, upstream: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("team/app", "stable")
    started = webhooks(2, configuration(upstream.host))
    started.configure(configuration(upstream.host, rule={"targets": []}))
    created = namespace.create(pod("app", upstream.image("team/app", "stable")), dry_run=True)
    assert images_of(created.body) == [f"{upstream.host}/team/app@{digest}"]


@pytest.mark.usefixtures("kwok")
def test_pods_of_a_drained_node_come_back_on_another(namespace: Namespace) -> None:
    namespace.create(deployment("drained", "registry.invalid/app:1", replicas=1))
    (gone,) = namespace.await_pods("drained", 1)
    node = gone["spec"]["nodeName"]
    try:
        namespace.kubectl("drain", node, "--pod-selector=app=drained")
        (back,) = namespace.await_pods("drained", 1)
    finally:
        namespace.kubectl("uncordon", node)
    assert back["spec"]["nodeName"] != node


@pytest.mark.usefixtures("kwok")
def test_a_pod_whose_image_cannot_be_pulled_hangs(plane: Running, namespace: Namespace) -> None:
    namespace.create(pod("app", "registry.invalid/app:1", labels={"image-pull": "fails"}))
    with plane.api.watch("Pod", namespace.name) as events:
        seen = (event["object"]["status"].get("containerStatuses", [{}])[0] for event in events)
        reasons = (status.get("state", {}).get("waiting", {}).get("reason") for status in seen)
        assert next(reason for reason in reasons if reason) == "ImagePullBackOff"


def test_what_does_not_start_shows_its_log(tmp_path: Path) -> None:
    with Processes.ended_after(tmp_path) as processes:
        processes.run("broken", "sh", "-c", "echo the reason; exit 3")
        with pytest.raises(StartFailed, match=r"it is ready: broken ended\n== broken\.log\nthe reason"):
            processes.wait("it is ready", lambda: False)


def test_a_failing_test_shows_what_there_is(tmp_path: Path) -> None:
    log = tmp_path / "some.log"
    log.write_text("of the test before\n")
    evidence = Evidence()
    evidence.add_log(log)
    evidence.add("broken", lambda: str(1 // 0))
    with log.open("a") as stream:
        stream.write("of this test\n")
    assert list(evidence.shown()) == [
        ("some.log", "== some.log\nof this test"),
        ("broken", "cannot be shown: integer division or modulo by zero"),
    ]
