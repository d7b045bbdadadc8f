"""Takes out of an image what Moorage never runs and an intruder would: shells, installers, compilers, interpreters.

`python3 bare.py [ROOT]`, in the last stage of the Dockerfile. What a base does not have is not missed. The lists of its
packages stay, so that scanners go on knowing what it is made of.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "opt/moorage/bin")
NAMES = (
    *("sh", "ash", "bash", "dash", "ksh", "mksh", "rbash", "zsh", "busybox"),
    *("apk", "apt", "apt-*", "dnf", "microdnf", "dpkg", "dpkg-*", "rpm", "yum"),
    *("pip", "pip[0-9]*", "wheel", "easy_install*", "idle*", "2to3*", "pydoc*", "activate*", "Activate.ps1"),
    *("cc", "c++", "c[0-9][0-9]", "cpp", "cpp-*", "gcc*", "g++*", "clang*", "*-linux-gnu-*"),
    *("as", "ld", "ld.bfd", "ld.gold", "make"),
    *("perl", "perl[0-9]*", "curl", "wget"),
)
LIBRARIES = ("usr/lib", "usr/local/lib", "opt/moorage/lib")
PARTS = (
    *("python3*/ensurepip", "python3*/idlelib", "python3*/lib2to3"),
    *(f"python3*/*-packages/{name}" for name in ("pip", "pip-*", "setuptools", "setuptools-*", "wheel", "wheel-*")),
    *(f"python3*/*-packages/{name}" for name in ("_distutils_hack", "distutils-precedence.pth", "pkg_resources")),
)
WHEELS = "usr/share/python-wheels"


def superfluous(root: Path) -> Iterator[Path]:
    """What is to go, as it stands there."""
    for folder in PROGRAMS:
        for name in NAMES:
            yield from root.joinpath(folder).glob(name)
    for folder in LIBRARIES:
        for part in PARTS:
            yield from root.joinpath(folder).glob(part)
    yield root / WHEELS


def main(root: Path) -> None:
    """Remove it."""
    for path in list(superfluous(root)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(*sys.argv[1:2] or ["/"]))
