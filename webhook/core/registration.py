"""The registration: the MutatingWebhookConfiguration through which the API server asks Moorage, and nothing it need not ask."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, Final

import msgspec

NAME: Final = "moorage"
INSTALLED_IN: Final = "moorage-system"
NEVER: Final = ("kube-system", "kube-public", "kube-node-lease")
"""Namespaces that must work when Moorage does not: a cluster that cannot start its own parts does not come back."""
SECONDS: Final = 5
"""How long the API server waits. All webhooks together have about 30 s, one after another."""
NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server writes it on every namespace."""
AKS: Final = {"admissions.enforcer/disabled": "true"}
"""AKS would add selectors of its own, and take them away from whoever keeps this object in Git."""


class Rules(msgspec.Struct, frozen=True):
    """What is asked about: operations on resources of one API group."""

    name: str
    group: str
    resources: tuple[str, ...]
    operations: tuple[str, ...]


PODS: Final = (
    Rules("pods", "", ("pods",), ("CREATE", "UPDATE")),
    Rules("pods", "", ("pods/ephemeralcontainers",), ("UPDATE",)),
)
REVISIONS: Final = (
    Rules("revisions", "apps", ("replicasets", "controllerrevisions"), ("CREATE", "UPDATE")),
    Rules("revisions", "batch", ("jobs",), ("CREATE", "UPDATE")),
)


class Reached(msgspec.Struct, frozen=True):
    """Where the API server finds us: a Service of a namespace, or a URL. `authority` is PEM, empty to leave out."""

    path: str = "/mutate"
    namespace: str = INSTALLED_IN
    service: str = NAME
    url: str = ""
    authority: bytes = b""

    @property
    def client_config(self) -> dict[str, Any]:
        """As the API server wants it."""
        bundle = {"caBundle": b64encode(self.authority).decode()} if self.authority else {}
        if self.url:
            return {"url": f"{self.url.rstrip('/')}{self.path}", **bundle}
        return {
            "service": {"namespace": self.namespace, "name": self.service, "path": self.path, "port": 443},
            **bundle,
        }


class NotRegistered(RuntimeError):
    """The API server did not take the registration; says why and what to do."""


def registration(
    reached: Reached,
    *,
    excluded: Iterable[str] = (INSTALLED_IN,),
    only: Iterable[str] = (),
    failure_policy: str = "Ignore",
) -> dict[str, Any]:
    """The object. `excluded` are namespaces besides NEVER, `only` narrows it to some."""
    selector = _selector(excluded, only)
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME, "annotations": dict(AKS), "labels": {"app.kubernetes.io/name": NAME}},
        "webhooks": [_webhook(rules, reached, selector, failure_policy) for rules in (PODS, REVISIONS)],
    }


def _selector(excluded: Iterable[str], only: Iterable[str]) -> dict[str, Any]:
    names = sorted({*NEVER, *excluded})
    expressions: list[dict[str, Any]] = [{"key": NAMESPACE_LABEL, "operator": "NotIn", "values": names}]
    if wanted := sorted(only):
        expressions.append({"key": NAMESPACE_LABEL, "operator": "In", "values": wanted})
    return {"matchExpressions": expressions}


def _webhook(
    every: tuple[Rules, ...], reached: Reached, selector: dict[str, Any], failure_policy: str
) -> dict[str, Any]:
    return {
        "name": f"{every[0].name}.moorage.dev",
        "clientConfig": reached.client_config,
        "rules": [_rule(rules) for rules in every],
        "namespaceSelector": selector,
        "failurePolicy": failure_policy,
        "timeoutSeconds": SECONDS,
        "sideEffects": "None",
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "IfNeeded",
        "admissionReviewVersions": ["v1"],
    }


def _rule(rules: Rules) -> dict[str, Any]:
    return {
        "apiGroups": [rules.group],
        "apiVersions": ["v1"],
        "resources": list(rules.resources),
        "operations": list(rules.operations),
        "scope": "Namespaced",
    }
