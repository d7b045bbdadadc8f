"""haproxy as a Service: one address before several webhook processes, of which only the ready ones get connections."""

import csv
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, Literal, Self, get_args

import msgspec

from tests.cluster.real.processes import Processes, StartFailed
from tests.support.ports import lasting_ports

Spread = Literal["connections", "requests"]
"""What is dealt out to one process after the other: connections, as by a Service, or requests."""
SPREADS: Final[tuple[Spread, ...]] = get_args(Spread)

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
backend checks
  option httpchk GET /readyz
  default-server check inter 400ms fall 1 rise 1
"""

# As kube-proxy does: a connection stays with its process, and none is tried again elsewhere.
_CONNECTIONS: Final = """\
listen connections-{count}
  mode tcp
  option tcplog
  bind 127.0.0.1:{port}
  balance roundrobin
"""

_REQUESTS: Final = """\
listen requests-{count}
  mode http
  option httplog
  bind 127.0.0.1:{port} ssl crt {pair}
  balance roundrobin
  default-server ssl verify none
"""


class Backend(msgspec.Struct, frozen=True):
    """Where one process answers, and where it says whether it is ready."""

    port: int
    ready: int


class Balancer:
    """One that runs, with an address for each way to spread over the first backend, the first two and so on."""

    def __init__(self, ports: Mapping[tuple[Spread, int], int], stats: int) -> None:
        self._ports = ports
        self._stats = stats

    @classmethod
    @contextmanager
    def running(cls, folder: Path, backends: Mapping[str, Backend], pair: Path) -> Iterator[Self]:
        """Before these backends, by name, as soon as one of them is up; `pair` is a file with a certificate and its key."""
        if shutil.which("haproxy") is None:
            raise StartFailed("haproxy is not installed; run `make packages` (Debian), or install it by other means")
        counts = range(1, len(backends) + 1)
        stats, *ports = lasting_ports(1 + 2 * len(backends))
        wanted: list[tuple[Spread, int]] = [(spread, count) for spread in SPREADS for count in counts]
        made = cls(dict(zip(wanted, ports, strict=True)), stats)
        file = folder / "haproxy.cfg"
        file.write_text("".join(made._settings(backends, pair)))
        with Processes.ended_after(folder) as processes:
            processes.run("haproxy", "haproxy", "-db", "-f", file)
            processes.wait("haproxy listens", made._listens)
            yield made

    def port(self, spread: Spread, count: int) -> int:
        """Where the first so many backends are called, so spread."""
        return self._ports[spread, count]

    def up(self) -> frozenset[str]:
        """The backends that get new connections now."""
        with closing(socket.create_connection(("127.0.0.1", self._stats), timeout=5)) as asking:
            asking.sendall(b"show stat\n")
            text = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        own = [row for row in rows if row["pxname"] == "checks" and row["svname"] != "BACKEND"]
        return frozenset(row["svname"] for row in own if row["status"].startswith("UP"))

    def _settings(self, backends: Mapping[str, Backend], pair: Path) -> Iterator[str]:
        """Each backend is asked once whether it is ready, however many addresses lead to it."""
        yield _COMMON.format(stats=self._stats)
        for name, backend in backends.items():
            yield f"  server {name} 127.0.0.1:{backend.port} port {backend.ready}\n"
        for (spread, count), port in self._ports.items():
            form = _REQUESTS if spread == "requests" else _CONNECTIONS
            yield form.format(count=count, port=port, pair=pair)
            for name, backend in islice(backends.items(), count):
                yield f"  server {name} 127.0.0.1:{backend.port} track checks/{name}\n"

    def _listens(self) -> bool:
        try:
            return bool(self.up())
        except OSError:
            return False
