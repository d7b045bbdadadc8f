"""A webhook that answers the API server alone: the real one shows its certificate, by its admission control configuration."""

import json
import ssl
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
import trustme

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import images_of
from tests.cluster.process import Process
from tests.cluster.real.api import Api, ApiError
from tests.cluster.real.plane import start_apiserver
from tests.cluster.real.processes import Processes
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import pod
from tests.support.ports import lasting_ports
from tests.support.until import until
from webhook.core.registration import Reached, registration

NAME: Final = "kube-apiserver"
"""What the API server is called in the certificate that it shows."""
HOME: Final = "moorage-system"
TEAM: Final = "team"
KIND: Final = "MutatingWebhookConfiguration"


class Guarded(msgspec.Struct):
    """A webhook that answers one name only, and an API server that bears it where its files say so."""

    api: Api
    webhook: Process
    upstream: Upstream
    callers: trustme.CA
    port: int
    ca: Path

    def reached(self, how: str) -> Reached:
        """As the API server is told to reach it."""
        if how == "service":
            return Reached(namespace=HOME, authority=self.ca.read_bytes())
        return Reached("/mutate", url=f"https://{how}:{self.port}", authority=self.ca.read_bytes())

    @contextmanager
    def registered(self, how: str) -> Iterator[None]:
        """For as long as the block lasts; who cannot call it creates no Pods."""
        document = registration(self.reached(how), only=[TEAM], failure_policy="Fail")
        for one in document["webhooks"]:
            if (service := one["clientConfig"].get("service")) is not None:
                service["port"] = self.port
        self.api.create(document)
        try:
            yield
        finally:
            self.api.delete(KIND, "moorage")

    def created(self, image: str) -> list[str]:
        """The images of a Pod that was not really created."""
        manifest = pod("probe", image)
        metadata = {**manifest["metadata"], "namespace": TEAM}
        return images_of(self.api.create({**manifest, "metadata": metadata}, dry_run=True).body)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Its own API server, as files that it reads at its start say to whom it shows which certificate. Without controllers:
    what they would make is made by hand, and no Pod is to run."""
    folder, callers = tmp_path_factory.mktemp("guarded"), trustme.CA()
    admission, ops = lasting_ports(2)
    callers.cert_pem.write_to_path(str(folder / "clients.crt"))
    certificate = callers.issue_cert("apiserver.test", common_name=NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "client.pem"))
    with Upstream.running(folder) as upstream, Processes.ended_after(folder / "logs") as processes:
        more = ("--endpoint-reconciler-type=none", f"--admission-control-config-file={_shown_to(folder, admission)}")
        api = start_apiserver(processes, folder, "127.0.0.1", more)
        for name in (HOME, TEAM):
            api.create({"kind": "Namespace", "metadata": {"name": name}})
        api.create({"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": TEAM}})
        # The one kind of Service that leads to a process beside the cluster.
        outside = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": admission}]}
        api.create({"kind": "Service", "metadata": {"name": "moorage", "namespace": HOME}, "spec": outside})
        (folder / "moorage.yaml").write_text(configuration(upstream.host))
        webhook = Process("guarded", folder / "logs" / "guarded.log", _command(folder, admission, ops), ops)
        webhook.start()
        try:
            webhook.await_ready()
            yield Guarded(api, webhook, upstream, callers, admission, folder / "webhook.crt")
        finally:
            webhook.end()
            api.close()


def _command(folder: Path, admission: int, ops: int) -> tuple[str | Path, ...]:
    return (
        *("serve", "--config", folder / "moorage.yaml", "--kubeconfig", folder / "admin.kubeconfig"),
        *("--listen", f"127.0.0.1:{admission}", "--ops-listen", f"127.0.0.1:{ops}"),
        *("--tls-self-signed", f"moorage.{HOME}.svc", "--ca-out", folder / "webhook.crt"),
        *("--client-ca", folder / "clients.crt", "--client-name", NAME),
    )


def _shown_to(folder: Path, port: int) -> Path:
    """The file of --admission-control-config-file, and the kubeconfig that it names. A user there is called as the
    webhook is reached: HOST:PORT, or SERVICE.NAMESPACE.svc:PORT, where * stands for the first parts."""
    shown = {"client-certificate": str(folder / "client.pem"), "client-key": str(folder / "client.pem")}
    users = [{"name": name, "user": shown} for name in (f"127.0.0.1:{port}", f"*.svc:{port}")]
    (folder / "callers.kubeconfig").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "users": users}))
    plugin = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(folder / "callers.kubeconfig"),
    }
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "MutatingAdmissionWebhook", "configuration": plugin}],
    }
    (folder / "admission.yaml").write_text(json.dumps(document))
    return folder / "admission.yaml"


@pytest.mark.parametrize("how", ["127.0.0.1", "service"])
def test_pods_get_the_digest_where_the_api_server_shows_its_certificate(guarded: Guarded, how: str) -> None:
    digest = guarded.upstream.push(f"team/{how}", "stable")
    image = guarded.upstream.image(f"team/{how}", "stable")
    with guarded.registered(how):
        until("the API server asks it", lambda: guarded.created(image) == [f"{CACHE}/team/{how}@{digest}"])
    until("nobody is asked any more", lambda: guarded.created(image) == [image])


def test_where_the_api_server_shows_none_it_gets_no_answer(guarded: Guarded) -> None:
    image = guarded.upstream.image("team/app", "stable")
    guarded.webhook.forget()

    def refusal() -> str:
        try:
            guarded.created(image)
        except ApiError as error:
            return error.message
        return ""

    # No user of that kubeconfig is called so.
    with guarded.registered("localhost"):
        told = until("the API server asks it", refusal)
        assert 'failed calling webhook "pods.moorage.dev"' in told
        # So under Fail an author learns the path, and with it a secret that is in it: docs/security.md says so.
        assert f'"https://localhost:{guarded.port}/mutate?' in told
    until("nobody is asked any more", lambda: not refusal())
    assert guarded.webhook.metric("moorage_admission_reviews_total") == 0


def refusals(webhook: Process) -> list[Any]:
    return [one for one in webhook.lines() if one["event"] == "caller refused"]


def test_nobody_else_gets_anything(guarded: Guarded) -> None:
    digest = guarded.upstream.push("team/secret", "stable")
    given = pod("probe", guarded.upstream.image("team/secret", "stable"))
    request = {"uid": "a", "resource": {"version": "v1", "resource": "pods"}, "operation": "CREATE", "namespace": TEAM}
    asked = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {**request, "object": given}}

    def told(certificate: trustme.LeafCert | None) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(guarded.ca))
        if certificate is not None:
            certificate.configure_cert(context)
        try:
            answer = httpx.post(f"https://localhost:{guarded.port}/mutate", json=asked, verify=context, trust_env=False)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    guarded.upstream.forget()
    guarded.webhook.forget()
    strangers: dict[str, trustme.LeafCert | None] = {
        "another name": guarded.callers.issue_cert("kubelet.test", common_name="system:node:a"),
        "another authority": trustme.CA().issue_cert("apiserver.test", common_name=NAME),
        "none": None,
    }
    answers = {who: told(certificate) for who, certificate in strangers.items()}
    assert {who: status for who, (status, _) in answers.items()} == {
        "another name": 403,
        "another authority": 0,
        "none": 0,
    }
    assert guarded.upstream.requests() == []
    assert guarded.webhook.metric("moorage_admission_reviews_total") == 0
    (line,) = until("the log says who was refused", lambda: refusals(guarded.webhook))
    assert line["names"] == "system:node:a, kubelet.test"
    # What they would have heard.
    _, text = told(guarded.callers.issue_cert("apiserver.test", common_name=NAME))
    assert digest in b64decode(json.loads(text)["response"]["patch"]).decode()
