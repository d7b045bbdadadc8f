"""Background processes, each with a log, that end with the block in which they were started."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self


class StartFailed(RuntimeError):
    """Says what did not start, and shows the end of each log."""


class Processes:
    """Those that run; also killed when this process is killed."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = ExitStack()
        logs.mkdir(parents=True, exist_ok=True)

    @classmethod
    @contextmanager
    def ended_after(cls, logs: Path) -> Iterator[Self]:
        """Processes for as long as the block lasts; the newest is killed first."""
        made = cls(logs)
        with made._ending:
            yield made

    def run(self, name: str, *command: str | Path) -> None:
        """Start a command whose output goes to NAME.log. It ends with the thread that calls this."""
        log = self._ending.enter_context((self.logs / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            ending_with_us(*command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)
        self._running[name] = process

    @property
    def pids(self) -> Mapping[str, int]:
        """By name."""
        return {name: process.pid for name, process in self._running.items()}

    def wait(self, what: str, ready: Callable[[], bool], *, seconds: float = 60) -> None:
        """Until it is ready.

        Raises:
            StartFailed: one of the processes has ended, or the time is up.
        """
        end = time.monotonic() + seconds
        while not (ended := [name for name, process in self._running.items() if process.poll() is not None]):
            if ready():
                return
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        why = f"{', '.join(ended)} ended" if ended else f"not within {seconds:.0f} s"
        raise StartFailed("\n".join([f"{what}: {why}", *map(tail, sorted(self.logs.glob("*.log")))]))


def ending_with_us(*command: str | Path) -> list[str | Path]:
    """The command, killed by the kernel when the thread that starts it has ended, however that comes."""
    return ["setpriv", "--pdeathsig", "KILL", *command] if sys.platform == "linux" else [*command]


def tail(log: Path, *, lines: int = 12, beyond: int = 0) -> str:
    """The last lines of a log under its name; `beyond` are the bytes that are not looked at."""
    with log.open("rb") as stream:
        stream.seek(beyond)
        text = stream.read().decode(errors="replace")
    return "\n".join([f"== {log.name}", *(line[:400] for line in text.splitlines()[-lines:])])
