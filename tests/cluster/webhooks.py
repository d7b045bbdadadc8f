"""Several real `moorage serve` processes behind one address, and their registration for one namespace."""

import base64
import json
import math
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGHUP, SIGKILL, SIGTERM, Signals
from typing import Any, Final, Self

import httpx
import msgspec
import trustme
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.cluster.balancer import Backend, Balancer
from tests.cluster.real.api import Api
from tests.cluster.real.processes import StartFailed, ending_with_us
from tests.cluster.until import until
from tests.support.ports import lasting_ports

RULES: Final[Sequence[Mapping[str, Any]]] = (
    {"operations": ["CREATE"], "apiGroups": [""], "resources": ["pods"]},
    {"operations": ["UPDATE"], "apiGroups": [""], "resources": ["pods/ephemeralcontainers"]},
    {"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "resources": ["replicasets", "controllerrevisions"]},
    {"operations": ["CREATE", "UPDATE"], "apiGroups": ["batch"], "resources": ["jobs"]},
)
"""What is registered for."""

_RELOADED: Final = "moorage_config_reload_success_timestamp_seconds"
_SCRIPTS: Final = Path(sys.executable).parent


class Settings(msgspec.Struct, frozen=True):
    """How the processes are started and registered; `kubeconfig` is what they see of the cluster."""

    configuration: str
    kubeconfig: Path
    drain: str = "1s"
    spread: str = "connections"
    """`connections`, as a Service, or `requests`: each review goes to another process."""
    failure_policy: str = "Fail"
    timeout: int = 5
    seal_keys: Sequence[str] = ()
    flags: Sequence[str] = ()
    environ: Mapping[str, str] = {}


class Webhook:
    """One process; ports, log and options stay the same over restarts."""

    def __init__(self, name: str, folder: Path, settings: Settings) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        admission, ops = lasting_ports(2)
        self.backend = Backend(admission, ops)
        self._command: Sequence[str | Path] = (
            *(_SCRIPTS / "moorage", "serve", "--config", folder / "moorage.yaml"),
            *("--listen", f"127.0.0.1:{admission}", "--ops-listen", f"127.0.0.1:{ops}"),
            *("--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key"),
            *("--seal-key-file", folder / "seal.keys", "--drain", settings.drain),
            *("--kubeconfig", settings.kubeconfig),
            *settings.flags,
        )
        self._environ = {**os.environ, **settings.environ}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; `await_ready` waits until it serves."""
        command = ending_with_us(*self._command)
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environ,
                start_new_session=True,  # Ctrl-C is for the run, which ends them itself
            )

    def await_ready(self) -> None:
        """Until it prints the line of its addresses.

        Raises:
            StartFailed: it ended instead.
        """
        process = self._running()
        assert process.stdout is not None
        line = process.stdout.readline()
        if "listening" not in line:
            raise StartFailed(f"{self.name} did not start:\n{self.log.read_text()}")

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended; a crash counts as running until it is noticed."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        return self._running().pid

    @property
    def resident(self) -> int:
        """Bytes of memory that it has."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """As the machine does when memory is short."""
        self._end(SIGKILL)

    def terminate(self) -> int:
        """As the kubelet does, with the time it has to drain; the exit code."""
        return self._end(SIGTERM)

    def reload(self) -> None:
        """Let it read its files again; returns when it has."""
        before = self.metric(_RELOADED)
        self._running().send_signal(SIGHUP)
        until(f"{self.name} has loaded its configuration", lambda: self.metric(_RELOADED) > before)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged since its first start."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels; of its life since the last start."""
        answer = httpx.get(f"http://127.0.0.1:{self.backend.ready}/metrics", trust_env=False).raise_for_status()
        families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
        samples = [one for family in families for one in family.samples]
        return math.fsum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            self._end(SIGKILL)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _end(self, number: Signals) -> int:
        process, self._process = self._running(), None
        process.send_signal(number)
        try:
            return process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


class Webhooks(Sequence[Webhook]):
    """The processes, and what is true of all of them together."""

    def __init__(self, each: Sequence[Webhook], balancer: Balancer, folder: Path) -> None:
        self._each = each
        self._balancer = balancer
        self._folder = folder
        self.url = f"https://127.0.0.1:{balancer.port}"

    def __getitem__(self, index: Any) -> Any:
        return self._each[index]

    def __len__(self) -> int:
        return len(self._each)

    @classmethod
    @contextmanager
    def running(cls, count: int, folder: Path, settings: Settings, authority: trustme.CA) -> Iterator[Self]:
        """So many processes behind a balancer, ready, for as long as the block lasts."""
        (folder / "moorage.yaml").write_text(settings.configuration)
        (folder / "seal.keys").write_text("\n".join(settings.seal_keys or [secrets.token_hex(32)]) + "\n")
        pair = _write_pair(authority.issue_cert("127.0.0.1", "localhost"), folder)
        each = [Webhook(f"webhook-{number}", folder, settings) for number in range(count)]
        with ExitStack() as ending:
            for one in each:
                ending.callback(one.end)
                one.start()
            for one in each:
                one.await_ready()
            backends = {one.name: one.backend for one in each}
            by_request = pair if settings.spread == "requests" else None
            balancer = ending.enter_context(Balancer.running(folder, backends, pair=by_request))
            yield cls(each, balancer, folder)

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all processes that run."""
        return sum(one.metric(name, **labels) for one in self._each if one.is_running)

    def lines(self) -> list[dict[str, Any]]:
        """The logs of all, in the order of time."""
        return sorted((line for one in self._each for line in one.lines()), key=lambda line: str(line["time"]))

    def await_up(self, *webhooks: Webhook) -> None:
        """Until these, or all, get calls."""
        names = {one.name for one in webhooks or self._each}
        until(f"{', '.join(sorted(names))} get calls", lambda: names <= self._balancer.up())

    def await_down(self, webhook: Webhook) -> None:
        """Until one that was ended gets no more calls."""
        until(f"{webhook.name} gets no calls", lambda: webhook.name not in self._balancer.up())

    def restart(self, webhook: Webhook) -> int:
        """As a rolling update does with one Pod: told to end, ended, started, ready, used. The exit code of the old."""
        code = webhook.terminate()
        self.start(webhook)
        return code

    def start(self, webhook: Webhook) -> None:
        """Start one that was ended; returns when it gets calls."""
        webhook.start()
        webhook.await_ready()
        self.await_up(webhook)

    def configure(self, configuration: str) -> None:
        """Give all another configuration, and wait until it is in force."""
        (self._folder / "moorage.yaml").write_text(configuration)
        for one in self._each:
            one.reload()


@contextmanager
def registered(api: Api, namespace: str, url: str, settings: Settings, authority: trustme.CA) -> Iterator[None]:
    """A registration for the objects of one namespace, removed with the block."""
    webhook = {
        "name": "admission.moorage.dev",
        "clientConfig": {"url": f"{url}/mutate", "caBundle": base64.b64encode(authority.cert_pem.bytes()).decode()},
        "rules": [{"apiVersions": ["v1"], "scope": "Namespaced", **rule} for rule in RULES],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": settings.failure_policy,
        "timeoutSeconds": settings.timeout,
        "sideEffects": "None",
        "reinvocationPolicy": "IfNeeded",
        "matchPolicy": "Equivalent",
        "admissionReviewVersions": ["v1"],
    }
    name = f"moorage-{namespace}"
    api.create({"kind": "MutatingWebhookConfiguration", "metadata": {"name": name}, "webhooks": [webhook]})
    try:
        yield
    finally:
        api.delete("MutatingWebhookConfiguration", name)


def _write_pair(certificate: trustme.LeafCert, folder: Path) -> Path:
    """The files that the processes read, and one with both for haproxy."""
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    key = certificate.private_key_pem.bytes()
    (folder / "tls.crt").write_bytes(chain)
    (folder / "tls.key").write_bytes(key)
    both = folder / "tls.pem"
    both.write_bytes(chain + key)
    return both
