"""Components for the operators of others, beside these operators: their definitions, and cert-manager's own controllers, on a
real API server. A Pod of Moorage cannot run here: its process has the arguments of the shipped Deployment and what the
kubelet would show it."""

import ssl
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import pytest

from tests.cluster.account import HOME, SERVER, Account, with_token
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.conftest import Kubectl
from tests.cluster.evidence import Evidence
from tests.cluster.kept import KIND, Load
from tests.cluster.namespace import Namespace
from tests.cluster.process import Process
from tests.cluster.real.api import APPLY, Api, ApiError, path_of
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.real.processes import Processes
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import pod
from tests.deploy.manifests import container, kustomization, objects, of_kind, rendered
from tests.parts import part
from tests.support.ports import lasting_ports
from tests.support.until import until
from tests.support.volume import swap_volume

COMPONENTS: Final = ("cert-manager", "prometheus-operator")
SHIPPED: Final = {
    "Issuer": ("moorage-bootstrap", "moorage"),
    "Certificate": ("moorage-ca", "moorage"),
    "PodMonitor": ("moorage",),
    "PrometheusRule": ("moorage",),
}
"""Objects of kinds that are others'."""
STRICT: Final = ("apply", "--server-side", "--validate=strict")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A control plane of these tests' own, which knows the kinds of both operators."""
    with control_plane() as running:
        yield running


@pytest.fixture(scope="module")
def definitions(plane: Running, kubectl: Kubectl) -> None:
    for name in ("certmanager-crds", "prometheus-operator-crds"):
        kubectl("apply", "--server-side", "-f", part(name))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


# Thirty objects come, and go with their namespace.
@pytest.mark.usefixtures("definitions")
def test_both_components_are_taken_to_the_last_key_and_go_again(
    plane: Running, kubectl: Kubectl, tmp_path: Path
) -> None:
    folder = kustomization(tmp_path, *COMPONENTS)
    said = kubectl(*STRICT, "-k", folder)
    assert len(said.splitlines()) == len(objects(rendered(folder)))
    assert {kind: names(plane.api, kind) for kind in SHIPPED} == {kind: sorted(each) for kind, each in SHIPPED.items()}
    assert kubectl("apply", "--server-side", "-k", folder) == said, "applied again, it is the same"
    kubectl("delete", "--ignore-not-found", "-k", folder)
    assert {kind: names(plane.api, kind) for kind in SHIPPED} == dict.fromkeys(SHIPPED, [])
    assert plane.api.find(KIND, SERVER) is None


def names(api: Api, kind: str) -> list[str]:
    return sorted(one["metadata"]["name"] for one in api.objects(kind, HOME))


WRONG: Final = {
    "Issuer": ("selfSinged", {}),
    "Certificate": ("dnsNaems", ["moorage"]),
    "PodMonitor": ("podMetricEndpoints", []),
    "PrometheusRule": ("gruops", []),
}


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("kind", SHIPPED)
def test_a_key_of_others_that_is_wrong_would_be_seen(plane: Running, kind: str, tmp_path: Path) -> None:
    one = of_kind(objects(rendered(kustomization(tmp_path, *COMPONENTS))), kind)
    key, value = WRONG[kind]
    dry = {"fieldManager": "tests", "fieldValidation": "Strict", "dryRun": "All"}

    def put(spec: Any) -> None:
        body = {**one, "metadata": {"name": SERVER, "namespace": "default"}, "spec": spec}
        plane.api.ask("PATCH", path_of(kind, "default", SERVER), body, content_type=APPLY, **dry)

    put(one["spec"])
    with pytest.raises(ApiError, match=key):
        put({**one["spec"], key: value})
