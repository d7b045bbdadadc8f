"""Moorage as it is installed: its own image, from a registry that the node reaches, and the manifests that are shipped."""

import base64
import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import trustme

from tests.cluster.account import HOME
from tests.cluster.namespace import Namespace, is_ready
from tests.cluster.real.node import ADDRESS, UPSTREAM
from tests.cluster.real.plane import Running
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
        return self.kubectl("apply", "-k", str(self._overlay))

    def uninstall(self) -> str:
        """Take everything away that was applied; what kubectl prints."""
        return self.kubectl("delete", "--ignore-not-found", "-k", str(self._overlay))

    def await_ready(self) -> None:
        """Until the server and the adopter have all their Pods."""
        for name in ("moorage", "moorage-adopt"):
            self.await_rollout("Deployment", name, seconds=_SLOW)

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
    pair = _pair(folder)
    return kustomization(
        folder,
        images=[{"name": IMAGE, "newName": f"{upstream.host}/{_REPOSITORY}", "newTag": "test"}],
        configMapGenerator=[{"name": "moorage", "namespace": HOME, "files": ["moorage.yaml"]}],
        secretGenerator=[{"name": "moorage-certs", "namespace": HOME, "files": ["tls.crt", "tls.key", "seal.key"]}],
        generatorOptions={"disableNameSuffixHash": True},
        patches=[
            # There is no DNS here.
            _patch("Deployment", "moorage.*", _add("/spec/template/spec/hostAliases", [_ALIAS])),
            # A minute is long for a test.
            _patch("Deployment", "moorage-adopt", _add(f"{_CONTAINER}/args/-", "--interval=1s")),
            *pair,
        ],
    )


_CONTAINER: Final = "/spec/template/spec/containers/0"
_ALIAS: Final = {"ip": ADDRESS, "hostnames": [UPSTREAM]}


def _add(path: str, value: Any, op: str = "add") -> Object:
    return {"op": op, "path": path, "value": value}


def _patch(kind: str, name: str, *operations: Object) -> Object:
    return {"target": {"kind": kind, "name": name}, "patch": json.dumps(operations)}


def _pair(folder: Path) -> list[Object]:
    """Until the server keeps its own: a pair in a Secret, mounted as files."""
    authority = trustme.CA()
    leaf = authority.issue_cert("moorage.moorage-system.svc")
    for name, value in (
        ("tls.crt", leaf.cert_chain_pems[0].bytes()),
        ("tls.key", leaf.private_key_pem.bytes()),
        ("seal.key", secrets.token_hex(32).encode()),
    ):
        (folder / name).write_bytes(value)
    bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
    args, place = f"{_CONTAINER}/args", "/etc/moorage-tls"
    return [
        _patch(
            "Deployment",
            "moorage",
            _add(f"{args}/3", f"--tls-cert={place}/tls.crt", "replace"),
            _add(f"{args}/-", f"--tls-key={place}/tls.key"),
            _add(f"{args}/-", f"--seal-key-file={place}/seal.key"),
            _add(f"{_CONTAINER}/volumeMounts/-", {"name": "tls", "mountPath": place}),
            _add("/spec/template/spec/volumes/-", {"name": "tls", "secret": {"secretName": "moorage-certs"}}),
        ),
        _patch(
            "MutatingWebhookConfiguration",
            "moorage",
            *(_add(f"/webhooks/{number}/clientConfig/caBundle", bundle) for number in range(2)),
            *(_add(f"/webhooks/{number}/clientConfig/service/path", "/mutate") for number in range(2)),
        ),
    ]
