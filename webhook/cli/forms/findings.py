"""Findings of doctor: lines for people, data for programs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from webhook.core.printable import printable
from webhook.diagnosis.finding import Finding, Level, summary


def text(findings: Sequence[Finding]) -> str:
    """A line a finding, and a second one with what to do."""
    widths = [max((len(word) for word in column), default=0) for column in zip(*map(_words, findings), strict=True)]
    lines = []
    for one in findings:
        head = "   ".join(word.ljust(width) for word, width in zip(_words(one), widths, strict=True))
        lines.append(f"{head}   {one.looked}: {one.found}")
        if one.advice:
            lines.append(f"{' ' * len(head)}   -> {one.advice}")
    return "".join(f"{printable(line)}\n" for line in lines)


def _words(one: Finding) -> tuple[str, str]:
    return one.level.value, one.check.value


def as_data(findings: Sequence[Finding], version: str) -> dict[str, Any]:
    """The DoctorResult."""
    return {
        "apiVersion": "moorage.dev/v1alpha1",
        "kind": "DoctorResult",
        "version": version,
        "healthy": not any(one.level is Level.ERROR for one in findings),
        "findings": msgspec.to_builtins(findings),
        "summary": dict(summary(findings)),
    }
