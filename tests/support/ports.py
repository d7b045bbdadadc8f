"""Ports of loopback that nobody listens on."""

import os
import random
import socket
from contextlib import ExitStack, closing
from typing import Final

BESIDE: Final = range(12_000, 30_000)
"""Neither those that the kernel hands out to callers (32768 and above), nor Kubernetes' node ports (30000 to 32767)."""
_GIVEN: Final[set[int]] = set()
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_OWN: Final = BESIDE[_WORKER::_WORKERS]
"""What no other worker of this run gives away, while a server of this one is stopped."""


def free_port() -> int:
    """One of them."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
    return port


def lasting_ports(count: int) -> tuple[int, ...]:
    """Several that no caller is given while a server on them is stopped for a while, and that were not given before: who
    remembers what was at an address is not misled."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = random.choice(_OWN)
            if port in _GIVEN:
                continue
            try:
                held.enter_context(closing(socket.create_server(("127.0.0.1", port))))
            except OSError:
                continue
            ports.append(port)
            _GIVEN.add(port)
    return tuple(ports)
