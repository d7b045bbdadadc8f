"""The cluster around this run, a registry that its node can reach, and the cache at localhost:30081."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.account import HOME
from tests.cluster.node.cache import start_cache
from tests.cluster.real.node import ADDRESS, UPSTREAM, speaks_http
from tests.cluster.real.plane import Running
from tests.cluster.searched import search_events, search_logs
from tests.cluster.upstream import Upstream
from tests.parts import part


@pytest.fixture(scope="session")
def plane() -> Iterator[Running]:
    """The cluster in which this run was started."""
    running = Running.around(os.environ)
    yield running
    search_events(running.api)
    search_logs(running.api, HOME)
    running.api.close()


@pytest.fixture(scope="session")
def upstream_of_the_run(plane: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """One registry for the run: the cache fetches from it."""
    folder, program = tmp_path_factory.mktemp("upstream"), part("pause").read_bytes()
    with Upstream.running(folder, address=ADDRESS, name=UPSTREAM, program=program) as made:
        speaks_http(plane.folder, made.host)
        yield made


@pytest.fixture(scope="session")
def cache(plane: Running, upstream_of_the_run: Upstream) -> None:
    """The distribution registry as a pull-through cache in a Pod, which the node reaches at localhost:30081."""
    start_cache(plane, upstream_of_the_run.proxy.host)


@pytest.fixture
def upstream(upstream_of_the_run: Upstream) -> Iterator[Upstream]:
    """The run's registry. It keeps what other tests pushed: choose a repository of your own."""
    upstream_of_the_run.mend()
    yield upstream_of_the_run
    upstream_of_the_run.mend()
