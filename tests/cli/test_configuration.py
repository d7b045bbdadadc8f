"""The configuration as the command line finds it: files, flags, variables, and what it says of mistakes."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

HEAD = "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\n"
POD = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: registry.example.com/team/app:1}]}\n"
RULE = "registry.example.com/**=localhost:30081"


def named(name: str) -> str:
    return f"{HEAD}rules: [{{name: {name}, images: [registry.example.com/**]}}]\n"


@pytest.fixture
def bare(shell: Shell) -> Shell:
    """A folder without a configuration."""
    (shell.folder / "moorage.yaml").unlink()
    return shell


def rule_that_decides(shell: Shell, *more: str) -> str:
    assert shell.type("explain", "registry.example.com/team/app:1", "--offline", "-o", "json", *more) == 0
    rule: str = json.loads(shell.out)["rule"]
    return rule


def test_the_file_is_named_or_in_the_environment_or_here(bare: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.write("moorage.yaml", named("here"))
    assert rule_that_decides(bare) == "here"
    monkeypatch.setenv("MOORAGE_CONFIG", bare.write("elsewhere.yaml", named("environment")))
    assert rule_that_decides(bare) == "environment"
    assert rule_that_decides(bare, "--config", bare.write("third.yaml", named("option"))) == "option"
    assert rule_that_decides(bare, "--rule", RULE) == "rule-1"


def test_a_file_that_the_environment_names_in_vain_is_told_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_CONFIG", "nosuch.yaml")
    assert shell.type("config", "validate") == 2
    assert shell.err == "nosuch.yaml:1:1: cannot be read: No such file or directory ($MOORAGE_CONFIG names it)\n"


COMMANDS = [
    ["check", "--offline", "pod.yaml"],
    ["explain", "--offline", "registry.example.com/team/app:1"],
    ["config", "validate"],
    ["config", "show"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_rule_on_the_command_line_is_enough(bare: Shell, words: list[str]) -> None:
    bare.write("pod.yaml", POD)
    assert bare.type(*words, "--rule", RULE) == 0


@pytest.mark.parametrize("words", [*COMMANDS, ["resolve", "nginx"], ["serve"]], ids=" ".join)
def test_without_any_configuration_the_smallest_is_shown(bare: Shell, words: list[str]) -> None:
    bare.write("pod.yaml", POD)
    if Path("/etc/moorage/moorage.yaml").exists():
        pytest.skip("this machine has a configuration")
    assert bare.type(*words) == 2
    assert bare.err.startswith("moorage: there is no configuration: give one with --config FILE, or a rule with --rule")
    smallest = bare.err.split("\n\n")[1]
    bare.write("moorage.yaml", smallest)
    assert bare.type("config", "validate") == 0


@pytest.mark.parametrize("words", [*COMMANDS, ["resolve", "nginx"], ["serve"]], ids=" ".join)
def test_every_command_tells_all_mistakes_each_at_the_start_of_a_line(bare: Shell, words: list[str]) -> None:
    bare.write("pod.yaml", POD)
    bare.write("moorage.yaml", f"{HEAD}rules:\n- {{name: a, image: [x]}}\ntargts: {{}}\n")
    assert bare.type(*words) == 2
    assert bare.err.splitlines() == [
        "moorage.yaml:4:3: rules[0].images: this key is missing",
        'moorage.yaml:4:13: rules[0].image: unknown key (did you mean "images"?)',
        'moorage.yaml:5:1: targts: unknown key (did you mean "targets"?)',
    ]
    assert bare.out == ""


def test_a_mistake_in_a_flag_names_the_flag(bare: Shell) -> None:
    assert bare.type("config", "validate", "--rule", "nginx=cache", "--rule", "z") == 2
    assert bare.err.splitlines() == [
        '--rule \'nginx=cache\': "nginx" is no registry host (did you mean "docker.io/library/nginx"?)',
        "--rule 'nginx=cache': there is no target \"cache\", and it is no host",
        "--rule 'z': this is no rule; write it as 'registry.example.com/**=localhost:30081'",
    ]


def test_variables_come_from_the_option_before_the_environment_before_the_file(
    bare: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = "sha256:" + "a" * 64
    bare.write("pod.yaml", POD.replace(":1}", f"@{digest}}}"))
    bare.write(
        "moorage.yaml",
        HEAD
        + """\
vars:
  region: eu
  regional: {from: region, map: {eu: eu.example.com, us: us.example.com, ap: ap.example.com}}
targets: {near: {image: "{regional}/{path}"}}
rules: [{name: a, images: [registry.example.com/**], targets: [near]}]
""",
    )

    def host(*more: str) -> str:
        assert bare.type("check", "--offline", "-o", "images", "pod.yaml", *more) == 0
        return bare.out.partition("/")[0]

    assert host() == "eu.example.com"
    monkeypatch.setenv("MOORAGE_VAR_REGION", "us")
    assert host() == "us.example.com"
    assert host("--set", "region=ap") == "ap.example.com"
    assert bare.type("check", "--offline", "pod.yaml", "--set", "region=mars") == 2
    assert (
        bare.err
        == 'moorage.yaml:5:33: vars.regional.map: no entry for "mars", the value of region (there is eu, us, ap)\n'
    )
    monkeypatch.setenv("MOORAGE_VAR_REGION", "mars")
    assert bare.type("config", "validate") == 2


def test_the_namespace_is_that_of_objects_that_name_none(bare: Shell) -> None:
    bare.write("moorage.yaml", f"{HEAD}rules: [{{name: a, images: [registry.example.com/**], namespaces: [shop]}}]\n")
    pod = POD.replace("spec:", "metadata: {namespace: other}\nspec:")
    bare.write("pods.yaml", f"{POD}---\n{pod}")
    assert bare.type("check", "--offline", "-o", "json", "-n", "shop", "pods.yaml") == 0
    objects = json.loads(bare.out)["objects"]
    assert [(one["namespace"], one["images"][0]["rule"]) for one in objects] == [("shop", "a"), ("other", None)]


@pytest.mark.parametrize("command", [("check", "pod.yaml"), ("explain", "nginx"), ("resolve", "nginx")], ids=" ".join)
@pytest.mark.parametrize("name", ["Shop", "team/web", "shop ", "-"])
def test_a_namespace_that_cannot_be_is_refused(command: tuple[str, ...], name: str, bare: Shell) -> None:
    assert bare.type(*command, f"--namespace={name}") == 2
    assert f"'{name}' is no name of a namespace" in bare.err


def test_what_is_right_is_said_in_a_line(shell: Shell) -> None:
    assert shell.type("config", "validate") == 0
    assert shell.err == "moorage.yaml: fine: 2 rules; registries: registry.example.com, strict.example.com\n"
    assert shell.out == ""


def test_config_alone_tells_its_commands(shell: Shell) -> None:
    assert shell.type("config") == 0
    assert shell.out.startswith("Usage: moorage config ")
    assert all(name in shell.out for name in ("validate", "schema", "show"))
