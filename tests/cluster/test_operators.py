"""Components for the operators of others, beside these operators: their definitions, and cert-manager's own controllers, on a
real API server. A Pod of Moorage cannot run here: its process has the arguments of the shipped Deployment and what the
kubelet would show it."""

import json
import ssl
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import pytest

from tests.cluster.account import HOME, SERVER, Account, with_token
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.conftest import Kubectl
from tests.cluster.doctor import doctor
from tests.cluster.evidence import Evidence
from tests.cluster.kept import KIND, Load
from tests.cluster.namespace import Namespace
from tests.cluster.process import Process
from tests.cluster.real.api import APPLY, Api, ApiError, path_of
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.real.processes import Processes
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import pod
from tests.deploy.manifests import INSTALL, Object, container, kustomization, objects, of_kind, rendered
from tests.parts import part
from tests.support.ports import lasting_ports
from tests.support.until import until
from tests.support.volume import swap_volume

COMPONENTS: Final = ("cert-manager", "prometheus-operator")
SHIPPED: Final = {
    "Issuer": ("moorage-bootstrap", "moorage"),
    "Certificate": ("moorage-ca", "moorage"),
    "PodMonitor": ("moorage",),
    "PrometheusRule": ("moorage",),
}
"""Objects of kinds that are others'."""
STRICT: Final = ("apply", "--server-side", "--validate=strict")


@pytest.fixture(scope="module")
def plane() -> Iterator[Running]:
    """A control plane of these tests' own, which knows the kinds of both operators."""
    with control_plane() as running:
        yield running


@pytest.fixture(scope="module")
def definitions(plane: Running, kubectl: Kubectl) -> None:
    for name in ("certmanager-crds", "prometheus-operator-crds"):
        kubectl("apply", "--server-side", "-f", part(name))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


# Thirty objects come, and go with their namespace.
@pytest.mark.usefixtures("definitions")
def test_both_components_are_taken_to_the_last_key_and_go_again(
    plane: Running, kubectl: Kubectl, tmp_path: Path
) -> None:
    folder = kustomization(tmp_path, *COMPONENTS)
    said = kubectl(*STRICT, "-k", folder)
    assert len(said.splitlines()) == len(objects(rendered(folder)))
    assert {kind: names(plane.api, kind) for kind in SHIPPED} == {kind: sorted(each) for kind, each in SHIPPED.items()}
    assert kubectl("apply", "--server-side", "-k", folder) == said, "applied again, it is the same"
    kubectl("delete", "--ignore-not-found", "-k", folder)
    assert {kind: names(plane.api, kind) for kind in SHIPPED} == {kind: [] for kind in SHIPPED}
    assert plane.api.find(KIND, SERVER) is None


def names(api: Api, kind: str) -> list[str]:
    return sorted(one["metadata"]["name"] for one in api.objects(kind, HOME))


WRONG: Final = {
    "Issuer": ("selfSinged", {}),
    "Certificate": ("dnsNaems", ["moorage"]),
    "PodMonitor": ("podMetricEndpoints", []),
    "PrometheusRule": ("gruops", []),
}


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("kind", SHIPPED)
def test_a_key_of_others_that_is_wrong_would_be_seen(plane: Running, kind: str, tmp_path: Path) -> None:
    one = of_kind(objects(rendered(kustomization(tmp_path, *COMPONENTS))), kind)
    key, value = WRONG[kind]
    dry = {"fieldManager": "tests", "fieldValidation": "Strict", "dryRun": "All"}

    def put(spec: Any) -> None:
        body = {**one, "metadata": {"name": SERVER, "namespace": "default"}, "spec": spec}
        plane.api.ask("PATCH", path_of(kind, "default", SERVER), body, content_type=APPLY, **dry)

    put(one["spec"])
    with pytest.raises(ApiError, match=key):
        put({**one["spec"], key: value})


class Installed:
    """The component as it is applied, and one process with the files of the issued Secret."""

    def __init__(self, plane: Running, folder: Path, account: Account, process: Process, port: int) -> None:
        self.api = plane.api
        self.account = account
        self.process = process
        self._folder = folder
        self._port = port
        self._mounted = 0

    def issued(self, secret: str = "moorage-tls") -> dict[str, str]:
        """The entries of a Secret; empty where there is none."""
        found = self.api.find("Secret", secret, HOME) or {}
        return {name: b64decode(text).decode() for name, text in (found.get("data") or {}).items()}

    def mount(self) -> None:
        """What the kubelet does within a minute or so after a Secret has changed."""
        self._mounted += 1
        swap_volume(self._folder, str(self._mounted), **self.issued())

    def await_taken_in(self) -> None:
        """Until the process serves with what was mounted last."""
        until("the pair is served", lambda: self.issued()["tls.crt"].startswith(self._leaf()))

    def _leaf(self) -> str:
        return ssl.get_server_certificate(("127.0.0.1", self._port))

    def bundles(self) -> set[str]:
        """Whom the registration trusts."""
        each = self.api.get(KIND, SERVER)["webhooks"]
        return {b64decode(one["clientConfig"].get("caBundle", "")).decode() for one in each}

    def renew(self, certificate: str, secret: str) -> None:
        """What `cmctl renew` does; returns when another one is issued."""
        before = self.issued(secret)["tls.crt"]
        status = until(f"{certificate} is not being issued", lambda: self._settled(certificate))
        asked = {
            "type": "Issuing",
            "status": "True",
            "reason": "ManuallyTriggered",
            "message": "Certificate re-issuance manually triggered",
            "lastTransitionTime": status["conditions"][0]["lastTransitionTime"],
        }
        patch = {"status": {"conditions": [*status["conditions"], asked]}}
        self.api.patch("Certificate", certificate, patch, HOME, subresource="status")
        until(f"{certificate} is issued again", lambda: self.issued(secret)["tls.crt"] != before)

    def _settled(self, certificate: str) -> Any:
        status = self.api.get("Certificate", certificate, HOME)["status"]
        return {} if any(one["type"] == "Issuing" for one in status["conditions"]) else status

    def is_signed_anew(self) -> bool:
        """Issue once more; whether the newest authority has signed that. cert-manager remembers Secrets for a moment."""
        self.renew("moorage", "moorage-tls")
        return self.issued()["ca.crt"] == self.issued("moorage-ca")["tls.crt"]


@pytest.fixture
def cert_manager(plane: Running, definitions: None, evidence: Evidence) -> Iterator[Processes]:
    """Its controllers and its injector."""
    with Processes.ended_after(plane.logs) as processes:
        processes.run("certmanager", part("certmanager"), f"--kubeconfig={plane.kubeconfig}")
        evidence.add("certmanager", lambda: (plane.logs / "certmanager.log").read_text()[-3000:])
        yield processes


@pytest.fixture
def installed(
    plane: Running,
    kubectl: Kubectl,
    namespace: Namespace,
    upstream: Upstream,
    cert_manager: Processes,
    tmp_path: Path,
    evidence: Evidence,
) -> Iterator[Installed]:
    """The component, applied as an overlay of a user who reaches the process at a port of this machine, and whose calls
    must not fail. It goes with the control plane."""
    admission, ops = lasting_ports(2)
    folder = tmp_path / "overlay"
    folder.mkdir()
    overlay = kustomization(folder, "cert-manager", patches=patches(namespace.name, admission))
    kubectl(*STRICT, "-k", overlay)
    with ExitStack() as ending:
        seal = f"--from-literal=seal.key={token_hex(32)}"
        kubectl("-n", HOME, "create", "secret", "generic", "moorage-certs", seal)
        cert_manager.wait(
            "certificates are issued", lambda: all(map(is_issued, plane.api.objects("Certificate", HOME)))
        )
        account = with_token(plane, SERVER, tmp_path)
        (tmp_path / "moorage.yaml").write_text(configuration(upstream.host))
        args = shown(objects(rendered(overlay)), tmp_path)
        (tmp_path / "tls").mkdir()
        (tmp_path / "seal").mkdir()
        where = (f"--listen=127.0.0.1:{admission}", f"--ops-listen=127.0.0.1:{ops}")
        log = tmp_path / "moorage.log"
        process = Process("moorage", log, (*args, *where, f"--kubeconfig={account.kubeconfig}"), ops)
        made = Installed(plane, tmp_path / "tls", account, process, admission)
        made.mount()
        swap_volume(tmp_path / "seal", "1", **made.issued("moorage-certs"))
        ending.callback(process.end)
        evidence.add("moorage", lambda: log.read_text()[-3000:])
        process.start()
        process.await_ready()
        yield made


def is_issued(certificate: Any) -> bool:
    conditions = certificate.get("status", {}).get("conditions", ())
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def patches(only: str, port: int) -> list[dict[str, Any]]:
    """A Service that leads out of the cluster: the API server resolves it by itself, and calls by its name."""
    outside = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    of_webhook = (
        ("replace", "clientConfig/service/port", port),
        ("replace", "failurePolicy", "Fail"),
        ("replace", "timeoutSeconds", 10),
        ("add", "namespaceSelector/matchLabels", {"kubernetes.io/metadata.name": only}),
    )
    registration = [
        {"op": op, "path": f"/webhooks/{number}/{path}", "value": value}
        for number in range(2)
        for op, path, value in of_webhook
    ]
    service = [{"op": "replace", "path": "/spec", "value": outside}]
    return [
        {"target": {"kind": kind, "name": SERVER}, "patch": json.dumps(patch)}
        for kind, patch in ((KIND, registration), ("Service", service))
    ]


def shown(every: Sequence[Object], folder: Path) -> list[str]:
    """The arguments of the server's container, with the folders that it sees in this folder."""
    one = container(of_kind(every, "Deployment"))
    args = "\n".join(one["args"])
    places = {"tls": "tls", "seal": "seal", "configuration": "."}
    for mount in one["volumeMounts"]:
        args = args.replace(f"{mount['mountPath']}/", f"{folder / places[mount['name']]}/")
    return args.splitlines()


def is_pinned(namespace: Namespace, image: str) -> bool:
    """Whether the next Pod gets a digest; not before the registration trusts and is known."""
    try:
        made = namespace.create(pod("app", image), dry_run=True).body
    except ApiError:
        return False
    return str(made["spec"]["containers"][0]["image"]).startswith(f"{CACHE}/team/app@sha256:")


# cert-manager issues five times, and each time Pods are created for a while.
def test_cert_manager_issues_injects_and_renews_and_no_call_fails(
    installed: Installed, namespace: Namespace, upstream: Upstream
) -> None:
    image = upstream.image("team/app", "stable")
    upstream.push("team/app", "stable")
    until("Pods are pinned", lambda: is_pinned(namespace, image))
    (authority,) = installed.bundles()
    assert authority == installed.issued()["ca.crt"] == installed.issued("moorage-ca")["tls.crt"]
    told = doctor(namespace.kubeconfig)
    assert [one.level for check in ("answers", "rights") for one in told.of(check)] == ["ok"] * 4
    with Load(namespace.api, namespace.name, image=image).running() as load:

        def go_on() -> None:
            seen = load.count
            until("calls go on", lambda: load.count > seen + 50)

        # A certificate of the same authority.
        installed.renew("moorage", "moorage-tls")
        installed.mount()
        installed.await_taken_in()
        go_on()

        # The Secret is lost.
        before = installed.issued()["tls.crt"]
        installed.api.delete("Secret", "moorage-tls", HOME)
        until("it is issued anew", lambda: installed.issued().get("tls.crt", before) != before)
        installed.mount()
        installed.await_taken_in()
        go_on()

        # The authority, too: the new one is trusted before the kubelet brings what it has signed, and the old one still.
        installed.renew("moorage-ca", "moorage-ca")
        until("the new authority signs", installed.is_signed_anew)
        until("both are trusted", lambda: installed.bundles() == {authority + installed.issued()["ca.crt"]})
        go_on()
        installed.mount()
        installed.await_taken_in()
        go_on()
    assert load.failed == []
    changed = [line for line in installed.process.lines() if line["event"] == "certificate changed"]
    assert len(changed) == 3
    # It has no right to either.
    assert installed.account.calls("secrets") == installed.account.calls("leases") == []


# Two installs, one over the other.
@pytest.mark.usefixtures("definitions")
def test_who_comes_from_the_default_install_leaves_its_rights_and_its_path_behind(
    plane: Running, kubectl: Kubectl, tmp_path: Path
) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", INSTALL)
    assert plane.api.get("Role", SERVER, HOME)["rules"]
    webhooks = plane.api.get(KIND, SERVER)["webhooks"]
    for one in webhooks:
        one["clientConfig"]["service"]["path"] = "/mutate/secret"
    plane.api.patch(KIND, SERVER, {"webhooks": webhooks})
    overlay = kustomization(tmp_path, "cert-manager")
    with pytest.raises(AssertionError, match="conflict"):
        kubectl(*STRICT, "-k", overlay)
    kubectl(*STRICT, "--force-conflicts", "-k", overlay)
    assert not plane.api.get("Role", SERVER, HOME).get("rules")
    webhooks = plane.api.get(KIND, SERVER)["webhooks"]
    assert {one["clientConfig"]["service"]["path"] for one in webhooks} == {"/mutate"}
