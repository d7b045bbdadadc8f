"""Parts are built once, kept outside the repository, and missed loudly."""

from pathlib import Path

import pytest

from tests.parts import PARTS, Joined, MissingPart, Module, Source, cache, debian, part, place
from tests.parts.__main__ import main
from tests.parts.golang import version_of


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MOORAGE_PARTS": "/p", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/p"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/moorage/parts"),
        ({"HOME": "/h"}, "/h/.cache/moorage/parts"),
    ],
)
def test_the_cache_stands_where_the_environment_says(environ: dict[str, str], expected: str) -> None:
    assert cache(environ) == Path(expected)


def test_a_missing_part_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_PARTS", str(tmp_path))
    with pytest.raises(MissingPart, match="'registry' is not built; run `make parts`"):
        part("registry")


def test_a_change_of_the_source_makes_another_part(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main")
    before = Source(tmp_path).key
    (tmp_path / "README.md").write_text("no source")
    assert Source(tmp_path).key == before
    (tmp_path / "main.go").write_text("package other")
    assert Source(tmp_path).key != before


def test_what_is_built_is_not_built_again_and_nothing_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    environ = {"MOORAGE_PARTS": str(tmp_path), "HOME": str(tmp_path), "PATH": ""}
    for name in PARTS:
        place(name, environ).parent.mkdir()
        place(name, environ).touch()
    assert main([], environ) == 0
    assert capfd.readouterr() == ("", "")


def test_an_unknown_part_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["nosuch"], {"MOORAGE_PARTS": str(tmp_path)}) == 2
    assert "no such part: nosuch; there are registry, oracle, crane, pause, kwok," in capfd.readouterr().err


def test_kubernetes_says_the_version_that_it_is_built_from() -> None:
    made_from = PARTS["cluster"]
    assert isinstance(made_from, Source)
    assert made_from.stamps == tuple(
        f"-X=k8s.io/component-base/version.{name}={value}"
        for name, value in (("gitVersion", "v1.36.3"), ("gitMajor", "1"), ("gitMinor", "36"))
    )
    (kwok, stages) = (PARTS["kwok"], PARTS["kwok-stages"])
    assert isinstance(kwok, Module)
    assert isinstance(stages, Joined)
    assert kwok.version == stages.version


def test_controllers_of_cert_manager_are_of_the_version_of_their_definitions() -> None:
    (controllers, definitions) = (PARTS["certmanager"], PARTS["certmanager-crds"])
    assert isinstance(controllers, Source)
    assert isinstance(definitions, Joined)
    required = (controllers.folder / "go.mod").read_text()
    assert f"{definitions.module} {definitions.version}\n" in required


def test_a_go_that_does_not_run_counts_as_none(tmp_path: Path) -> None:
    assert version_of(tmp_path / "go") is None


def test_packages_are_named_where_they_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert debian.main() == 1
    assert "this is no Debian; install the same programs by other means: buildah," in capfd.readouterr().err
