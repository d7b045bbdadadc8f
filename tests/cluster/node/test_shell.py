"""What `make cluster` prints to try does what it says."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.real.plane import Running
from tests.cluster.shell import THINGS, Thing, at_work, shell
from tests.cluster.upstream import Upstream

_RUN: Final = re.compile(r"Running  localhost:30081/team/app@(\S+)$", re.MULTILINE)


# It is the whole story: six rollouts of real Pods, an install of Moorage, its restart and its end.
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("cache")
def test_the_things_to_try_tell_the_story_of_one_digest_per_rollout(
    plane: Running, upstream: Upstream, tmp_path: Path
) -> None:
    with at_work(plane, upstream, tmp_path) as told:
        old, new = (upstream.digest("team/app", tag) for tag in ("stable", "next"))
        said = [run(thing, {**os.environ, **told}, tmp_path) for thing in THINGS]
    created, pinned, scaled, restarted, undone, lost, why, uninstalled = said
    assert _RUN.findall(created) == [old] * 2
    assert f"{upstream.host}/team/app:stable\n" in pinned
    assert f'"{upstream.host}/team/app:stable\\":\\"{old}' in pinned
    assert _RUN.findall(scaled) == [old] * 4
    assert _RUN.findall(restarted) == [new] * 4
    assert _RUN.findall(undone) == [old] * 4
    assert '"reason":"TagMoved"' in undone
    assert 'deployment "moorage" successfully rolled out' in lost
    assert _RUN.findall(lost) == [old] * 6
    assert re.findall(r"^Deployment/app .*  localhost:30081/team/app@(\S+)$", why, re.MULTILINE) == [old] * 2
    assert re.search(rf"^pin: +{old}", why, re.MULTILINE)
    assert re.search(rf"^tag now: +{new}$", why, re.MULTILINE)
    assert _RUN.findall(uninstalled) == [old] * 6
    assert f"Running  {upstream.host}/team/app:stable\n" in uninstalled


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
