"""`moorage doctor` in a real cluster: an install is broken by hand, one thing after the other, and each is told."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.cluster.configuration import configuration
from tests.cluster.doctor import HOME, Finding, Install, doctor, without
from tests.cluster.real.api import Api
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.workloads import daemon_set
from tests.deploy.manifests import installed as shipped
from tests.diagnosis.test_rights import gives
from tests.support.ports import free_port
from tests.support.until import until
from webhook.config import load
from webhook.core.conditions import needed
from webhook.core.registration import Reached, registration
from webhook.diagnosis.rights import WANTED, Right

CONFIGURED: Final = configuration("registry.invalid")
MWC: Final = "MutatingWebhookConfiguration"
BUNDLE: Final = base64.b64encode(trustme.CA().cert_pem.bytes()).decode()


@pytest.fixture(scope="module")
def plane() -> Iterator[Running]:
    """A control plane of these tests' own: what they break is the whole cluster's."""
    with control_plane() as running:
        yield running


@pytest.fixture(scope="module")
def installed(plane: Running) -> Install:
    made = Install(plane.api)
    made.put()
    return made


@pytest.fixture
def install(installed: Install) -> Iterator[Install]:
    """An install as it is shipped, with a configuration, a registration that trusts somebody, and no Pods."""
    installed.configure(CONFIGURED)
    webhooks = installed.get(MWC)["webhooks"]
    for one in webhooks:
        one["clientConfig"]["caBundle"] = BUNDLE
    installed.patch(MWC, {"webhooks": webhooks})
    yield installed
    installed.mend()


def test_in_an_empty_cluster_every_line_says_that_nothing_is_there(plane: Running) -> None:
    told = doctor(plane.kubeconfig)
    assert told.code == 3
    assert told.of("cluster") == [
        Finding("cluster", "ok", f"API server at {plane.api.url}", plane.api.ask("GET", "/version").body["gitVersion"])
    ]
    for check in ("install", "configuration", "registration", "service", "rights"):
        assert told.of(check, "error"), check


def test_what_is_installed_and_well_is_told_so(plane: Running, install: Install) -> None:
    told = doctor(plane.kubeconfig)
    well = {one.check for one in told.findings} - {one.check for one in told.findings if one.level != "ok"}
    assert {"cluster", "version", "configuration", "registration", "coverage", "namespaces", "rights"} <= well
    # There is no node, so no Pod either.
    (pods,) = told.of("install")
    assert (told.code, pods.level) == (3, "error")
    assert "0 of 3 Pods are ready" in pods.found


def _edit(**more: Any) -> Callable[[Install], None]:
    """Change both webhooks."""

    def edit(install: Install) -> None:
        install.patch(MWC, {"webhooks": [{**one, **more} for one in install.get(MWC)["webhooks"]]})

    return edit


def _take_over(install: Install) -> None:
    (first, *_) = install.get(MWC)["webhooks"]
    service = {"namespace": "kyverno", "name": "kyverno-svc", "path": "/mutate", "port": 443}
    foreign = {**first, "name": "mutate.kyverno.svc", "clientConfig": {"service": service, "caBundle": BUNDLE}}
    install.patch(MWC, {"webhooks": [foreign]})


def _install_twice(install: Install) -> None:
    twin = install.get(MWC)
    install.api.create({"kind": MWC, "metadata": {"name": "moorage-old"}, "webhooks": twin["webhooks"]})


def _ask_kube_system(install: Install) -> None:
    _edit(namespaceSelector={}, failurePolicy="Fail")(install)


def _lead_elsewhere(install: Install) -> None:
    service = {"namespace": "moorage-old", "name": "moorage", "path": "/mutate", "port": 443}
    _edit(clientConfig={"service": service, "caBundle": BUNDLE})(install)


def _edit_condition(install: Install) -> None:
    _edit(matchConditions=[{"name": "moorage.dev/images-v1", "expression": "false"}])(install)


def _add_imageswap(install: Install) -> None:
    (first, *_) = install.get(MWC)["webhooks"]
    webhook = {**first, "name": "imageswap.webhook.k8s.twr.io", "failurePolicy": "Ignore"}
    install.api.create({"kind": MWC, "metadata": {"name": "imageswap-webhook"}, "webhooks": [webhook]})


def _scale_to_nothing(install: Install) -> None:
    install.patch("Deployment", {"spec": {"replicas": 0}})


BROKEN: Final[tuple[tuple[str, Callable[[Install], None], str, str, str], ...]] = (
    ("registration deleted", lambda it: it.remove(MWC), "registration", "error", "there is no mutatingwebhookconfig"),
    ("taken over by another tool", _take_over, "registration", "error", "holds no webhook of Moorage"),
    ("leads to another install", _lead_elsewhere, "registration", "error", "leads to service moorage-old/moorage"),
    ("two installs", _install_twice, "registration", "warning", "moorage-old is Moorage's too"),
    ("asks about nothing", _edit(rules=[]), "registration", "error", "is not asked about CREATE of pods"),
    (
        "selects objects",
        _edit(objectSelector={"matchLabels": {"team": "a"}}),
        "registration",
        "error",
        "objectSelector hides what does not bear team",
    ),
    ("condition edited", _edit_condition, "coverage", "error", "condition moorage.dev/images-v1 is not as Moorage"),
    ("asks about kube-system", _ask_kube_system, "namespaces", "warning", "is asked about namespace kube-system"),
    ("never again", _edit(reinvocationPolicy="Never"), "registration", "warning", "reinvocationPolicy Never"),
    (
        "without authority",
        _edit(clientConfig={"service": {"namespace": HOME, "name": "moorage"}}),
        "registration",
        "error",
        "have no caBundle",
    ),
    ("another tool beside", _add_imageswap, "neighbours", "warning", "imageswap is asked before us"),
    (
        "configuration deleted",
        lambda it: it.remove("ConfigMap"),
        "configuration",
        "error",
        "there is no configmap moorage",
    ),
    ("configuration broken", lambda it: it.configure("rules: ["), "configuration", "error", "it cannot be used"),
    (
        "configuration without its key",
        lambda it: it.patch("ConfigMap", {"data": {"moorage.yaml": None}}),
        "configuration",
        "error",
        "has no key moorage.yaml",
    ),
    ("no Service", lambda it: it.remove("Service"), "service", "error", "it is not there"),
    (
        "Service elsewhere",
        lambda it: it.patch("Service", {"spec": {"ports": [{"name": "webhook", "port": 8443}]}}),
        "service",
        "error",
        "it has no port 443",
    ),
    ("scaled to nothing", _scale_to_nothing, "install", "error", "it is scaled to nothing"),
    ("Deployment deleted", lambda it: it.remove("Deployment"), "install", "error", "it is not there"),
    ("adopter deleted", lambda it: it.remove("Deployment", "moorage-adopt"), "adopt", "warning", "it is not there"),
)


@pytest.mark.parametrize(
    ("break_it", "check", "level", "found"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_what_is_broken_is_told_with_what_to_do(
    plane: Running, install: Install, break_it: Callable[[Install], None], check: str, level: str, found: str
) -> None:
    break_it(install)
    told = doctor(plane.kubeconfig)
    lines = [one for one in told.of(check) if found in one.found]
    assert lines, told.of(check)
    line = lines[0]
    assert line.level == level
    assert line.advice
    assert told.code == 3


def test_without_a_configuration_nothing_is_held_against_the_example_of_the_install(
    plane: Running, install: Install, tmp_path: Path
) -> None:
    (tmp_path / "moorage.yaml").write_text(CONFIGURED)
    ours = registration(Reached(), coverage=needed(load(tmp_path / "moorage.yaml", environ={}).rules))
    conditions = [one["matchConditions"] for one in ours["webhooks"]]
    webhooks = install.get(MWC)["webhooks"]
    narrow = [{**one, "matchConditions": each} for one, each in zip(webhooks, conditions, strict=True)]
    install.patch(MWC, {"webhooks": narrow})
    assert [one.level for one in doctor(plane.kubeconfig).of("coverage")] == ["ok"]
    install.remove("ConfigMap")
    told = doctor(plane.kubeconfig)
    assert [one.level for one in told.of("configuration")] == ["error"]
    assert told.of("coverage") == []


def test_who_edited_the_registration_is_named(plane: Running, install: Install) -> None:
    subprocess.run(
        [
            *(Path(sys.executable).with_name("kubectl"), "--kubeconfig", plane.kubeconfig, "patch", MWC, "moorage"),
            *("--type=json", "--field-manager=somebody", "--patch"),
            json.dumps([{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["UPDATE"]}]),
        ],
        check=True,
        capture_output=True,
    )
    (line,) = [one for one in doctor(plane.kubeconfig).of("registration") if "CREATE of pods" in one.found]
    assert "somebody" in line.found


def _rights() -> Iterator[tuple[str, str, int, Right]]:
    """The roles as they are shipped, and in each place what is used of it."""
    for one in shipped():
        name = one["metadata"]["name"]
        if one["kind"] in {"ClusterRole", "Role"} and name in WANTED:
            for index, rule in enumerate(one["rules"]):
                for right in WANTED[name]:
                    if gives(one["kind"], rule, right):
                        yield one["kind"], name, index, right


# Some thirty verbs, and each is taken away and given back.
@pytest.mark.timeout(180)
def test_each_verb_that_a_role_lacks_is_told(plane: Running, install: Install) -> None:
    for kind, name, index, right in _rights():
        with without(install, kind, name, index, right.verb):
            # The API server's authorizer hears of a role a moment later.
            until(f"{name} may not {right}", partial(_is_told, plane, name, right), seconds=10)


def _is_told(plane: Running, account: str, right: Right) -> bool:
    looked = f"rights of service account {account} in {HOME}"
    lines = [one for one in doctor(plane.kubeconfig).of("rights", "error") if one.looked == looked]
    return f"it may not {right}: {right.without}" in [one.found for one in lines]


def _nobody(plane: Running, folder: Path) -> Path:
    """The kubeconfig of an account without rights."""
    api, path = plane.api, f"/api/v1/namespaces/{HOME}/serviceaccounts/nobody/token"
    api.create({"kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": HOME}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = api.ask("POST", path, request).body["status"]["token"]
    return Api(api.url, api.ca, token).write_kubeconfig(folder / "nobody.kubeconfig")


def test_whoever_may_see_nothing_gets_lines_and_no_end(plane: Running, install: Install, tmp_path: Path) -> None:
    told = doctor(_nobody(plane, tmp_path))
    assert told.code == 3
    (registration,) = told.of("registration")
    assert registration.level == "error"
    assert "cannot be looked at" in registration.found
    assert 'User "system:serviceaccount:moorage-system:nobody" cannot get' in registration.found
    assert "as somebody who may" in registration.advice
    (own, *others) = told.of("rights")
    assert "you may not create subjectaccessreviews.authorization.k8s.io, get configmaps moorage" in own.found
    assert all("cannot be looked at" in one.found for one in others)


def test_a_target_on_localhost_is_held_against_kube_proxy_and_its_agents(plane: Running, install: Install) -> None:
    api = plane.api
    agent = daemon_set("cache", "cache:1")
    agent["metadata"]["namespace"] = "default"
    api.create(agent)
    ports = [{"port": 5000, "nodePort": 30081}]
    service = {"type": "NodePort", "selector": {"app": "cache"}, "ports": ports}
    (line,) = doctor(plane.kubeconfig).of("localhost")
    assert "nothing in this cluster is known to listen there" in line.found
    api.create({"kind": "Service", "metadata": {"name": "cache", "namespace": "default"}, "spec": service})
    (line,) = doctor(plane.kubeconfig).of("localhost")
    assert (line.level, "nothing says which mode" in line.found) == ("warning", True)
    for mode, level in (("iptables", "ok"), ("", "ok"), ("ipvs", "error"), ("nftables", "error")):
        _set_proxy(install, {"mode": mode})
        (line,) = doctor(plane.kubeconfig).of("localhost")
        assert line.level == level, line
        assert "NodePort of service default/cache" in line.found
    _set_proxy(install, {"mode": "iptables", "iptables": {"localhostNodePorts": False}})
    (line,) = doctor(plane.kubeconfig).of("localhost", "error")
    assert "does not serve NodePorts on localhost" in line.found
    (agents,) = doctor(plane.kubeconfig).of("agents")
    assert agents.looked == "daemonset default/cache"


def _set_proxy(install: Install, config: dict[str, Any]) -> None:
    """As kubeadm keeps it."""
    place = {"name": "kube-proxy", "namespace": "kube-system"}
    install.api.delete("ConfigMap", "kube-proxy", "kube-system")
    data = {"config.conf": json.dumps({"kind": "KubeProxyConfiguration", **config})}
    install.api.create({"kind": "ConfigMap", "metadata": place, "data": data})


def test_without_an_api_server_there_is_one_line(plane: Running, tmp_path: Path) -> None:
    config = json.loads(plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    told = doctor(tmp_path / "kubeconfig", "--timeout", "5s")
    assert told.code == 3
    (line,) = told.of("cluster")
    assert (line.level, line.found) == ("error", "cannot be looked at: the API server refuses the connection")


def test_as_a_person_types_it(plane: Running, install: Install, tmp_path: Path) -> None:
    environ = {**os.environ, "KUBECONFIG": str(plane.kubeconfig), "HOME": str(tmp_path)}
    command: list[str | Path] = [Path(sys.executable).with_name("moorage"), "doctor"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["ok", "cluster"]
    assert any(line.strip().startswith("-> ") for line in lines)
    assert done.stderr.strip().endswith("error")
