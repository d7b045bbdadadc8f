"""haproxy as a Service: one address before several webhook processes, of which only the ready ones get connections."""

import csv
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Self

import msgspec

from tests.cluster.real.processes import Processes, StartFailed
from tests.support.ports import lasting_ports

# A process that is about to end is known to be so after 0.4 s at most: Kubernetes is no quicker.
_COMMON: Final = """\
global
  stats socket ipv4@127.0.0.1:{stats} level admin
  log stdout format raw local0 info
defaults
  log global
  option log-health-checks
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  timeout check 2s
  retries 0
  default-server check inter 400ms fall 1 rise 1
"""

# As kube-proxy does: a connection stays with its process, and none is tried again elsewhere.
_CONNECTIONS: Final = """\
frontend service
  mode tcp
  option tcplog
  bind 127.0.0.1:{port}
  default_backend processes
backend processes
  mode tcp
  balance roundrobin
  option httpchk GET /readyz
"""

_REQUESTS: Final = """\
frontend service
  mode http
  option httplog
  bind 127.0.0.1:{port} ssl crt {pair}
  default_backend processes
backend processes
  mode http
  balance roundrobin
  option httpchk GET /readyz
"""


class Backend(msgspec.Struct, frozen=True):
    """Where one process answers, and where it says whether it is ready."""

    port: int
    ready: int


class Balancer:
    """One that runs, at `port`."""

    def __init__(self, port: int, stats: int) -> None:
        self.port = port
        self._stats = stats

    @classmethod
    @contextmanager
    def running(cls, folder: Path, backends: Mapping[str, Backend], *, pair: Path | None) -> Iterator[Self]:
        """Before these backends, by name. With a certificate and key in a file it deals out requests, not connections."""
        if shutil.which("haproxy") is None:
            raise StartFailed("haproxy is not installed; run `make packages` (Debian), or install it by other means")
        port, stats = lasting_ports(2)
        text = _COMMON.format(stats=stats) + (_REQUESTS if pair else _CONNECTIONS).format(port=port, pair=pair)
        for name, backend in backends.items():
            text += f"  server {name} 127.0.0.1:{backend.port} port {backend.ready}{' ssl verify none no-check-ssl' if pair else ''}\n"
        file = folder / "haproxy.cfg"
        file.write_text(text)
        with Processes.ended_after(folder) as processes:
            processes.run("haproxy", "haproxy", "-db", "-f", file)
            made = cls(port, stats)
            processes.wait("haproxy listens", made._listens)
            yield made

    def up(self) -> frozenset[str]:
        """The backends that get new connections now."""
        with closing(socket.create_connection(("127.0.0.1", self._stats), timeout=5)) as asking:
            asking.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        own = [row for row in rows if row["pxname"] == "processes" and row["svname"] != "BACKEND"]
        return frozenset(row["svname"] for row in own if row["status"].startswith("UP"))

    def _listens(self) -> bool:
        try:
            return bool(self.up())
        except OSError:
            return False
