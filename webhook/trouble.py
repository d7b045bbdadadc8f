"""What is wrong with a configuration, told by the JSON pointer of its place."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

import msgspec

CLOSE_ENOUGH: Final = 0.5


class Trouble(msgspec.Struct, frozen=True):
    """One mistake, at the value at `pointer` or at its key."""

    pointer: str
    message: str
    of_key: bool = False


class Findings:
    """Collects what is wrong and what is only strange."""

    def __init__(self, broken: frozenset[str] = frozenset()) -> None:
        self.troubles: list[Trouble] = []
        self.warnings: list[Trouble] = []
        self.broken = broken
        """Places that are known to be wrong already: what follows from them alone is not told."""

    def refuse(self, pointer: str, message: str, *, of_key: bool = False) -> None:
        """The configuration cannot be used."""
        self.troubles.append(Trouble(pointer, message, of_key))

    def warn(self, pointer: str, message: str) -> None:
        """It can, and this is worth a look."""
        self.warnings.append(Trouble(pointer, message))

    def want_patterns(self, pointer: str, patterns: tuple[str, ...]) -> None:
        """Refuse an empty list: it would say nothing, which is to match everything, where nothing may have been meant."""
        if not patterns and not any(told.startswith(pointer) for told in self.broken):
            self.refuse(pointer, "at least one pattern is wanted; leave the key out to match everything")


def pointer_to(*parts: str | int) -> str:
    """A JSON pointer."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def parts_of(pointer: str) -> list[str]:
    """The parts of a JSON pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def way_to(parts: Iterable[str | int]) -> str:
    """The way to a place as people write it: `rules[2].images`. A name with a dot stands in quotes."""
    text = ""
    for part in map(str, parts):
        if part.lstrip("-").isdigit():
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}"
    return text.removeprefix(".")


def did_you_mean(given: str, known: list[str]) -> str:
    """The end of a message that names the nearest known word, or nothing."""
    close = get_close_matches(given, known, n=1, cutoff=CLOSE_ENOUGH)
    return f' (did you mean "{close[0]}"?)' if close else ""
