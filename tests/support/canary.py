"""One word that stands in every secret of a run, so that whatever the run wrote can be searched for it."""

import math
import os
from base64 import b64encode
from collections.abc import Callable
from secrets import token_hex
from typing import Final

import msgspec

MARKER: Final = os.environ.setdefault("MOORAGE_CANARY", f"canary{token_hex(6)}")
"""Made once for a run: the processes that it starts inherit it."""
_ROUNDS: Final = range(3)


def marked(what: str) -> str:
    """A secret of this name."""
    return f"{what}.{MARKER}"


def _hidden(text: str) -> tuple[str, ...]:
    """A text as it stands inside a longer one in base64: it begins at any of three places of a group, and what mixes with its
    neighbours is left out."""
    found = []
    for before in _ROUNDS:
        packed = b64encode(b"\0" * before + text.encode()).decode()
        found.append(packed[math.ceil(before * 8 / 6) : (before + len(text)) * 8 // 6])
    return tuple(found)


NEEDLES: Final = (MARKER, *_hidden(MARKER), "PRIVATE" + " KEY-----")


def has_any(text: str) -> bool:
    """Whether a secret of this run, or a part of it, stands in a text, also in base64."""
    return any(needle in text for needle in NEEDLES)


class Leak(msgspec.Struct, frozen=True):
    """Where a secret was seen, and what stood around it."""

    where: str
    around: str

    def __str__(self) -> str:
        return f"a secret came out in {self.where}: …{self.around}…"


class Searched:
    """What the run has written so far is searched as it is written; what was found waits for the end of its test."""

    def __init__(self) -> None:
        self.texts = 0
        self._leaks: list[Leak] = []

    def search(self, where: str, text: str | bytes) -> None:
        """Look through what has been written somewhere."""
        self.texts += 1
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        for needle in NEEDLES:
            if (at := shown.find(needle)) >= 0:
                self._leaks.append(Leak(where, shown[max(0, at - 80) : at + 40]))
                return

    def taken(self) -> list[Leak]:
        """What was found since the last time."""
        leaks, self._leaks = self._leaks, []
        return leaks


WRITTEN: Final = Searched()
search: Final[Callable[[str, str | bytes], None]] = WRITTEN.search
