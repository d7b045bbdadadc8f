"""Builds the parts that are not built yet, once per version: `python -m tests.parts [NAME…]`."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.parts import PARTS, YARDSTICKS, Module, Source, cache, golang, place, source_of


def main(names: Sequence[str], environ: Mapping[str, str]) -> int:
    """Build what is missing; say nothing when nothing is."""
    known = (*PARTS, *YARDSTICKS)
    unknown = [name for name in names if name not in known]
    if unknown:
        _say(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    wanted = names or tuple(PARTS)
    if all(place(name, environ).exists() for name in wanted):
        return 0
    home = cache(environ)
    home.mkdir(parents=True, exist_ok=True)
    with _only_one(home):
        missing = [name for name in wanted if not place(name, environ).exists()]
        if missing:
            _say(f"building {', '.join(missing)} into {home}: the first time takes about 3 minutes on 2 cores")
            go = golang.find(home, environ, _say)
            for name in missing:
                _build(name, go, environ)
    return 0


def _build(name: str, go: Path, environ: Mapping[str, str]) -> None:
    file = place(name, environ)
    made_from = source_of(name)
    settings = {**environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    with tempfile.TemporaryDirectory(dir=cache(environ), prefix=f".{name}-") as folder:
        built = Path(folder, name)
        match made_from:
            case Module(package, version):
                command = [str(go), "install", "-trimpath", f"{package}@{version}"]
                # In the temporary folder, under a name that Go chooses; a broken build leaves nothing behind.
                subprocess.run(command, cwd=folder, env=settings | {"GOBIN": folder}, check=True)
                next(Path(folder).iterdir()).rename(built)
            case Source(source):
                command = [str(go), "build", "-trimpath", "-buildvcs=false", "-o", str(built), "."]
                subprocess.run(command, cwd=source, env=settings, check=True)
        file.parent.mkdir(exist_ok=True)
        shutil.move(built, file)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    with Path(home, ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    sys.stderr.write(f"parts: {line}\n")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except subprocess.CalledProcessError as failed:
        sys.exit(f"parts: {' '.join(str(word) for word in failed.cmd)} ended with {failed.returncode}")
