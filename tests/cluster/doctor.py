"""An install as it is shipped, by objects, and what `moorage doctor` says of it."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.cluster.real.api import KINDS, Api, ApiError, path_of
from tests.deploy.manifests import installed
from tests.support.until import until
from webhook.cli.main import run

HOME: Final = "moorage-system"
_PROXY: Final = Path(__file__).parent / "real" / "settings" / "proxy.yaml"
_CHANGED: Final = ("MutatingWebhookConfiguration", "ConfigMap", "Service", "Deployment", "ClusterRole", "Role")
"""Kinds whose objects tests break."""
_PUT: Final = ("Namespace", "ServiceAccount", "ClusterRoleBinding", "RoleBinding", *_CHANGED)
"""What doctor looks at, of which a part comes first."""


class Finding(msgspec.Struct, frozen=True):
    """A line of doctor."""

    check: str
    level: str
    looked: str
    found: str
    advice: str = ""


class Told(msgspec.Struct, frozen=True):
    """What doctor said, and how it ended."""

    code: int
    findings: tuple[Finding, ...]

    def of(self, check: str, level: str = "") -> list[Finding]:
        """The lines of a check."""
        return [one for one in self.findings if one.check == check and level in {"", one.level}]


def doctor(kubeconfig: Path, *words: str) -> Told:
    """Run the command in this process: a start of Python takes longer than it does."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["doctor", "-o", "json", "--kubeconfig", str(kubeconfig), *words])
    assert out.getvalue(), err.getvalue()
    told = json.loads(out.getvalue())
    findings = msgspec.convert(told["findings"], tuple[Finding, ...])
    assert not [one for one in findings if "internal error" in one.found], findings
    return Told(code, findings)


class Install:
    """The objects of an install in a cluster."""

    def __init__(self, api: Api, changed: Callable[[dict[str, Any]], dict[str, Any]] = lambda one: one) -> None:
        """`changed` gives what is put in the place of each that is shipped."""
        self.api = api
        self._manifests = [changed(one) for one in installed() if one["kind"] in _PUT]

    def put(self, *kinds: str) -> None:
        """Create what is not there, of all kinds or of some."""
        for one in self._manifests:
            if kinds and one["kind"] not in kinds:
                continue
            try:
                self.api.create(one)
            except ApiError as error:
                if error.status != 409:
                    raise

    def configure(self, text: str) -> None:
        """Give it a configuration."""
        self.remove("ConfigMap", "moorage")
        data = {"moorage.yaml": text}
        self.api.create({"kind": "ConfigMap", "metadata": {"name": "moorage", "namespace": HOME}, "data": data})

    def get(self, kind: str, name: str = "moorage") -> Any:
        """One of its objects."""
        return self.api.get(kind, name, _namespace(kind))

    def patch(self, kind: str, patch: Any, name: str = "moorage") -> None:
        """Change one of its objects."""
        self.api.patch(kind, name, patch, _namespace(kind))

    def remove(self, kind: str, name: str = "moorage") -> None:
        """Delete one of its objects."""
        self.api.delete(kind, name, _namespace(kind))
        until(f"{kind} {name} is gone", lambda: self.api.find(kind, name, _namespace(kind)) is None)

    def replace(self, manifest: Mapping[str, Any]) -> None:
        """Put an object in the place of one that is there."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        self.api.ask("PUT", path_of(kind, _namespace(kind), name), {"apiVersion": KINDS[kind][0], **manifest})

    def clear(self) -> None:
        """Take away what others in this cluster would meet: all that is asked or asks."""
        for kind in ("MutatingWebhookConfiguration", "Deployment", "ConfigMap", "Service"):
            for one in self._manifests:
                if one["kind"] == kind:
                    self.remove(kind, one["metadata"]["name"])

    def mend(self) -> None:
        """As it is shipped, whatever was done to it."""
        shipped = {(one["kind"], one["metadata"]["name"]) for one in self._manifests}
        for kind in _CHANGED:
            for one in self.api.objects(kind, _namespace(kind)):
                name = one["metadata"]["name"]
                if (kind, name) in shipped or kind == "MutatingWebhookConfiguration" or name == "moorage":
                    self.remove(kind, name)
        self.put(*_CHANGED)


def tell_proxy(api: Api) -> None:
    """What tools that make clusters leave in them: how kube-proxy is configured."""
    place = {"name": "kube-proxy", "namespace": "kube-system"}
    api.apply({"kind": "ConfigMap", "metadata": place, "data": {"config.conf": _PROXY.read_text()}})


@contextmanager
def without(install: Install, kind: str, name: str, index: int, verb: str) -> Iterator[None]:
    """A role with one verb less, for as long as the block lasts."""
    shipped = install.get(kind, name)
    rules = [dict(rule) for rule in shipped["rules"]]
    rules[index]["verbs"] = [one for one in rules[index]["verbs"] if one != verb]
    # A rule without verbs is none.
    install.patch(kind, {"rules": [rule for rule in rules if rule["verbs"]]}, name)
    try:
        yield
    finally:
        install.patch(kind, {"rules": shipped["rules"]}, name)


def _namespace(kind: str) -> str:
    return "" if kind in {"MutatingWebhookConfiguration", "ClusterRole", "Namespace"} else HOME
