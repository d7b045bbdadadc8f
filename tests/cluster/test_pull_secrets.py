"""Pull secrets on a real control plane, before a registry with passwords: who hears what, what is read for it, and what
happens where nothing may be read."""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trustme

from tests.cluster.account import Account, made_account, pulling_account
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.real.plane import Running
from tests.cluster.test_live import Laptop
from tests.cluster.test_pins_deployment import pins_of
from tests.cluster.upstream import Upstream
from tests.cluster.webhook import Settings
from tests.cluster.webhooks import Webhooks, registered
from tests.cluster.workloads import deployment, job, pod, stateful_set
from tests.support.canary import MARKER, marked
from tests.support.secrets import login, pull_secret
from tests.support.until import until
from webhook.access import HOST, PORT

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]
PASSWORDS = {"reader": marked("canary-of-reader"), "writer": marked("canary-of-writer")}


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Upstream]:
    """A registry that asks for a password."""
    (folder := tmp_path / "locked").mkdir()
    with Upstream.running(folder, passwords=PASSWORDS) as made:
        yield made


@pytest.fixture
def other(plane: Running, namespace: Namespace, tmp_path: Path) -> Iterator[Namespace]:
    """Another tenant."""
    name = f"{namespace.name}-other"
    plane.api.create({"kind": "Namespace", "metadata": {"name": name}})
    until("the service account is there", lambda: plane.api.find("ServiceAccount", "default", name))
    yield Namespace(plane.api, name, plane.kubeconfig, tmp_path)
    plane.api.delete("Namespace", name)


@pytest.fixture(scope="module")
def pulling_of_the_run(plane: Running, tmp_path_factory: pytest.TempPathFactory) -> Account:
    return pulling_account(plane, tmp_path_factory.mktemp("pulling"))


@pytest.fixture
def pulling(pulling_of_the_run: Account, namespace: Namespace) -> Account:
    """A service account that may read pull secrets; the usual one may not."""
    return pulling_of_the_run.within(namespace.name)


def with_secrets(host: str, **more: Any) -> str:
    """A configuration that asks with pull secrets, then as nobody."""
    registry = {"plainHTTP": True, "allowLoopback": True, "credentials": ["pod", "anonymous"]}
    return configuration(host, registries={host: registry}, **more)


def put(namespace: Namespace, name: str, host: str, user: str, password: str) -> None:
    """A pull secret, created or replaced."""
    made = pull_secret(name, {host: login(user, password)}, namespace=namespace.name)
    del made["metadata"]["resourceVersion"]
    if namespace.find("Secret", name) is None:
        namespace.create(made)
    else:
        namespace.patch("Secret", name, {"data": made["data"]})


def asking_with(*names: str) -> dict[str, Any]:
    return {"imagePullSecrets": [{"name": name} for name in names]}


@pytest.fixture(params=["kubeconfig", "in a Pod"])
def reaching(request: pytest.FixtureRequest, plane: Running, pulling: Account) -> dict[str, Any]:
    """How the processes find their cluster."""
    if request.param == "kubeconfig":
        return {"kubeconfig": pulling.kubeconfig}
    host, _, port = plane.api.url.removeprefix("https://").rpartition(":")
    return {"kubeconfig": None, "mounted": pulling.mounted, "environ": {HOST: host, PORT: port}}


# A process of its own, and two registrations to wait for.
def test_two_tenants_with_one_image_name_get_what_their_own_secrets_may_have(
    namespace: Namespace,
    other: Namespace,
    locked: Upstream,
    webhooks: Start,
    authority: trustme.CA,
    reaching: dict[str, Any],
) -> None:
    digest = locked.push("team/app", "stable")
    image = locked.image("team/app", "stable")
    started = webhooks(1, with_secrets(locked.host), **reaching)
    put(namespace, "pull", locked.host, "reader", PASSWORDS["reader"])
    put(other, "pull", locked.host, "reader", marked("canary-that-is-wrong"))
    with registered(other.api, other.name, started.url, Settings("", None), authority):
        probe = pod("probe", image, **asking_with("pull"))

        def refused() -> bool:
            other.create(probe, dry_run=True)
            return started.metric("moorage_images_total", reason="AbsentOrDenied") > 0

        until("the registration is in force", refused)
        for one in (namespace, other):
            one.create(deployment("app", image, replicas=3, **asking_with("pull")))
            one.await_pods("app", 3)
    assert namespace.images("app") == [f"{CACHE}/team/app@{digest}"]
    assert other.images("app") == [image]
    (revision,) = other.objects("ReplicaSet", app="app")
    assert pins_of(revision) == {}
    shown = json.dumps(started.lines())
    assert [canary for canary in ("canary", "reader", "writer") if canary in shown] == []


LOOKED_AT: Final = ("Pod", "ReplicaSet", "ControllerRevision", "Job", "Deployment", "StatefulSet", "Event")
"""Kinds of objects that a tenant may look at in his own namespace."""


# A process of its own, two registrations to wait for, and rollouts of both tenants.
def test_a_tenant_without_a_login_learns_nothing_of_what_another_one_runs(
    namespace: Namespace, other: Namespace, locked: Upstream, webhooks: Start, authority: trustme.CA, pulling: Account
) -> None:
    digest = locked.push("team/app", "stable")
    image = locked.image("team/app", "stable")
    settings = Settings("", pulling.kubeconfig, path=f"path{MARKER}")
    started = webhooks(1, with_secrets(locked.host), kubeconfig=pulling.kubeconfig, path=settings.path)
    put(namespace, "pull", locked.host, "reader", PASSWORDS["reader"])
    namespace.create(deployment("app", image, replicas=2, **asking_with("pull")))
    namespace.await_pods("app", 2)
    assert namespace.images("app") == [f"{CACHE}/team/app@{digest}"]
    with registered(other.api, other.name, started.url, settings, authority):

        def refused() -> bool:
            other.create(pod("probe", image), dry_run=True)
            return started.metric("moorage_images_total", reason="AbsentOrDenied") > 0

        until("the registration is in force", refused)
        # The same names and labels; the other's secret by its name, which is none here; and the cache's own name.
        asked = [
            other.create(made)
            for made in (
                deployment("app", image, replicas=2, **asking_with("pull")),
                stateful_set("db", image, **asking_with("pull")),
                job("batch", image),
                pod("app", image, labels={"app": "app"}, **asking_with("pull")),
                pod("by-the-cache", f"{CACHE}/team/app:stable", **asking_with("pull")),
            )
        ]
        other.await_pods("db", 1)
        other.await_pods("app", 3)
        # Those of the first tenant are scaled beside them: what it learns is still its own.
        namespace.scale("Deployment", "app", 4)
        namespace.await_pods("app", 4)
        other.scale("Deployment", "app", 3)
        other.await_pods("app", 4)
        assert any("AbsentOrDenied" in warning for one in asked for warning in one.warnings)
        seen = {kind: other.objects(kind) for kind in LOOKED_AT}
    assert namespace.images("app") == [f"{CACHE}/team/app@{digest}"]
    assert other.images("app") == [image]
    assert [pins_of(one) for kind in ("ReplicaSet", "ControllerRevision", "Job") for one in seen[kind]] == [{}] * 3
    lines = [line for line in started.lines() if line.get("namespace") == other.name]
    assert len(lines) > 0
    shown = json.dumps([seen, lines, [(one.body, one.warnings) for one in asked]])
    assert digest.removeprefix("sha256:") not in shown
    # Who does not know the path hears nothing at all.
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    assert httpx.post(f"{started.url}/mutate", content=b"{}", verify=context, trust_env=False).status_code == 404


# A process of its own, and a rollout.
def test_the_secrets_of_the_service_account_count_for_the_rollout_and_for_its_pods(
    namespace: Namespace, locked: Upstream, webhooks: Start, pulling: Account
) -> None:
    digest = locked.push("team/app", "stable")
    started = webhooks(1, with_secrets(locked.host), kubeconfig=pulling.kubeconfig)
    put(namespace, "pull", locked.host, "writer", PASSWORDS["writer"])
    namespace.create({"kind": "ServiceAccount", "metadata": {"name": "builder"}, **asking_with("pull")})
    image = locked.image("team/app", "stable")
    namespace.create(deployment("app", image, replicas=3, serviceAccountName="builder"))
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == [f"{CACHE}/team/app@{digest}"]
    (revision,) = namespace.objects("ReplicaSet", app="app")
    assert len(pins_of(revision)) == 1
    # The API server has put them into the Pod before it asks us.
    assert namespace.objects("Pod", app="app")[0]["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert started.metric("moorage_pull_secret_reads_total", outcome="read") == 2


def test_three_secrets_are_read_once_by_their_names_and_never_listed(
    namespace: Namespace, locked: Upstream, webhooks: Start, pulling: Account
) -> None:
    digest = locked.push("team/app", "stable")
    image = locked.image("team/app", "stable")
    webhooks(1, with_secrets(locked.host), kubeconfig=pulling.kubeconfig)
    put(namespace, "old", locked.host, "reader", marked("canary-of-last-year"))
    put(namespace, "new", locked.host, "reader", PASSWORDS["reader"])
    namespace.create(deployment("app", image, replicas=5, **asking_with("old", "missing", "new")))
    namespace.await_rollout("Deployment", "app")
    namespace.scale("Deployment", "app", 20)
    namespace.await_pods("app", 20)
    assert namespace.images("app") == [f"{CACHE}/team/app@{digest}"]
    calls = until("the audit log has been written", lambda: pulling.calls("secrets"))
    found = [one for one in calls if one.status == 200]
    assert {(one.verb, one.name) for one in calls} == {("get", "old"), ("get", "missing"), ("get", "new")}
    assert sorted(one.name for one in found) == ["new", "old"]


def test_who_may_read_no_secrets_says_so_once_and_stops_no_pod(
    namespace: Namespace, upstream: Upstream, locked: Upstream, webhooks: Start
) -> None:
    digest = upstream.push("team/app", "stable")
    locked.push("team/app", "stable")
    registry = {"plainHTTP": True, "allowLoopback": True}
    text = configuration(
        upstream.host,
        registries={upstream.host: registry, locked.host: registry},
        rule={"images": [f"{upstream.host}/**", f"{locked.host}/**"]},
    )
    started = webhooks(1, text, own=True)
    put(namespace, "pull", locked.host, "reader", PASSWORDS["reader"])
    closed = locked.image("team/app", "stable")
    made = pod("app", upstream.image("team/app", "stable"), closed, **asking_with("pull", "other", "third"))
    namespace.create(made)
    assert images_of(namespace.get("Pod", "app")) == [f"{CACHE}/team/app@{digest}", closed]
    namespace.create(deployment("more", closed, replicas=3, **asking_with("pull")))
    namespace.await_pods("more", 3)
    told = [line for line in started.lines() if line["event"] == "pull secrets not read"]
    assert [line["problem"] for line in told] == [
        f"pull secrets in namespace {namespace.name} are not read: no right to get secrets there"
    ]
    assert started.metric("moorage_internal_errors_total") == 0
    assert started.metric("moorage_pull_secret_reads_total", outcome="forbidden") > 0


# Two starts of a process, and an API server that is asked by both.
def test_what_ran_with_pull_secrets_is_known_again_after_a_restart_during_an_outage(
    namespace: Namespace, locked: Upstream, webhooks: Start, pulling: Account
) -> None:
    digest = locked.push("team/app", "stable")
    image = locked.image("team/app", "stable")
    started = webhooks(1, with_secrets(locked.host), kubeconfig=pulling.kubeconfig)
    put(namespace, "pull", locked.host, "reader", PASSWORDS["reader"])
    namespace.create(deployment("app", image, **asking_with("pull")))
    namespace.await_rollout("Deployment", "app")
    locked.stop()
    started.replace()
    namespace.create(pod("lone", image, **asking_with("pull")))
    assert images_of(namespace.get("Pod", "lone")) == [f"{CACHE}/team/app@{digest}"]
    namespace.create(pod("stranger", image))
    assert images_of(namespace.get("Pod", "stranger")) == [image]


@pytest.fixture
def laptop(namespace: Namespace, locked: Upstream, tmp_path: Path) -> Laptop:
    (folder := tmp_path / "laptop").mkdir()
    (folder / "moorage.yaml").write_text(with_secrets(locked.host))
    return Laptop(namespace, folder, locked.image("team/app", "stable"))


# Four calls of the command line.
def test_check_shows_what_the_webhook_does_with_pull_secrets(
    namespace: Namespace, locked: Upstream, laptop: Laptop, plane: Running, tmp_path: Path
) -> None:
    digest = locked.push("team/app", "stable")
    put(namespace, "pull", locked.host, "reader", PASSWORDS["reader"])
    namespace.create(deployment("app", laptop.image, **asking_with("pull")))
    said = laptop.check("deploy/app")
    assert said.images["deployment/app"]["to"] == f"{CACHE}/team/app@{digest}"
    assert said.err.startswith("not known here: health of targets\n")
    resources = ["pods", "namespaces", "deployments", "replicasets"]
    rules = [{"apiGroups": ["", "apps"], "resources": resources, "verbs": ["get", "list"]}]
    laptop.kubeconfig = made_account(plane, "reader", tmp_path, rules).kubeconfig
    said = laptop.check("deploy/app")
    assert (said.code, said.images["deployment/app"]["reason"]) == (3, "AbsentOrDenied")
    unread = f"pull secrets of namespace {namespace.name} (you could not read them: your logins stand in)"
    assert f"not known here: {unread}, health of targets\n" in said.err
    auths = {"auths": {locked.host: login("writer", PASSWORDS["writer"])}}
    (laptop.folder / ".docker").mkdir()
    (laptop.folder / ".docker" / "config.json").write_text(json.dumps(auths))
    assert laptop.check("deploy/app").images["deployment/app"]["to"] == f"{CACHE}/team/app@{digest}"
