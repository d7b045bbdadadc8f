"""What holds for every test: the loop that serves, whom it trusts, and plugins that watch it."""

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from hypothesis import settings

from tests.cluster.real import DIRECTORY

pytest_plugins = ["tests.support.figures", "tests.support.loopback", "tests.support.searching"]

_NODE: Final = Path(__file__).parent / "cluster" / "node"


# How long an example takes is the machine's affair. `make test-quick` tries fewer of them; `make test` all.
settings.register_profile("default", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("default")


def pytest_configure() -> None:
    """A test trusts the authorities that it names. Reading the machine's own takes 30 ms for each TLS context."""
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: tests wait for time to pass, for processes and for each other."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 2


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any], dict[str, Any]]:
    """What a worker tells of each phase of each test: its keywords are a third of it, and nobody reads them."""
    told = yield
    if "keywords" in told:
        told["keywords"] = {}
    return told


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
