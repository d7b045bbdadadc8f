"""Last good: what is read again when its files change, and kept when the new is broken."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

from watchfiles import awatch

POLL: Final = 60_000
"""Milliseconds after which contents are compared even if no event came."""


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


async def watch(files: Callable[[], Iterable[Path]], changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` whenever the contents of the files are others, until cancelled.

    Folders are watched, not files: a ConfigMap volume swaps a link, and editors write another file.
    """
    last = fingerprint(files())
    while True:
        folders = {file.parent for file in files()}
        async for _ in awatch(*folders, recursive=False, yield_on_timeout=True, rust_timeout=POLL):
            now = fingerprint(files())
            if now != last:
                last = now
                await changed()
            if {file.parent for file in files()} != folders:
                break
        await asyncio.sleep(0)
