"""Ports of loopback that nobody listens on."""

import socket
from contextlib import closing


def free_port() -> int:
    """One of them."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
    return port
