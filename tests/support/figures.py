"""A plugin that prints what tests have counted, at the end of the run: `record_property(FIGURE, "7 of 9 calls lost")`."""

from typing import Final

import pytest

FIGURE: Final = "figure"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What passed has a figure as well as what failed."""
    reports = [one for name in ("passed", "failed") for one in terminalreporter.getreports(name)]
    if told := [text for one in reports if one.when == "call" for name, text in one.user_properties if name == FIGURE]:
        terminalreporter.section("figures")
        for text in told:
            terminalreporter.line(str(text))
