"""The search for secrets in what a run writes finds them: a run of its own, in which each way is used once."""

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
from tests.support.searching import pytest_runtest_makereport, pytest_sessionstart
from webhook.core.admission import Review, untouched
from webhook.core.reference import BadReference, Reference
from webhook.core.secret import Secret
from webhook.page.rendering import Rendering
from webhook.telemetry import Log, Telemetry
"""


# A run of pytest takes seconds to start.
def test_a_secret_that_comes_out_fails_its_test_whichever_way_it_comes(tmp_path: Path) -> None:
    rows = {**WAYS, **FINE}
    tests = "\n".join(row.replace("def test(", f"def test_{name}(", 1) for name, row in rows.items())
    (tmp_path / "conftest.py").write_text(HEAD)
    (tmp_path / "test_ways.py").write_text(
        HEAD.replace("pytest_runtest_makereport, pytest_sessionstart", "_beside") + tests
    )
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", TOP / "pyproject.toml", tmp_path)
    told = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False).stdout.replace(MARKER, "…")
    failed = {name for name in rows if f"::test_{name}\n" in told or f"::test_{name} " in told}
    assert failed == WAYS.keys(), told
    assert told.count(" - a secret came out in") == len(WAYS), told
    assert f"{len(FINE)} passed" in told


@pytest.mark.parametrize("user", ["", "u", "us", "use"])
def test_a_secret_is_found_in_base64_wherever_it_begins(user: str) -> None:
    assert has_any(b64encode(f"{user}:{marked('x')}".encode()).decode())
    assert not has_any(b64encode(f"{user}:password".encode()).decode())
