"""Patterns over paths and namespaces: what can match none is a mistake, also behind a `!`, where it would exclude nothing."""

import re
from collections.abc import Callable
from typing import Final

from webhook.core.globs import Globs
from webhook.trouble import Findings

_NAMESPACE: Final = re.compile(r"[a-z0-9*?-]+", re.ASCII)


def paths(findings: Findings, pointer: str, patterns: tuple[str, ...]) -> Globs:
    """Patterns over repository paths; what is wrong with them goes to the findings."""
    return _checked(findings, pointer, patterns, _wrong_path)


def namespaces(findings: Findings, pointer: str, patterns: tuple[str, ...]) -> Globs:
    """Patterns over names of namespaces; what is wrong with them goes to the findings."""
    return _checked(findings, pointer, patterns, _wrong_namespace)


def _checked(findings: Findings, pointer: str, patterns: tuple[str, ...], wrong: Callable[[str], str | None]) -> Globs:
    findings.want_patterns(pointer, patterns)
    for number, pattern in enumerate(patterns):
        problem = wrong(pattern.removeprefix("!"))
        if problem is not None:
            findings.refuse(f"{pointer}/{number}", problem)
    return Globs(patterns)


def _wrong_path(pattern: str) -> str | None:
    if ":" in pattern or "@" in pattern:
        return f'"{pattern}" is no path: scheme, port, tag and digest do not belong to it'
    if pattern.startswith("/"):
        return f'paths start without a slash (did you mean "{pattern.strip("/") or "**"}"?)'
    if pattern.endswith("/"):
        return f'it ends at a slash (did you mean "{pattern.rstrip("/")}/**"?)'
    if pattern != pattern.lower():
        return f'paths of images are lower-case (did you mean "{pattern.lower()}"?)'
    return None


def _wrong_namespace(pattern: str) -> str | None:
    if _NAMESPACE.fullmatch(pattern) is not None:
        return None
    hint = f' (did you mean "{pattern.lower()}"?)' if _NAMESPACE.fullmatch(pattern.lower()) is not None else ""
    return f"names of namespaces are made of a-z, 0-9 and -{hint}"
