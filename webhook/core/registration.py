"""The registration: the MutatingWebhookConfiguration through which the API server asks Moorage, and nothing it need not ask."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from webhook.core.conditions import EVERYTHING, Coverage, Kind, conditions

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
MANAGED: Final = "moorage.dev/managed"
"""A label: where it is `true` the server keeps the conditions right."""
OPT_IN: Final = "moorage.dev/enabled"
"""A label of namespaces: where the registration opts in, only those with `true` are served."""
SUFFIX: Final = ".moorage.dev"
"""How the names of our webhooks end."""


class Rules(msgspec.Struct, frozen=True):
    """What is asked about: operations on resources of one API group."""

    group: str
    resources: tuple[str, ...]
    operations: tuple[str, ...]


SERVED: Final[Mapping[Kind, tuple[Rules, ...]]] = {
    "pods": (
        Rules("", ("pods",), ("CREATE", "UPDATE")),
        Rules("", ("pods/ephemeralcontainers",), ("UPDATE",)),
    ),
    "revisions": (
        Rules("apps", ("replicasets", "controllerrevisions"), ("CREATE", "UPDATE")),
        Rules("batch", ("jobs",), ("CREATE", "UPDATE")),
    ),
}
"""What each of our webhooks asks about."""


class Reached(msgspec.Struct, frozen=True):
    """Where the API server finds us: a Service of a namespace, or a URL. `authority` is PEM, empty to leave out; so is the
    path of a Service."""

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
            "service": {
                "namespace": self.namespace,
                "name": self.service,
                **({"path": self.path} if self.path else {}),
                "port": 443,
            },
            **bundle,
        }


class NotRegistered(RuntimeError):
    """The API server did not take the registration; says why and what to do."""


def registration(
    reached: Reached,
    *,
    excluded: Iterable[str] = (INSTALLED_IN,),
    only: Iterable[str] = (),
    opt_in: bool = False,
    failure_policy: str = "Ignore",
    coverage: Coverage = EVERYTHING,
    managed: bool = False,
) -> dict[str, Any]:
    """The object. `excluded` are namespaces besides NEVER, `only` narrows it to some, `opt_in` to those that are
    labelled; `coverage` is what comes to us, and `managed` whether the server keeps that right."""
    selector = _selector(excluded, only, opt_in=opt_in)
    labels = {"app.kubernetes.io/name": NAME, **({MANAGED: "true"} if managed else {})}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME, "annotations": dict(AKS), "labels": labels},
        "webhooks": [_webhook(kind, reached, selector, failure_policy, coverage) for kind in SERVED],
    }


def _selector(excluded: Iterable[str], only: Iterable[str], *, opt_in: bool) -> dict[str, Any]:
    names = sorted({*NEVER, *excluded})
    expressions: list[dict[str, Any]] = [{"key": NAMESPACE_LABEL, "operator": "NotIn", "values": names}]
    if wanted := sorted(only):
        expressions.append({"key": NAMESPACE_LABEL, "operator": "In", "values": wanted})
    if opt_in:
        expressions.append({"key": OPT_IN, "operator": "In", "values": ["true"]})
    return {"matchExpressions": expressions}


def _webhook(
    kind: Kind, reached: Reached, selector: dict[str, Any], failure_policy: str, coverage: Coverage
) -> dict[str, Any]:
    wanted = conditions(coverage, kind)
    return {
        "name": f"{kind}{SUFFIX}",
        "clientConfig": reached.client_config,
        "rules": [_rule(rules) for rules in SERVED[kind]],
        "namespaceSelector": selector,
        **({"matchConditions": wanted} if wanted else {}),
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
