"""The real programs that tests run against: which they are, and where they stand once `make parts` has built them."""

import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

_HERE: Final = Path(__file__).parent
_REAL: Final = _HERE.parent / "cluster" / "real"


class Module(msgspec.Struct, frozen=True):
    """A command of a published Go module, at one version. `minutes` is what building takes on 2 cores, `tags` are what Go
    calls build constraints."""

    package: str
    version: str
    minutes: int = 1
    tags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Stands for what would be built."""
        return "-".join((self.version, *self.tags))


class Source(msgspec.Struct, frozen=True):
    """A Go module of this repository. `stamped` names a module whose version the program shall say as its own."""

    folder: Path
    minutes: int = 1
    stamped: str = ""

    @property
    def key(self) -> str:
        """Stands for what would be built: changes with any source file."""
        known = sha256()
        for file in sorted(self.folder.rglob("*")):
            if file.suffix in {".go", ".mod", ".sum"}:
                known.update(file.relative_to(self.folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
        return known.hexdigest()[:16]

    @property
    def stamps(self) -> tuple[str, ...]:
        """What the linker shall write: the version, as Kubernetes' own build does."""
        if not self.stamped:
            return ()
        found = re.search(
            rf"^\t{re.escape(self.stamped)} (v(\d+)\.(\d+)\.\S+)$", (self.folder / "go.mod").read_text(), re.MULTILINE
        )
        if found is None:
            raise ValueError(f"{self.folder}/go.mod does not require {self.stamped}")
        told = zip(("gitVersion", "gitMajor", "gitMinor"), found.groups(), strict=True)
        return tuple(f"-X=k8s.io/component-base/version.{name}={value}" for name, value in told)


class Joined(msgspec.Struct, frozen=True):
    """Files of a published Go module, as the documents of one YAML file."""

    module: str
    version: str
    files: tuple[str, ...]
    minutes: int = 0

    @property
    def key(self) -> str:
        """Stands for what would be made: the version, and which files."""
        return f"{self.version}-{sha256(repr(self.files).encode()).hexdigest()[:8]}"


Made = Module | Source | Joined
"""What a part is made from."""

_KWOK: Final = "v0.8.0"
_CERT_MANAGER: Final = "v1.21.2"

PARTS: Final[Mapping[str, Made]] = {
    "registry": Module("github.com/distribution/distribution/v3/cmd/registry", "v3.1.2"),
    "oracle": Source(_HERE / "oracle"),
    "crane": Module("github.com/google/go-containerregistry/cmd/crane", "v0.22.1"),
    "pause": Source(_REAL / "pause"),
    "kwok": Module("sigs.k8s.io/kwok/cmd/kwok", _KWOK),
    "kwok-stages": Joined(
        "sigs.k8s.io/kwok",
        _KWOK,
        tuple(
            f"kustomize/stage/{files}"
            for files in ("node/fast/node-*", "node/heartbeat-with-lease/node-*", "pod/fast/pod-*")
        ),
    ),
    "network-policies": Module("sigs.k8s.io/kube-network-policies/cmd", "v0.8.0", minutes=2),
    "cluster": Source(_REAL / "kubernetes", minutes=8, stamped="k8s.io/kubernetes"),
    # Without what finds machines to scrape in twenty clouds: rules need none, and it would take three times as long.
    "promtool": Module("github.com/prometheus/prometheus/cmd/promtool", "v0.316.0", minutes=3, tags=("remove_all_sd",)),
    "certmanager": Source(_HERE / "certmanager", minutes=3),
    "certmanager-crds": Joined(
        "github.com/cert-manager/cert-manager", _CERT_MANAGER, ("deploy/crds/cert-manager.io_*.yaml",)
    ),
    "prometheus-operator-crds": Joined(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            for kind in ("podmonitors", "prometheusrules")
        ),
    ),
}
"""Every part that tests need, in one table; a new one is a row."""

YARDSTICKS: Final[Mapping[str, Made]] = {
    "floor": Source(_HERE.parent / "bench" / "floor"),
    "vegeta": Module("github.com/tsenart/vegeta/v12", "v12.12.0"),
}
"""What `make bench` needs besides."""


class MissingPart(RuntimeError):
    """A part that tests need has not been built."""

    def __init__(self, name: str, word: str = "parts") -> None:
        super().__init__(
            f"the part {name!r} is not built; run `make {word}` (or `make test-quick` to do without parts)"
        )
        self.name = name


def cache(environ: Mapping[str, str]) -> Path:
    """Where built parts are kept: outside the repository, so that every clone of a machine shares them."""
    if chosen := environ.get("MOORAGE_PARTS"):
        return Path(chosen)
    base = environ.get("XDG_CACHE_HOME") or Path(environ["HOME"], ".cache")
    return Path(base, "moorage", "parts")


def source_of(name: str) -> Made:
    """What a part is built from."""
    return PARTS[name] if name in PARTS else YARDSTICKS[name]


def place(name: str, environ: Mapping[str, str]) -> Path:
    """The file that a part has, or will have, once built."""
    return cache(environ) / f"{name}-{source_of(name).key}" / name


def part(name: str) -> Path:
    """The file of a built part.

    Raises:
        MissingPart: it has not been built. That fails a test, it never skips one: a test of the real thing that
            silently does not run is worth nothing. `make test-quick` leaves out the tests marked `parts`.
    """
    file = place(name, os.environ)
    if not file.exists():
        raise MissingPart(name)
    return file
