"""Samples out of the text that a Pod of ours gives as its metrics."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_SAMPLE: Final = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.eE+-]+)", re.ASCII)
_LABEL: Final = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', re.ASCII)


def samples(text: str, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """The labels and values of one metric, in order."""
    for line in text.splitlines():
        found = _SAMPLE.match(line) if line.startswith(name) else None
        if found is not None and found[1] == name:
            yield dict(_LABEL.findall(found[2] or "")), float(found[3])


def value(text: str, name: str) -> float | None:
    """The value of a metric without labels; None where it is not there."""
    return next((number for _, number in samples(text, name)), None)


def label(text: str, name: str, key: str) -> str:
    """A label of a metric that is there for its labels; empty where it is not there."""
    return next((labels.get(key, "") for labels, _ in samples(text, name)), "")
