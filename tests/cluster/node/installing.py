"""Moorage as it is installed: its own image, from a registry that the node reaches, and the manifests that are shipped."""

import json
import subprocess
from collections.abc import Iterator, Sequence
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
ADOPTER: Final = "app.kubernetes.io/component=adopt"
_REPOSITORY: Final = "moorage/moorage"
_SLOW: Final = 120
"""Seconds that a busy machine may take to start three processes."""


class Moorage(Namespace):
    """The install: objects of its namespace."""

    def __init__(self, plane: Running, overlay: Path, upstream: Upstream, configuration: str, *, replicas: int) -> None:
        super().__init__(plane.api, HOME, plane.kubeconfig, overlay)
        self._overlay = overlay
        self._upstream = upstream
        self._configuration = configuration
        self._replicas = replicas

    @classmethod
    @contextmanager
    def installed(
        cls,
        plane: Running,
        upstream: Upstream,
        folder: Path,
        configuration: str,
        *components: str,
        replicas: int = 3,
    ) -> Iterator[Self]:
        """Installed with these components and ready, until the end of the block."""
        push_image(upstream)
        folder.mkdir()
        made = cls(plane, folder, upstream, configuration, replicas=replicas)
        made.apply(*components)
        try:
            made.await_ready()
            yield made
        finally:
            made.hurry_away()

    def apply(self, *components: str, patches: Sequence[Object] = ()) -> str:
        """Install, or upgrade: with these components, and with patches beside those that this cluster needs."""
        # Whoever is replaced takes his log with him.
        search_logs(self.api, HOME)
        count = [{"name": "moorage", "count": self._replicas}]
        overlay(self._overlay, self._upstream, self._configuration, *components, replicas=count, patches=patches)
        return self.kubectl("apply", "-k", str(self._overlay))

    def uninstall(self) -> str:
        """Take everything away that was applied; what kubectl prints."""
        search_logs(self.api, HOME)
        return self.kubectl("delete", "--ignore-not-found", "-k", str(self._overlay))

    def hurry_away(self) -> None:
        """The same, without the half minute for which Pods go on answering those who have not heard of their end."""
        search_logs(self.api, HOME)
        if self.objects("Deployment"):
            # First the registration: nobody shall be called who is not there.
            self.kubectl("delete", "mutatingwebhookconfiguration", "moorage", "--ignore-not-found")
            self.kubectl("scale", "deployment", "--all", "--replicas=0")
            self.kubectl("delete", "pods", "--all", "--grace-period=1")
        self.uninstall()

    def await_ready(self) -> None:
        """Until the server has all its Pods."""
        self.await_rollout("Deployment", "moorage", seconds=_SLOW)

    def await_adopter(self) -> None:
        """Until pins are tended: the kubelet may take a minute and more to bring the first seal key."""
        self.await_rollout("Deployment", "moorage-adopt", seconds=_SLOW)

    def hurry_adopter(self) -> None:
        """The same, with another Pod: that has the seal key at once, now that the server has made it."""
        self.kubectl("delete", "pods", "--selector", ADOPTER, "--grace-period=1")
        self.await_adopter()

    def servers(self) -> list[Any]:
        """The server's Pods that are ready."""
        return self._ready(SERVER)

    def adopters(self) -> list[Any]:
        """The Pods that tend pins and are ready."""
        return self._ready(ADOPTER)

    def policy(self, failure_policy: str) -> None:
        """What the API server does where Moorage does not answer."""
        operation = {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": failure_policy}
        self.api.patch(
            "MutatingWebhookConfiguration", "moorage", [operation], content_type="application/json-patch+json"
        )

    def _ready(self, labels: str) -> list[Any]:
        pods = self.api.objects("Pod", HOME, labels=labels)
        return [one for one in pods if is_ready(one) and "deletionTimestamp" not in one["metadata"]]

    def said(self) -> str:
        """The logs of all."""
        words = ("logs", "--selector=app.kubernetes.io/name=moorage", "--all-containers", "--prefix", "--tail=40")
        return self.kubectl(*words, fine=(0, 1))


def push_image(upstream: Upstream) -> None:
    """Put Moorage's image into the registry, as whoever installs it does."""
    target = image_of(upstream)
    done = subprocess.run(
        [part("crane"), "push", "--insecure", layout(), target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def image_of(upstream: Upstream) -> str:
    """What Moorage's image is called there."""
    return f"{upstream.host}/{_REPOSITORY}:test"


def overlay(
    folder: Path,
    upstream: Upstream,
    configuration: str,
    *components: str,
    replicas: Sequence[Object],
    patches: Sequence[Object] = (),
) -> Path:
    """The kustomization of whoever installs it: the image, the configuration, and what this cluster lacks."""
    (folder / "moorage.yaml").write_text(configuration)
    return kustomization(
        folder,
        "page",
        *components,
        replicas=list(replicas),
        images=[{"name": IMAGE, "newName": f"{upstream.host}/{_REPOSITORY}", "newTag": "test"}],
        configMapGenerator=[{"name": "moorage", "namespace": HOME, "files": ["moorage.yaml"]}],
        generatorOptions={"disableNameSuffixHash": True},
        patches=[
            # There is no DNS here.
            patched("Deployment", "moorage.*", _add("/spec/template/spec/hostAliases", [_ALIAS])),
            # A minute is long for a test.
            patched("Deployment", "moorage-adopt", _add(f"{_CONTAINER}/args/-", "--interval=1s")),
            *patches,
        ],
    )


_CONTAINER: Final = "/spec/template/spec/containers/0"
_ALIAS: Final = {"ip": ADDRESS, "hostnames": [UPSTREAM]}


def _add(path: str, value: Any, op: str = "add") -> Object:
    return {"op": op, "path": path, "value": value}


def patched(kind: str, name: str, *operations: Object) -> Object:
    """A patch of a kustomization."""
    return {"target": {"kind": kind, "name": name}, "patch": json.dumps(operations)}
