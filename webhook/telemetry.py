"""Log lines and metrics: the only module that names them. Doors get its methods as plain callables."""

import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Protocol

import msgspec

from webhook import __version__
from webhook.core.admission import Review
from webhook.core.decision import Action, Decision, Source
from webhook.core.memo import Memo
from webhook.core.reason import Reason, sentence
from webhook.metrics import Count, Family, Labels, Level, Spread, exposition

FLUSH_EVERY: Final = 0.1
FLUSH_AT: Final = 64 * 1024
TOLD: Final = 1024 * 1024
"""Bytes of the lines of outcomes, and of the images in them, that are kept ready."""
GRANT: Final = "grant it with the component pull-secrets, or leave pod out of credentials"
NAME_RIGHTS: Final = "`moorage doctor` names each right that is missing, and what does not work without it"
FOREIGN: Final = (
    "a Pod came with moorage.dev/images under a foreign seal, written a moment ago: somebody else decides on Pods, too"
)
ONE_ONLY: Final = (
    "`moorage doctor` names the registrations; delete the one too many, or let each be asked about other namespaces. "
    "Replicas of one install need one seal key"
)
LONGEST: Final = 512
"""Characters of an image's text in a line: an author can write megabytes that are no name."""
QUIET: Final = 60.0
"""Seconds between two lines about callers that bear no name that may call."""
AN_HOUR: Final = 3600.0
"""Seconds between two lines about one resource of the cluster that may not be read, or about another install."""
PLACES: Final = 256
"""Places whose failing logins are remembered, so that each is told of once."""
LEVELS: Final = ("debug", "info", "warning", "error")
_encode = msgspec.json.Encoder().encode


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> int:
        """Take a text."""

    def flush(self) -> None:
        """Let it be seen."""


class Log:
    """JSON lines, one event each, gathered and written together; or text for people.

    `lost` tells how many lines the stream has not taken.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        form: str = "json",
        level: str = "info",
        clock: Callable[[], float] = time.time,
        lost: Callable[[], int] = lambda: 0,
    ) -> None:
        self._stream = stream
        self.lost = lost
        self._render = _renderer() if form == "text" else None
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


class Libraries(logging.Handler):
    """Puts what libraries log, where it is worse than information, into our log.

    Of a message only the first line of its template is told: arguments could hold what a stranger sent.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one message."""
        error = record.exc_info[1] if record.exc_info else None
        more = {"type": type(error).__name__, "traceback": _places(error.__traceback__)} if error is not None else {}
        said = str(record.msg).strip().partition("\n")[0]
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.write(level, "library", name=record.name, said=said, **more)


def _places(traceback_: TracebackType | None) -> list[str]:
    """The way to a fault: code, and no values."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(traceback_)]


def _renderer() -> Callable[[object, str, dict[str, Any]], str]:
    # Only here: with what it imports to draw tracebacks it takes 11 MiB, which a server that writes JSON need not hold.
    from structlog.dev import ConsoleRenderer  # noqa: PLC0415

    return ConsoleRenderer(colors=False)


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
        self.reviews = Count("moorage_admission_reviews_total", "Reviews answered.", ["resource", "outcome"])
        self.duration = Spread("moorage_admission_duration_seconds", "Time to answer a review.")
        self.images = Count("moorage_images_total", "Decisions on images.", ["rule", "action", "reason", "target"])
        self.requests = Count(
            "moorage_registry_requests_total",
            "Requests sent to registries; `code` is the status, or the reason where there was none, or an answer that is none.",
            ["registry", "method", "code"],
        )
        self.request_duration = Spread(
            "moorage_registry_request_duration_seconds", "Time of a request to a registry.", ["registry"]
        )
        self.resolutions = Count(
            "moorage_resolutions_total", "Digests asked for, by where they came from.", ["registry", "source"]
        )
        self.logins = Count(
            "moorage_cloud_logins_total", "Logins asked for at clouds: renewed or failed.", ["provider", "outcome"]
        )
        self.pins = Count(
            "moorage_pins_total",
            "Images of revisions: pinned, kept or not; and of Pods: decided by a pin, by a sibling, or not read.",
            ["resource", "outcome"],
        )
        self.pins_gone = Count(
            "moorage_pins_gone_total", "Pins whose digest the upstream does not have any more.", ["rule"]
        )
        self.pull_secrets = Count(
            "moorage_pull_secret_reads_total",
            "Reads of pull secrets, and of service accounts that name them.",
            ["outcome"],
        )
        self.guarded = Count("moorage_guard_total", "Images that name a target by hand.", ["target", "outcome"])
        self.breakers = Level("moorage_breaker_open", "1 while a registry is left alone.", ["registry"])
        self.shed_reviews = Count("moorage_reviews_shed_total", "Reviews turned away because too many waited.")
        self.refused_requests = Count(
            "moorage_requests_refused_total",
            "Requests at the admission port that were no review, or came from a stranger, by the status of the answer.",
            ["status"],
        )
        self.internal_errors = Count("moorage_internal_errors_total", "Faults of ours: the Pod was admitted untouched.")
        self.lost_lines = Count(
            "moorage_log_lines_lost_total", "Log lines that nobody took: no reader, or a full disk."
        )
        self.expiry = Level("moorage_certificate_expiry_timestamp_seconds", "When the serving certificate ends.")
        self.certificate_success = Level(
            "moorage_certificate_reload_success", "1 when the certificate that was found last is the one that serves."
        )
        self.certificates_kept = Level(
            "moorage_certificates_kept",
            "1 while the Secret and the registration are as they should be; from the replica that keeps them.",
        )
        self.reload_success = Level(
            "moorage_config_reload_success", "1 when the last load of the configuration worked."
        )
        self.reload_time = Level(
            "moorage_config_reload_success_timestamp_seconds", "When a load of the configuration last worked."
        )
        self.config = Level("moorage_config_info", "1, labelled with the hash of the configuration in force.", ["hash"])
        self.registration_covers = Level(
            "moorage_registration_covers_rules",
            "1 while all that the rules are about reaches Moorage, by the live registration.",
        )
        self.build = Level("moorage_build_info", "1, labelled with the version that runs.", ["version"])
        self.build.set(1, (__version__,))
        self._told: Memo[int, _Told] = Memo(TOLD)
        self._open_breakers: Callable[[], dict[str, bool]] = dict
        self._no_login: dict[tuple[str, str], str] = {}
        self._unread: dict[str, float] = {}
        self._refused = 0
        self._refused_at = -QUIET
        self._foreign_at = -AN_HOUR
        self._wants_reviews = self.log.wants_reviews

    @property
    def families(self) -> tuple[Family, ...]:
        """Every metric, in the order of the reference page."""
        return tuple(value for value in vars(self).values() if isinstance(value, Family))

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        """A review was answered: metrics and one line."""
        self.reviews.add((review.resource, outcome))
        self.duration.observe(seconds)
        told = self._told.get(id(decisions))
        if told is None or told.decisions is not decisions:
            told = _tell(decisions)
            # What is kept are the decisions too, with all of what the author wrote.
            self._told.keep(id(decisions), told, len(told.line) + sum([len(one.slot.text) for one in decisions]))
        for outcome_of_pin, number in told.pins:
            self.pins.add((review.resource, outcome_of_pin), number)
        for labels, number in told.images if review.rollout is None else ():
            self.images.add(labels, number)
        for labels, number in told.guarded:
            self.guarded.add(labels, number)
        if self._wants_reviews:
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

    def foreign(self, namespace: str) -> None:
        """A Pod came with what another Moorage wrote on it a moment ago: told with the first one in each hour."""
        now = self.log.clock()
        if 0 <= now - self._foreign_at < AN_HOUR:
            return
        self._foreign_at = now
        self.log.write("warning", "another install", namespace=namespace, problem=FOREIGN, do=ONE_ONLY)

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        """A fault of ours. The traceback shows code and types; values are not printed."""
        self.internal_errors.add()
        where = _places(error.__traceback__)
        self.log.write("error", "internal error", id=identity, uid=uid, type=type(error).__name__, traceback=where)

    def registry_request(self, host: str, method: str, code: str, seconds: float) -> None:
        """A request was answered, or failed (`code` is then a reason)."""
        self.requests.add((host, method, code))
        self.request_duration.observe(seconds, (host,))

    def registry_warning(self, host: str, text: str) -> None:
        """A registry wants its users to read something."""
        self.log.write("warning", "registry warning", registry=host, text=text)

    def login(self, kind: str, place: str, trouble: str) -> None:
        """A login at a cloud was had, or not."""
        self.logins.add((kind, "failed" if trouble else "renewed"))
        if self._no_login.get((kind, place), "") == trouble:
            return
        if trouble:
            if len(self._no_login) >= PLACES:
                self._no_login.clear()
            self._no_login[kind, place] = trouble
            self.log.write("warning", "no cloud login", provider=kind, place=place, problem=trouble)
        else:
            del self._no_login[kind, place]
            self.log.write("info", "cloud login is back", provider=kind, place=place)

    def resolution(self, host: str, source: str) -> None:
        """A digest was asked for."""
        self.resolutions.add((host, source))

    def pull_secret_read(self, outcome: str) -> None:
        """A pull secret, or a service account, was asked for at the API server."""
        self.pull_secrets.add((outcome,))

    def pull_secrets_unread(self, problem: str) -> None:
        """Pull secrets may not be read."""
        self.log.write("warning", "pull secrets not read", problem=problem, do=GRANT)

    def cluster_unread(self, resource: str, problem: str) -> None:
        """The account may not read a resource: told with the first time in each hour."""
        now = self.log.clock()
        if 0 <= now - self._unread.get(resource, -AN_HOUR) < AN_HOUR:
            return
        self._unread[resource] = now
        self.log.write("warning", "cluster not read", resource=resource, problem=problem, do=NAME_RIGHTS)

    def shed(self) -> None:
        """A review was turned away."""
        self.shed_reviews.add()

    def refused_request(self, status: int) -> None:
        """No review came of a request."""
        self.refused_requests.add((str(status),))

    def refused(self, names: str, address: str) -> None:
        """A caller was sent away for his certificate bears none of the names: told with the first one of each minute."""
        self.refused_request(403)
        self._refused += 1
        now = self.log.clock()
        if 0 <= now - self._refused_at < QUIET:
            return
        self._refused_at = now
        told, self._refused = self._refused, 0
        self.log.write("warning", "caller refused", names=names, address=address, refused=told)

    def reloaded(self, *, success: bool, seconds: float) -> None:
        """A configuration was loaded, or not; `seconds` is the wall clock."""
        self.reload_success.set(int(success))
        if success:
            self.reload_time.set(seconds)

    def in_force(self, hash_of_configuration: str) -> None:
        """Another configuration serves now."""
        self.config.values = {(hash_of_configuration,): 1}

    def watch_breakers(self, open_breakers: Callable[[], dict[str, bool]]) -> None:
        """Ask for the standing of breakers when metrics are read."""
        self._open_breakers = open_breakers

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in a form that the reader accepts, and its content type."""
        for host, is_open in self._open_breakers().items():
            self.breakers.set(int(is_open), (host,))
        self.lost_lines.values[()] = self.log.lost()
        return exposition(self.families, accept)


class _Told(msgspec.Struct):
    """What one outcome does to counters and log; the same outcome comes again with each Pod of a rollout."""

    decisions: Sequence[Decision]
    images: tuple[tuple[Labels, int], ...]
    pins: tuple[tuple[str, int], ...]
    guarded: tuple[tuple[Labels, int], ...]
    line: bytes


def _tell(decisions: Sequence[Decision]) -> _Told:
    images = Counter((one.rule, one.action.value, one.reason.value, one.target) for one in decisions)
    guarded = Counter(
        (one.target, "refused" if one.action is Action.REFUSED else "warned")
        for one in decisions
        if one.reason is Reason.NAMED_BY_HAND
    )
    pins = Counter(outcome for one in decisions for outcome in _pin_outcomes(one))
    line = _encode([_shown(one) for one in decisions])
    return _Told(decisions, tuple(images.items()), tuple(pins.items()), tuple(guarded.items()), line)


_OF_REVISIONS: Final = {
    Reason.PIN_WRITTEN: "written",
    Reason.PIN_KEPT: "kept",
    Reason.TAG_MOVED: "tag-moved",
    Reason.ANNOTATIONS_FULL: "full",
}
_NOTED: Final = {
    Reason.KEEL_DIFFERS: "keel-differs",
    Reason.CLUSTER_NOT_ASKED: "not-read",
    Reason.HINT_NOT_CONFIRMED: "not-confirmed",
}
_EXPLAINED: Final = frozenset({*_NOTED, Reason.PIN_IGNORED})
"""Notes of what did not go as usual, though the image was decided on."""


def _pin_outcomes(one: Decision) -> Iterator[str]:
    if one.reason in _OF_REVISIONS:
        yield _OF_REVISIONS[one.reason]
    elif one.source in {Source.PIN, Source.SIBLING}:
        yield one.source.value
    elif one.action is Action.FAILED and one.slot.pointer.startswith(("/spec/template", "/data")):
        yield "failed"
    yield from {_NOTED[note[0]] for note in one.trace if note[0] in _NOTED}


def _shown(one: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {
        "image": one.slot.text[:LONGEST],
        "to": one.to,
        "action": one.action,
        "reason": one.reason,
        "rule": one.rule,
    }
    if one.action in {Action.FAILED, Action.REFUSED} or any(note[0] in _EXPLAINED for note in one.trace):
        told["trace"] = [sentence(note) for note in one.trace]
    return told
