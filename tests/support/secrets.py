"""Pull secrets and service accounts as the API server gives them."""

import json
from base64 import b64encode
from itertools import count
from typing import Any

from tests.support.api import FakeApi
from tests.support.canary import marked

NEW, OLD = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
_versions = count(1)


def login(user: str, password: str = "") -> dict[str, str]:
    """An entry of a docker config."""
    return {"auth": b64encode(f"{user}:{password or marked(f'password of {user}')}".encode()).decode()}


def pull_secret(name: str, auths: Any, *, kind: str = NEW, namespace: str = "shop") -> dict[str, Any]:
    """A Secret with these entries; text instead of entries is its content as it is."""
    whole = auths if isinstance(auths, str) else json.dumps({"auths": auths} if kind == NEW else auths)
    field = ".dockerconfigjson" if kind == NEW else ".dockercfg"
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": str(next(_versions))},
        "type": kind,
        "data": {field: b64encode(whole.encode()).decode()},
    }


def secret_path(name: str, namespace: str = "shop") -> str:
    """Where the API server keeps it."""
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def account_path(name: str = "default", namespace: str = "shop") -> str:
    """Where the API server keeps a service account."""
    return f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"


def put_secret(api: FakeApi, name: str, auths: Any, *, kind: str = NEW, namespace: str = "shop") -> None:
    """Create or replace a pull secret."""
    api.objects[secret_path(name, namespace)] = pull_secret(name, auths, kind=kind, namespace=namespace)


def put_account(api: FakeApi, *secrets: str, name: str = "default", namespace: str = "shop") -> None:
    """Create or replace a service account that names these pull secrets."""
    api.objects[account_path(name, namespace)] = {
        "metadata": {"name": name, "namespace": namespace},
        "imagePullSecrets": [{"name": one} for one in secrets],
    }
