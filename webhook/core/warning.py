"""What a registry wants its users to read: warnings of code 299, told to people and acted upon by nobody.

Source: distribution-spec, Warnings; RFC 7234 section 5.5.
"""

import re
from collections.abc import Sequence
from typing import Final

MAX_WARNINGS: Final = 4096
"""Bytes of all warnings of one answer; what is beyond them is not read."""
MAX_TEXT: Final = 512
PIECE: Final = 16
"""Letters of a secret that no text may show in a row."""

_WARNING: Final = re.compile(r'(?:^|,)[ \t]*299 - "((?:[^"\\]|\\.)*)"', re.ASCII)
_ESCAPE: Final = re.compile(r"\\(.)", re.ASCII)
_UNSHOWN: Final = re.compile(r"[^ -~]+", re.ASCII)


def texts(lines: Sequence[str]) -> list[str]:
    """The texts of the warnings in these headers, fit for a line of a log."""
    found: list[str] = []
    left = MAX_WARNINGS
    for line in lines:
        left -= len(line)
        if left < 0:
            break
        found += [shown(_ESCAPE.sub(r"\1", text))[:MAX_TEXT] for text in _WARNING.findall(line)]
    return found


def shown(text: str) -> str:
    """A text as a line of a log may hold it."""
    return _UNSHOWN.sub("?", text)


def repeats(text: str, secret: str) -> bool:
    """Whether a text shows a secret, or a piece of one: of a token that is longer than a text may be, only its beginning
    would stand there."""
    whole = shown(secret)
    pieces = [whole[at : at + PIECE] for at in range(0, len(whole) - PIECE + 1, PIECE)]
    return any(piece in text for piece in pieces or [whole] if piece)
