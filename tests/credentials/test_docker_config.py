"""What a person is logged in with: where it is found, and what their credential helpers add."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.canary import marked
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.credentials.docker_config import NoDockerConfig, UserLogins, find
from webhook.credentials.helpers import HelperFailed, Helpers

CANARY = marked("hunter2-canary")
ANYONE = Audience("default")
APP = Reference.parse("registry.example.com/team/app:1")


def write(path: Path, config: Mapping[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def login(user: str) -> dict[str, Any]:
    return {"auths": {"registry.example.com": {"username": user, "password": CANARY}}}


def helper(folder: Path, name: str, script: str) -> None:
    """Put a credential helper on the PATH: a small shell script, whose questions ASKED keeps."""
    path = folder / f"docker-credential-{name}"
    write(path, f'#!/bin/sh\nread -r server || true\necho "$1 $server" >>{folder}/ASKED\n{script}\n')
    path.chmod(0o755)


def asked(folder: Path) -> list[str]:
    return (folder / "ASKED").read_text().splitlines()


def environ(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}


def answer(user: str, secret: str = CANARY) -> str:
    return f"""echo '{{"ServerURL":"x","Username":"{user}","Secret":"{secret}"}}'"""


PLACES = [
    ("{home}/.docker/config.json", {}),
    ("{home}/elsewhere/config.json", {"DOCKER_CONFIG": "{home}/elsewhere"}),
    ("{home}/elsewhere/my.json", {"DOCKER_CONFIG": "{home}/elsewhere/my.json"}),
    ("{home}/auth.json", {"REGISTRY_AUTH_FILE": "{home}/auth.json"}),
    ("{home}/run/containers/auth.json", {"XDG_RUNTIME_DIR": "{home}/run"}),
    ("{home}/config/containers/auth.json", {"XDG_CONFIG_HOME": "{home}/config"}),
    ("{home}/.config/containers/auth.json", {}),
    ("{home}/.dockercfg", {}),
]


@pytest.mark.parametrize(("place", "variables"), PLACES, ids=[row[0].removeprefix("{home}/") for row in PLACES])
def test_finds_the_usual_places(tmp_path: Path, place: str, variables: dict[str, str]) -> None:
    path = write(Path(place.format(home=tmp_path)), login("u"))
    config = find({"HOME": str(tmp_path)} | {name: value.format(home=tmp_path) for name, value in variables.items()})
    assert config is not None
    assert config.path == path
    assert [one.username for one in config.logins.lookup(APP.repository)] == ["u"]


def test_docker_comes_before_podman_and_a_config_without_logins_hides_none(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    podman = write(tmp_path / ".config/containers/auth.json", login("podman"))
    docker = write(tmp_path / ".docker/config.json", {"auths": {}, "psFormat": "x"})
    found = find(home)
    assert found is not None
    assert found.path == podman
    write(docker, login("docker"))
    found = find(home)
    assert found is not None
    assert found.path == docker


@pytest.mark.parametrize("name", ["", "config.json"], ids=["folder", "file"])
def test_takes_the_file_that_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / ".docker/config.json", login("home"))
    write(tmp_path / "mine/config.json", login("mine"))
    found = find({"HOME": str(tmp_path)}, chosen=tmp_path / "mine" / name)
    assert found is not None
    assert [one.username for one in found.logins.lookup(APP.repository)] == ["mine"]


@pytest.mark.parametrize(("text", "why"), [(None, "cannot be read"), (f"{{{CANARY}", "must be JSON")])
def test_a_named_file_that_is_unusable_is_an_error(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "mine.json"
    if text is not None:
        write(path, text)
    with pytest.raises(NoDockerConfig, match=why) as caught:
        find({}, chosen=path)
    assert str(path) in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_broken_usual_file_is_passed_over_and_named(tmp_path: Path) -> None:
    broken = write(tmp_path / ".docker/config.json", "{")
    write(tmp_path / ".config/containers/auth.json", login("podman"))
    found = find({"HOME": str(tmp_path)})
    assert found is not None
    assert found.logins
    assert str(broken) in found.problems[0]


def test_nobody_is_logged_in_without_files() -> None:
    assert find({}) is None
    assert UserLogins(None, Helpers({})).peek(APP, ANYONE) == ()


def test_podmans_file_is_looked_up_segment_by_segment(tmp_path: Path) -> None:
    auths = {"registry.example.com/tea": {"username": "wrong"}, "registry.example.com/team": {"username": "right"}}
    path = write(tmp_path / "auth.json", {"auths": auths})
    found = find({"REGISTRY_AUTH_FILE": str(path)})
    assert found is not None
    assert [one.username for one in found.logins.lookup(APP.repository)] == ["right"]


async def test_asks_the_helper_of_a_host_once_and_then_knows(tmp_path: Path) -> None:
    helper(tmp_path, "mine", answer("helped"))
    helper(tmp_path, "store", answer("stored"))
    helpers = {"credHelpers": {"registry.example.com": "mine"}, "credsStore": "store"}
    write(tmp_path / ".docker/config.json", login("filed") | helpers)
    logins = UserLogins(find(environ(tmp_path)), Helpers(environ(tmp_path)))
    assert logins.peek(APP, ANYONE) is None
    soon = asyncio.get_running_loop().time() + 5
    first, second = await asyncio.gather(*(logins.fetch(APP, ANYONE, deadline=soon) for _ in range(2)))
    assert first == second == logins.peek(APP, ANYONE)
    assert [(one.kind, one.username, one.password == CANARY) for one in first] == [
        ("helper", "helped", True),
        ("docker-config", "filed", True),
    ]
    assert asked(tmp_path) == ["get registry.example.com"]
    other = await logins.fetch(Reference.parse("docker.io/library/nginx"), ANYONE, deadline=soon)
    assert [one.username for one in other] == ["stored"]
    assert asked(tmp_path)[1:] == ["get https://index.docker.io/v1/"]
    assert logins.problems == ()


async def test_an_identity_token_is_marked_by_its_user_name(tmp_path: Path) -> None:
    helper(tmp_path, "x", answer("<token>"))
    found = await Helpers(environ(tmp_path)).ask("x", "h.io")
    assert found is not None
    assert found.identity_token == CANARY
    assert not found.username
    assert not found.password


@pytest.mark.parametrize(
    "script",
    ["echo 'credentials not found in native keychain'; exit 1", answer("", ""), answer("u", "")],
    ids=["not found", "empty", "no secret"],
)
async def test_a_helper_may_know_nothing(tmp_path: Path, script: str) -> None:
    helper(tmp_path, "x", script)
    assert await Helpers(environ(tmp_path)).ask("x", "h.io") is None


FAILING = [
    ("absent", None, "docker-credential-x is not on the PATH"),
    ("fails", f"echo {CANARY}; echo {CANARY} >&2; exit 3", "docker-credential-x ended with 3"),
    ("prints something else", f"echo {CANARY}", "printed no credential"),
    ("prints no text", r"""printf '{"Username":"\377"}'""", "printed no credential"),
    ("nests for ever", "head -c 60000 /dev/zero | tr '\\0' '['", "printed no credential"),
    ("prints for ever", "exec cat /dev/zero", "more than any credential is long"),
    ("hangs", "exec <&-; exec sleep 1000", "gave no answer within 0.3 s"),
    ("leaves a child behind", "sleep 1000 & wait", "gave no answer within 0.3 s"),
]


@pytest.mark.parametrize(("script", "why"), [row[1:] for row in FAILING], ids=[row[0] for row in FAILING])
async def test_a_helper_that_fails_is_named_and_not_quoted(tmp_path: Path, script: str | None, why: str) -> None:
    if script is not None:
        helper(tmp_path, "x", script)
    longest = 0.3 if "0.3 s" in why else 10.0
    with pytest.raises(HelperFailed, match=why) as caught:
        await Helpers(environ(tmp_path), longest=longest).ask("x", "h.io")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x y", "-x", "x\n", "a" * 100])
async def test_a_helpers_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(HelperFailed, match="is no name of a credential helper"):
        await Helpers(environ(tmp_path)).ask(name, "h.io")


async def test_a_failing_helper_leaves_what_the_file_holds_and_a_problem(tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {**login("filed"), "credsStore": "gone"})
    logins = UserLogins(find(environ(tmp_path)), Helpers(environ(tmp_path)))
    found = await logins.fetch(APP, ANYONE, deadline=asyncio.get_running_loop().time() + 5)
    assert [one.username for one in found] == ["filed"]
    assert logins.problems == (
        "no login for registry.example.com from its credential helper: docker-credential-gone is not on the PATH",
    )


async def test_an_image_that_cannot_wait_leaves_the_helper_to_the_next(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    helper(tmp_path, "slow", f"read -r go <{gate}; {answer('helped')}")
    write(tmp_path / ".docker/config.json", {"credsStore": "slow"})
    logins = UserLogins(find(environ(tmp_path)), Helpers(environ(tmp_path)))
    now = asyncio.get_running_loop().time()
    assert await logins.fetch(APP, ANYONE, deadline=now) == ()
    assert logins.peek(APP, ANYONE) is None
    await asyncio.to_thread(gate.write_text, "go\n")
    found = await logins.fetch(APP, ANYONE, deadline=now + 5)
    assert [one.username for one in found] == ["helped"]
