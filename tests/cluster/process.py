"""One real process of Moorage, and what it says of itself."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any, Final

import httpx
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.cluster.real.processes import StartFailed, ending_with_us
from tests.support.canary import search
from webhook.access import SERVICE_ACCOUNT

_COUNTED: Final = frozenset({"counter", "histogram"})
_AS_IN_A_POD: Final = f"""
set -e
mount -t tmpfs tmpfs /run
mkdir -p {SERVICE_ACCOUNT}
cp "$1"/* {SERVICE_ACCOUNT}
shift
exec "$@"
"""
SCRIPTS: Final = Path(sys.executable).parent


def ran(*words: str | Path) -> str:
    """What a command of Moorage prints, once it has ended well."""
    done = subprocess.run([SCRIPTS / "moorage", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Process:
    """One process; ports, log and options stay the same over restarts. It prints a line when it is ready, and its metrics
    are at a port of this machine. `mounted` is the service account's folder of a process that finds its cluster as in a
    Pod."""

    def __init__(
        self,
        name: str,
        log: Path,
        command: Sequence[str | Path],
        ops: int,
        environ: Mapping[str, str] | None = None,
        *,
        mounted: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = (*ending_with_us(SCRIPTS / "moorage"), *command)
        if mounted is not None:
            self._command = ("unshare", "-rm", "sh", "-c", _AS_IN_A_POD, "sh", mounted, *self._command)
        self._ops = ops
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[str] | None = None
        self._counted: list[Metric] = []
        self._logged = 0

    def start(self) -> None:
        """Start it; `await_ready` waits until it serves."""
        self._counted = []
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
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
        process = self.running()
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
        return self.running().pid

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
        self._counted = [metric for metric in self.metrics() if metric.type in _COUNTED]
        self._logged = self.log.stat().st_size

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged since it was first started, or told to forget."""
        with self.log.open("rb") as log:
            log.seek(self._logged)
            return [json.loads(line) for line in log if line.startswith(b"{")]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels: counted since its last start, or since it was told
        to forget."""
        now, before = (total(metrics, name, labels) for metrics in (self.metrics(), self._counted))
        return now - before

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            self._end(SIGKILL)

    def metrics(self) -> list[Metric]:
        """All that it counts now."""
        answer = httpx.get(f"http://127.0.0.1:{self._ops}/metrics", trust_env=False).raise_for_status()
        return list(text_string_to_metric_families(answer.text))  # type: ignore[no-untyped-call]

    def running(self) -> subprocess.Popen[str]:
        """What was started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _end(self, number: Signals) -> int:
        process, self._process = self.running(), None
        process.send_signal(number)
        try:
            return process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
            search(f"the log of {self.name}", self.log.read_bytes())


def total(metrics: Iterable[Metric], name: str, labels: Mapping[str, str]) -> float:
    samples = [one for metric in metrics for one in metric.samples]
    return math.fsum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())
