"""Live objects for the stand-in of the API server, as Kubernetes 1.36 keeps them."""

import copy
from typing import Any, Final

from tests.core.revisions import BORN, HASH, template
from tests.support.api import FakeApi
from webhook.core.workload import KINDS, Resource

OF_KIND: Final = {one.kind: one for one in KINDS}


def put(api: FakeApi, kind: str | Resource, name: str, namespace: str = "shop", **more: Any) -> dict[str, Any]:
    """An object; `metadata` is added to its own, other keys to the object."""
    resource = OF_KIND[kind] if isinstance(kind, str) else kind
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "creationTimestamp": BORN}
    metadata |= {"managedFields": [{}], **more.pop("metadata", {})}
    made = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": {}, **more}
    api.objects[f"{resource.folder(namespace)}/{name}"] = made
    return made


def put_deployment(
    api: FakeApi,
    name: str = "web",
    *images: str,
    namespace: str = "shop",
    metadata: dict[str, Any] | None = None,
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A Deployment, and the ReplicaSet of its template, whose `annotations` these are. Returns the ReplicaSet."""
    made = template(*images, labels={"app": name})
    selector = {"matchLabels": {"app": name}}
    put(api, "Deployment", name, namespace, spec={"template": made, "selector": selector}, metadata=metadata or {})
    owned = copy.deepcopy(made)
    owned["metadata"]["labels"]["pod-template-hash"] = HASH
    numbered = {"deployment.kubernetes.io/revision": "1", **(annotations or {})}
    own = {
        "labels": {"app": name, "pod-template-hash": HASH},
        "annotations": numbered,
        "ownerReferences": [owner("Deployment", name)],
    }
    return put(api, "ReplicaSet", f"{name}-{HASH}", namespace, spec={"template": owned, "replicas": 1}, metadata=own)


def owner(kind: str, name: str, version: str = "apps/v1") -> dict[str, Any]:
    """A reference to a controller."""
    return {"apiVersion": version, "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}
