"""`moorage check` without a registry: what is shown, what is written, how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from webhook.cli.main import run

D = "sha256:" + "d" * 64
RULE = ["--rule", "registry.example.com/**=localhost:30081"]
MANIFEST = f"""\
# two documents
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  template:
    spec:
      containers:
      - name: web
        image: "registry.example.com/team/web@{D}"   # keep this
      - {{name: side, image: nginx}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: other}}"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "app.yaml"
    file.write_text(MANIFEST)
    return file


def test_json_shows_each_image_with_its_place(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "-f", str(manifest), "--offline", "-o", "json", *RULE]) == 0
    (one,) = json.loads(capsys.readouterr().out)["objects"]
    assert (one["kind"], one["name"], one["namespace"], one["allowed"]) == ("Deployment", "web", "default", True)
    image = one["images"][0]
    assert {key: image[key] for key in ("pointer", "line", "container", "to", "action", "rule", "source")} == {
        "pointer": "/spec/template/spec/containers/0/image",
        "line": 10,
        "container": "web",
        "to": f"localhost:30081/team/web@{D}",
        "action": "rewritten",
        "rule": "rule-1",
        "source": "given",
    }
    assert one["images"][1]["reason"] == "NoRule"


def test_yaml_changes_the_image_and_nothing_else(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(manifest), "--offline", "-o", "yaml", *RULE]) == 0
    assert capsys.readouterr().out == MANIFEST.replace("registry.example.com/team/web@", "localhost:30081/team/web@")


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "patch", "images", "junit", "sarif", "github"])
def test_the_exit_code_does_not_depend_on_the_form(manifest: Path, form: str) -> None:
    assert run(["check", str(manifest), "--offline", "-o", form, *RULE]) == 0
    assert run(["check", str(manifest), "--offline", "-o", form, "--exit-code", *RULE]) == 1


def test_a_diff_that_is_not_empty_ends_with_1(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(manifest), "--offline", "-o", "diff", *RULE]) == 1
    assert '+        image: "localhost:30081/team/web@' in capsys.readouterr().out
    assert run(["check", str(manifest), "--offline", "-o", "diff", "--rule", "other.example.com/**="]) == 0


def test_a_broken_file_is_named_and_the_others_are_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("a: [\n")
    (tmp_path / "b.yaml").write_text(MANIFEST)
    assert run(["check", str(tmp_path), "--offline", "-o", "json", *RULE]) == 2
    printed = capsys.readouterr()
    assert f"{tmp_path}/a.yaml:2:1:" in printed.err
    assert len(json.loads(printed.out)["objects"]) == 1


def test_without_a_configuration_the_smallest_one_is_shown(
    manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOORAGE_CONFIG", raising=False)
    assert run(["check", str(manifest)]) == 2
    assert "registry.example.com/**" in capsys.readouterr().err


def test_offline_loads_no_http_and_no_server(manifest: Path) -> None:
    program = (
        "import sys\nfrom webhook.cli.main import run\n"
        f"run(['check', {str(manifest)!r}, '--offline', *{RULE!r}])\n"
        "found = {'httpx', 'aiohttp', 'kubernetes', 'fastapi', 'uvicorn', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
