"""What is left of a server that dies, seen at a process of its own."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import served

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/limits").exists(), reason="only Linux shows the limits of a process"
)


@pytest.fixture
def allowed() -> Iterator[int]:
    """Core dumps as large as this machine lets them be, for what is started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if hard == 0:
        pytest.skip("core dumps are ruled out here already")
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


async def test_a_server_leaves_no_core_dump_unless_somebody_allows_it_again(tmp_path: Path, allowed: int) -> None:
    async with served(tmp_path) as server:
        assert resource.prlimit(server.process.pid, resource.RLIMIT_CORE) == (0, allowed)
