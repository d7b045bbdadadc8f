"""One line of what doctor says: what was looked at, how it is, and what to do."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Check(StrEnum):
    """What is looked at, in the order in which it is told."""

    CLUSTER = "cluster"
    INSTALL = "install"
    VERSION = "version"
    CONFIGURATION = "configuration"
    REGISTRATION = "registration"
    NAMESPACES = "namespaces"
    COVERAGE = "coverage"
    SERVICE = "service"
    CERTIFICATE = "certificate"
    ANSWERS = "answers"
    RIGHTS = "rights"
    REGISTRIES = "registries"
    LOCALHOST = "localhost"
    AGENTS = "agents"
    NEIGHBOURS = "neighbours"
    ADOPT = "adopt"


class Finding(msgspec.Struct, frozen=True):
    """`looked` is what was looked at, `found` how it is, `advice` what to do; that is empty where all is well."""

    check: Check
    level: Level
    looked: str
    found: str
    advice: str = ""


class Unseen(msgspec.Struct, frozen=True):
    """What the API server did not show, and why. `is_missing` where it says that there is none, `is_forbidden` where it
    shows it to others only."""

    what: str
    why: str
    is_missing: bool = False
    is_forbidden: bool = False


def fine(check: Check, looked: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, looked, found)


def doubtful(check: Check, looked: str, found: str, advice: str) -> Finding:
    """It works, or nobody can say; somebody should look."""
    return Finding(check, Level.WARNING, looked, found, advice)


def wrong(check: Check, looked: str, found: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Level.ERROR, looked, found, advice)


_ASK_AGAIN: Final = "look at why the API server says so, and run doctor again"
_AS_ANOTHER: Final = "run doctor as somebody who may, or have it granted"


def unseen(check: Check, one: Unseen, *, is_needed: bool = False) -> Finding:
    """It cannot be said. Without what is needed nothing can, which is as bad as an error."""
    level = Level.ERROR if is_needed else Level.WARNING
    advice = _AS_ANOTHER if one.is_forbidden else _ASK_AGAIN
    return Finding(check, level, one.what, f"cannot be looked at: {one.why}", advice)


def summary(findings: Iterable[Finding]) -> Mapping[str, int]:
    """How many of each level."""
    levels = [one.level for one in findings]
    return {level.value: levels.count(level) for level in Level}


def few(names: Iterable[str], most: int = 5) -> str:
    """Some names, and how many more there are."""
    every = sorted(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
