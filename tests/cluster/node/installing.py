"""Moorage as it is installed: its own image, from a registry that the node reaches, and the manifests that are shipped."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from tests.cluster.account import HOME
from tests.cluster.namespace import Namespace, is_ready
from tests.cluster.real.node import ADDRESS, UPSTREAM
from tests.cluster.real.plane import Running
from tests.cluster.searched import search_logs
from tests.cluster.upstream import Upstream
from tests.deploy.manifests import IMAGE, Object, kustomization
from tests.parts import part
from tests.parts.container import layout

SERVER: Final = "app.kubernetes.io/component=server"
_REPOSITORY: Final = "moorage/moorage"
_SLOW: Final = 120
"""Seconds that a busy machine may take to start three processes."""


class Moorage(Namespace):
    """The install: objects of its namespace."""

    def __init__(self, plane: Running, overlay: Path) -> None:
        super().__init__(plane.api, HOME, plane.kubeconfig, overlay)
        self._overlay = overlay

    @classmethod
    @contextmanager
    def installed(cls, plane: Running, upstream: Upstream, folder: Path, configuration: str) -> Iterator[Self]:
        """Installed and ready, until the end of the block."""
        push_image(upstream)
        made = cls(plane, overlay(folder, upstream, configuration))
        made.apply()
        try:
            made.await_ready()
            yield made
        finally:
            made.uninstall()

    def apply(self) -> str:
        """Install, or upgrade."""
        # Whoever is replaced takes his log with him.
        search_logs(self.api, HOME)
        return self.kubectl("apply", "-k", str(self._overlay))

    def uninstall(self) -> str:
        """Take everything away that was applied; what kubectl prints."""
        search_logs(self.api, HOME)
        return self.kubectl("delete", "--ignore-not-found", "-k", str(self._overlay))

    def await_ready(self) -> None:
        """Until the server has all its Pods."""
        self.await_rollout("Deployment", "moorage", seconds=_SLOW)

    def await_adopter(self) -> None:
        """Until pins are tended: the kubelet may take a minute and more to bring the first seal key."""
        self.await_rollout("Deployment", "moorage-adopt", seconds=_SLOW)

    def servers(self) -> list[Any]:
        """The server's Pods that are ready."""
        pods = self.api.objects("Pod", HOME, labels=SERVER)
        return [one for one in pods if is_ready(one) and "deletionTimestamp" not in one["metadata"]]

    def policy(self, failure_policy: str) -> None:
        """What the API server does where Moorage does not answer."""
        operation = {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": failure_policy}
        self.api.patch(
            "MutatingWebhookConfiguration", "moorage", [operation], content_type="application/json-patch+json"
        )

    def said(self) -> str:
        """The logs of all."""
        words = ("logs", "--selector=app.kubernetes.io/name=moorage", "--all-containers", "--prefix", "--tail=40")
        return self.kubectl(*words, fine=(0, 1))


def push_image(upstream: Upstream) -> None:
    """Put Moorage's image into the registry, as whoever installs it does."""
    target = f"{upstream.host}/{_REPOSITORY}:test"
    done = subprocess.run(
        [part("crane"), "push", "--insecure", layout(), target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def overlay(folder: Path, upstream: Upstream, configuration: str) -> Path:
    """The kustomization of whoever installs it: the image, the configuration, and what this cluster lacks."""
    folder.mkdir()
    (folder / "moorage.yaml").write_text(configuration)
    return kustomization(
        folder,
        "page",
        images=[{"name": IMAGE, "newName": f"{upstream.host}/{_REPOSITORY}", "newTag": "test"}],
        configMapGenerator=[{"name": "moorage", "namespace": HOME, "files": ["moorage.yaml"]}],
        generatorOptions={"disableNameSuffixHash": True},
        patches=[
            # There is no DNS here.
            _patch("Deployment", "moorage.*", _add("/spec/template/spec/hostAliases", [_ALIAS])),
            # A minute is long for a test.
            _patch("Deployment", "moorage-adopt", _add(f"{_CONTAINER}/args/-", "--interval=1s")),
        ],
    )


_CONTAINER: Final = "/spec/template/spec/containers/0"
_ALIAS: Final = {"ip": ADDRESS, "hostnames": [UPSTREAM]}


def _add(path: str, value: Any, op: str = "add") -> Object:
    return {"op": op, "path": path, "value": value}


def _patch(kind: str, name: str, *operations: Object) -> Object:
    return {"target": {"kind": kind, "name": name}, "patch": json.dumps(operations)}
