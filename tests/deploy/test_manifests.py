"""The shipped manifests: they build, are valid, and hold what the README of `deploy/` promises."""

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import typer.main

from tests.cluster.account import SERVER, rights
from tests.cluster.kept import KEEPS
from tests.deploy.manifests import (
    DEPLOY,
    IMAGE,
    INSTALL,
    Object,
    container,
    installed,
    kustomization,
    objects,
    of_kind,
    rendered,
)
from webhook import __version__
from webhook.cli.main import app
from webhook.config import load
from webhook.core.globs import Globs
from webhook.core.registered import Home, decoded, judge
from webhook.core.registration import NEVER, Reached, registration
from webhook.core.rules import Rule, RuleSet

KUBERNETES: Final = "1.36"
COMPONENTS: Final = sorted(path.name for path in (DEPLOY / "components").iterdir())
OVERLAYS: Final = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
FOREIGN: Final = ("cert-manager.io/", "monitoring.coreos.com/")
"""Kinds of others, whose schemas are not Kubernetes' own: `tests/cluster/test_operators.py` holds them to theirs."""


@cache
def overlay(name: str) -> tuple[Object, ...]:
    return tuple(objects(rendered(DEPLOY / "overlays" / name)))


@cache
def with_component(*names: str) -> tuple[Object, ...]:
    """The default install with components."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(objects(rendered(kustomization(Path(folder), *names))))


Build = Callable[[], tuple[Object, ...]]

VARIANTS: Final[dict[str, Build]] = {
    "install.yaml": installed,
    **{f"overlays/{name}": partial(overlay, name) for name in OVERLAYS},
    **{f"components/{name}": partial(with_component, name) for name in COMPONENTS},
}
"""Every way to install that is shipped: what `kubectl apply` would send."""
every_variant = pytest.mark.parametrize("build", VARIANTS.values(), ids=VARIANTS)


@cache
def validate(text: str) -> None:
    """Hold an object against the schemas; most objects stand in every variant."""
    kubernetes_validate.validate(json.loads(text), KUBERNETES, strict=True)


def workloads(every: Sequence[Object]) -> list[Object]:
    return [one for one in every if one["kind"] == "Deployment"]


def test_the_shipped_file_is_what_the_base_renders_to() -> None:
    assert rendered(DEPLOY / "base") == INSTALL.read_text(), "run `make docs`"


@every_variant
def test_all_is_valid_to_the_last_key(build: Build) -> None:
    for one in build():
        if not one["apiVersion"].startswith(FOREIGN):
            validate(json.dumps(one))


def test_a_key_that_is_wrong_would_be_seen() -> None:
    wrong = {**of_kind(installed(), "Service"), "spec": {"ports": [{"port": 443, "tragetPort": 1}]}}
    with pytest.raises(kubernetes_validate.ValidationError, match="tragetPort"):
        validate(json.dumps(wrong))


def test_the_registration_comes_first_so_that_it_also_goes_first() -> None:
    # `kubectl delete` deletes in this order.
    assert [one["kind"] for one in installed()][:2] == ["MutatingWebhookConfiguration", "Namespace"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_registration_of_an_overlay_comes_first(name: str) -> None:
    kinds = [one["kind"] for one in overlay(name)]
    assert kinds[:2] == ["MutatingWebhookConfiguration", "Namespace"]


def test_the_registration_is_what_the_code_makes() -> None:
    shipped = of_kind(installed(), "MutatingWebhookConfiguration")
    made = registration(Reached())
    # The server adds the path, the authority and conditions.
    for webhook in made["webhooks"]:
        del webhook["clientConfig"]["service"]["path"]
    assert shipped["webhooks"] == made["webhooks"]
    assert made["metadata"]["annotations"].items() <= shipped["metadata"]["annotations"].items()
    assert shipped["metadata"]["labels"]["moorage.dev/managed"] == "true"


@every_variant
def test_doctor_has_nothing_against_a_registration_that_is_shipped(build: Build) -> None:
    live = decoded(json.dumps(of_kind(build(), "MutatingWebhookConfiguration")).encode())
    rules = RuleSet([Rule("private", Globs(("registry.example.com/**",)))])
    assert [str(one) for one in judge(live, rules, Home("moorage-system")) if one.level != "info"] == []


@every_variant
def test_what_must_work_without_moorage_is_never_asked_about(build: Build) -> None:
    for webhook in of_kind(build(), "MutatingWebhookConfiguration")["webhooks"]:
        expressions = webhook["namespaceSelector"]["matchExpressions"]
        (names,) = (one["values"] for one in expressions if one["key"] == "kubernetes.io/metadata.name")
        assert set(names) == {*NEVER, "moorage-system"}


@every_variant
def test_containers_may_do_nothing_but_run(build: Build) -> None:
    for workload in workloads(build()):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container(workload)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container(workload)["resources"]["requests"] == {"cpu": "50m", "memory": "96Mi"}
        assert "cpu" not in container(workload)["resources"]["limits"]
        assert pod["priorityClassName"] == "system-cluster-critical"
        assert pod["topologySpreadConstraints"]


@every_variant
def test_a_pod_has_the_time_that_its_end_takes(build: Build) -> None:
    server = of_kind(build(), "Deployment")
    webhooks = of_kind(build(), "MutatingWebhookConfiguration")["webhooks"]
    one = container(server)
    drain = next(float(arg.removeprefix("--drain=").removesuffix("s")) for arg in one["args"] if "--drain" in arg)
    takes = one["lifecycle"]["preStop"]["sleep"]["seconds"] + drain + max(each["timeoutSeconds"] for each in webhooks)
    assert server["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= takes + 5


@every_variant
def test_reviews_are_answered_while_pods_or_nodes_are_replaced(build: Build) -> None:
    server = of_kind(build(), "Deployment")
    assert server["spec"]["replicas"] >= (1 if build is VARIANTS["overlays/development"] else 2)
    rolling = server["spec"]["strategy"]["rollingUpdate"]
    # On the node's own ports there is no place for one more before another goes.
    in_place = server["spec"]["template"]["spec"].get("hostNetwork", False)
    assert rolling == ({"maxUnavailable": 1, "maxSurge": 0} if in_place else {"maxUnavailable": 0, "maxSurge": 1})
    budget = of_kind(build(), "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert budget["selector"] == server["spec"]["selector"]


@every_variant
def test_what_is_selected_is_there(build: Build) -> None:
    every = build()
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in workloads(every)]
    selectors = [one["spec"]["selector"]["matchLabels"] for one in workloads(every)]
    selectors += [one["spec"]["selector"] for one in every if one["kind"] == "Service"]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in every if one["kind"] == "PodDisruptionBudget"]
    for selector in selectors:
        assert sum(selector.items() <= each.items() for each in labels) == 1
    accounts = {one["metadata"]["name"] for one in every if one["kind"] == "ServiceAccount"}
    assert {one["spec"]["template"]["spec"]["serviceAccountName"] for one in workloads(every)} == accounts
    bound = {each["name"] for one in every for each in one.get("subjects", ())}
    assert bound == accounts
    named = set(re.findall(r"system:serviceaccount:moorage-system:([\w-]+)", str(every)))
    assert named == accounts
    (schema,) = (one for one in every if one["kind"] == "FlowSchema")
    assert {each["serviceAccount"]["name"] for each in schema["spec"]["rules"][0]["subjects"]} == accounts


@every_variant
def test_a_service_leads_to_a_port_that_is_listened_at(build: Build) -> None:
    one = container(of_kind(build(), "Deployment"))
    ports = {each["name"]: each["containerPort"] for each in one["ports"]}
    for option, name, usual in (("--listen=", "webhook", 8443), ("--ops-listen=", "ops", 8080)):
        # The last of two options counts.
        told = [int(arg.rpartition(":")[2]) for arg in one["args"] if arg.startswith(option)]
        assert ports[name] == [usual, *told][-1]
    for service in (each for each in build() if each["kind"] == "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()


@every_variant
def test_the_options_are_those_of_this_version(build: Build) -> None:
    for workload in workloads(build()):
        word, *words = container(workload)["args"]
        command = typer.main.get_command(app).commands[word]  # type: ignore[attr-defined]
        assert command.make_context(word, list(words))


@every_variant
def test_the_image_is_of_this_version(build: Build) -> None:
    for workload in workloads(build()):
        name, _, tag = container(workload)["image"].rpartition(":")
        assert tag == __version__
        assert name in {IMAGE, "registry.customer.example/mirror/moorage"}


@every_variant
def test_every_configuration_is_fine(build: Build, tmp_path: Path) -> None:
    maps = [one for one in build() if one["kind"] == "ConfigMap"]
    assert {one["metadata"]["name"] for one in maps} <= {"moorage", "moorage-defaults"}
    for one in maps:
        (tmp_path / "moorage.yaml").write_text(one["data"]["moorage.yaml"])
        assert load(tmp_path / "moorage.yaml", environ={}).rules.rules


def test_an_install_brings_no_configuration_that_an_upgrade_would_write_over() -> None:
    assert [one["metadata"]["name"] for one in installed() if one["kind"] == "ConfigMap"] == ["moorage-defaults"]
    assert [one for one in installed() if one["kind"] == "Secret"] == []


FILES: Final = sorted(
    file for file in DEPLOY.rglob("*.yaml") if re.search(r"^kind: (Cluster)?Role$", file.read_text(), re.MULTILINE)
)


@pytest.mark.parametrize(
    "file", [one for one in FILES if one != INSTALL], ids=lambda path: str(path.relative_to(DEPLOY))
)
def test_each_right_has_its_reason_on_the_line_before(file: Path) -> None:
    lines = file.read_text().splitlines()
    rights = [number for number, line in enumerate(lines) if line.startswith("  - apiGroups:")]
    assert rights
    assert [lines[number] for number in rights if not lines[number - 1].startswith("  # ")] == []


def test_rights_are_few() -> None:
    """What writes is named: verbs of ClusterRoles that change something, by account, resource and name."""
    found = {
        (one["metadata"]["name"], verb, resource, *rule.get("resourceNames", ()))
        for one in installed()
        if one["kind"] == "ClusterRole"
        for rule in one["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if verb not in {"get", "list", "watch"}
    }
    assert found == {
        ("moorage", "patch", "mutatingwebhookconfigurations", "moorage"),
        ("moorage-adopt", "create", "events"),
        ("moorage-adopt", "patch", "controllerrevisions"),
        ("moorage-adopt", "patch", "jobs"),
        ("moorage-adopt", "patch", "replicasets"),
    }
    assert "secrets" not in {
        resource
        for one in installed()
        if one["kind"] == "ClusterRole"
        for rule in one["rules"]
        for resource in rule["resources"]
    }


def test_the_server_may_keep_its_secret_and_its_registration_and_no_more() -> None:
    """KEEPS is what tests of certificates take away, a verb at a time."""

    def each(rules: Sequence[Any]) -> set[tuple[str, ...]]:
        return {
            (resource, verb, *rule.get("resourceNames", ()))
            for rule in rules
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    kept = ("secrets", "leases", "mutatingwebhookconfigurations")
    assert {one for one in each(rights(SERVER)) if one[0] in kept} == each(KEEPS)


def test_components_go_together() -> None:
    """All at once, but for those that exclude one another."""
    every = with_component(*(name for name in COMPONENTS if name != "port-10250"))
    assert len(of_kind(every, "MutatingWebhookConfiguration")["webhooks"]) == 3


@pytest.mark.parametrize(
    "names", [("cert-manager", "fail-closed"), ("fail-closed", "cert-manager"), ("fail-closed",)], ids=" ".join
)
def test_all_webhooks_are_called_at_one_place(names: Sequence[str]) -> None:
    """One that fails closed and is called where nobody answers would let no Pod start."""
    webhooks = of_kind(with_component(*names), "MutatingWebhookConfiguration")["webhooks"]
    assert len(webhooks) == 3
    path = {"path": "/mutate"} if "cert-manager" in names else {}
    service = {"namespace": "moorage-system", "name": "moorage", "port": 443, **path}
    assert [one["clientConfig"] for one in webhooks] == [{"service": service}] * 3


def test_fail_closed_is_for_namespaces_that_ask_for_it() -> None:
    webhooks = of_kind(with_component("fail-closed"), "MutatingWebhookConfiguration")["webhooks"]
    closed = [one for one in webhooks if one["failurePolicy"] == "Fail"]
    assert [one["namespaceSelector"]["matchLabels"] for one in closed] == [{"moorage.dev/fail-closed": "true"}]
    pods = {one["name"]: one for one in webhooks}
    assert closed[0]["rules"] == pods["pods.moorage.dev"]["rules"]


def test_the_page_is_shown_where_the_component_is_and_to_its_own_pod_alone() -> None:
    for name, build in VARIANTS.items():
        args = container(of_kind(build(), "Deployment"))["args"]
        told = [arg.partition("=")[2] for arg in args if arg.startswith("--page")]
        assert told == (["127.0.0.1:8081"] if name == "components/page" else []), name
    every = with_component("page", "network-policy")
    ports = [port["containerPort"] for port in container(of_kind(every, "Deployment"))["ports"]]
    assert 8081 not in ports
    assert "8081" not in str([one for one in every if one["kind"] in {"Service", "NetworkPolicy"}])


@pytest.mark.parametrize("name", [*COMPONENTS, *OVERLAYS])
def test_the_page_tells_of_each(name: str) -> None:
    assert f"`{name}`" in (DEPLOY / "README.md").read_text()
