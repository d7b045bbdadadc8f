"""Log lines and metrics: the only module that names them. Doors get its methods as plain callables."""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, TextIO

import msgspec
import structlog
from cachetools import LRUCache
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from webhook import __version__
from webhook.core.admission import Review
from webhook.core.decision import Action, Decision
from webhook.core.reason import Reason, sentence

FLUSH_EVERY: Final = 0.1
FLUSH_AT: Final = 64 * 1024
LEVELS: Final = ("debug", "info", "warning", "error")
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_encode = msgspec.json.Encoder().encode


class Log:
    """JSON lines, one event each, gathered and written together; or text for people."""

    def __init__(
        self, stream: TextIO, *, form: str = "json", level: str = "info", clock: Callable[[], float] = time.time
    ) -> None:
        self._stream = stream
        self._render = structlog.dev.ConsoleRenderer(colors=False) if form == "text" else None
        self._least = LEVELS.index(level)
        self.clock = clock
        self._lines: list[bytes] = []
        self._size = 0

    def write(self, level: str, event: str, **more: Any) -> None:
        """One event; what is worse than information is on the stream at once."""
        if LEVELS.index(level) < self._least:
            return
        self.add({"time": _timestamp(self.clock()), "level": level, "event": event, **more})
        if level in {"warning", "error"}:
            self.flush()

    def add(self, event: dict[str, Any]) -> None:
        """One event that is put together already."""
        self.add_line(_encode(event))

    def add_line(self, line: bytes) -> None:
        """One event that is encoded already."""
        if self._render is not None:
            line = str(self._render(None, "", msgspec.json.decode(line))).encode()
        self._lines.append(line)
        self._size += len(line)
        if self._size > FLUSH_AT:
            self.flush()

    @property
    def wants_reviews(self) -> bool:
        """Whether the line of each review is written."""
        return self._least <= LEVELS.index("info")

    def flush(self) -> None:
        """Put everything on the stream."""
        if self._lines:
            lines, self._lines, self._size = self._lines, [], 0
            self._stream.write(b"\n".join(lines).decode() + "\n")
            self._stream.flush()


def _timestamp(seconds: float) -> str:
    whole = int(seconds)
    return f"{_whole_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


_last_second: list[Any] = [0, ""]


def _whole_second(whole: int) -> str:
    # Formatting a date costs more than the rest of the line; it changes once a second.
    if _last_second[0] != whole:
        _last_second[:] = [whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))]
    text: str = _last_second[1]
    return text


class Telemetry:
    """All metrics and the log of one process. Labels hold hosts and rules of the configuration, never paths or tags."""

    def __init__(self, log: Log | None = None) -> None:
        self.log = log if log is not None else Log(sys.stderr)
        self.registry = CollectorRegistry()
        self._make_admission()
        self._make_registries()
        self._make_state()
        self._children: dict[tuple[str, ...], Any] = {}
        self._told: LRUCache[int, _Told] = LRUCache(1024)
        self._breakers: Callable[[], dict[str, bool]] = dict

    def _make_admission(self) -> None:
        own = self.registry
        self.reviews = Counter("moorage_admission_reviews", "Reviews answered.", ["resource", "outcome"], registry=own)
        self.duration = Histogram(
            "moorage_admission_duration_seconds", "Time to answer a review.", buckets=_BUCKETS, registry=own
        )
        self.images = Counter(
            "moorage_images", "Decisions on images.", ["rule", "action", "reason", "target"], registry=own
        )
        self.shed_reviews = Counter(
            "moorage_reviews_shed", "Reviews turned away because too many waited.", registry=own
        )
        self.guard = Counter("moorage_guard", "Pods that name a target by hand.", ["target", "outcome"], registry=own)
        self.internal_errors = Counter("moorage_internal_errors", "Faults of ours: admitted untouched.", registry=own)

    def _make_registries(self) -> None:
        own = self.registry
        labels = ["registry", "method", "code"]
        self.requests = Counter("moorage_registry_requests", "Requests sent to registries.", labels, registry=own)
        self.request_duration = Histogram(
            "moorage_registry_request_duration_seconds",
            "Time of a request.",
            ["registry"],
            buckets=_BUCKETS,
            registry=own,
        )
        self.resolutions = Counter(
            "moorage_resolutions", "Digests asked for, by where they came from.", ["registry", "source"], registry=own
        )
        self.breaker = Gauge("moorage_breaker_open", "1 while a registry is left alone.", ["registry"], registry=own)

    def _make_state(self) -> None:
        own = self.registry
        self.expiry = Gauge(
            "moorage_certificate_expiry_timestamp_seconds", "When the serving certificate ends.", registry=own
        )
        self.reload_success = Gauge("moorage_config_reload_success", "1 when the last load worked.", registry=own)
        self.reload_time = Gauge(
            "moorage_config_reload_success_timestamp_seconds", "When a load last worked.", registry=own
        )
        build = Gauge("moorage_build_info", "The version that runs.", ["version"], registry=own)
        build.labels(__version__).set(1)

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        """A review was answered: metrics and one line."""
        self._child(self.reviews, review.resource, outcome).inc()
        self.duration.observe(seconds)
        told = self._told.get(id(decisions))
        if told is None or told.decisions is not decisions:
            told = self._told[id(decisions)] = self._tell(decisions)
        for child, number in told.counts:
            child.inc(number)
        if self.log.wants_reviews:
            self.log.add_line(
                b'{"time":"%b","level":"info","event":"review","uid":%b,"namespace":%b,"outcome":"%b","milliseconds":%.3f,'
                b'"decisions":%b}'
                % (
                    _timestamp(self.log.clock()).encode(),
                    _encode(review.uid),
                    _encode(review.namespace),
                    outcome.encode(),
                    seconds * 1000,
                    told.line,
                )
            )

    def _tell(self, decisions: Sequence[Decision]) -> "_Told":
        """What one outcome does to counters and log; the same outcome comes again with each Pod of a rollout."""
        counts: dict[Any, int] = {}
        for one in decisions:
            child = self._child(self.images, one.rule, one.action.value, one.reason.value, one.target)
            counts[child] = counts.get(child, 0) + 1
            if one.reason is Reason.NAMED_BY_HAND:
                by_hand = "refused" if one.action is Action.REFUSED else "warned"
                child = self._child(self.guard, one.target, by_hand)
                counts[child] = counts.get(child, 0) + 1
        return _Told(decisions, tuple(counts.items()), _encode([_shown(one) for one in decisions]))

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        """A fault of ours. The traceback shows code and types; values are not printed."""
        self.internal_errors.inc()
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        self.log.write("error", "internal error", id=identity, uid=uid, type=type(error).__name__, traceback=where)

    def registry_request(self, host: str, method: str, code: str, seconds: float) -> None:
        """A request was answered, or failed (`code` is then a reason)."""
        self._child(self.requests, host, method, code).inc()
        self._child(self.request_duration, host).observe(seconds)

    def resolution(self, host: str, source: str) -> None:
        """A digest was asked for."""
        self._child(self.resolutions, host, source).inc()

    def shed(self) -> None:
        """A review was turned away."""
        self.shed_reviews.inc()

    def reloaded(self, *, success: bool, seconds: float) -> None:
        """A configuration was loaded, or not; `seconds` is the wall clock."""
        self.reload_success.set(int(success))
        if success:
            self.reload_time.set(seconds)

    def watch_breakers(self, open_breakers: Callable[[], dict[str, bool]]) -> None:
        """Ask for the standing of breakers when metrics are read."""
        self._breakers = open_breakers

    def exposition(self) -> tuple[bytes, str]:
        """All metrics as OpenMetrics, with their content type."""
        for host, is_open in self._breakers().items():
            self.breaker.labels(host).set(int(is_open))
        text: bytes = generate_latest(self.registry)  # type: ignore[no-untyped-call]  # the library has no types here
        return text, CONTENT_TYPE_LATEST

    def _child(self, metric: Any, *labels: str) -> Any:
        # labels() costs more than the count itself; the labels are few and come again.
        key = (metric._name, *labels)  # noqa: SLF001 - the name that was given above
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


class _Told(msgspec.Struct):
    decisions: Sequence[Decision]
    counts: tuple[tuple[Any, int], ...]
    line: bytes


def _shown(one: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {
        "image": one.slot.text,
        "to": one.to,
        "action": one.action,
        "reason": one.reason,
        "rule": one.rule,
    }
    if one.action in {Action.FAILED, Action.REFUSED}:
        told["trace"] = [sentence(note) for note in one.trace]
    return told
