"""`moorage doctor` as it is typed: what it prints, and how it ends. What it says of real clusters: tests/cluster."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.support.api import FakeApi
from tests.support.apiserver import api_server
from tests.support.ports import free_port
from webhook import __version__


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    made = FakeApi()
    with api_server(made, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield made


def test_a_line_a_finding_and_a_line_of_what_to_do(shell: Shell, api: FakeApi) -> None:
    assert shell.type("doctor") == 3
    lines = shell.out.splitlines()
    wrong = next(number for number, line in enumerate(lines) if line.split()[:2] == ["error", "registration"])
    assert "mutatingwebhookconfiguration moorage: there is no" in lines[wrong]
    assert lines[wrong + 1].strip() == "-> apply again what installed it, or what `moorage config registration` prints"
    assert shell.err.splitlines()[-1].endswith("error")


def test_the_same_for_programs(shell: Shell, api: FakeApi) -> None:
    assert shell.type("doctor", "-o", "json") == 3
    told = json.loads(shell.out)
    assert (told["kind"], told["version"], told["healthy"]) == ("DoctorResult", __version__, False)
    assert {"check", "level", "looked", "found", "advice"} == {key for one in told["findings"] for key in one}
    assert sum(told["summary"].values()) == len(told["findings"])
    assert "canary" not in shell.out + shell.err


def test_without_a_cluster_there_is_a_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert shell.type("doctor") == 3
    assert shell.out.startswith("error   cluster   kubeconfig: there is no cluster to ask")
    shell.write("nonsense", "clusters: 7")
    assert shell.type("doctor", "--kubeconfig", "nonsense") == 3
    assert shell.out.startswith("error   cluster   nonsense: ")


def test_an_api_server_that_is_not_there_is_told(shell: Shell, api: FakeApi, tmp_path: Path) -> None:
    config = json.loads((tmp_path / "kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{free_port()}"
    shell.write("gone", json.dumps(config))
    assert shell.type("doctor", "--kubeconfig", "gone") == 3
    assert "cannot be looked at: the API server refuses the connection" in shell.out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--timeout", "0s"], "nothing can be asked in no time"),
        (["--timeout", "soon"], "is no duration"),
        (["--docker-config", "nowhere.json"], "nowhere.json: cannot be read"),
        (["-o", "xml"], "xml"),
        (["everything"], "everything"),
    ],
)
def test_what_cannot_be_understood_is_usage(shell: Shell, api: FakeApi, words: list[str], why: str) -> None:
    assert shell.type("doctor", *words) == 2
    assert why in shell.err
    assert shell.out == ""
    assert api.asked == []


def test_its_help_loads_none_of_its_work() -> None:
    program = (
        "import sys\nfrom webhook.cli.main import run\nrun(['doctor', '--help'])\n"
        "found = {'kubernetes', 'webhook.kube', 'webhook.examination', 'webhook.diagnosis'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
