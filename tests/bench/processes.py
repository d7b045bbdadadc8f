"""Programs on a core of their own: started, asked for their CPU time and memory, and ended."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tests.parts import part
from tests.support.ports import free_port

SERVER_CORE: Final = 1
LOAD_CORE: Final = 0
MOORAGE: Final = (sys.executable, "-c", "from webhook.cli.main import main; main()")
TICK: Final = os.sysconf("SC_CLK_TCK")


class Process(msgspec.Struct, frozen=True):
    """One that runs. `url` is where it serves."""

    pid: int
    url: str

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    @property
    def resident(self) -> float:
        """MiB of memory that it has."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"process {self.pid} shows no memory")


def on_core(core: int | None, command: Sequence[str]) -> list[str]:
    """The command, held to a core if one is given."""
    return [*command] if core is None else ["taskset", "-c", str(core), *command]


@contextmanager
def moorage(config: Path, folder: Path) -> Iterator[Process]:
    """`moorage serve` with certificate and log in the folder, on the server's core."""
    command = [*MOORAGE, "serve", "--config", str(config)]
    command += ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--drain", "0s"]
    command += ["--tls-cert", str(folder / "tls.crt"), "--tls-key", str(folder / "tls.key")]
    with (folder / "moorage.log").open("w") as log, _running(command, SERVER_CORE, log.fileno()) as child:
        line = child.stdout.readline() if child.stdout is not None else ""
        if not line:
            raise RuntimeError(f"moorage did not start:\n{(folder / 'moorage.log').read_text()}")
        url = json.loads(line)["listening"]["admission"].replace("127.0.0.1", "localhost")
        yield Process(child.pid, url)


@contextmanager
def floor(prefix: str, folder: Path, core: int | None = SERVER_CORE) -> Iterator[Process]:
    """The Go yardstick, on a core; `prefix` is what it rewrites, `tls.crt` and `tls.key` of the folder what it shows."""
    port = free_port()
    command = [str(part("floor")), "-listen", f"127.0.0.1:{port}", "-from", prefix]
    command += ["-cert", str(folder / "tls.crt"), "-key", str(folder / "tls.key")]
    with (folder / "floor.log").open("w") as log, _running(command, core, log.fileno()) as child:
        _await_port(port)
        yield Process(child.pid, f"https://localhost:{port}")


@contextmanager
def upstream(delay: float) -> Iterator[Process]:
    """A registry that has every image, on the load's core; each answer takes `delay` seconds."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.upstream", str(port), str(delay)]
    with _running(command, LOAD_CORE, subprocess.DEVNULL) as child:
        _await_port(port)
        yield Process(child.pid, f"http://localhost:{port}")


@contextmanager
def _running(command: Sequence[str], core: int | None, log: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(on_core(core, command), stdout=subprocess.PIPE, stderr=log, text=True) as child:
        try:
            yield child
        finally:
            child.terminate()
            child.wait(timeout=30)


def _await_port(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port}")
