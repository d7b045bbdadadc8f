"""Service accounts that webhook processes use, and what they asked of the API server."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any, Final

import msgspec

from tests.cluster.real.api import Api, ApiError
from tests.cluster.real.plane import Running

HOME: Final = "moorage-system"
"""The namespace that the processes would run in."""

RULES: Final[Sequence[Mapping[str, Any]]] = (
    {
        "apiGroups": [""],
        "resources": ["pods", "secrets", "serviceaccounts", "namespaces", "nodes"],
        "verbs": ["get", "list", "watch"],
    },
    {
        "apiGroups": ["apps"],
        "resources": ["replicasets", "controllerrevisions", "deployments", "statefulsets", "daemonsets"],
        "verbs": ["get", "list", "watch", "patch"],
    },
    {"apiGroups": ["batch"], "resources": ["jobs", "cronjobs"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": ["moorage"],
        "verbs": ["get", "patch"],
    },
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
)
"""What they may do, unless a test says otherwise."""


class Call(msgspec.Struct, frozen=True):
    """One request to the API server that it has answered."""

    verb: str
    resource: str
    namespace: str
    name: str
    status: int


class Account:
    """One service account. `kubeconfig` holds a token of it, `mounted` is the folder that a Pod of it would have."""

    def __init__(self, running: Running, name: str, kubeconfig: Path, mounted: Path, *, namespace: str = "") -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        self.mounted = mounted
        self._running = running
        self._namespace = namespace

    def within(self, namespace: str) -> "Account":
        """The same, where only what it asks about one namespace counts."""
        return Account(self._running, self.name, self.kubeconfig, self.mounted, namespace=namespace)

    def calls(self, resource: str = "") -> list[Call]:
        """What it asked for, in order; of one resource, when that is named."""
        found = []
        for line in self._running.audit.read_text().splitlines():
            event = json.loads(line)
            user = event["user"]["username"]
            if user == f"system:serviceaccount:{HOME}:{self.name}" and event["stage"] == "ResponseComplete":
                what = event.get("objectRef", {})
                resource_, namespace, name = (what.get(key, "") for key in ("resource", "namespace", "name"))
                found.append(Call(event["verb"], resource_, namespace, name, event["responseStatus"]["code"]))
        return [call for call in found if resource in {"", call.resource} and self._namespace in {"", call.namespace}]


def make_account(running: Running, name: str, folder: Path, *, rules: Sequence[Mapping[str, Any]] = RULES) -> Account:
    """A service account that may do these things, everywhere."""
    api = running.api
    _make_home(api)
    subject = {"kind": "ServiceAccount", "namespace": HOME, "name": name}
    api.create({"kind": "ServiceAccount", "metadata": {"name": name, "namespace": HOME}})
    api.create({"kind": "ClusterRole", "metadata": {"name": f"moorage-{name}"}, "rules": list(rules)})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"moorage-{name}"}
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"moorage-{name}"},
        "roleRef": role,
        "subjects": [subject],
    }
    api.create(binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    path = f"/api/v1/namespaces/{HOME}/serviceaccounts/{name}/token"
    token = api.ask("POST", path, request).body["status"]["token"]
    (mounted := folder / f"{name}.mounted").mkdir()
    (mounted / "token").write_text(token)
    (mounted / "namespace").write_text(HOME)
    copyfile(api.ca, mounted / "ca.crt")
    kubeconfig = Api(api.url, api.ca, token).write_kubeconfig(folder / f"{name}.kubeconfig")
    return Account(running, name, kubeconfig, mounted)


def _make_home(api: Api) -> None:
    try:
        api.create({"kind": "Namespace", "metadata": {"name": HOME}})
    except ApiError as error:
        if error.status != 409:
            raise
