"""The manifests that are shipped, as the objects that `kubectl apply` would send."""

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
INSTALL: Final = DEPLOY / "install.yaml"
KUBECTL: Final = Path(sys.executable).with_name("kubectl")
IMAGE: Final = "registry.example.com/moorage/moorage"
"""What the manifests call Moorage's image; who installs it says where it really is."""

Object = dict[str, Any]


def rendered(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kustomization(folder: Path, *components: str, base: str = "base", **more: Any) -> Path:
    """An overlay in this folder, as a user would write it: the base, or an overlay, with components, and further keys."""

    def way(*to: str) -> str:
        # Kustomize takes no absolute paths.
        return os.path.relpath(DEPLOY.joinpath(*to), folder.resolve())

    file = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "sortOptions": {"order": "fifo"},
        "resources": [way(base)],
        "components": [way("components", name) for name in components],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(file))
    return folder


def objects(text: str) -> list[Object]:
    """The documents of a text, in their order."""
    return [one for one in yaml.safe_load_all(text) if one is not None]


@cache
def installed() -> tuple[Object, ...]:
    """The default install, as it is shipped."""
    return tuple(objects(INSTALL.read_text()))


def of_kind(every: Iterable[Object], kind: str, name: str = "moorage") -> Object:
    """The one object of a kind and a name."""
    (found,) = (one for one in every if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def container(workload: Object) -> Object:
    """The only container of a Deployment."""
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)
