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


LOOKS_AT: Final[Mapping[Check, str]] = {
    Check.CLUSTER: "the API server's version: what an older one lacks",
    Check.INSTALL: "the Deployment `moorage`: are its Pods there and ready, and what does each say at its ops port",
    Check.VERSION: "the version of what runs, beside this command's",
    Check.CONFIGURATION: "the ConfigMap: can it be used, and does each Pod have it in force (by its hash)",
    Check.REGISTRATION: "the registration: is it there, ours, as it was made, and the only one of Moorage",
    Check.NAMESPACES: "which namespaces it takes, and whether it leaves out those that must work without Moorage",
    Check.COVERAGE: "whether it lets through what the rules are about",
    Check.SERVICE: "the Service, those behind it, and whether the API server's proxy gets an answer there",
    Check.CERTIFICATE: "the certificate that each Pod shows: the Service's name in it, its end, and whether `caBundle` trusts it; whether a Pod could take in what it found last, and keep all of it right",
    Check.ANSWERS: "a Pod that is created in a dry run: was Moorage asked, and did its answer arrive",
    Check.RIGHTS: "your own rights, and each right that the service accounts use",
    Check.REGISTRIES: "each registry of the configuration: does it answer, and take this machine's login; whether Moorage logs in at clouds, and which registries it leaves alone",
    Check.LOCALHOST: "targets at `localhost:PORT`: who listens there, and whether kube-proxy serves it",
    Check.AGENTS: "nodes without a ready agent: of `health.daemonSet`, else of the DaemonSet that listens there",
    Check.NEIGHBOURS: "other webhooks that change Pods, and whether they are asked before or after",
    Check.ADOPT: "the Deployment `moorage-adopt`, and who holds its Lease",
}
"""What each check looks at, for the reference page."""


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
