"""`moorage doctor` on a node: an install that works gives no line but ok, and one that worked tells what ended that."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.cluster.doctor import HOME, Install, Told, doctor, tell_proxy
from tests.cluster.node.running import plain
from tests.cluster.process import Process
from tests.cluster.real.node import ADDRESS
from tests.cluster.real.plane import Running
from tests.cluster.upstream import Upstream
from tests.deploy.manifests import container
from tests.support.until import until

MWC: Final = "MutatingWebhookConfiguration"


class Served:
    """An install whose Pod stands in the node's own network, where a process serves in its place."""

    def __init__(self, install: Install, config: Path, kubeconfig: Path) -> None:
        self.install = install
        self.config = config
        self._kubeconfig = kubeconfig

    def examined(self) -> Told:
        return doctor(self._kubeconfig)

    def await_error(self, check: str) -> Told:
        """What is told once a check has an error: the API server takes a moment to know what was written."""
        told: list[Told] = []

        def looked() -> bool:
            told.append(self.examined())
            return bool(told[-1].of(check, "error"))

        until(f"{check} has an error", looked)
        return told[-1]

    def trust(self, authority: trustme.CA) -> None:
        """Let the API server trust another authority."""
        webhooks = self.install.get(MWC)["webhooks"]
        for one in webhooks:
            bundle = base64.b64encode(authority.cert_pem.bytes()).decode()
            one["clientConfig"]["caBundle"] = bundle
            one["clientConfig"]["service"]["path"] = "/mutate"
        self.install.patch(MWC, {"webhooks": webhooks})


@pytest.fixture(scope="module")
def served(
    plane: Running, upstream_of_the_run: Upstream, cache: None, authority: trustme.CA, tmp_path_factory: Any
) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("doctor")
    config = folder / "moorage.yaml"
    config.write_text(plain(upstream_of_the_run))
    pair = authority.issue_cert(f"moorage.{HOME}.svc")
    pair.private_key_pem.write_to_path(str(folder / "tls.key"))
    (folder / "tls.crt").write_bytes(b"".join(pem.bytes() for pem in pair.cert_chain_pems))
    server = Process(
        "served",
        folder / "served.log",
        (
            *("serve", "--config", config, "--listen", f"{ADDRESS}:8443", "--ops-listen", f"{ADDRESS}:8080"),
            *("--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key", "--drain", "1s"),
            *("--kubeconfig", plane.kubeconfig),
        ),
        8080,
        {},
    )
    install = Install(plane.api, _as_here)
    with ExitStack() as ending:
        ending.callback(install.clear)
        ending.callback(server.end)
        server.start()
        server.await_ready()
        install.put()
        install.configure(config.read_text())
        tell_proxy(plane.api)
        lease = {"name": "moorage-adopt", "namespace": HOME}
        plane.api.create({"kind": "Lease", "metadata": lease, "spec": {"holderIdentity": "somebody"}})
        ending.callback(plane.api.delete, "Lease", "moorage-adopt", HOME)
        made = Served(install, config, plane.kubeconfig)
        made.trust(authority)
        until("its Pods are ready", lambda: all(_is_ready(install, name) for name in ("moorage", "moorage-adopt")))
        yield made


def _as_here(manifest: dict[str, Any]) -> dict[str, Any]:
    """Deployments whose only Pod does nothing; the server's probes find the process at the node's own address."""
    if manifest["kind"] == "Namespace":
        # The real Pods are not on the node's network, which is forbidden here.
        return {**manifest, "metadata": {"name": manifest["metadata"]["name"]}}
    if manifest["kind"] != "Deployment":
        return manifest
    is_server = manifest["metadata"]["name"] == "moorage"
    shipped = container(manifest)
    kept = ("name", "ports", "startupProbe", "readinessProbe", "livenessProbe") if is_server else ("name",)
    pause = {key: shipped[key] for key in kept} | {"image": "localhost/pause:1", "imagePullPolicy": "Never"}
    template = manifest["spec"]["template"]
    spec = {"hostNetwork": is_server, "containers": [pause], "terminationGracePeriodSeconds": 0}
    return {
        **manifest,
        "spec": {**manifest["spec"], "replicas": 1, "template": {"metadata": template["metadata"], "spec": spec}},
    }


def _is_ready(install: Install, name: str) -> bool:
    return bool(install.get("Deployment", name)["status"].get("readyReplicas"))


def test_a_healthy_install_has_no_line_but_ok(served: Served) -> None:
    told = served.examined()
    assert [one for one in told.findings if one.level != "ok"] == []
    assert told.code == 0
    checks = {one.check for one in told.findings}
    assert {"version", "certificate", "answers", "registries", "localhost", "agents", "adopt"} <= checks
    assert [one.found for one in told.of("answers")] == ["Moorage was asked and answered"]


def test_a_path_that_nobody_serves_is_told_and_not_shown(served: Served, authority: trustme.CA) -> None:
    webhooks = served.install.get(MWC)["webhooks"]
    for one in webhooks:
        one["clientConfig"]["service"]["path"] = "/mutate/0123456789abcdef"
    served.install.patch(MWC, {"webhooks": webhooks})
    try:
        told = served.await_error("service")
        assert [one.found for one in told.of("service", "error")] == [
            "somebody answers there, but not at the path that the registration names"
        ]
        assert "0123456789abcdef" not in str(told)
    finally:
        served.trust(authority)
    until("it is well again", lambda: served.examined().code == 0)


def test_a_foreign_authority_is_told_by_what_the_api_server_does(served: Served, authority: trustme.CA) -> None:
    served.trust(trustme.CA())
    try:
        told = served.await_error("answers")
        assert told.code == 3
        (line,) = told.of("answers")
        assert line.found == "it was admitted without Moorage (failurePolicy Ignore)"
        (line,) = told.of("certificate")
        assert (line.level, "no authority in the bundle that is valid has signed it" in line.found) == ("error", True)
    finally:
        served.trust(authority)
    until("it is well again", lambda: served.examined().code == 0)


def test_under_fail_the_api_servers_own_words_are_told(served: Served, authority: trustme.CA) -> None:
    served.trust(trustme.CA())
    webhooks = served.install.get(MWC)["webhooks"]
    served.install.patch(MWC, {"webhooks": [{**one, "failurePolicy": "Fail"} for one in webhooks]})
    try:
        told = served.await_error("answers")
        (line,) = told.of("answers")
        assert "certificate signed by unknown authority" in line.found
    finally:
        served.install.patch(MWC, {"webhooks": webhooks})
        served.trust(authority)
    until("it is well again", lambda: served.examined().code == 0)


def test_a_configuration_that_is_not_in_force_is_told(served: Served, upstream_of_the_run: Upstream) -> None:
    before = served.config.read_text()
    changed = json.loads(before)
    changed["rules"][0]["name"] = "other"
    served.install.configure(json.dumps(changed))
    (line,) = served.examined().of("configuration", "warning")
    assert "has another one in force" in line.found
    served.config.write_text("rules: [")
    try:
        line = until("it could not be loaded", lambda: served.examined().of("configuration", "error"))[0]
        assert "could not load it; what was in force before still is" in line.found
    finally:
        served.config.write_text(before)
        served.install.configure(before)
    until("it is well again", lambda: served.examined().code == 0)


def test_a_pair_that_cannot_be_taken_in_is_told_while_the_one_before_serves(served: Served) -> None:
    file = served.config.parent / "tls.crt"
    before = file.read_bytes()
    file.write_bytes(before[:300])
    try:
        told = served.await_error("certificate")
        (line,) = told.of("certificate", "error")
        assert "cannot use it; what was shown before still is" in line.found
        assert [one.found for one in told.of("answers")] == ["Moorage was asked and answered"]
    finally:
        file.write_bytes(before)
    until("it is well again", lambda: served.examined().code == 0)
