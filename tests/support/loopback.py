"""A plugin with which a test that reaches out fails, also where the code under test bears the error.

uvloop dials below this; what it may dial is the doors' own check.
"""

import os
import socket
from collections.abc import Generator
from ipaddress import ip_address
from typing import Any, Final

import pytest

from tests.cluster.real import DIRECTORY

_OUTSIDE: Final[list[str]] = []


@pytest.fixture
def dialled() -> list[str]:
    """Addresses beyond loopback that were dialled. Who means to takes them from this list."""
    return _OUTSIDE


# Once for the run and by a hook: as a fixture of each test it was a tenth of what a small test takes.
def pytest_sessionstart() -> None:
    """Around a cluster there is no way to anything but the cluster, and nothing to forbid."""
    if DIRECTORY in os.environ:
        return
    connect = socket.socket.connect

    def checked(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not ip_address(address[0]).is_loopback:
            _OUTSIDE.append(address[0])
            # An error of the network's own kind, upon which every library closes its socket.
            raise ConnectionRefusedError("a test dials what is not loopback")
        connect(self, address)

    socket.socket.connect = checked  # type: ignore[method-assign,assignment]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Say it when all that the test has made is closed."""
    yield
    outside, _OUTSIDE[:] = tuple(_OUTSIDE), ()
    assert not outside, f"a test dialled {', '.join(outside)}"
