"""Exit codes and how a command ends early. Several apply: the highest wins; never dependent on `-o`."""

from enum import IntEnum


class Exit(IntEnum):
    """What a command's exit code says."""

    FINE = 0
    """All is well."""
    CHANGES = 1
    """Changes were found (only `-o diff` and `--exit-code`)."""
    USAGE = 2
    """Usage, configuration or unreadable input."""
    UNASKED = 3
    """A registry or cluster could not be asked."""
    REFUSED = 4
    """Refused by policy."""


class Stop(Exception):
    """Ends a command with an exit code and a line for stderr."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
