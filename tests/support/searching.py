"""A plugin that searches what a run writes for its own secrets, and fails the test in which one comes out.

Searched are: what tests and commands print, in this process and in others that run Moorage; log lines and metrics;
answers to reviews; pages and all else that an application answers over plain HTTP; what is written to the API server, but for Secrets; the texts of Moorage's own errors.
What is told to registries and token servers is where a secret belongs, and is not.
"""

import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest
from starlette.responses import Response

from tests.support.canary import WRITTEN, search
from webhook.telemetry import Log, Telemetry

_OURS: Final = ("webhook", "moorage")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Search what was printed in a phase of a test, and tell what was found in it."""
    report = yield
    if report.passed:
        for name, text in report.sections:
            # Not those of the log: there pytest shows what a library said; what we make of it is searched as a line.
            if name in {f"Captured {stream} {report.when}" for stream in ("stdout", "stderr")}:
                search(name, text)
    if (leaks := WRITTEN.taken()) and report.passed:
        report.outcome = "failed"
        report.longrepr = "\n".join(map(str, leaks))
    return report


def pytest_sessionstart() -> None:
    """Stand beside what tests take away before it is reported."""
    _beside(pytest.CaptureFixture, "readouterr", lambda _self, _given, said: _each("what a command prints", *said))
    _beside(pytest.RaisesExc, "__exit__", _raised)
    _beside(subprocess.Popen, "communicate", _printed)
    _beside(Log, "add_line", lambda _self, given, _result: search("a log line", *given))
    _beside(Response, "render", lambda _self, _given, result: _each("a page", bytes(result)))
    _beside(Telemetry, "exposition", lambda _self, _given, result: search("metrics", result[0]))


def _beside(kind: type[Any], name: str, look: Callable[[Any, tuple[Any, ...], Any], None]) -> None:
    """Let what a method is given and gives back be looked at, too."""
    method = getattr(kind, name)

    def looked_at(self: Any, *given: Any, **named: Any) -> Any:
        result = method(self, *given, **named)
        look(self, given, result)
        return result

    setattr(kind, name, looked_at)


def _each(where: str, *texts: str | bytes | None) -> None:
    for text in texts:
        if text:
            search(where, text)


def _raised(raising: Any, _given: tuple[Any, ...], is_expected: object) -> None:
    info = raising.excinfo
    if is_expected and info is not None and type(info.value).__module__.startswith(_OURS):
        error: BaseException | None = info.value
        while error is not None and type(error).__module__.startswith(_OURS):
            _each(f"an error of type {type(error).__name__}", str(error), repr(error))
            error = error.__cause__


def _printed(process: "subprocess.Popen[Any]", _given: tuple[Any, ...], printed: tuple[Any, Any]) -> None:
    # `kubectl` may show a Secret to whom it belongs.
    if _is_ours(process.args):
        _each("what a process prints", *printed)


def _is_ours(arguments: Any) -> bool:
    """Whether a program is Moorage, wherever the folders lie that its arguments name."""
    words = [arguments] if isinstance(arguments, str | bytes | Path) else arguments
    names = [Path(word).name if Path(word).is_absolute() else word for word in map(os.fsdecode, words)]
    return any(our in name for name in names for our in _OURS)
