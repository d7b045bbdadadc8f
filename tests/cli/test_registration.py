"""`config registration`: what is printed, for which options, and what is told when they cannot be."""

import json
from typing import Any

import pytest
import trustme
import yaml

from tests.cli.conftest import HOST, Shell
from tests.support.cel import lets_through
from webhook.core.registration import NEVER

POD = {"metadata": {}, "spec": {"containers": [{"name": "a", "image": f"{HOST}/team/app:1"}]}}
OTHER = {"metadata": {}, "spec": {"containers": [{"name": "a", "image": "ghcr.io/team/app:1"}]}}


def printed(shell: Shell, *options: str) -> Any:
    assert shell.type("config", "registration", "-o", "json", *options) == 0
    return json.loads(shell.out)


def test_it_lets_through_what_the_rules_are_about_and_nothing_else(shell: Shell) -> None:
    made = printed(shell)
    assert shell.err == ""
    assert made["metadata"]["labels"] == {"app.kubernetes.io/name": "moorage"}
    pods, revisions = made["webhooks"]
    assert lets_through(pods["matchConditions"], POD)
    assert not lets_through(pods["matchConditions"], OTHER)
    assert lets_through(revisions["matchConditions"], {"metadata": {}, "spec": {"template": POD}}, kind="Job")
    assert not lets_through(revisions["matchConditions"], {"metadata": {}, "spec": {"template": OTHER}}, kind="Job")


def test_yaml_says_the_same_and_people_can_read_it(shell: Shell) -> None:
    made = printed(shell)
    assert shell.type("config", "registration") == 0
    assert yaml.safe_load(shell.out) == made
    assert "    expression: |\n" in shell.out
    assert "&id" not in shell.out


OPTIONS: list[tuple[list[str], Any]] = [
    ([], {"namespace": "moorage-system", "name": "moorage", "path": "/mutate", "port": 443}),
    (
        ["-n", "tools", "--service", "pins", "--path", "/mutate/abc"],
        {"namespace": "tools", "name": "pins", "path": "/mutate/abc", "port": 443},
    ),
]


@pytest.mark.parametrize(("options", "service"), OPTIONS)
def test_the_service_may_be_elsewhere(shell: Shell, options: list[str], service: Any) -> None:
    made = printed(shell, *options)
    assert [one["clientConfig"]["service"] for one in made["webhooks"]] == [service] * 2
    for one in made["webhooks"]:
        (left_out,) = one["namespaceSelector"]["matchExpressions"]
        assert left_out["values"] == sorted({*NEVER, service["namespace"]})


def test_a_url_and_whom_to_trust(shell: Shell) -> None:
    authority = trustme.CA().cert_pem.bytes().decode()
    shell.write("ca.pem", f"# ours\n{authority}")
    made = printed(shell, "--url", "https://10.0.0.1:8443", "--ca-file", "ca.pem")
    for one in made["webhooks"]:
        assert one["clientConfig"]["url"] == "https://10.0.0.1:8443/mutate"
        assert one["clientConfig"]["caBundle"].startswith("LS0tLS1CRUdJTi")


def test_namespaces_are_left_out_chosen_or_opt_in(shell: Shell) -> None:
    made = printed(
        shell, "--exclude", "build", "--only", "shop", "--only", "app", "--opt-in", "--failure-policy", "Fail"
    )
    assert shell.err == ""
    for one in made["webhooks"]:
        assert one["failurePolicy"] == "Fail"
        left_out, chosen, labelled = one["namespaceSelector"]["matchExpressions"]
        assert "build" in left_out["values"]
        assert chosen["values"] == ["app", "shop"]
        assert labelled == {"key": "moorage.dev/enabled", "operator": "In", "values": ["true"]}


def test_the_server_keeps_what_is_managed_and_makes_its_conditions(shell: Shell) -> None:
    assert printed(shell, "--managed")["metadata"]["labels"]["moorage.dev/managed"] == "true"
    made = printed(shell, "--managed", "--no-conditions")
    assert made["metadata"]["labels"]["moorage.dev/managed"] == "true"
    assert all("matchConditions" not in one for one in made["webhooks"])


WARNED: list[tuple[list[str], str]] = [
    (
        ["--failure-policy", "Fail"],
        "warning: --failure-policy Fail in all namespaces: while Moorage is down no Pod starts",
    ),
    (["--rule", "*/team/**=localhost:1"], "warning: no conditions: a rule may match any host"),
]


@pytest.mark.parametrize(("options", "warning"), WARNED)
def test_what_is_risky_is_said(shell: Shell, options: list[str], warning: str) -> None:
    printed(shell, *options)
    assert shell.err.splitlines()[-1].startswith(warning)


BAD: list[tuple[list[str], str]] = [
    (["--url", "http://h"], "--url http://h: write it as https://HOST:PORT, as the API server reaches Moorage"),
    (["--path", "mutate"], "--path mutate: it begins with a slash"),
    (["--ca-file", "none.pem"], "--ca-file none.pem: No such file or directory"),
    (["--ca-file", "moorage.yaml"], "--ca-file moorage.yaml: holds no certificate in PEM form"),
    (["--config", "none.yaml"], "none.yaml:1:1: cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("options", "told"), BAD)
def test_what_cannot_be_used_is_named(shell: Shell, options: list[str], told: str) -> None:
    assert shell.type("config", "registration", *options) == 2
    assert shell.err.removeprefix("moorage: ") == f"{told}\n"
    assert shell.out == ""
