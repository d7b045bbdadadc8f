"""The command line against the distribution registry v3: what a user types, and what an outage looks like to them."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.cli.conftest import Shell
from tests.real import registry as real
from tests.real import tokens
from tests.real.conftest import PASSWORDS

pytestmark = pytest.mark.parts

LOGIN = b64encode(f"reader:{PASSWORDS['reader']}".encode()).decode()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    for name in ("MOORAGE_CONFIG", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


def configure(shell: Shell, host: str, settings: str) -> None:
    shell.write(
        "moorage.yaml",
        f"""\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
registries:
  "{host}": {{{settings}}}
rules:
  - {{name: private, images: ["{host}/**"], targets: [localhost:30081]}}
""",
    )
    shell.write(
        "app.yaml",
        f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  template:
    spec:
      containers:
        - name: app
          image: {host}/team/app:stable # rolled out by Keel
        - name: proxy
          image: envoyproxy/envoy:v1.36
""",
    )


def test_check_explain_and_resolve_agree(shell: Shell, open_registry: real.RealRegistry) -> None:
    digest = open_registry.push_image("team/app", "stable")
    image = f"{open_registry.host}/team/app:stable"
    configure(shell, open_registry.host, "plainHTTP: true, allowLoopback: true")

    assert shell.type("check", "app.yaml", "-o", "json") == 0
    app, proxy = json.loads(shell.out)["objects"][0]["images"]
    assert (app["to"], app["source"]) == (f"localhost:30081/team/app@{digest}", "fresh")
    assert (proxy["to"], proxy["reason"]) == (None, "NoRule")

    assert shell.type("explain", image, "-o", "json") == 0
    told = json.loads(shell.out)
    assert (told["digest"], told["to"], told["credential"]) == (digest, app["to"], "anonymous")
    assert [(one["method"], one["code"]) for one in told["requests"]] == [("HEAD", "200")]

    assert shell.type("resolve", image, "-o", "json") == 0
    (item,) = json.loads(shell.out)["items"]
    assert (item["digest"], item["requests"], item["mediaType"]) == (digest, 1, real.OCI_MANIFEST)

    assert shell.type("check", "app.yaml", "-o", "yaml") == 0
    assert shell.out == (shell.folder / "app.yaml").read_text().replace(image, app["to"])


def test_resolve_tells_the_platforms_of_an_index(shell: Shell, open_registry: real.RealRegistry) -> None:
    digest, _ = open_registry.push_index("team/index", "v1")
    configure(shell, open_registry.host, "plainHTTP: true, allowLoopback: true")
    assert shell.type("resolve", f"{open_registry.host}/team/index:v1", "--platforms", "-o", "json") == 0
    (item,) = json.loads(shell.out)["items"]
    assert (item["digest"], item["platforms"]) == (digest, ["linux/amd64", "linux/arm64"])


def test_a_lock_holds_while_the_tag_moves(shell: Shell, open_registry: real.RealRegistry) -> None:
    old = open_registry.push_image("team/app", "stable", architecture="amd64")
    configure(shell, open_registry.host, "plainHTTP: true, allowLoopback: true")
    with (shell.folder / "moorage.yaml").open("a") as file:
        file.write("digests: lock.yaml\n")
    assert shell.type("check", "app.yaml", "--lock", "lock.yaml") == 0
    new = open_registry.push_image("team/app", "stable", architecture="arm64")
    assert old != new
    assert shell.type("check", "app.yaml", "-o", "json") == 0
    image = json.loads(shell.out)["objects"][0]["images"][0]
    assert (image["digest"], image["source"], image["action"]) == (old, "locked", "rewritten")


def test_the_login_of_docker_opens_a_registry_with_passwords(
    shell: Shell, password_registry: real.RealRegistry
) -> None:
    digest = password_registry.push_image("team/app", "stable")
    configure(shell, password_registry.host, "plainHTTP: true, allowLoopback: true")
    assert shell.type("check", "app.yaml") == 3
    assert (
        f"app.yaml:9: {password_registry.host}/team/app:stable kept as is, not resolved (AbsentOrDenied)" in shell.err
    )

    shell.write("home/.docker/config.json", json.dumps({"auths": {password_registry.host: {"auth": LOGIN}}}))
    assert shell.type("check", "app.yaml", "-o", "images") == 0
    assert f"localhost:30081/team/app@{digest}" in shell.out.splitlines()


def test_tokens_and_an_authority_of_ones_own(
    shell: Shell, token_registry: real.RealRegistry, token_server: tokens.TokenServer, authority: trustme.CA
) -> None:
    digest = token_registry.push_image("team/app", "stable")
    authority.cert_pem.write_to_path(str(shell.folder / "ca.pem"))
    image = f"{token_registry.host}/team/app:stable"
    shell.write("logins.json", json.dumps({"auths": {f"https://{token_registry.host}": {"auth": LOGIN}}}))

    configure(shell, token_registry.host, "allowLoopback: true, ca: ca.pem")
    assert shell.type("explain", image, "--docker-config", "logins.json") == 3
    assert "LoginRefused" in shell.out
    assert token_server.host in shell.out

    configure(shell, token_registry.host, f"allowLoopback: true, ca: ca.pem, realms: ['{token_server.host}']")
    assert shell.type("explain", image, "--docker-config", "logins.json", "-o", "json") == 0
    told = json.loads(shell.out)
    assert (told["digest"], told["credential"]) == (digest, "docker-config")
    assert [(one["method"], one["code"]) for one in told["requests"]] == [
        ("HEAD", "401"),
        ("GET", "200"),
        ("HEAD", "200"),
    ]
    assert PASSWORDS["reader"] not in shell.out + shell.err


@pytest.fixture
def own_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.RealRegistry]:
    """One to be stopped. It has to be started before `shell` moves the home."""
    with real.running(tmp_path_factory.mktemp("own")) as registry:
        yield registry


def test_a_registry_that_is_gone_is_named_and_ends_with_3(own_registry: real.RealRegistry, shell: Shell) -> None:
    own_registry.push_image("team/app", "stable")
    configure(shell, own_registry.host, "plainHTTP: true, allowLoopback: true")
    assert shell.type("check", "app.yaml") == 0
    own_registry.stop()
    assert shell.type("check", "app.yaml", "-o", "json") == 3
    image = json.loads(shell.out)["objects"][0]["images"][0]
    assert (image["action"], image["reason"], image["to"]) == ("failed", "Unavailable", None)
    assert f"{own_registry.host}/team/app:stable kept as is, not resolved (Unavailable)" in shell.err
