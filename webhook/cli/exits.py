"""Exit codes and how a command ends early. Several apply: the highest wins; never dependent on `-o`."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """What a command's exit code says."""

    FINE = 0
    CHANGES = 1
    USAGE = 2
    UNASKED = 3
    REFUSED = 4


MEANING: Final = {
    Exit.FINE: "all is well",
    Exit.CHANGES: "changes found (-o diff, --exit-code)",
    Exit.USAGE: "usage, configuration or unreadable input",
    Exit.UNASKED: "a registry or cluster could not be asked",
    Exit.REFUSED: "refused by policy",
}


class Stop(Exception):
    """Ends a command with an exit code and lines for stderr. With `has_place` they begin with file, line and column."""

    def __init__(self, code: Exit, message: str, *, has_place: bool = False) -> None:
        super().__init__(message if has_place else f"moorage: {message}")
        self.code = code
