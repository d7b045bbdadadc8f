"""Builds the parts that are not built yet, once per version: `python -m tests.parts [NAME…]`."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.parts import PARTS, YARDSTICKS, Joined, Module, Source, cache, golang, place, source_of


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
            _say(f"building {', '.join(missing)} into {home}: {_takes(missing)}")
            go = golang.find(home, environ, _say)
            for name in missing:
                _build(name, go, environ)
    return 0


def _takes(names: Sequence[str]) -> str:
    minutes = sum(source_of(name).minutes for name in names)
    return f"about {minutes} minutes on 2 cores the first time, less with Go's own cache" if minutes else "a moment"


def _build(name: str, go: Path, environ: Mapping[str, str]) -> None:
    file = place(name, environ)
    made_from = source_of(name)
    settings = {**environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    with tempfile.TemporaryDirectory(dir=cache(environ), prefix=f".{name}-") as folder:
        built = Path(folder, name)
        match made_from:
            case Module(package, version, tags=tags):
                command = [str(go), "install", "-trimpath", f"-tags={','.join(tags)}", _flags(), f"{package}@{version}"]
                # In the temporary folder, under a name that Go chooses; a broken build leaves nothing behind.
                subprocess.run(command, cwd=folder, env=settings | {"GOBIN": folder}, check=True)
                next(Path(folder).iterdir()).rename(built)
            case Source(source):
                command = [str(go), "build", "-trimpath", "-buildvcs=false", _flags(*made_from.stamps)]
                subprocess.run([*command, "-o", str(built), "."], cwd=source, env=settings, check=True)
            case Joined(module, version, files):
                command = [str(go), "mod", "download", "-json", f"{module}@{version}"]
                told = subprocess.run(command, cwd=folder, env=settings, check=True, stdout=subprocess.PIPE).stdout
                fetched = Path(json.loads(told)["Dir"])
                built.write_text("".join(f"---\n{file.read_text()}\n" for file in _each(fetched, files)))
        file.parent.mkdir(exist_ok=True)
        shutil.move(built, file)


def _flags(*stamps: str) -> str:
    # Without symbols and debugging data: a third less to link, keep and start.
    return f"-ldflags={' '.join(('-s', '-w', *stamps))}"


def _each(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if not found:
            sys.exit(f"parts: {folder} has no {pattern}")
        yield from found


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
