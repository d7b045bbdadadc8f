"""Commands with a cluster ask registries as its Pods would, for whom may read their pull secrets; else they say so."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cli.conftest import Shell
from tests.support.api import FakeApi
from tests.support.apiserver import api_server
from tests.support.aside import aside
from tests.support.canary import marked
from tests.support.living import put_deployment
from tests.support.registry import FakeRegistry, fake_registry
from tests.support.secrets import login, put_account, put_secret

RIGHT = marked("password-of-reader")
OFFLINE = "not known here: pull secrets (your logins stand in), "
UNREAD = "pull secrets of namespace shop (you could not read them: your logins stand in)"


class World:
    """A cluster with a Deployment whose Pods need a login, the registry, and a person with a shell."""

    def __init__(self, shell: Shell, registry: FakeRegistry, api: FakeApi) -> None:
        self.shell = shell
        self.registry = registry
        self.api = api
        self.image = f"{registry.host}/team/app:stable"
        self.digest = registry.push()
        registry.login = "basic"
        host = f'"{registry.host}": {{plainHTTP: true, allowLoopback: true}}'
        shell.write(
            "moorage.yaml",
            "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\n"
            f"registries: {{{host}}}\n"
            f'rules: [{{name: mine, images: ["{registry.host}/**"], targets: ["localhost:30081"]}}]\n',
        )
        put_deployment(api, "web", self.image)

    def secret(self, password: str = RIGHT) -> None:
        put_secret(self.api, "pull", {self.registry.host: login("reader", password)})

    def log_in(self) -> None:
        """As the person."""
        auths = {"auths": {self.registry.host: login("writer", marked("password-of-writer"))}}
        self.shell.write("home/.docker/config.json", json.dumps(auths))

    @property
    def result(self) -> tuple[str, str]:
        (one,) = json.loads(self.shell.out)["objects"]
        return one["images"][0]["to"], one["images"][0]["action"]

    @property
    def placed(self) -> str:
        return f"localhost:30081/team/app@{self.digest}"


@pytest.fixture
def world(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    api = FakeApi()
    with ExitStack() as running:
        registry = running.enter_context(aside(fake_registry()))
        monkeypatch.setenv("KUBECONFIG", str(running.enter_context(api_server(api, shell.folder))))
        yield World(shell, registry, api)


def test_check_of_live_objects_uses_their_pull_secrets(world: World) -> None:
    world.secret()
    assert world.shell.type("check", "deploy/web", "-o", "json") == 0
    assert world.result == (world.placed, "rewritten")
    assert world.shell.err.startswith("not known here: health of targets\n")
    assert RIGHT not in world.shell.out + world.shell.err


def test_what_admission_could_not_do_is_not_done_with_the_persons_own_logins(world: World) -> None:
    world.secret(marked("canary-of-another"))
    world.log_in()
    assert world.shell.type("check", "deploy/web", "-o", "json") == 3
    assert world.result[1] == "failed"
    assert "canary" not in world.shell.out + world.shell.err


def test_logins_stand_in_where_the_person_may_not_read_secrets_and_that_is_said(world: World) -> None:
    world.secret()
    world.log_in()
    world.api.forbidden = {"secrets"}
    assert world.shell.type("check", "deploy/web", "-o", "json") == 0
    assert world.result == (world.placed, "rewritten")
    assert world.shell.err.startswith(f"not known here: {UNREAD}, health of targets\n")


def test_manifests_are_checked_with_the_clusters_secrets_where_the_cluster_is_asked(world: World) -> None:
    world.secret()
    put_account(world.api, "pull", name="builder")
    world.shell.write(
        "app.yaml",
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: a, namespace: shop}}, spec: {{serviceAccountName: builder, containers: [{{name: c, image: '{world.image}'}}]}}}}",
    )
    put = {"moorage.yaml": (world.shell.folder / "moorage.yaml").read_text()}
    world.api.objects["/api/v1/namespaces/moorage-system/configmaps/moorage"] = {"data": put}
    assert world.shell.type("check", "--from-cluster", "-f", "app.yaml", "-o", "json") == 0
    assert world.result == (world.placed, "rewritten")
    assert world.shell.type("check", "-f", "app.yaml", "-o", "json") == 3
    assert OFFLINE in world.shell.err


def test_explain_names_the_kind_and_the_secret_that_is_missing(world: World) -> None:
    assert world.shell.type("explain", world.image, "--owner", "deploy/web", "-n", "shop") == 3
    assert "pull secret pull: it is not there" in world.shell.out
    world.secret()
    assert world.shell.type("explain", world.image, "--owner", "deploy/web", "-n", "shop", "-o", "json") == 0
    assert json.loads(world.shell.out)["credential"] == "pod"


def test_explain_says_when_logins_stand_in(world: World) -> None:
    world.log_in()
    world.api.forbidden = {"secrets"}
    assert world.shell.type("explain", world.image, "--owner", "deploy/web", "-n", "shop", "-o", "json") == 0
    assert json.loads(world.shell.out)["credential"] == "docker-config"
    assert f"not known here: {UNREAD}" in world.shell.err


def test_without_a_cluster_and_offline_the_words_are_the_same_as_ever(world: World) -> None:
    world.secret()
    assert world.shell.type("check", "deploy/web", "--offline") == 0
    assert "pull secrets (your logins stand in), health of targets" in world.shell.err
    assert [path for path in world.api.asked if "secrets" in path] == []
