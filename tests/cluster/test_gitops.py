"""Tools that keep the manifests in Git and apply them again and again, beside a server that keeps its part of them.

Neither Argo CD nor Flux runs here: kubectl does to the API server what they do, under the names that they have there. Whether
they would see a difference is what `kubectl diff` sees: by the annotation of the last apply, or by a dry run on the server.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from shutil import copytree
from typing import Any, Final

import pytest
import trustme
import yaml

from tests.cluster.account import SERVER, Account, with_token
from tests.cluster.balancer import Balancer
from tests.cluster.configuration import configuration
from tests.cluster.conftest import Kubectl
from tests.cluster.kept import KIND, Install, Load, Replica
from tests.cluster.namespace import Namespace
from tests.cluster.real.plane import Running, control_plane
from tests.deploy.manifests import DEPLOY, INSTALL, KUBECTL, Object, objects, of_kind, rendered
from tests.support.figures import FIGURE
from tests.support.until import until
from webhook.core.registration import NAME

ROUNDS: Final = 6
SERVER_SIDE: Final = ("apply", "--server-side", "--force-conflicts")
TOOLS: Final = {
    "kubectl": ("apply",),
    "Flux": (*SERVER_SIDE, "--field-manager=kustomize-controller"),
    "Argo CD": (*SERVER_SIDE, "--field-manager=argocd-controller"),
}
WRITTEN: Final = "mutatingwebhookconfigurations"


@pytest.fixture(scope="module")
def plane() -> Iterator[Running]:
    """A control plane for this module: the default install is the whole of it."""
    with control_plane() as running:
        yield running


class Git(Install):
    """The default install as a tool has it in Git. What runs of it is a process beside the cluster."""

    def __init__(self, plane: Running, kubectl: Kubectl, folder: Path, port: int) -> None:
        super().__init__(plane.api, ())
        made = objects(INSTALL.read_text())
        ports = [{"port": port}]
        of_kind(made, "Service")["spec"] = {"type": "ExternalName", "externalName": "localhost", "ports": ports}
        registration = of_kind(made, KIND)
        for one in registration["webhooks"]:
            one.update(failurePolicy="Fail", timeoutSeconds=10)
            one["clientConfig"]["service"]["port"] = port
        self.registration: Object = registration
        self.account: Account | None = None
        self._every = made
        self._kubectl = kubectl
        self._kubeconfig = plane.kubeconfig
        self._file = folder / "git.yaml"

    def sync(self, *how: str) -> None:
        """What the tool does each time that it looks."""
        self._file.write_text(yaml.safe_dump_all(self._every))
        self._kubectl(*how, "-f", self._file)

    def sync_registration(self, *how: str, **change: Any) -> None:
        """The same with the registration alone, when Git says something else of each webhook's clientConfig."""
        self._kubectl(*how, "-f", self._changed(change))

    def compare_registration(self, apply: str, *how: str, **change: Any) -> str:
        """What the tool sees that differs, as a patch, when it compares in the way in which it applies."""
        asked: list[str | Path] = [KUBECTL, "--kubeconfig", self._kubeconfig, "diff", *how, "-f", self._changed(change)]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        assert (apply, done.stderr) == ("apply", "")
        return done.stdout

    def _changed(self, change: Mapping[str, Any]) -> Path:
        webhooks = [{**one, "clientConfig": {**one["clientConfig"], **change}} for one in self.registration["webhooks"]]
        self._file.write_text(yaml.safe_dump({**self.registration, "webhooks": webhooks}))
        return self._file

    def version(self) -> str:
        """Of the registration: another one with each write that changes it."""
        return str(self.api.get(KIND, NAME)["metadata"]["resourceVersion"])

    def is_whole(self) -> bool:
        """Whether the registration holds all that the server writes."""
        webhooks = self.api.get(KIND, NAME)["webhooks"]
        return self.bundles() == [self.entry("ca.crt")] and all(
            "matchConditions" in one and one["clientConfig"]["service"].get("path", "/mutate") != "/mutate"
            for one in webhooks
        )

    def looks(self) -> int:
        """How often the server has read the registration."""
        return self._calls("get")

    def writes(self) -> int:
        """How often the server has written it."""
        return self._calls("patch")

    def _calls(self, verb: str) -> int:
        assert self.account is not None
        return sum((one.verb, one.status) == (verb, 200) for one in self.account.calls(WRITTEN))


@pytest.fixture(scope="module")
def git(plane: Running, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Git]:
    """Installed, and with a server that keeps its part."""
    folder = tmp_path_factory.mktemp("git")
    (folder / "logs").mkdir()
    (folder / "moorage.yaml").write_text(configuration("registry.invalid"))
    kubectl("apply", "-f", INSTALL)
    account = with_token(plane, SERVER, folder)
    replica = Replica("replica", folder, account.kubeconfig, "1s")
    pair = trustme.CA().issue_cert("localhost")
    pair.private_key_and_cert_chain_pem.write_to_path(str(folder / "unused.pem"))
    with ExitStack() as ending:
        ending.callback(replica.end)
        replica.start()
        backends = {replica.name: replica.backend}
        balancer = ending.enter_context(Balancer.running(folder / "logs", backends, folder / "unused.pem"))
        made = Git(plane, kubectl, folder, balancer.port("connections", 1))
        made.account = account
        made.sync("apply")
        replica.await_ready()
        until("it gets calls", balancer.up)
        until("the registration is whole", made.is_whole)
        yield made


# kubectl sends 24 objects, and then the registration half a dozen times: 7 s.
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_that_applies_it_again_and_again_and_the_server_write_nothing_to_each_other(
    git: Git, namespace: Namespace, tool: str
) -> None:
    how = TOOLS[tool]
    with Load(git.api, namespace.name, threads=2, image="registry.invalid/app:1").running() as load:
        # All of it, and it becomes an owner.
        git.sync(*how)
        assert git.is_whole()
        version, writes = git.version(), git.writes()
        assert git.compare_registration(*how) == ""
        for _ in range(ROUNDS):
            git.sync_registration(*how)
        looks = git.looks()
        until("the server has looked again", lambda: git.looks() > looks + 2)
        seen = load.count
        until("calls go on", lambda: load.count > seen + 20)
    assert (git.version(), git.writes()) == (version, writes)
    assert load.failed == []


# What the page says must not be in Git.
@pytest.mark.parametrize(
    ("how", "change"),
    [
        (TOOLS["Flux"], {"caBundle": "bm9uZQ=="}),
        (TOOLS["Argo CD"], {"service": {"namespace": "moorage-system", "name": "moorage", "path": "/mutate"}}),
        (("replace",), {}),
    ],
    ids=["caBundle", "path", "replace"],
)
def test_what_a_tool_takes_from_the_server_is_mended_each_time_with_one_write_of_each_who_keeps_a_part(
    git: Git,
    namespace: Namespace,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
    how: tuple[str, ...],
    change: dict[str, Any],
) -> None:
    port = git.registration["webhooks"][0]["clientConfig"]["service"]["port"]
    if "service" in change:
        change = {"service": {**change["service"], "port": port}}
    if change:
        (key,) = change
        assert {"caBundle": "caBundle: bm9uZQ==", "service": "path: /mutate\n"}[key] in git.compare_registration(
            *how, **change
        )
    writes, rounds = git.writes(), 3
    with Load(git.api, namespace.name, threads=2, image="registry.invalid/app:1").running() as load:
        for _ in range(rounds):
            git.sync_registration(*how, **change)
            until("authority and path are mended", lambda: git.bundles() == [git.entry("ca.crt")] and is_led(git))
        seen = load.count
        until("calls go on", lambda: load.count > seen + 20)
    record_property(
        FIGURE, f"{request.node.callspec.id}: {len(load.failed)} of {load.count} calls lost in {rounds} syncs"
    )
    # One for authority and path, and at most one for the conditions.
    assert rounds <= git.writes() - writes <= 2 * rounds


def is_led(git: Git) -> bool:
    """Whether callers are sent to the path that is answered."""
    return git.paths() == {f"/mutate/{git.entry('path.secret').split()[0]}"}


def test_an_overlay_may_lie_in_another_repository(tmp_path: Path) -> None:
    """As it is built from a tag of this one, and as an overlay over an overlay."""
    repository, mine = tmp_path / "repository", tmp_path / "mine"
    copytree(DEPLOY, repository / "deploy")
    git = ("git", "-C", repository, "-c", "user.name=tests", "-c", "user.email=tests@example.com")
    for words in (("init", "--quiet", "--initial-branch=main"), ("add", "."), ("commit", "--quiet", "-m", "all")):
        subprocess.run([*git, *words], check=True, timeout=60)
    mine.mkdir()
    for part in ("base", "overlays/customer"):
        file = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "sortOptions": {"order": "fifo"},
            "resources": [f"file://{repository}//deploy/{part}?ref=main"],
            "components": [f"file://{repository}//deploy/components/high-availability?ref=main"],
        }
        (mine / "kustomization.yaml").write_text(yaml.safe_dump(file))
        made = objects(rendered(mine))
        assert [one["kind"] for one in made][:2] == [KIND, "Namespace"]
        spread = of_kind(made, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert spread[0]["whenUnsatisfiable"] == "DoNotSchedule"
