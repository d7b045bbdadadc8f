"""Builds Moorage's own image from the Dockerfile, once per state of what goes into it: `python -m tests.parts.container`.

It needs root on Debian, as the node does on which it runs. The base is made by debootstrap, and wheels are fetched
beforehand with this machine's pip, so that the build itself needs no network.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.cluster.real import namespaces
from tests.parts import MissingPart, cache

TOP: Final = Path(__file__).parents[2]
NAME: Final = "moorage"
"""The image's name within its layout, an OCI folder."""

_WHITEOUT: Final = ".wh."
"""Before the name of what a layer takes away."""
_SUITE: Final = "bookworm"
_PYTHON: Final = "3.11"
"""What this suite has."""
_PACKAGES: Final = ("ca-certificates", "python3", "python3-venv")
_INPUTS: Final = (
    ".dockerignore",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "deploy/bare.py",
    "pyproject.toml",
    "requirements/clouds.txt",
)
_PROGRAMS: Final = ("buildah", "debootstrap")
_WHEELS: Final = "[install]\nno-index = true\nfind-links = /wheels\n"
_KEPT: Final = 4
"""Images, so that branches of one machine do not build in turns."""


def main(words: list[str], environ: Mapping[str, str]) -> int:
    """Build it if it is missing; say nothing when it is there."""
    if obstacle := _obstacle():
        is_fine = "--or-leave-out" in words and not environ.get("CI")
        _say(f"NO IMAGE HERE: {obstacle}.")
        return 0 if is_fine else 1
    home = cache(environ)
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".container.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = _place(environ)
        if place.exists():
            return 0
        _say(f"building Moorage's image into {home}: about a minute, and two more the first time")
        wheels, base = _wheels(home), _base(home)
        with tempfile.TemporaryDirectory(dir=home, prefix=".image-") as folder:
            _build(Path(folder), base, wheels)
            (Path(folder) / "layout").rename(place)
        for old in sorted(home.glob("image-*"), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old)
    base_size, own_size = layer_sizes(place)
    _say(f"Moorage's image has {own_size / 1e6:.0f} MB compressed beyond its base of {base_size / 1e6:.0f} MB")
    return 0


def layout() -> Path:
    """The folder of the image, an OCI layout.

    Raises:
        MissingPart: it is not built.
    """
    place = _place(os.environ)
    if not place.exists():
        raise MissingPart("container", "container")
    return place


def layer_sizes(place: Path) -> list[int]:
    """Bytes of each layer, compressed, the base's first."""
    return [int(one["size"]) for one in manifest(place)["layers"]]


def manifest(place: Path) -> Any:
    """The image's manifest."""
    index = json.loads((place / "index.json").read_text())
    return json.loads(blob(place, index["manifests"][0]["digest"]).read_text())


def files(place: Path) -> set[str]:
    """What a container of it sees, but for folders: the layers one over the other."""
    seen: set[str] = set()
    for layer in manifest(place)["layers"]:
        with tarfile.open(blob(place, layer["digest"])) as tar:
            added = {one.name.removeprefix("./") for one in tar if not one.isdir()}
        gone = {one.replace(_WHITEOUT, "") for one in added if _WHITEOUT in one}
        hidden = {one for one in seen if one in gone or any(folder in gone for folder in _folders(one))}
        seen = (seen - hidden) | {one for one in added if _WHITEOUT not in one}
    return seen


def _folders(name: str) -> Iterator[str]:
    while name := name.rpartition("/")[0]:
        yield name


def blob(place: Path, digest: str) -> Path:
    """A file of an OCI layout."""
    return place / "blobs" / digest.replace(":", "/")


def _place(environ: Mapping[str, str]) -> Path:
    known = sha256(Path(__file__).read_bytes())
    for file in (*(TOP / name for name in _INPUTS), *sorted((TOP / "webhook").rglob("*.py"))):
        known.update(file.relative_to(TOP).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return cache(environ) / f"image-{known.hexdigest()[:16]}"


def _obstacle() -> str:
    if obstacle := namespaces.obstacle():
        return obstacle
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (Debian: `make packages`)" if missing else ""


def _base(home: Path) -> Path:
    """An archive of a root with Python and nothing else."""
    place = home / f"base-{_SUITE}-{sha256(' '.join(_PACKAGES).encode()).hexdigest()[:8]}.tar"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=home, prefix=".base-") as folder:
            root, archive = Path(folder, "root"), Path(folder, "base.tar")
            include = f"--include={','.join(_PACKAGES)}"
            _run("debootstrap", "--variant=minbase", include, _SUITE, root)
            shutil.rmtree(root / "var/cache/apt/archives")
            _run("tar", "-C", root, "-cf", archive, ".")
            archive.rename(place)
    return place


def _wheels(home: Path) -> Path:
    lock = TOP / "requirements" / "clouds.txt"
    place = home / f"wheels-{sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=home, prefix=".wheels-") as folder:
            fetched = Path(folder, "wheels")
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
            which = ("--require-hashes", "--only-binary", ":all:", "--python-version", _PYTHON)
            _run(*pip, *which, "-r", lock, "-d", fetched)
            fetched.rename(place)
    return place


def _build(folder: Path, base: Path, wheels: Path) -> None:
    settings = folder / "pip.conf"
    settings.write_text(_WHEELS)
    own = ("buildah", "--root", folder / "storage", "--runroot", folder / "run")
    root = _run(*own, "from", "scratch")
    _run(*own, "add", "--quiet", root, base)
    _run(*own, "commit", "--quiet", "--rm", root, "localhost/base")
    secret = f"--secret=id=pip.conf,src={settings}"
    how = ("--isolation=chroot", "--build-arg=BASE=localhost/base", secret, f"--volume={wheels}:/wheels:ro")
    _run(*own, "bud", "--quiet", *how, f"--tag=localhost/{NAME}", TOP)
    _run(*own, "push", "--quiet", f"localhost/{NAME}", f"oci:{folder}/layout:{NAME}")
    # Files of a storage of its own, which may be kept from being removed by how they are mounted.
    _run(*own, "rmi", "--all", "--force")


def _run(*command: str | Path) -> str:
    """What a command prints. What it says besides is shown when it fails."""
    environ = {**os.environ, "STORAGE_DRIVER": "vfs"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(f"{done.stdout[-4000:]}{done.stderr[-4000:]}")
        done.check_returncode()
    return done.stdout.strip()


def _say(line: str) -> None:
    sys.stderr.write(f"container: {line}\n")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except subprocess.CalledProcessError as failed:
        sys.exit(f"container: {' '.join(str(word) for word in failed.cmd)} ended with {failed.returncode}")
