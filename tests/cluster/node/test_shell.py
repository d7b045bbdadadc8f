"""What `make cluster` prints to try does what it says."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster.real.plane import Running
from tests.cluster.shell import THINGS, Thing, at_work, shell
from tests.cluster.upstream import Upstream


# The outage and the restart are left to people: other tests hold what Moorage does then, and 20 s are long.
@pytest.mark.usefixtures("cache")
def test_the_things_to_try_work(plane: Running, upstream: Upstream, tmp_path: Path) -> None:
    with at_work(plane, upstream, tmp_path) as told:
        for thing in THINGS[:3]:
            said = run(thing, {**os.environ, **told}, tmp_path)
            assert f"localhost:30081/team/app@{upstream.digest('team/app', 'stable')}" in said


def run(thing: Thing, environ: dict[str, str], folder: Path) -> str:
    """What the shell prints when all commands succeed, each after the other."""
    given = "".join(f"{command} || exit 1\n" for command in thing.commands)
    done = subprocess.run(
        shell(folder),
        input=given,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environ,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
