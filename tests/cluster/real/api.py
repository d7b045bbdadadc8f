"""The API server as one user sees it: kinds to paths, JSON in and out, watches."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx
import msgspec

_ADMISSION: Final = "admissionregistration.k8s.io/v1"
_RBAC: Final = "rbac.authorization.k8s.io/v1"
_CERT_MANAGER: Final = "cert-manager.io/v1"
_MONITORING: Final = "monitoring.coreos.com/v1"
_FLOWS: Final = "flowcontrol.apiserver.k8s.io/v1"

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "ConfigMap": ("v1", "configmaps"),
    "Event": ("v1", "events"),
    "Namespace": ("v1", "namespaces"),
    "Node": ("v1", "nodes"),
    "Pod": ("v1", "pods"),
    "ReplicationController": ("v1", "replicationcontrollers"),
    "Secret": ("v1", "secrets"),
    "Service": ("v1", "services"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "ControllerRevision": ("apps/v1", "controllerrevisions"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "Deployment": ("apps/v1", "deployments"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "CronJob": ("batch/v1", "cronjobs"),
    "Job": ("batch/v1", "jobs"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "MutatingWebhookConfiguration": (_ADMISSION, "mutatingwebhookconfigurations"),
    "ValidatingAdmissionPolicy": (_ADMISSION, "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": (_ADMISSION, "validatingadmissionpolicybindings"),
    "FlowSchema": (_FLOWS, "flowschemas"),
    "PriorityLevelConfiguration": (_FLOWS, "prioritylevelconfigurations"),
    "ClusterRole": (_RBAC, "clusterroles"),
    "ClusterRoleBinding": (_RBAC, "clusterrolebindings"),
    "Role": (_RBAC, "roles"),
    "RoleBinding": (_RBAC, "rolebindings"),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Certificate": (_CERT_MANAGER, "certificates"),
    "Issuer": (_CERT_MANAGER, "issuers"),
    "PodMonitor": (_MONITORING, "podmonitors"),
    "PrometheusRule": (_MONITORING, "prometheusrules"),
}
"""Each kind's apiVersion and name in paths."""

MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"


class ApiError(RuntimeError):
    """The API server said no; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Answer(msgspec.Struct, frozen=True):
    """What came back: the decoded body, and the warnings that kubectl would print."""

    body: Any
    warnings: tuple[str, ...] = ()


def path_of(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """Where objects of a kind live; with a name, one of them."""
    version, plural = KINDS[kind]
    parts = ["/api" if version == "v1" else "/apis", version]
    parts += ["namespaces", namespace] if namespace else []
    return "/".join([*parts, plural, *filter(None, (name, subresource))])


class Api:
    """A client with one user's token; an open connection is kept."""

    def __init__(self, url: str, ca: Path, token: str) -> None:
        self.url = url
        self.ca = ca
        self.token = token
        self._client: httpx.Client | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Self:
        """As a file says that `write_kubeconfig` wrote."""
        config = json.loads(path.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        return cls(cluster["server"], Path(cluster["certificate-authority"]), user["token"])

    def write_kubeconfig(self, path: Path, *, namespace: str = "default") -> Path:
        """For kubectl and other programs; returns the path. JSON is YAML."""
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(config))
        return path

    def close(self) -> None:
        """End the connection; the next call opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **query: str
    ) -> Answer:
        """One request; bytes go as they are, anything else as JSON.

        Raises:
            ApiError: the answer is an error.
        """
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": content_type}
        answer = self._open().request(method, path, content=content, headers=headers, params=query)
        return _read(answer)

    def answers(self, path: str) -> bool:
        """Whether a GET succeeds now."""
        try:
            self.ask("GET", path)
        except (ApiError, httpx.TransportError):
            return False
        return True

    def get(self, kind: str, name: str, namespace: str = "") -> Any:
        """An object."""
        return self.ask("GET", path_of(kind, namespace, name)).body

    def find(self, kind: str, name: str, namespace: str = "") -> Any | None:
        """An object; None where there is none of the name."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def objects(self, kind: str, namespace: str = "", *, labels: str = "") -> list[Any]:
        """All objects of a kind that a label selector fits."""
        query = {"labelSelector": labels} if labels else {}
        items: list[Any] = self.ask("GET", path_of(kind, namespace), **query).body["items"]
        return items

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Answer:
        """Create what the manifest says, with its apiVersion filled in."""
        kind, namespace = manifest["kind"], manifest["metadata"].get("namespace", "")
        query = {"dryRun": "All"} if dry_run else {}
        body = {"apiVersion": KINDS[kind][0], **manifest}
        return self.ask("POST", path_of(kind, namespace), body, **query)

    def apply(self, manifest: Mapping[str, Any]) -> Answer:
        """What `kubectl apply --server-side` does."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        path = path_of(kind, metadata.get("namespace", ""), metadata["name"])
        body = {"apiVersion": KINDS[kind][0], **manifest}
        return self.ask("PATCH", path, body, content_type=APPLY, fieldManager="tests", force="true")

    def patch(
        self, kind: str, name: str, patch: Any, namespace: str = "", *, subresource: str = "", content_type: str = MERGE
    ) -> Answer:
        """Change an object: by a merge patch unless said otherwise."""
        return self.ask("PATCH", path_of(kind, namespace, name, subresource), patch, content_type=content_type)

    def delete(self, kind: str, name: str, namespace: str = "", **options: Any) -> None:
        """Delete an object; `options` are those of DeleteOptions, as propagationPolicy. Controllers may have been faster:
        one that is gone is fine."""
        try:
            self.ask("DELETE", path_of(kind, namespace, name), options or None)
        except ApiError as error:
            if error.status != 404:
                raise

    @contextmanager
    def watch(
        self, kind: str, namespace: str = "", *, labels: str = "", since: str = "", seconds: float = 20
    ) -> Iterator[Iterator[Any]]:
        """What happens to objects of a kind, as events {type, object}; a silence of `seconds` raises httpx.ReadTimeout.

        Without `since` (a resourceVersion) what is there comes first, as ADDED.
        """
        query = {"watch": "true", "labelSelector": labels, "resourceVersion": since}
        query = {name: value for name, value in query.items() if value}
        with self._open().stream("GET", path_of(kind, namespace), params=query, timeout=seconds) as answer:
            if answer.is_error:
                answer.read()
                _read(answer)
            yield map(json.loads, answer.iter_lines())

    def _open(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(
                base_url=self.url,
                verify=ssl.create_default_context(cafile=self.ca),
                headers={"Authorization": f"Bearer {self.token}"},
                trust_env=False,
                timeout=20,
            )
        return self._client


def _read(answer: httpx.Response) -> Answer:
    is_json = answer.headers.get("Content-Type", "").startswith("application/json")
    body: Any = answer.json() if is_json else answer.text
    if answer.is_error:
        raise ApiError(answer.status_code, body.get("message", "") if is_json else body)
    return Answer(body, tuple(map(_warning, answer.headers.get_list("Warning"))))


def _warning(header: str) -> str:
    """The text of `299 - "text"` (RFC 7234, 5.5)."""
    return header.partition('"')[2].rpartition('"')[0].replace('\\"', '"').replace("\\\\", "\\")
