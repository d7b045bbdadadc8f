"""What a registry wants its users to read: warnings of code 299, told to people and acted upon by nobody.

Source: distribution-spec, Warnings; RFC 7234 section 5.5.
"""

import re
from collections.abc import Sequence
from typing import Final

MAX_WARNINGS: Final = 4096
"""Bytes of all warnings of one answer; what is beyond them is not read."""
MAX_TEXT: Final = 512

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
        found += [_UNSHOWN.sub("?", _ESCAPE.sub(r"\1", text))[:MAX_TEXT] for text in _WARNING.findall(line)]
    return found
