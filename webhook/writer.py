"""A stream that a thread of its own writes, so that nobody who stops reading it can stop the server."""

import threading
from queue import SimpleQueue
from typing import Final, TextIO

ROOM: Final = 8 * 1024 * 1024
"""Characters that may wait for a reader who does not read; what is more is lost, and counted."""


class Writer:
    """Takes texts and hands them on in order. The thread starts with the first one."""

    def __init__(self, stream: TextIO, *, room: int = ROOM) -> None:
        self._stream = stream
        self._room = room
        self._texts: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each of these has one thread that changes it, so that nothing has to be locked.
        self._taken = 0
        self._turned_away = 0
        self._written = 0
        self._unwritten = 0

    @property
    def lost(self) -> int:
        """Lines that were not written: no room was left, the disk is full, or the reader has gone."""
        return self._turned_away + self._unwritten

    def write(self, text: str) -> int:
        """Take a text of one or more lines, if there is room; as many characters as were taken."""
        if self._taken - self._written + len(text) > self._room:
            self._turned_away += text.count("\n")
            return 0
        self._taken += len(text)
        if self._thread is None:
            self._thread = threading.Thread(target=self._hand_on, name="log", daemon=True)
            self._thread.start()
        self._texts.put(text)
        return len(text)

    def flush(self) -> None:
        """Nothing: it is on its way."""

    def close(self, within: float = 1.0) -> None:
        """Wait until all is written, but not for longer than so many seconds."""
        if self._thread is not None:
            self._texts.put(None)
            self._thread.join(within)
            self._thread = None

    def _hand_on(self) -> None:
        while (text := self._texts.get()) is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._unwritten += text.count("\n")
            self._written += len(text)
