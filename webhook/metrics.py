"""Metrics as plain numbers, put into Prometheus' form when somebody reads them.

One loop counts, so there is nothing to lock; a warm review touches ten of these, and a locked counter each would cost
more than deciding does.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper ends in seconds; what is above the last counts in the whole alone."""

Labels = tuple[str, ...]


class Family:
    """One metric of a name, with its labels."""

    kind: str

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)

    def collect(self) -> Metric:
        """As Prometheus wants it."""
        raise NotImplementedError


class Count(Family):
    """A number that only grows."""

    kind = "counter"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self.values: dict[Labels, int] = {} if labels else {(): 0}

    def add(self, labels: Labels = (), number: int = 1) -> None:
        """Count so many more."""
        self.values[labels] = self.values.get(labels, 0) + number

    def begin(self, labels: Labels) -> None:
        """Show it at 0: what first shows at 1 has not grown for Prometheus, and no alert tells of it."""
        self.values.setdefault(labels, 0)

    def collect(self) -> Metric:
        """As Prometheus wants it; it adds `_total` to the name itself."""
        family = CounterMetricFamily(self.name.removesuffix("_total"), self.meaning, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Level(Family):
    """A number that goes up and down."""

    kind = "gauge"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self.values: dict[Labels, float] = {}

    def set(self, value: float, labels: Labels = ()) -> None:
        """It is this now."""
        self.values[labels] = value

    def collect(self) -> Metric:
        """As Prometheus wants it."""
        family = GaugeMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


class Spread(Family):
    """How long things took, in seconds."""

    kind = "histogram"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self._begin(())

    def observe(self, seconds: float, labels: Labels = ()) -> None:
        """One more took so long."""
        counts = self._counts.get(labels) or self._begin(labels)
        counts[bisect_left(BUCKETS, seconds)] += 1
        self._sums[labels] += seconds

    def _begin(self, labels: Labels) -> list[int]:
        self._sums[labels] = 0.0
        counts = self._counts[labels] = [0] * (len(BUCKETS) + 1)
        return counts

    def collect(self) -> Metric:
        """As Prometheus wants it: each bucket holds those below it too."""
        family = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, counts in self._counts.items():
            whole = 0
            buckets: list[tuple[str, float]] = []
            for end, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                whole += count
                buckets.append((end, whole))
            family.add_metric(labels, buckets, self._sums[labels])
        return family


class Families(Collector):
    """All metrics of one process."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Each in turn."""
        return [family.collect() for family in self._families]


def exposition(families: Sequence[Family], accept: str = "") -> tuple[bytes, str]:
    """The metrics and their content type: OpenMetrics, or the older text where the reader asks for that alone."""
    encode, kind = _encoder(accept)
    registry = CollectorRegistry()
    registry.register(Families(families))
    return encode(registry), kind


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    if "text/plain" in accept or "openmetrics" in accept:
        try:
            return choose_encoder(accept)
        except (ValueError, TypeError):  # a version or an escaping that is none
            pass
    return generate_latest, CONTENT_TYPE_LATEST
