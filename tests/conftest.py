"""What holds for every test: the loop that serves, and nothing but loopback."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from hypothesis import settings

from tests.cluster.real import DIRECTORY
from tests.support.figures import pytest_terminal_summary
from tests.support.searching import pytest_runtest_makereport, pytest_sessionstart

__all__ = ["pytest_runtest_makereport", "pytest_sessionstart", "pytest_terminal_summary"]

_NODE: Final = Path(__file__).parent / "cluster" / "node"


# How long an example takes is the machine's affair. `make test-quick` tries fewer of them; `make test` all.
settings.register_profile("default", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("default")


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: tests wait for time to pass, for processes and for each other."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 2


def pytest_collection_finish() -> None:
    """Let the collector not look through thousands of tests again and again."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Tests of the node want to be started inside its namespaces."""
    return True if collection_path == _NODE and DIRECTORY not in os.environ else None


def pytest_report_header() -> str | None:
    """Nobody shall think that they were run."""
    return None if DIRECTORY in os.environ else "LEFT OUT: tests/cluster/node, which `make test-node` runs"


SERVED: Final = {
    "test_connection.py",
    "test_drain.py",
    "test_lane.py",
    "test_page.py",
    "test_reload.py",
    "test_server.py",
    "test_supply.py",
}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """The server's tests run on the loop that serves: asyncio's own loses a connection that it took just before its
    listener is closed. The command line runs on asyncio's."""
    if item.path.name in SERVED:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A test that reaches out fails, also where the code under test bears the error. Who means to takes the address from
    this list. (uvloop dials below this; what it may dial is the doors' own check.)"""
    connect = socket.socket.connect
    outside: list[str] = []

    def checked(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not ip_address(address[0]).is_loopback:
            outside.append(address[0])
            # An error of the network's own kind, upon which every library closes its socket.
            raise ConnectionRefusedError("a test dials what is not loopback")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked)
    yield outside
    assert not outside, f"a test dialled {outside}"
