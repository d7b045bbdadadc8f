"""From an earlier state of this repository to the present one, while Pods are created and none may be lost.

Its server runs from what Git has of it, on a control plane: an image of it would take minutes to build. A clone without
history has nothing of it: this is left out there, and `tests/test_earlier.py` alone tells what is taken over.
"""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
import yaml

from tests.cluster.account import HOME, SERVER, with_token
from tests.cluster.balancer import Balancer
from tests.cluster.configuration import configuration
from tests.cluster.conftest import Kubectl
from tests.cluster.evidence import Evidence
from tests.cluster.kept import KIND, SECRET, Install, Load, Replica
from tests.cluster.namespace import Namespace
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.test_pins_deployment import placed
from tests.cluster.upstream import Upstream
from tests.cluster.workloads import deployment
from tests.deploy.manifests import DEPLOY, INSTALL, objects
from tests.support.figures import FIGURE
from tests.support.until import until
from webhook.core.registration import NAME

EARLIER: Final = "dc3e649ca783dd6b4ee1b70769abc5d03f5b80d5"
"""The first state that came with manifests and kept its own certificates."""


@pytest.fixture(scope="module")
def plane() -> Iterator[Running]:
    """A control plane for this module: two versions are installed in it."""
    with control_plane() as running:
        yield running


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A folder with the earlier state's `webhook` and `deploy`."""
    asked = ["git", "-C", str(DEPLOY.parent), "archive", EARLIER, "webhook", "deploy/install.yaml"]
    try:
        made = subprocess.run(asked, capture_output=True, timeout=60, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip(f"THIS CLONE HAS NO HISTORY: an upgrade from {EARLIER[:7]} is not tried (git fetch --unshallow)")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder := tmp_path / "earlier", filter="data")
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    look = [sys.executable, "-P", "-c", "import webhook; print(webhook.__path__[0])"]
    seen = subprocess.run(look, env=environ, capture_output=True, text=True, check=True, cwd="/")
    assert seen.stdout.strip() == str(folder / "webhook")
    return folder


def registered(plane: Running) -> list[Any]:
    """All that the API server is told."""
    return list(plane.api.get(KIND, NAME)["webhooks"])


def leading_out(manifests: Path, port: int) -> str:
    """What is installed, where processes beside the cluster are its Pods, and where no call may fail."""
    made = objects(manifests.read_text())
    for one in made:
        if (one["kind"], one["metadata"]["name"]) == ("Service", NAME):
            one["spec"] = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        for webhook in one.get("webhooks", ()):
            webhook["failurePolicy"] = "Fail"
            webhook["timeoutSeconds"] = 10
            webhook["clientConfig"]["service"]["port"] = port
    return yaml.safe_dump_all(made)


# Six processes start, three of them one after another.
def test_an_upgrade_under_load_loses_no_call_and_takes_over_what_the_earlier_one_wrote(
    plane: Running,
    namespace: Namespace,
    upstream: Upstream,
    earlier: Path,
    kubectl: Kubectl,
    tmp_path: Path,
    evidence: Evidence,
    record_property: Callable[[str, object], None],
) -> None:
    folder = tmp_path / "install"
    (folder / "logs").mkdir(parents=True)
    (folder / "moorage.yaml").write_text(configuration(upstream.host))
    kubectl("apply", "-f", earlier / "deploy" / "install.yaml")
    account = with_token(plane, SERVER, folder)

    def replicas(version: str, **environ: str) -> list[Replica]:
        names = [f"{version}-{number}" for number in range(3)]
        return [Replica(name, folder, account.kubeconfig, "1s", environ=environ) for name in names]

    old, new = replicas("earlier", PYTHONPATH=str(earlier)), replicas("present")
    pair = trustme.CA().issue_cert("localhost")
    pair.private_key_and_cert_chain_pem.write_to_path(str(folder / "unused.pem"))
    with ExitStack() as ending:
        for one in (*old, *new):
            evidence.add_log(one.log)
            ending.callback(one.end)
        for one in old:
            one.start()
        backends = {one.name: one.backend for one in (*old, *new)}
        balancer = ending.enter_context(Balancer.running(folder / "logs", backends, folder / "unused.pem"))
        port = balancer.port("connections", len(backends))
        for text, manifests in (("earlier", earlier / "deploy" / "install.yaml"), ("present", INSTALL)):
            (folder / f"{text}.yaml").write_text(leading_out(manifests, port))
        kubectl("apply", "-f", folder / "earlier.yaml")
        made = Install(plane.api, old)
        made.await_ready()
        until("they get calls", lambda: {one.name for one in old} <= balancer.up())
        until("conditions are made", lambda: all("matchConditions" in one for one in registered(plane)))

        first = upstream.push("team/app", "stable")
        image = upstream.image("team/app", "stable")
        namespace.create(deployment("app", image))
        until("it has a Pod", lambda: namespace.images("app") == placed(first))
        before = (made.secret()["data"], registered(plane))

        with Load(plane.api, namespace.name, image=image).running() as load:
            until("Pods are created", lambda: load.count > 20)
            kubectl("apply", "-f", folder / "present.yaml")
            for gone, come in zip(old, new, strict=True):
                come.start()
                come.await_ready()
                until(f"{come.name} gets calls", lambda come=come: come.name in balancer.up())  # type: ignore[misc]
                assert gone.terminate() == 0
            seen = load.count
            until("calls go on", lambda: load.count > seen + 50)
        record_property(FIGURE, f"{load.count} Pods created during an upgrade, {len(load.failed)} of them refused")
        assert load.failed == []
        # Conditions of another form would be made anew, on purpose; there is none yet.
        assert (made.secret()["data"], registered(plane)) == before

        # What the earlier one pinned holds, whatever its tag names now, and needs no registry.
        assert upstream.push("team/app", "stable") != first
        upstream.stop()
        namespace.scale("Deployment", "app", 3)
        until("it has three Pods", lambda: len(namespace.objects("Pod", app="app")) == 3)
        assert namespace.images("app") == placed(first)
        # Nobody among the present ones found anything to mend.
        assert {line for one in new for line in one.problems("certificates not kept")} == set()
        assert plane.api.get("Lease", SECRET, HOME)
