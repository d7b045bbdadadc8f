"""Runs COMMAND with a Kubernetes cluster of its own and leaves nothing behind: `python -m tests.cluster.real COMMAND…`.

COMMAND sees KUBECONFIG (the administrator's), MOORAGE_CLUSTER_DIR and MOORAGE_CLUSTER_LOGS. Its exit code is returned,
or 125 when the cluster did not start. A whole cluster needs root and Linux, and has a network of its own: COMMAND reaches
nothing but the cluster. Ctrl-C gives COMMAND 15 s to end; SIGTERM ends everything at once.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.cluster.real import namespaces
from tests.cluster.real.node import cluster
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.real.processes import StartFailed
from tests.parts import MissingPart, part

_MODULE = "tests.cluster.real"


def main(arguments: Sequence[str]) -> int:
    """What the command line asks for."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if options.control_plane:
            return _run_with(control_plane(logs=options.keep_logs), options.command)
        if options.inside:
            return _run_with(cluster(options.inside, logs=options.keep_logs), options.command)
        if obstacle := namespaces.obstacle():
            return _left_out(obstacle, is_fine=options.or_leave_out and not os.environ.get("CI"))
        part("cluster")  # missed here, where it can be told well
        again = (sys.executable, "-m", _MODULE)
        return namespaces.run_inside(lambda cgroup: (*again, "--inside", cgroup, *arguments))
    except (StartFailed, MissingPart, subprocess.CalledProcessError) as failure:
        _say(str(failure))
        return 125
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__, formatter_class=style)
    parser.add_argument("--control-plane", action="store_true", help="no node, no root, no network of its own")
    parser.add_argument("--keep-logs", metavar="DIR", type=Path, help="write the logs here and keep them")
    parser.add_argument(
        "--or-leave-out", action="store_true", help="where no node can be, say so and succeed; never where CI is set"
    )
    parser.add_argument("--inside", metavar="CGROUP", help=argparse.SUPPRESS)
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)
    return parser


def _left_out(obstacle: str, *, is_fine: bool) -> int:
    _say(f"NO NODE HERE: {obstacle}. " + ("ITS TESTS ARE LEFT OUT." if is_fine else "Only --control-plane runs."))
    return 0 if is_fine else 125


def _run_with(starting: AbstractContextManager[Running], command: Sequence[str]) -> int:
    began = time.monotonic()
    with starting as running:
        _say(f"ready after {time.monotonic() - began:.1f} s")
        return namespaces.run(command, {**os.environ, **running.environ}, grace=15)


def _say(line: str) -> None:
    sys.stderr.write(f"cluster: {line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
