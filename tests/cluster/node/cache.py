"""The node's own cache: the distribution registry as a Pod that fetches from the upstream, at localhost:30081."""

import json
from typing import Any, Final

import httpx

from tests.cluster.configuration import CACHE
from tests.cluster.real.image import Image
from tests.cluster.real.plane import Running
from tests.parts import part
from tests.support.until import until

_IMAGE: Final = "localhost/registry:1"
_FOLDER: Final = "/etc/registry"
_NAME: Final = {"namespace": "default", "name": "cache"}


def start_cache(plane: Running, upstream: str) -> None:
    """Returns when it answers; it lives as long as the cluster."""
    Image.make(part("registry").read_bytes(), arguments=["serve", f"{_FOLDER}/config.yml"]).load(_IMAGE)
    for manifest in _manifests(upstream):
        plane.api.create(manifest)
    until("the cache answers at the node", _answers, seconds=60)


def _manifests(upstream: str) -> tuple[dict[str, Any], ...]:
    config = {
        "version": "0.1",
        "storage": {"inmemory": {}},
        "http": {"addr": ":5000"},
        "proxy": {"remoteurl": f"http://{upstream}"},
    }
    container = {
        "name": "registry",
        "image": _IMAGE,
        "env": [{"name": "OTEL_TRACES_EXPORTER", "value": "none"}],
        "volumeMounts": [{"name": "config", "mountPath": _FOLDER}],
    }
    spec = {"containers": [container], "volumes": [{"name": "config", "configMap": {"name": "cache"}}]}
    port = int(CACHE.rpartition(":")[2])
    service = {"type": "NodePort", "selector": {"app": "cache"}, "ports": [{"port": 5000, "nodePort": port}]}
    return (
        # JSON is YAML, so the registry reads it.
        {"kind": "ConfigMap", "metadata": _NAME, "data": {"config.yml": json.dumps(config)}},
        {"kind": "Pod", "metadata": {**_NAME, "labels": {"app": "cache"}}, "spec": spec},
        {"kind": "Service", "metadata": _NAME, "spec": service},
    )


def _answers() -> bool:
    try:
        return httpx.get(f"http://{CACHE}/v2/", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
