"""The service accounts that are shipped, with the rights that are shipped for them and no others; and what they asked of
the API server."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any, Final

import msgspec

from tests.cluster.real.api import Api
from tests.cluster.real.plane import Running
from tests.deploy.manifests import DEPLOY, Object, installed, objects, of_kind
from tests.support.until import until

HOME: Final = "moorage-system"
"""The namespace that the processes would run in."""
SERVER: Final = "moorage"
ADOPTER: Final = "moorage-adopt"

_RIGHTS: Final = frozenset(
    {
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "PriorityLevelConfiguration",
        "FlowSchema",
    }
)
"""The kinds of objects that say what an account may do."""


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

    def lent(self, namespace: str) -> None:
        """Let it do in another namespace what it may do in its own: each test has Leases of its own."""
        for kind in ("Role", "RoleBinding"):
            one = of_kind(installed(), kind, self.name)
            self._running.api.apply({**one, "metadata": {"name": self.name, "namespace": namespace}})

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


def rights(name: str) -> tuple[Object, ...]:
    """The rules of a shipped account, wherever they hold."""
    return tuple(rule for kind in ("ClusterRole", "Role") for rule in of_kind(installed(), kind, name)["rules"])


def shipped_account(running: Running, name: str, folder: Path) -> Account:
    """A service account of `deploy/install.yaml`, with what that lets it do."""
    for one in installed():
        if one["kind"] in _RIGHTS:
            running.api.apply(one)
    return with_token(running, name, folder)


def pulling_account(running: Running, folder: Path) -> Account:
    """An account with the rights of the shipped one and of the component `pull-secrets`."""
    access = DEPLOY / "components" / "pull-secrets" / "access.yaml"
    more = of_kind(objects(access.read_text()), "ClusterRole", "moorage-pull-secrets")["rules"]
    return made_account(running, "pulling", folder, [*rights(SERVER), *more])


def made_account(running: Running, name: str, folder: Path, rules: Sequence[Mapping[str, Any]]) -> Account:
    """An account of a test's own that may do these things, everywhere."""
    api = running.api
    api.apply(of_kind(installed(), "Namespace", HOME))
    api.apply({"kind": "ServiceAccount", "metadata": {"name": name, "namespace": HOME}})
    api.apply({"kind": "ClusterRole", "metadata": {"name": f"tests-{name}"}, "rules": list(rules)})
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"tests-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"tests-{name}"},
        "subjects": [{"kind": "ServiceAccount", "namespace": HOME, "name": name}],
    }
    api.apply(binding)
    return with_token(running, name, folder)


def with_token(running: Running, name: str, folder: Path) -> Account:
    """A service account that is there, with what it may do by now."""
    api = running.api
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    path = f"/api/v1/namespaces/{HOME}/serviceaccounts/{name}/token"
    token = api.ask("POST", path, request).body["status"]["token"]
    (mounted := folder / f"{name}.mounted").mkdir()
    (mounted / "token").write_text(token)
    (mounted / "namespace").write_text(HOME)
    copyfile(api.ca, mounted / "ca.crt")
    own = Api(api.url, api.ca, token)
    # The API server takes a moment to know new rights.
    until(f"{name} may list Pods", lambda: own.answers("/api/v1/pods?limit=1"))
    own.close()
    return Account(running, name, own.write_kubeconfig(folder / f"{name}.kubeconfig"), mounted)
