"""A measured figure, what it must be and what is wished, as a row of a table."""

from collections.abc import Sequence
from statistics import median

import msgspec


class Bound(msgspec.Struct, frozen=True):
    """What a figure must reach and what is wished; `at_most` tells which way is better."""

    must: float
    goal: float | None = None
    at_most: bool = True

    def verdict(self, value: float) -> str:
        """In one word, and by how much it misses."""
        if not self._reaches(value, self.must):
            return f"**misses** the must by {abs(value / self.must - 1):.0%}" if self.must else "**misses** the must"
        if self.goal is None or self._reaches(value, self.goal):
            return "reaches the goal" if self.goal is not None else "reached"
        return f"reached; the goal by {abs(value / self.goal - 1):.0%} not"

    def _reaches(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


class Figure(msgspec.Struct, frozen=True):
    """One line. `value` is compared with the bound, `shown` is what a person reads; `spread` the lowest and highest of
    the rounds."""

    measure: str
    shown: str
    value: float
    bound: Bound | None = None
    unit: str = "times"
    spread: tuple[float, float] | None = None

    def row(self) -> str:
        """As a row of a Markdown table."""
        bound, unit = self.bound, self.unit
        value = f"{self.value:.2f} {unit}" if self.value < 100 else f"{self.value:.0f} {unit}"
        if self.spread is not None:
            value += f" ({self.spread[0]:.2f}-{self.spread[1]:.2f})"
        sign = "" if bound is None else "≤" if bound.at_most else "≥"
        must = f"{sign} {bound.must:g}" if bound is not None else ""
        goal = f"{sign} {bound.goal:g}" if bound is not None and bound.goal is not None else ""
        verdict = bound.verdict(self.value) if bound is not None else ""
        return f"| {self.measure} | {self.shown} | {value} | {must} | {goal} | {verdict} |"


HEADER = "| measure | seen | value (lowest-highest of the rounds) | must | goal | |\n|---|---|---|---|---|---|"


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table."""
    return "\n".join([HEADER, *(figure.row() for figure in figures)])


def ratio(measure: str, ours: Sequence[float], theirs: Sequence[float], bound: Bound | None, unit: str) -> Figure:
    """A figure that is a ratio, round by round, so that what slows the machine slows both."""
    each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    shown = f"{median(ours):.4g} {unit}; Go floor {median(theirs):.4g} {unit}"
    return Figure(measure, shown, median(each), bound, "times", (min(each), max(each)))
