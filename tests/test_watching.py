"""What watches every test finds what it is there for: a run of its own, in which each way is used once."""

import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Final

import pytest

from tests.support.canary import MARKER, has_any, marked

TOP: Final = Path(__file__).parents[1]
WAYS: Final = {
    "printed": "def test(): print(marked('x'))",
    "printed_by_a_command": "def test(capsys): print(marked('x')); capsys.readouterr()",
    "printed_in_base64": "def test(): print(b64encode(b'user:' + marked('x').encode()).decode())",
    "by_a_process": "def test(): subprocess.run([sys.executable, '-c', f'print(\"{marked(1)}\")  # moorage'], stdout=-1)",
    "in_a_log_line": "def test(): Log(io.StringIO()).write('info', 'x', y=[{'z': marked('x')}])",
    "in_metrics": "def test(): t = Telemetry(Log(io.StringIO())); t.registry_request(marked('x'), 'GET', '200', 0.1); t.exposition()",
    "on_a_page": "def test(): HTMLResponse(asyncio.run(Rendering().render('trouble.html', status=404, title='x', error=marked('x'))))",
    "in_an_error": "def test():\n with pytest.raises(ValueError): Reference.parse(marked('://'))",
    "in_an_errors_cause": "def test():\n with pytest.raises(BadReference): raise BadReference('', '') from BadReference(marked(''), '')",
    "in_an_answer": "def test(): checked(json.loads(untouched(Review('0b4a', 'pods', '', '', None), marked('x'))))",
    "written_to_the_api": "async def test(): await FakeApi().send('POST', '/pods', {'metadata': {'name': marked('x')}}, deadline=1e9)",
}
FINE: Final = {
    "in_a_secret": "async def test(): await FakeApi().send('POST', '/secrets', {'metadata': {'name': marked('x')}}, deadline=1e9)",
    "sent": "def test(): assert Secret(marked('x')).reveal()",
    "by_another_program": "def test(): subprocess.run(['echo', marked('x')], stdout=-1)",
}
HEAD: Final = """
import asyncio, io, json, subprocess, sys
from base64 import b64encode
import pytest
from starlette.responses import HTMLResponse
from tests.core.test_admission import checked
from tests.support.api import FakeApi
from tests.support.canary import marked
from webhook.core.admission import Review, untouched
from webhook.core.reference import BadReference, Reference
from webhook.core.secret import Secret
from webhook.page.rendering import Rendering
from webhook.telemetry import Log, Telemetry
"""


DIALS: Final = """
import socket
def test_dials():
    with pytest.raises(OSError): socket.create_connection(("192.0.2.1", 80))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one run of all of them prints: pytest takes a second to start."""
    folder = tmp_path_factory.mktemp("run")
    tests = "\n".join(row.replace("def test(", f"def test_{name}(", 1) for name, row in (WAYS | FINE).items())
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.support.loopback", "tests.support.searching"]\n')
    (folder / "test_ways.py").write_text(HEAD + tests + DIALS)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", TOP / "pyproject.toml", folder)
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False).stdout.replace(MARKER, "…")


def test_a_secret_that_comes_out_fails_its_test_whichever_way_it_comes(told: str) -> None:
    failed = {name for name in WAYS | FINE if f"::test_{name}\n" in told or f"::test_{name} " in told}
    assert failed == WAYS.keys(), told
    assert told.count(" - a secret came out in") == len(WAYS), told


def test_a_test_that_dials_what_is_not_loopback_fails_also_when_it_bears_the_error(told: str) -> None:
    assert "::test_dials - AssertionError: a test dialled 192.0.2.1" in told


def test_what_is_as_it_should_be_passes(told: str) -> None:
    # The one that dials passes too, and fails where it is taken down.
    assert f"{len(FINE) + 1} passed" in told


@pytest.mark.parametrize("user", ["", "u", "us", "use"])
def test_a_secret_is_found_in_base64_wherever_it_begins(user: str) -> None:
    assert has_any(b64encode(f"{user}:{marked('x')}".encode()).decode())
    assert not has_any(b64encode(f"{user}:password".encode()).decode())
