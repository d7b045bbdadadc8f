"""A bar for work that takes long: on standard error, when that is a terminal, and not before a second is over."""

import asyncio
import sys
import time
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress

LONG: Final = 1.0
"""Seconds after which it is drawn."""
GLANCE: Final = 0.2
"""Seconds between two looks at how far the work is."""
AT_ONCE: Final = 64

Outcome = TypeVar("Outcome")


class Bar:
    """Shows how much is done; `total` is None where it is not known beforehand."""

    def __init__(self, title: str, total: int | None = None) -> None:
        self._title = title
        self._total = total
        self._from = time.monotonic() + LONG
        self._drawn: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: "TracebackType | None"
    ) -> None:
        if self._drawn is not None:
            self._drawn.stop()

    def show(self, done: int) -> None:
        """Show how far it is, once it has taken long."""
        if self._drawn is not None:
            self._drawn.update(self._drawn.task_ids[0], completed=done)
        elif time.monotonic() >= self._from and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._drawn = Progress(*columns, console=Console(stderr=True), transient=True)
            self._drawn.add_task(self._title, total=self._total, completed=done)
            self._drawn.start()


async def done_with_bar(title: str, work: Iterable[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    """What each piece of work comes to, in order; so many at once, with a bar over them."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(piece: Coroutine[Any, Any, Outcome]) -> Outcome:
        async with places:
            return await piece

    tasks = [asyncio.ensure_future(one(piece)) for piece in work]
    with Bar(title, len(tasks)) as bar:
        # Drawn also while nothing comes in.
        while waiting := [task for task in tasks if not task.done()]:
            await asyncio.wait(waiting, timeout=GLANCE)
            bar.show(len(tasks) - len(waiting))
    return [task.result() for task in tasks]
