"""A folder with a configuration whose digests are locked, so that a command line needs no registry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webhook.cli.main import run

HOST = "registry.example.com"
D = "sha256:" + "d" * 64
E = "sha256:" + "e" * 64

CONFIGURATION = f"""\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
targets:
  kraken: {{image: "localhost:30081/{{path}}", pull: node, guard: refuse}}
rules:
  - name: private
    images: [{HOST}/**]
    targets: [kraken]
  - name: strict
    images: [strict.example.com/**]
    targets: []
    onFailure: refuse
templates:
  Rollout.argoproj.io: /spec/template
digests: lock.yaml
"""
LOCK = f"{HOST}/team/app:stable: {D}\n{HOST}/team/side:1.2: {E}\n"


START = "from webhook.cli.main import main; main()"
TOP = str(Path(__file__).parents[2])


def started(*arguments: str, program: str = START) -> "subprocess.Popen[str]":
    """A process of its own, for what only one shows."""
    environ = {**os.environ, "PYTHONPATH": TOP}
    command = [sys.executable, "-c", program, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environ)


class Shell:
    """A person in a folder: types a command, sees what it prints and how it ends."""

    def __init__(self, folder: Path, printed: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._printed = printed
        self.out = ""
        self.err = ""

    def write(self, name: str, text: str) -> str:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        return name

    def type(self, *arguments: str) -> int:
        code = run(list(arguments))
        self.out, self.err = self._printed.readouterr()
        return code


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    for name in ("MOORAGE_CONFIG", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shell = Shell(tmp_path, capsys)
    shell.write("moorage.yaml", CONFIGURATION)
    shell.write("lock.yaml", LOCK)
    return shell
