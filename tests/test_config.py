"""Configurations: what a good one comes to, and every kind of mistake told at once in its place."""

from pathlib import Path

import pytest

from webhook.config import BadConfiguration, Loaded, load

HEAD = "apiVersion: moorage.dev/v1alpha1\nkind: Configuration\n"
RULE = "rules:\n  - name: private\n    images: [registry.example.com/**]\n    targets: [localhost:30081]\n"


def loaded(tmp_path: Path, text: str, **environ: str) -> Loaded:
    file = tmp_path / "moorage.yaml"
    file.write_text(text)
    return load(file, environ=environ)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        loaded(tmp_path, text)
    return [f"{one.line}:{one.column} {one.where}: {one.message}" for one in caught.value.problems]


def test_the_smallest_configuration_works(tmp_path: Path) -> None:
    found = loaded(tmp_path, HEAD + RULE)
    (rule,) = found.rules.rules
    assert (rule.name, rule.targets[0].place.template, rule.targets[0].pull) == (
        "private",
        "localhost:30081/{path}",
        "anonymous",
    )
    assert found.registries.literal.keys() == {"registry.example.com"}
    assert found.warnings == ()


def test_a_target_on_the_node_is_written_and_never_contacted(tmp_path: Path) -> None:
    assert loaded(tmp_path, HEAD + RULE).registries.find("localhost:30081") is None


VARS = "vars:\n  region: eu\n  host: {from: region, map: {eu: eu.example.net, us: us.example.net}}\n"
TARGET = 'targets:\n  near: {image: "{host}/{path}"}\n' + RULE.replace("localhost:30081", "near")


@pytest.mark.parametrize(
    ("environ", "host"), [({}, "eu.example.net"), ({"MOORAGE_VAR_REGION": "us"}, "us.example.net")]
)
def test_variables_fill_targets_and_the_environment_wins(tmp_path: Path, environ: dict[str, str], host: str) -> None:
    assert loaded(tmp_path, HEAD + VARS + TARGET, **environ).rules.targets[0].place.host == host


def test_names_that_look_like_numbers_stay_names(tmp_path: Path) -> None:
    text = HEAD + RULE + '    tags: [1.10, 012, no, "22:22"]\n'
    assert loaded(tmp_path, text).rules.rules[0].tags.patterns == ("1.10", "012", "no", "22:22")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + RULE.replace("targets", "target"), ['6:5 rules[0].target: unknown key (did you mean "targets"?)']),
        (HEAD + RULE + "resolving: {fresh: soon}\n", ["7:20 resolving.fresh: 'soon' is no duration; write it as 500ms, 4s, 5m or 24h"]),
        (HEAD + RULE + "    percent: 101\n", ["7:14 rules[0].percent: less than or equal to 100"]),
        (HEAD + RULE + "    onFailure: admitt\n", ["7:16 rules[0].onFailure: 'admit' or 'refuse' is wanted (did you mean \"admit\"?)"]),
        (HEAD + RULE.replace("localhost:30081", "kraken"), ['6:15 rules[0].targets[0]: there is no target "kraken", and it is no host']),
        (HEAD + RULE.replace("registry.example.com/**", "nginx"), ['5:14 rules[0].images[0]: "nginx" names no registry host; did you mean "docker.io/library/nginx"?']),
        (HEAD + RULE + RULE.removeprefix("rules:\n"), ['7:11 rules[1].name: another rule is called "private" already']),
        (HEAD + 'targets:\n  a: {image: "x.io/{nope}"}\n' + RULE, ["4:14 targets.a.image: there is no placeholder or variable {nope} (there is registry, path, repository)"]),
        (HEAD + VARS.replace("eu: eu", "de: eu") + TARGET, ['5:29 vars.host.map: no entry for "eu", the value of region (there is de, us)', "7:17 targets.near.image: there is no placeholder or variable {host} (there is registry, path, repository, region)"]),
        (HEAD + "registries:\n  a.io: {ca: gone.pem}\n" + RULE, ["4:14 registries.a.io.ca: gone.pem cannot be read: No such file or directory"]),
        (HEAD + RULE + "kind: Configuration\n", ['7:1 : the key "kind" stands here twice; first on line 2']),
        ("- a\n", ["1:1 : the file must hold a mapping"]),
        (HEAD + "rules: [\n", ["4:1 : did not find expected node content"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_its_place(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert mistakes(tmp_path, text) == expected


def test_mistakes_of_every_sort_are_told_at_once(tmp_path: Path) -> None:
    text = (
        HEAD
        + "rules:\n  - name: a\n    images: [nginx]\n    target: [x]\n    percent: 200\n  - name: a\n    images: [r.io/**]\n    targets: [krak]\n"
    )
    assert [line.partition(" ")[0] for line in mistakes(tmp_path, text)] == ["5:14", "6:5", "7:14", "8:11", "10:15"]


def test_two_registries_under_one_name_are_a_warning_for_digests_and_an_error_for_tags(tmp_path: Path) -> None:
    two = RULE.replace("[registry.example.com/**]", "[a.example.com/**, b.example.com/**]")
    (warning,) = loaded(tmp_path, HEAD + two).warnings
    assert "a.example.com" in warning
    assert "b.example.com" in warning
    assert len(mistakes(tmp_path, HEAD + two + "    write: tag\n")) == 1


def test_a_lock_file_gives_digests(tmp_path: Path) -> None:
    (tmp_path / "lock.yaml").write_text(f"registry.example.com/a: sha256:{'a' * 64}\n")
    found = loaded(tmp_path, HEAD + RULE + "digests: lock.yaml\n")
    assert found.rules.locked == {"registry.example.com/a:latest": f"sha256:{'a' * 64}"}
    assert tmp_path / "lock.yaml" in found.files
