"""What a failing test shows of the processes around it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tests.cluster.real.processes import tail


class Exhibit(msgspec.Struct, frozen=True):
    """One thing to show, made only when it is wanted."""

    title: str
    show: Callable[[], str]


class Evidence:
    """What there is to show for one test."""

    def __init__(self) -> None:
        self._exhibits: list[Exhibit] = []

    def add(self, title: str, show: Callable[[], str]) -> None:
        """Something to show if the test fails."""
        self._exhibits.append(Exhibit(title, show))

    def add_log(self, log: Path, *, lines: int = 12) -> None:
        """The end of a log: of what is written from now on."""
        beyond = log.stat().st_size if log.exists() else 0
        self.add(log.name, lambda: tail(log, lines=lines, beyond=beyond) if log.exists() else "no such file")

    def shown(self) -> Iterator[tuple[str, str]]:
        """Titles and texts. What cannot be shown says why: it must not hide the failure itself."""
        for exhibit in self._exhibits:
            try:
                yield exhibit.title, exhibit.show()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test's own failure is what counts
                yield exhibit.title, f"cannot be shown: {error}"
