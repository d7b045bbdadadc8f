"""Several `moorage serve` processes that take and keep their certificates in one Secret, behind one Service."""

import json
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import trustme

from tests.cluster.account import HOME, SERVER, made_account, rights
from tests.cluster.balancer import Backend, Balancer
from tests.cluster.process import Process
from tests.cluster.real.api import Api, ApiError
from tests.cluster.real.plane import Running
from tests.cluster.workloads import pod
from tests.support.ports import lasting_ports
from tests.support.until import until
from webhook.core.registration import NAME, Reached, registration

SECRET: Final = "moorage-certs"
KIND: Final = "MutatingWebhookConfiguration"
SERVER_NAME: Final = f"moorage.{HOME}.svc"

KEEPS: Final[Sequence[Mapping[str, Any]]] = (
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["update"]},
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": [NAME],
        "verbs": ["get"],
    },
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": [NAME],
        "verbs": ["patch"],
    },
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [SECRET], "verbs": ["get"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [SECRET], "verbs": ["update"]},
)
"""What keeping takes, a verb a rule."""
READS: Final = tuple(
    rule for rule in rights(SERVER) if not {"leases", "mutatingwebhookconfigurations", "secrets"} & {*rule["resources"]}
)
"""What else the processes read."""


class Replica(Process):
    """One process; `environ` is what it is told besides."""

    def __init__(
        self, name: str, folder: Path, kubeconfig: Path, settle: str, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self.admission, ops = lasting_ports(2)
        self.backend = Backend(self.admission, ops)
        command: Sequence[str | Path] = (
            *("serve", "--config", folder / "moorage.yaml", "--kubeconfig", kubeconfig),
            *("--listen", f"127.0.0.1:{self.admission}", "--ops-listen", f"127.0.0.1:{ops}"),
            *("--tls-secret", f"{HOME}/{SECRET}", "--tls-settle", settle, "--drain", "500ms"),
        )
        super().__init__(name, folder / "logs" / f"{name}.log", command, ops, environ)

    def leaf(self) -> str:
        """The certificate that it shows, as PEM."""
        return ssl.get_server_certificate(("127.0.0.1", self.admission))

    def problems(self, event: str) -> list[str]:
        """What it has logged as wrong."""
        return [line["problem"] for line in self.lines() if line["event"] == event]


class Install:
    """The Secret, the Service and the registration of a cluster, and the processes."""

    def __init__(self, api: Api, replicas: Sequence[Replica]) -> None:
        self.api = api
        self.replicas = replicas

    def secret(self) -> Any:
        return self.api.find("Secret", SECRET, HOME)

    def entry(self, name: str) -> str:
        """An entry of the Secret; empty where there is none."""
        found = self.secret() or {}
        return b64decode((found.get("data") or {}).get(name, "")).decode()

    def annotate(self, **annotations: str) -> None:
        """What `kubectl annotate` does, with names under moorage.dev/."""
        named = {f"moorage.dev/{key}": value for key, value in annotations.items()}
        self.api.patch("Secret", SECRET, {"metadata": {"annotations": named}}, HOME)

    def spoil(self, **entries: str | None) -> None:
        """Write entries over, given in base64; `_` stands for the dot of their names."""
        data = {name.replace("_", "."): text for name, text in entries.items()}
        self.api.patch("Secret", SECRET, {"data": data}, HOME)

    def bundles(self) -> list[str]:
        """Whom the webhooks of the registration trust, as PEM; all are alike, or several come."""
        each = self.api.get(KIND, NAME)["webhooks"]
        return sorted({b64decode(one["clientConfig"].get("caBundle", "")).decode() for one in each})

    def authorities(self) -> int:
        """How many authorities are trusted by all."""
        bundles = self.bundles()
        return bundles[0].count("BEGIN CERTIFICATE") if len(bundles) == 1 else -1

    def paths(self) -> set[str]:
        """Where the webhooks are called."""
        each = self.api.get(KIND, NAME)["webhooks"]
        return {one["clientConfig"]["service"].get("path", "") for one in each}

    def await_ready(self) -> None:
        """Until all serve and are trusted."""
        for one in self.replicas:
            one.await_ready()
        self.await_registered()

    def await_registered(self) -> None:
        """Until the registration says what the Secret says."""
        until("the registration trusts the authority", lambda: self.bundles() == [self.entry("ca.crt")])
        until(
            "callers are sent to the path", lambda: self.paths() == {f"/mutate/{self.entry('path.secret').split()[0]}"}
        )

    def holder(self) -> Replica:
        """The one that keeps the Secret."""
        kept = "moorage_certificates_kept"
        return until(
            "one keeps the Secret",
            lambda: next(
                (
                    one
                    for one in self.replicas
                    if one.is_running and any(m.name == kept and m.samples for m in one.metrics())
                ),
                None,
            ),
        )  # type: ignore[return-value]  # until gives what is true


@contextmanager
def install(
    plane: Running,
    folder: Path,
    configuration: str,
    *,
    name: str,
    only: str,
    count: int = 3,
    settle: str = "1s",
    without: Mapping[str, Any] | None = None,
) -> Iterator[Install]:
    """So many processes behind a Service, and a registration for one namespace whose calls must not fail; `without` is a rule
    of KEEPS that their account lacks."""
    api = plane.api
    (folder / "logs").mkdir()
    (folder / "moorage.yaml").write_text(configuration)
    rules = [*READS, *(rule for rule in KEEPS if rule != without)]
    account = made_account(plane, name, folder, rules)
    replicas = [Replica(f"replica-{number}", folder, account.kubeconfig, settle) for number in range(count)]
    pair = trustme.CA().issue_cert("localhost")
    pair.private_key_and_cert_chain_pem.write_to_path(str(folder / "unused.pem"))
    with ExitStack() as ending:
        # Last, when nobody is left who would make them again.
        ending.callback(api.delete, "Secret", SECRET, HOME)
        ending.callback(api.delete, "Lease", SECRET, HOME)
        for one in replicas:
            ending.callback(one.end)
        if without is not None:
            # They may never be ready, which the balancer would wait for.
            _register(api, 443, only, ending)
        for one in replicas:
            one.start()
        if without is None:
            backends = {one.name: one.backend for one in replicas}
            balancer = ending.enter_context(Balancer.running(folder / "logs", backends, folder / "unused.pem"))
            port = balancer.port("connections", count)
            _serve(api, port)
            ending.callback(api.delete, "Service", NAME, HOME)
            _register(api, port, only, ending)
        yield Install(api, replicas)


def _register(api: Api, port: int, only: str, ending: ExitStack) -> None:
    api.create(_registration(port, only))
    ending.callback(api.delete, KIND, NAME)


def _serve(api: Api, port: int) -> None:
    """A Service that leads out of the cluster: the API server resolves it by itself, and calls by its name."""
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    api.create({"kind": "Service", "metadata": {"name": NAME, "namespace": HOME}, "spec": spec})


def _registration(port: int, only: str) -> dict[str, Any]:
    """As it is installed: without an authority and without a path."""
    made = registration(Reached(namespace=HOME), only=[only], failure_policy="Fail")
    for webhook in made["webhooks"]:
        service = webhook["clientConfig"]["service"]
        service["port"] = port
        del service["path"]
        webhook["timeoutSeconds"] = 10
    return made


class Load:
    """Pods that are created again and again, in dry runs, over several connections; `failed` is what the API server said of
    those that it did not take."""

    def __init__(self, api: Api, namespace: str, threads: int = 4, *, image: str = "registry.invalid/load:1") -> None:
        self.count = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._create, args=(api, namespace, image)) for _ in range(threads)]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for one in self._threads:
            one.start()
        try:
            yield self
        finally:
            self._stop.set()
            for one in self._threads:
                one.join()

    def _create(self, admin: Api, namespace: str, image: str) -> None:
        api = Api(admin.url, admin.ca, admin.token)
        made = pod("load", image)
        while not self._stop.is_set():
            try:
                api.create({**made, "metadata": {**made["metadata"], "namespace": namespace}}, dry_run=True)
            except ApiError as error:
                self.failed.append(json.dumps({"status": error.status, "message": error.message}))
            self.count += 1
        api.close()
