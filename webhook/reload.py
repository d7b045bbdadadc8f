"""Last good: what is read again when its files change, and kept when the new is broken."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

from watchfiles import awatch

from webhook.reading import content

POLL: Final = 10_000
"""Milliseconds after which contents are compared even if no event came: links may lead to folders that nobody watches,
and a folder that is replaced takes its watch with it."""

Part = Callable[[], Awaitable[None]]
"""Loads something again, or raises NotLoaded."""


class NotLoaded(Exception):
    """A part that is not in force: the event and the fields of its log line."""

    def __init__(self, event: str, **more: Any) -> None:
        super().__init__(event, more)
        self.event = event
        self.more = more

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same for people."""
        problems = self.more.get("problems") or [self.more["problem"]]
        return tuple(f"{self.event}: {one}" for one in problems)


class Log(Protocol):
    """Who writes lines: `webhook.telemetry.Log`."""

    def write(self, level: str, event: str, **more: Any) -> None:
        """One event."""


class LastGood:
    """Parts that are loaded again and again. What is broken leaves in force what was, and is told; `fault` logs what
    nobody expected and gives its id."""

    def __init__(self, log: Log, fault: Callable[[BaseException], str]) -> None:
        self._log = log
        self._fault = fault
        self._trouble: dict[Part, tuple[str, ...]] = {}
        self.alone = asyncio.Lock()
        """Held by whoever changes what is in force."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps the new from being in force, in sentences."""
        return tuple(one for part in self._trouble.values() for one in part)

    async def load(self, *parts: Part) -> bool:
        """Load these; whether all of them are in force now."""
        async with self.alone:
            for part in parts:
                await self.attempt(part, anew=True)
            return self._trouble.keys().isdisjoint(parts)

    async def retry(self) -> bool:
        """Load again what could not be loaded, and tell of it only what is new."""
        async with self.alone:
            for part in tuple(self._trouble):
                await self.attempt(part)
            return not self._trouble

    async def attempt(self, part: Part, *, anew: bool = False) -> None:
        """Load one; with `anew` what is wrong is told even if it is the same as before."""
        try:
            await part()
        except NotLoaded as why:
            if anew or self._trouble.get(part) != why.sentences:
                self._log.write("error", why.event, **why.more)
            self._trouble[part] = why.sentences
        except Exception as error:  # noqa: BLE001 - an outer door: what is in force serves on
            self._trouble[part] = (f"internal error {self._fault(error)}",)
        else:
            self._trouble.pop(part, None)


def fingerprint(files: Iterable[Path]) -> bytes:
    """What the contents of files come to; one that is gone counts as such."""
    total = sha256()
    for file in sorted(set(files)):
        try:
            read = content(file)
        except OSError:
            read = b"\0gone"
        total.update(b"%d:%b" % (len(read), read))
    return total.digest()


async def watch(
    files: Callable[[], Iterable[Path]],
    changed: Callable[[], Awaitable[bool]],
    *,
    seen: bytes,
    again: Callable[[], Awaitable[bool]],
    poll: int = POLL,
) -> None:
    """Call `changed` whenever the contents of the files are others than those `seen`, until cancelled.

    It says whether all of them are in force now. While they are not, `again` is called after each `poll` in
    milliseconds: a certificate may become valid, or a file may come that is not known yet.
    Folders are watched, not files: a ConfigMap volume swaps a link, and editors write another file.
    """
    good = True
    while True:
        folders = _folders(files())
        async with aclosing(_events(folders, poll)) as events:
            async for has_happened in events:
                now = fingerprint(files())
                if now != seen:
                    seen = now
                    good = await changed()
                elif not good and not has_happened:
                    good = await again()
                if not has_happened or _folders(files()) != folders:
                    break


def _folders(files: Iterable[Path]) -> frozenset[Path]:
    return frozenset(file.parent for file in files if file.parent.is_dir())


async def _events(folders: frozenset[Path], poll: int) -> AsyncGenerator[bool, None]:
    """True whenever something happened in one of the folders, False whenever nothing did for so long."""
    try:
        if folders:
            async for changes in awatch(
                *folders, watch_filter=None, recursive=False, yield_on_timeout=True, rust_timeout=poll
            ):
                yield bool(changes)
    except OSError:
        # One of them went away just now, or the system has no watches left.
        pass
    await asyncio.sleep(poll / 1000)
    yield False
