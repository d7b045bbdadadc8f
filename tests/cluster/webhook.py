"""One real `moorage serve` process, and what it says of itself."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from signal import SIGHUP, SIGKILL, SIGTERM, Signals
from typing import Any, Final

import httpx
import msgspec
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.cluster.balancer import Backend, Spread
from tests.cluster.real.processes import StartFailed, ending_with_us
from tests.cluster.until import until
from tests.support.ports import lasting_ports

_RELOADED: Final = "moorage_config_reload_success_timestamp_seconds"
_COUNTED: Final = frozenset({"counter", "histogram"})
_SCRIPTS: Final = Path(sys.executable).parent


class Settings(msgspec.Struct, frozen=True):
    """How processes are started, and how they are registered; `kubeconfig` is what they see of the cluster."""

    configuration: str
    kubeconfig: Path
    drain: str = "1s"
    seal_keys: Sequence[str] = ()
    flags: Sequence[str] = ()
    environ: Mapping[str, str] = {}
    spread: Spread = "connections"
    """`connections`, as a Service, or `requests`: each review goes to another process."""
    failure_policy: str = "Fail"
    timeout: int = 10
    """Seconds; more than usual, so that a call is not lost because the machine does other things too."""


OF_REGISTRATIONS: Final = frozenset({"spread", "failure_policy", "timeout"})
"""Settings that say nothing about the processes themselves."""


class Webhook:
    """One process; ports, log and options stay the same over restarts."""

    def __init__(self, name: str, folder: Path, settings: Settings) -> None:
        self.name = name
        # Not beside the configuration: whatever is written there makes it look whether that has changed.
        self.log = folder / "logs" / f"{name}.log"
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
        self._counted: list[Metric] = []
        self._logged = 0

    def start(self) -> None:
        """Start it; `await_ready` waits until it serves."""
        command = ending_with_us(*self._command)
        self._counted = []
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
    def is_alive(self) -> bool:
        """Whether it runs indeed."""
        return self._process is not None and self._process.poll() is None

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

    def forget(self) -> None:
        """Count anew: `metric` and `lines` tell only what comes now."""
        self._counted = [metric for metric in self._metrics() if metric.type in _COUNTED]
        self._logged = self.log.stat().st_size

    def reload(self) -> None:
        """Let it read its files again; returns when it has."""
        self.await_reload(self.begin_reload())

    def begin_reload(self) -> float:
        """Let it read its files again; what `await_reload` wants to know."""
        before = self._reloaded()
        self._running().send_signal(SIGHUP)
        return before

    def await_reload(self, before: float) -> None:
        """Until it has read its files."""
        until(f"{self.name} has loaded its configuration", lambda: self._reloaded() > before)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged since it was first started, or told to forget."""
        with self.log.open("rb") as log:
            log.seek(self._logged)
            return [json.loads(line) for line in log if line.startswith(b"{")]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels: counted since its last start, or since it was told
        to forget."""
        now, before = (_total(metrics, name, labels) for metrics in (self._metrics(), self._counted))
        return now - before

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            self._end(SIGKILL)

    def _metrics(self) -> list[Metric]:
        answer = httpx.get(f"http://127.0.0.1:{self.backend.ready}/metrics", trust_env=False).raise_for_status()
        return list(text_string_to_metric_families(answer.text))  # type: ignore[no-untyped-call]

    def _reloaded(self) -> float:
        return _total(self._metrics(), _RELOADED, {})

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


def _total(metrics: Iterable[Metric], name: str, labels: Mapping[str, str]) -> float:
    samples = [one for metric in metrics for one in metric.samples]
    return math.fsum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())
