"""Pods through a real API server, with and without the webhook; a rollout of 500 Pods; 10,000 revisions known.

`python -m tests.bench --only cluster`, or `make bench-cluster`. Both sides of a comparison run in the same cluster, round
by round, so that what slows the machine slows both.
"""

import base64
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import httpx
import msgspec
import trustme

from tests.bench.figures import Bound, Figure
from tests.bench.processes import floor
from tests.cluster.account import SERVER, Account, pulling_account, shipped_account
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.real.api import Api
from tests.cluster.real.kwok import fake_node, playing
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.upstream import Upstream
from tests.cluster.webhook import Settings
from tests.cluster.webhooks import Webhooks, registered
from tests.cluster.workloads import deployment, pod
from tests.support.secrets import login, pull_secret
from tests.support.until import until
from webhook.access import HOST, PORT

WITH, BALANCED, WITHOUT, FLOOR, LARGE, KNOWN = "with", "balanced", "without", "floor", "large", "known"
AT_ONCE: Final = 16
PODS: Final = 400
"""In a round."""
ROUNDS: Final = 9
REPLICAS: Final = 500
REVISIONS: Final = 10_000
TENANTS: Final = 1000
KNOWN_TENANT: Final = "tenant-0"


def cluster(_folder: Path, _rounds: object) -> list[Figure]:
    """All figures, in one control plane."""
    with ExitStack() as ending, tempfile.TemporaryDirectory(prefix="moorage-bench-") as place:
        folder = Path(place)
        plane = ending.enter_context(control_plane())
        upstream = ending.enter_context(Upstream.running(folder))
        authority = trustme.CA()
        for name in (WITH, BALANCED, WITHOUT, FLOOR, LARGE, KNOWN):
            make_namespace(plane.api, name)
        account = shipped_account(plane, SERVER, folder)
        settings = Settings(configuration(upstream.host), kubeconfig=account.kubeconfig, failure_policy="Fail")
        return [
            *_creations(plane, upstream, settings, folder, authority),
            *_rollout(plane, upstream, settings, folder, authority, account),
            *_known(plane, upstream, in_pod(plane, settings, account), folder, authority),
            *tenants(plane, in_pod(plane, settings, pulling_account(plane, folder)), folder, authority),
        ]


def in_pod(plane: Running, settings: Settings, account: Account) -> Settings:
    """The same for a process that finds its cluster as in a Pod, without the client library."""
    host, _, port = plane.api.url.removeprefix("https://").rpartition(":")
    return msgspec.structs.replace(settings, kubeconfig=None, mounted=account.mounted, environ={HOST: host, PORT: port})


def make_namespace(api: Api, name: str) -> None:
    api.create({"kind": "Namespace", "metadata": {"name": name}})
    until("the service account is there", lambda: api.find("ServiceAccount", "default", name))


@contextmanager
def serving(
    count: int, plane: Running, namespace: str, settings: Settings, folder: Path, authority: trustme.CA
) -> Iterator[Webhooks]:
    """So many processes, called directly where there is one, else through a load balancer."""
    own = folder / f"{namespace}-{count}"
    own.mkdir()
    with (
        Webhooks.running(count, own, settings, authority) as webhooks,
        registered(plane.api, namespace, webhooks.url if count > 1 else webhooks[0].url, settings, authority),
    ):
        probe = pod("probe", "registry.invalid/probe:1")
        probe["metadata"]["namespace"] = namespace

        def is_called() -> bool:
            plane.api.create(probe, dry_run=True)
            return webhooks.metric("moorage_admission_reviews_total") > 0

        until("the registration is in force", is_called)
        yield webhooks


def _creations(
    plane: Running, upstream: Upstream, settings: Settings, folder: Path, authority: trustme.CA
) -> list[Figure]:
    """How long a Pod's creation takes, in parallel, in a namespace with the webhook, in one without, and in one with the
    bare Go webhook in its place: what the API server itself needs to call anybody. One process is called directly, as
    kube-proxy leads to one without a process of its own; three behind a load balancer are a case apart."""
    # An image that the Go webhook knows, too.
    upstream.push("team/svc-0", "t0")
    image = upstream.image("team/svc-0", "t0")
    names = (WITH, FLOOR, BALANCED, WITHOUT)
    with (
        serving(1, plane, WITH, settings, folder, authority),
        serving(3, plane, BALANCED, settings, folder, authority),
        _bare(plane, upstream, settings, folder, authority),
    ):
        for name in names:
            _create(plane.api, name, image, 50)
        rounds = [{name: _create(plane.api, name, image, PODS) for name in names} for _ in range(ROUNDS)]
    return [
        _later(rounds, WITH, f"a Pod's creation, {AT_ONCE} at once: p95 with the webhook less p95 without", Bound(10)),
        _later(rounds, FLOOR, "the same with the bare Go webhook in its place", None),
        _later(rounds, BALANCED, "the same with three processes behind a load balancer", None),
    ]


@contextmanager
def _bare(
    plane: Running, upstream: Upstream, settings: Settings, folder: Path, authority: trustme.CA
) -> Iterator[None]:
    """The Go yardstick, registered as Moorage is."""
    own = folder / FLOOR
    own.mkdir()
    pair = authority.issue_cert("localhost", "127.0.0.1")
    pair.private_key_pem.write_to_path(str(own / "tls.key"))
    pair.cert_chain_pems[0].write_to_path(str(own / "tls.crt"))
    with (
        floor(f"{upstream.host}/", own, core=None) as webhook,
        registered(plane.api, FLOOR, webhook.url, settings, authority),
    ):
        probe = pod("probe", upstream.image("team/svc-0", "t0"))
        probe["metadata"]["namespace"] = FLOOR
        until(
            "the Go webhook is called",
            lambda: images_of(plane.api.create(probe, dry_run=True).body)[0].startswith(f"{CACHE}/"),
        )
        yield


def _later(rounds: Sequence[Mapping[str, Sequence[float]]], name: str, measure: str, bound: Bound | None) -> Figure:
    """How much later creations end in one namespace than in that without a webhook."""
    differences = [(_p95(one[name]) - _p95(one[WITHOUT])) * 1000 for one in rounds]
    ours, without = ([taken for one in rounds for taken in one[which]] for which in (name, WITHOUT))
    return Figure(
        measure,
        f"{_p95(ours) * 1000:.1f} ms and {_p95(without) * 1000:.1f} ms; "
        f"medians {median(ours) * 1000:.1f} and {median(without) * 1000:.1f} ms",
        median(differences),
        bound,
        "ms",
        (min(differences), max(differences)),
    )


def _create(api: Api, namespace: str, image: str, count: int) -> list[float]:
    """Seconds for each of so many dry runs: they pass all of admission and are stored by none."""

    def one(number: int) -> float:
        made = pod(f"app-{number}", image)
        made["metadata"]["namespace"] = namespace
        started = time.perf_counter()
        api.create(made, dry_run=True)
        return time.perf_counter() - started

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, range(count)))


def _p95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20)[-1]


def _rollout(
    plane: Running, upstream: Upstream, settings: Settings, folder: Path, authority: trustme.CA, account: Account
) -> list[Figure]:
    """A Deployment of 500 Pods: what it costs the registry and the API server."""
    digest = upstream.push("team/large", "stable")
    names = tuple(f"kwok-{number}" for number in range(3))
    with (
        playing(plane.api, plane.kubeconfig, plane.logs, *map(fake_node, names)),
        serving(3, plane, LARGE, settings, folder, authority),
    ):
        upstream.forget()
        before = len(account.calls("replicasets"))
        namespace = Namespace(plane.api, LARGE, plane.kubeconfig, folder)
        started = time.perf_counter()
        namespace.create(deployment("large", upstream.image("team/large", "stable"), replicas=REPLICAS))
        namespace.await_pods("large", REPLICAS, seconds=240)
        taken = time.perf_counter() - started
        images = namespace.images("large")
        read = len(account.calls("replicasets")) - before
        asked = len(upstream.requests("team/large"))
    assert images == [f"localhost:30081/team/large@{digest}"], images
    return [
        Figure(
            f"a Deployment from 0 to {REPLICAS} Pods: requests to the registry",
            f"{asked} in {taken:.0f} s",
            asked,
            Bound(1),
            "request(s)",
        ),
        Figure("the same: reads of its revision by 3 processes", f"{read}", read / 3, Bound(1), "a process"),
    ]


def _known(plane: Running, upstream: Upstream, settings: Settings, folder: Path, authority: trustme.CA) -> list[Figure]:
    """Memory with 10,000 revisions that were read. Pods of 10,000 ReplicaSets are asked about, none of them stored."""
    upstream.push("team/app", "stable")
    image = upstream.image("team/app", "stable")
    with serving(1, plane, KNOWN, settings, folder, authority) as webhooks:
        idle = webhooks[0].resident / 2**20
        # One for all threads, made before there are any.
        _client(authority, folder)
        revision = _replica_set(plane.api, image)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(
                threads.map(
                    lambda number: _ask(webhooks.url, revision, number, image, authority, folder), range(REVISIONS)
                )
            )
        full = webhooks[0].resident / 2**20
    return [
        Figure("resident memory in a Pod, idle", f"{idle:.0f} MiB", idle, Bound(128), "MiB"),
        Figure(f"with {REVISIONS} revisions known", f"{full:.0f} MiB", full, Bound(128), "MiB"),
    ]


def _replica_set(api: Api, image: str) -> Any:
    made = deployment("known", image, replicas=0)
    made["metadata"]["namespace"] = KNOWN
    api.create(made)
    return until("it is there", lambda: api.objects("ReplicaSet", KNOWN))[0]


def _ask(url: str, revision: Any, number: int, image: str, authority: trustme.CA, folder: Path) -> None:
    """A review of a Pod whose controller has another uid: what is read then is no pin, and is known all the same."""
    name = revision["metadata"]["name"]
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": name,
        "uid": revision["metadata"]["uid"],
        "controller": True,
    }
    labels = {"pod-template-hash": f"{number:x}"}
    made = {
        "metadata": {"generateName": "known-", "labels": labels, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "c0", "image": image}]},
    }
    request = {
        "uid": f"{number}",
        "operation": "CREATE",
        "namespace": KNOWN,
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "object": made,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    _client(authority, folder).post(f"{url}/mutate?timeout=5s", content=json.dumps(review)).raise_for_status()


def tenants(plane: Running, settings: Settings, folder: Path, authority: trustme.CA) -> list[Figure]:
    """Memory with the pull secrets of 1,000 namespaces, each with a password of its own and an answer of its own."""
    names = [f"tenant-{number}" for number in range(TENANTS)]
    passwords = {name: f"password-of-{name}" for name in names}
    (own := folder / "tenants").mkdir()
    with Upstream.running(own, passwords=passwords) as upstream:
        digest = upstream.push("team/app", "stable")
        image = upstream.image("team/app", "stable")

        def make(name: str) -> None:
            plane.api.create({"kind": "Namespace", "metadata": {"name": name}})
            secret = pull_secret("pull", {upstream.host: login(name, passwords[name])}, namespace=name)
            del secret["metadata"]["resourceVersion"]
            plane.api.create(secret)

        registry = {"plainHTTP": True, "allowLoopback": True, "credentials": ["pod", "anonymous"]}
        text = configuration(upstream.host, registries={upstream.host: registry})
        make(KNOWN_TENANT)
        settings = msgspec.structs.replace(settings, configuration=text)
        with (
            serving(1, plane, KNOWN_TENANT, settings, folder, authority) as webhooks,
            ThreadPoolExecutor(AT_ONCE) as threads,
        ):
            list(threads.map(make, names[1:]))
            client = _client(authority, folder)
            idle = webhooks[0].resident / 2**20
            spec = {"containers": [{"name": "c0", "image": image}], "imagePullSecrets": [{"name": "pull"}]}

            def ask(name: str) -> bool:
                request = {
                    "uid": name,
                    "operation": "CREATE",
                    "namespace": name,
                    "resource": {"group": "", "version": "v1", "resource": "pods"},
                    "object": {"metadata": {"generateName": "app-"}, "spec": spec},
                }
                review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
                url = f"{webhooks.url}/mutate?timeout=5s"
                response = client.post(url, content=json.dumps(review)).raise_for_status().json()
                return digest in base64.b64decode(response["response"].get("patch", "")).decode()

            answered = sum(threads.map(ask, names))
            reads = webhooks.metric("moorage_pull_secret_reads_total")
            full = webhooks[0].resident / 2**20
    assert answered == TENANTS, f"{answered} of {TENANTS} got the digest"
    assert reads == TENANTS, f"{reads} reads"
    return [
        Figure(
            f"the same with the pull secrets of {TENANTS} namespaces",
            f"{idle:.0f} and then {full:.0f} MiB",
            full,
            Bound(128),
            "MiB",
        )
    ]


_clients: dict[Path, httpx.Client] = {}


def _client(authority: trustme.CA, folder: Path) -> httpx.Client:
    if folder not in _clients:
        file = folder / "bench-ca.crt"
        authority.cert_pem.write_to_path(str(file))
        _clients[folder] = httpx.Client(verify=str(file), trust_env=False, timeout=30)
    return _clients[folder]
