"""Last good: what is read again when its files change, and kept when the new is broken."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Final

from watchfiles import awatch

POLL: Final = 10_000
"""Milliseconds after which contents are compared even if no event came: links may lead to folders that nobody watches,
and a folder that is replaced takes its watch with it."""


def fingerprint(files: Iterable[Path]) -> bytes:
    """What the contents of files come to; one that is gone counts as such."""
    total = sha256()
    for file in sorted(set(files)):
        try:
            content = file.read_bytes()
        except OSError:
            content = b"\0gone"
        total.update(b"%d:%b" % (len(content), content))
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
