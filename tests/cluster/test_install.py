"""The shipped manifests at a real API server: it takes them to the last key, and lets the shipped accounts do no more than
they say. Pods are not run here; `node/test_install.py` does that."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.cluster.account import ADOPTER, HOME, SERVER, shipped_account
from tests.cluster.conftest import Kubectl
from tests.cluster.real.api import MERGE, Api, ApiError
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.workloads import deployment, job, pod, stateful_set
from tests.deploy.manifests import DEPLOY, INSTALL, kustomization
from tests.support.until import until

OWN: Final = (
    *("air-gap", "cloud-metadata", "fail-closed", "high-availability", "network-policy", "opt-in-namespaces"),
    "pull-secrets",
)
"""Components of nothing but Kubernetes' own kinds."""
PIN: Final = {"metadata": {"annotations": {"pins.moorage.dev/abc.1": "{}"}}}


@pytest.fixture(scope="module")
def plane() -> Iterator[Running]:
    """A control plane for this module: what is installed here is taken away again, with the accounts that others use."""
    with control_plane() as running:
        yield running


# A dozen installs, each of 24 objects and more.
def test_every_way_to_install_is_taken_by_a_dry_run_of_the_server(kubectl: Kubectl, tmp_path: Path) -> None:
    """The namespace must be there for that: a dry run makes none."""
    kubectl("create", "namespace", HOME)
    dry = ("apply", "--server-side", "--dry-run=server", "--validate=strict")
    said = kubectl(*dry, "-f", INSTALL)
    assert len(said.splitlines()) == len(list(filter(str.strip, INSTALL.read_text().split("\n---\n"))))
    kubectl(*dry, "-k", DEPLOY / "overlays" / "development")
    kubectl(*dry, "-k", DEPLOY / "overlays" / "customer")
    for name in (*OWN, "host-network", "port-10250", "page"):
        folder = tmp_path / name
        folder.mkdir()
        kubectl(*dry, "-k", kustomization(folder, name))
    kubectl("delete", "namespace", HOME)


@pytest.fixture(scope="module")
def installed(plane: Running, kubectl: Kubectl) -> Running:
    """The default install, as its README says; the tests of this module share it."""
    kubectl("apply", "-f", INSTALL)
    return plane


@pytest.mark.usefixtures("installed")
def test_an_upgrade_changes_nothing_that_the_server_or_the_user_wrote(plane: Running, kubectl: Kubectl) -> None:
    api, kind = plane.api, "MutatingWebhookConfiguration"
    webhooks = api.get(kind, "moorage")["webhooks"]
    condition = {"name": "hosts", "expression": "true"}
    for number, _ in enumerate(webhooks):
        patch = [
            {"op": "add", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": authority()},
            {"op": "add", "path": f"/webhooks/{number}/clientConfig/service/path", "value": "/mutate/secret"},
            {"op": "add", "path": f"/webhooks/{number}/matchConditions", "value": [condition]},
        ]
        api.patch(kind, "moorage", patch, content_type="application/json-patch+json")
    kubectl("create", "configmap", "moorage", "-n", HOME, "--from-literal=moorage.yaml=mine")
    before = (api.get(kind, "moorage")["webhooks"], api.get("ConfigMap", "moorage", HOME)["data"])
    kubectl("apply", "-f", INSTALL)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", INSTALL)
    assert (api.get(kind, "moorage")["webhooks"], api.get("ConfigMap", "moorage", HOME)["data"]) == before


def authority() -> str:
    return base64.b64encode(trustme.CA().cert_pem.bytes()).decode()


@pytest.fixture
def adopter(installed: Running, tmp_path: Path) -> Iterator[Api]:
    """The API as `moorage-adopt` sees it, once the policy is in force."""
    plane = installed
    with_token = Api.from_kubeconfig(shipped_account(plane, ADOPTER, tmp_path).kubeconfig)
    plane.api.create(in_default(deployment("probe", "registry.invalid/app:1")))
    until("the controller has made a revision", lambda: plane.api.objects("ReplicaSet", "default"))
    until("the policy is in force", lambda: refusal(with_token, "ReplicaSet", "probe", labels("probe")))
    yield with_token
    with_token.close()
    plane.api.delete("Deployment", "probe", "default", propagationPolicy="Foreground")


def in_default(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": "default"}}


def labels(value: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"is": value}}}


def refusal(api: Api, kind: str, prefix: str, patch: Any, content_type: str = MERGE) -> str:
    """Why the API server does not take a change of the object whose name begins so; empty where it does."""
    (name,) = (
        one["metadata"]["name"] for one in api.objects(kind, "default") if one["metadata"]["name"].startswith(prefix)
    )
    try:
        api.patch(kind, name, patch, "default", content_type=content_type)
    except ApiError as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: deployment("app", "registry.invalid/app:1"), "ReplicaSet"),
        (lambda: stateful_set("app", "registry.invalid/app:1"), "ControllerRevision"),
        (lambda: job("app", "registry.invalid/app:1", suspend=True), "Job"),
    ],
    ids=["ReplicaSet", "ControllerRevision", "Job"],
)
def test_the_adopter_may_write_pins_and_nothing_else(
    plane: Running, adopter: Api, make: Callable[[], Any], kind: str
) -> None:
    api = plane.api
    made = in_default(make())
    api.create(made)
    until("there is a revision", lambda: [one for one in api.objects(kind, "default") if named_app(one)])
    theirs = {"metadata": {"annotations": {"theirs": "1"}, "labels": {"theirs": "1"}}}
    assert refusal(api, kind, "app", theirs) == ""
    assert refusal(adopter, kind, "app", PIN) == ""
    changed = {"metadata": {"annotations": {"pins.moorage.dev/abc.1": None, "pins.moorage.dev/abc.2": "{}"}}}
    assert refusal(adopter, kind, "app", changed) == ""
    only = "moorage-adopt may change annotations under pins.moorage.dev/"
    patches: tuple[dict[str, Any], ...] = (
        {"metadata": {"annotations": {"pins.moorage.dev.example.com/a": "x"}}},
        {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "9"}}},
        {"metadata": {"annotations": {"moorage.dev/images": "{}"}}},
        {"metadata": {"annotations": {"theirs": "2"}}},
        {"metadata": {"annotations": {"theirs": None}}},
        {"metadata": {"annotations": None}},
        {"metadata": {"labels": {"app": "other"}}},
        {"metadata": {"labels": {"theirs": None}}},
        {"metadata": {"generateName": "other-"}},
        {"metadata": {"finalizers": ["example.com/stuck"]}},
        {"metadata": {"ownerReferences": []}} if kind != "Job" else {"spec": {"suspend": False}},
        {"revision": 99} if kind == "ControllerRevision" else {"spec": {"replicas": 5, "parallelism": 5}},
    )
    for patch in patches:
        assert only in refusal(adopter, kind, "app", patch), patch
    # Others are not kept from anything.
    assert refusal(api, kind, "app", {"metadata": {"labels": {"by": "admin"}, "annotations": {"a": "b"}}}) == ""
    api.delete(made["kind"], "app", "default", propagationPolicy="Foreground")


def named_app(one: Any) -> bool:
    return str(one["metadata"]["name"]).startswith("app")


@pytest.mark.usefixtures("installed")
def test_the_server_may_make_its_own_secret_and_no_other(plane: Running, tmp_path: Path) -> None:
    api = Api.from_kubeconfig(shipped_account(plane, SERVER, tmp_path).kubeconfig)

    def refused(name: str, kind: str = "Opaque", **metadata: Any) -> str:
        manifest = {"kind": "Secret", "type": kind, "metadata": {"name": name, "namespace": HOME, **metadata}}
        try:
            api.create(manifest, dry_run=True)
        except ApiError as error:
            return error.message
        return ""

    only = "moorage may create the Secret moorage-certs and no other"
    until("the policy is in force", lambda: only in refused("other"))
    account = {"kubernetes.io/service-account.name": "moorage-adopt"}
    assert only in refused("moorage-certs", "kubernetes.io/service-account-token", annotations=account)
    assert only in refused("", generateName="moorage-certs")
    assert refused("moorage-certs") == ""
    plane.api.create({"kind": "Secret", "metadata": {"name": "other", "namespace": HOME}})
    for kind, name in (("Secret", "other"), ("ConfigMap", "moorage-defaults")):
        with pytest.raises(ApiError, match="403"):
            api.get(kind, name, HOME)
    with pytest.raises(ApiError, match="403"):
        api.objects("Secret", HOME)
    api.close()


@pytest.mark.usefixtures("installed")
def test_policies_have_no_fault_that_the_api_server_knows_of(plane: Running) -> None:
    def checked(name: str) -> Any:
        status = plane.api.get("ValidatingAdmissionPolicy", name).get("status", {})
        return status if "observedGeneration" in status else None

    for name in ("moorage-adopt-writes-pins", "moorage-creates-one-secret"):
        status = until("the policy is checked", lambda name=name: checked(name))  # type: ignore[misc]
        assert status.get("typeChecking", {}).get("expressionWarnings", []) == []


@pytest.mark.usefixtures("installed")
def test_reads_of_moorage_have_a_level_of_their_own(plane: Running, tmp_path: Path) -> None:
    account = shipped_account(plane, SERVER, tmp_path)
    schema = plane.api.get("FlowSchema", "moorage")["metadata"]["uid"]
    own = Api.from_kubeconfig(account.kubeconfig)

    def chosen() -> bool:
        answer = own._open().get("/api/v1/pods?limit=1")
        return bool(answer.headers["X-Kubernetes-Pf-FlowSchema-Uid"] == schema)

    until("the schema is chosen", chosen)
    own.close()


def test_where_nobody_answers_only_namespaces_that_ask_for_it_are_closed(
    installed: Running, kubectl: Kubectl, tmp_path: Path
) -> None:
    """No Pod of Moorage runs here."""
    api = installed.api
    kubectl("apply", "-k", kustomization(tmp_path, "fail-closed"))
    for name, labels_ in (("closed", {"moorage.dev/fail-closed": "true"}), ("open", {})):
        api.create({"kind": "Namespace", "metadata": {"name": name, "labels": labels_}})
        until("there is an account", lambda name=name: api.find("ServiceAccount", "default", name))  # type: ignore[misc]

    def refused(namespace: str) -> str:
        made = pod("app", "registry.invalid/app:1")
        try:
            api.create({**made, "metadata": {"name": "app", "namespace": namespace}}, dry_run=True)
        except ApiError as error:
            return error.message
        return ""

    until("it is refused", lambda: "required-pods.moorage.dev" in refused("closed"))
    assert [refused(name) for name in ("open", "kube-system", "default")] == [""] * 3
    kubectl("apply", "-f", INSTALL)
    until("it is not refused any more", lambda: refused("closed") == "")
    for name in ("closed", "open"):
        api.delete("Namespace", name)


# The last: it takes away what the others share. kubectl waits until the namespace is gone.
def test_uninstalling_takes_the_registration_first_and_leaves_the_pods_of_others(
    plane: Running, kubectl: Kubectl
) -> None:
    overlay = DEPLOY / "overlays" / "development"
    kubectl("apply", "-k", overlay)
    plane.api.create({**pod("app", "registry.invalid/app:1"), "metadata": {"name": "app", "namespace": "default"}})
    said = kubectl("delete", "--ignore-not-found", "-k", overlay).splitlines()
    assert said[0].startswith("mutatingwebhookconfiguration.admissionregistration.k8s.io")
    assert plane.api.find("MutatingWebhookConfiguration", "moorage") is None
    assert plane.api.find("Namespace", HOME) is None
    assert "deletionTimestamp" not in plane.api.get("Pod", "app", "default")["metadata"]
    plane.api.delete("Pod", "app", "default")
