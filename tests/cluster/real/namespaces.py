"""Network, mount and process namespaces and a cgroup for a cluster, so that nothing of it is left behind."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "moorage-cluster-"
_PROGRAMS: Final = ("containerd", "ctr", "runc", "iptables", "ip", "mount", "setpriv", "unshare")
_PLUGINS: Final = tuple(Path("/usr/lib/cni", name) for name in ("ptp", "portmap", "host-local", "loopback"))

# All processes, mounts and network devices end with the namespaces' first process, and that with this program. It is a
# shell, to bury the orphans of containerd's shims. Ctrl-C is for the command inside, and would hide its exit code here.
_OWN: Final = (
    *("env", "--ignore-signal=INT", "setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--net", "--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork", "--kill-child"),
    *("sh", "-c", '"$@"; exit $?', "sh"),
)


def obstacle() -> str:
    """Why there can be no node on this machine; empty when there can."""
    if sys.platform != "linux":
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    missing += [plugin.name for plugin in _PLUGINS if not plugin.exists()]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: `make packages`)"
    tried = subprocess.run([*_OWN, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    return f"this root may make no namespaces: {tried.stderr.strip()}" if tried.returncode else ""


def run_inside(command: Callable[[str], Sequence[str]]) -> int:
    """Run a command, made with the name of its cgroup, in namespaces of its own; its exit code."""
    with _own_cgroup() as cgroup:
        return run([*_OWN, *command(cgroup)], os.environ, grace=30)


def run(command: Sequence[str], environment: Mapping[str, str], *, grace: float) -> int:
    """A shell's exit code of the command. A Ctrl-C that comes here has reached it too; then it has seconds of grace."""
    process = subprocess.Popen(command, env=environment)
    try:
        with suppress(KeyboardInterrupt):
            process.wait()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    finally:
        process.kill()
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _own_cgroup() -> Iterator[str]:
    """The name of a new cgroup, in version 2's hierarchy or in each of version 1's; those of killed runs go first."""
    hierarchies = [_CGROUPS]
    if not (_CGROUPS / "cgroup.controllers").exists():
        hierarchies = [path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]
    for hierarchy in hierarchies:
        for old in hierarchy.glob(f"{_PREFIX}*"):
            if not Path("/proc", old.name.removeprefix(_PREFIX)).exists():
                _remove(old)
    name = f"{_PREFIX}{os.getpid()}"
    try:
        for hierarchy in hierarchies:
            (hierarchy / name).mkdir()
        yield name
    finally:
        for hierarchy in hierarchies:
            _remove(hierarchy / name)


def _remove(cgroup: Path, *, seconds: float = 10) -> None:
    """Its processes have been killed but may still be ending."""
    end = time.monotonic() + seconds
    for folder, _, _ in os.walk(cgroup, topdown=False):
        while Path(folder, "cgroup.procs").read_text() and time.monotonic() < end:
            time.sleep(0.05)
        Path(folder).rmdir()
