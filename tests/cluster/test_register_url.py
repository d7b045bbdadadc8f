"""`moorage serve --register-url`: a process on a laptop that is asked by a cluster for as long as it runs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.configuration import configuration
from tests.cluster.evidence import Evidence
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.process import Process
from tests.cluster.real.api import Api
from tests.cluster.real.plane import Running
from tests.cluster.test_pins_deployment import placed
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import pod
from tests.support.ports import lasting_ports
from tests.support.until import until

KIND = "MutatingWebhookConfiguration"


@pytest.fixture
def laptop(plane: Running, upstream: Upstream, tmp_path: Path, evidence: Evidence) -> Iterator[Callable[[], Process]]:
    """A process that registers itself with the rights of the cluster's administrator."""
    admission, ops = lasting_ports(2)
    config = tmp_path / "moorage.yaml"
    config.write_text(configuration(upstream.host))
    command = (
        *("serve", "--config", config, "--kubeconfig", plane.kubeconfig, "--drain", "100ms"),
        *("--listen", f"127.0.0.1:{admission}", "--ops-listen", f"127.0.0.1:{ops}"),
        *("--tls-self-signed", "127.0.0.1", "--register-url", f"https://127.0.0.1:{admission}"),
    )
    made = Process("laptop", tmp_path / "laptop.log", command, ops)
    evidence.add_log(made.log)

    def start() -> Process:
        made.start()
        made.await_ready()
        return made

    yield start
    made.end()
    if registration(plane.api) is not None:
        plane.api.delete(KIND, "moorage")


def registration(api: Api) -> Any:
    return api.find(KIND, "moorage")


def test_it_registers_itself_and_removes_that_at_exit(
    plane: Running, namespace: Namespace, upstream: Upstream, laptop: Callable[[], Process]
) -> None:
    digest = upstream.push("team/app", "stable")
    image = upstream.image("team/app", "stable")
    process = laptop()
    until("it is registered", lambda: registration(plane.api))
    until(
        "the API server asks it",
        lambda: images_of(namespace.create(pod("probe", image), dry_run=True).body) == placed(digest),
    )
    until("it covers the rules", lambda: process.metric("moorage_registration_covers_rules") == 1)
    assert process.terminate() == 0
    assert registration(plane.api) is None
    until(
        "nobody is asked any more",
        lambda: images_of(namespace.create(pod("probe", image), dry_run=True).body) == [image],
    )


def test_where_moorage_is_installed_it_ends_and_leaves_all_as_it_is(
    plane: Running, laptop: Callable[[], Process]
) -> None:
    installed = plane.api.create({"kind": KIND, "metadata": {"name": "moorage"}, "webhooks": []}).body
    process = laptop()
    until("it has ended", lambda: not process.is_alive)
    assert "Moorage is installed there; use another cluster, or delete it first" in process.log.read_text()
    assert registration(plane.api)["metadata"]["uid"] == installed["metadata"]["uid"]
