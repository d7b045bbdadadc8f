"""Metrics and log lines as those who read them see them: Prometheus' own parser, and JSON."""

import io
import json
import logging
import tracemalloc
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.core.world import PRIVATE, D, decisions, known, pod
from tests.doors import Clock
from tests.support.canary import has_any, marked
from webhook.core.admission import Review
from webhook.core.ask import Failed
from webhook.core.decision import Decision
from webhook.core.reason import Note, Reason
from webhook.core.rules import Rule
from webhook.telemetry import Libraries, Log, Telemetry

IMAGE = "registry.example.com/team/app:stable"
REVIEW = Review("0b4a", "pods", "CREATE", "shop", None)

PROMISED = {
    "moorage_admission_reviews": ("counter", ("resource", "outcome")),
    "moorage_admission_duration_seconds": ("histogram", ()),
    "moorage_images": ("counter", ("rule", "action", "reason", "target")),
    "moorage_registry_requests": ("counter", ("registry", "method", "code")),
    "moorage_registry_request_duration_seconds": ("histogram", ("registry",)),
    "moorage_resolutions": ("counter", ("registry", "source")),
    "moorage_breaker_open": ("gauge", ("registry",)),
    "moorage_certificate_expiry_timestamp_seconds": ("gauge", ()),
    "moorage_certificate_reload_success": ("gauge", ()),
    "moorage_log_lines_lost": ("counter", ()),
    "moorage_config_info": ("gauge", ("hash",)),
    "moorage_config_reload_success": ("gauge", ()),
    "moorage_config_reload_success_timestamp_seconds": ("gauge", ()),
    "moorage_reviews_shed": ("counter", ()),
    "moorage_requests_refused": ("counter", ("status",)),
    "moorage_guard": ("counter", ("target", "outcome")),
    "moorage_build_info": ("gauge", ("version",)),
}
"""What dashboards and alerts rely on: a name that changes here breaks somebody's."""


class Watched:
    """Telemetry with its log at hand."""

    def __init__(self, **log: Any) -> None:
        self.stream = io.StringIO()
        self.telemetry = Telemetry(Log(self.stream, clock=lambda: 1_800_000_000.25, **log))

    def lines(self) -> list[dict[str, Any]]:
        self.telemetry.log.flush()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def samples(self) -> dict[tuple[str, ...], float]:
        text, kind = self.telemetry.exposition()
        assert kind.startswith("application/openmetrics-text")
        return {
            (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
            for sample in family.samples
        }


def decided(*images: str, rule: Rule = PRIVATE, **answers: Any) -> list[Decision]:
    return decisions(pod(*images), [rule], **answers)


@pytest.mark.parametrize("name", list(PROMISED))
def test_a_promised_metric_is_there_with_its_labels(name: str) -> None:
    kind, labels = PROMISED[name]
    found = {family.name.removesuffix("_total"): family for family in Telemetry().families}[name]
    assert (found.kind, found.labels) == (kind, labels)


def test_a_review_counts_itself_its_images_and_its_time() -> None:
    watched = Watched()
    three = decided(IMAGE, IMAGE, "docker.io/library/nginx:1")
    for _ in range(2):
        watched.telemetry.review(REVIEW, three, "changed", 0.0004)
    seen = watched.samples()
    assert seen["moorage_admission_reviews_total", "outcome=changed", "resource=pods"] == 2
    assert seen["moorage_images_total", "action=rewritten", "reason=Resolved", "rule=private", "target=kraken"] == 4
    assert seen["moorage_images_total", "action=unchanged", "reason=NoRule", "rule=", "target="] == 2
    assert seen["moorage_admission_duration_seconds_bucket", "le=0.0005"] == 2
    assert seen["moorage_admission_duration_seconds_count",] == 2
    assert seen["moorage_admission_duration_seconds_sum",] == pytest.approx(0.0008)


def test_a_time_on_the_edge_of_a_bucket_is_inside_and_one_beyond_all_is_in_the_last() -> None:
    watched = Watched()
    for seconds in (0.0005, 0.00051, 99.0):
        watched.telemetry.registry_request("registry.example.com", "HEAD", "200", seconds)
    seen = watched.samples()
    ends = {"0.0005": 1, "0.001": 2, "5.0": 2, "+Inf": 3}
    name = "moorage_registry_request_duration_seconds_bucket"
    assert {end: seen[name, f"le={end}", "registry=registry.example.com"] for end in ends} == ends
    assert seen["moorage_registry_requests_total", "code=200", "method=HEAD", "registry=registry.example.com"] == 3


def test_images_named_by_hand_are_counted_by_their_target() -> None:
    watched = Watched()
    watched.telemetry.review(REVIEW, decided("localhost:30081/team/app:stable"), "untouched", 0.001)
    assert watched.samples()["moorage_guard_total", "outcome=warned", "target=kraken"] == 1


def test_what_only_grows_starts_at_nought() -> None:
    seen = Watched().samples()
    assert seen["moorage_reviews_shed_total",] == 0
    assert seen["moorage_internal_errors_total",] == 0


def test_breakers_are_asked_when_they_are_read() -> None:
    watched = Watched()
    states = {"registry.example.com": True}
    watched.telemetry.watch_breakers(lambda: states)
    name = ("moorage_breaker_open", "registry=registry.example.com")
    assert watched.samples()[name] == 1
    states["registry.example.com"] = False
    assert watched.samples()[name] == 0


def test_a_failed_reload_leaves_the_time_of_the_last_good_one() -> None:
    watched = Watched()
    watched.telemetry.reloaded(success=True, seconds=100.0)
    watched.telemetry.reloaded(success=False, seconds=200.0)
    seen = watched.samples()
    assert seen["moorage_config_reload_success",] == 0
    assert seen["moorage_config_reload_success_timestamp_seconds",] == 100.0


def test_a_review_is_one_line() -> None:
    watched = Watched()
    watched.telemetry.review(REVIEW, decided(IMAGE), "changed", 0.0015)
    assert watched.lines() == [
        {
            "time": "2027-01-15T08:00:00.250Z",
            "level": "info",
            "event": "review",
            "uid": "0b4a",
            "namespace": "shop",
            "outcome": "changed",
            "milliseconds": 1.5,
            "decisions": [
                {
                    "image": IMAGE,
                    "to": f"localhost:30081/team/app@{D}",
                    "action": "rewritten",
                    "reason": "Resolved",
                    "rule": "private",
                }
            ],
        }
    ]


def test_a_line_about_a_failure_says_why() -> None:
    watched = Watched()
    failed = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "it answers 503")
    watched.telemetry.review(REVIEW, decided(IMAGE, digest=failed), "failed", 0.001)
    (line,) = watched.lines()
    (one,) = line["decisions"]
    assert (one["action"], one["reason"]) == ("failed", "Unavailable")
    assert any("registry.example.com/team/app" in step and "it answers 503" in step for step in one["trace"])


@pytest.mark.parametrize(
    ("note", "told"),
    [
        (
            (Reason.PIN_IGNORED, "5d4f.1800000000000", "it was not made for this object: a copy"),
            "pin 5d4f.1800000000000 ignored: it was not made for this object: a copy",
        ),
        (
            (Reason.CLUSTER_NOT_ASKED, "ReplicaSet web-5d4f", "this account may not read it"),
            "ReplicaSet web-5d4f could not be read: this account may not read it",
        ),
    ],
)
def test_a_line_says_what_became_of_a_pin_though_the_image_was_decided_on(note: Note, told: str) -> None:
    watched = Watched()
    decisions = [msgspec.structs.replace(one, trace=(note, *one.trace)) for one in decided(IMAGE)]
    watched.telemetry.review(REVIEW, decisions, "changed", 0.001)
    (line,) = watched.lines()
    (one,) = line["decisions"]
    assert one["action"] == "rewritten"
    assert told in one["trace"]


def test_what_an_author_writes_cannot_break_a_line() -> None:
    watched = Watched()
    strange = Review('u"\n{', "pods", "CREATE", 'n"\n', None)
    watched.telemetry.review(strange, decided('x"\n\x1b[31m'), "untouched", 0.001)
    (line,) = watched.lines()
    assert (line["uid"], line["namespace"]) == ('u"\n{', 'n"\n')


def test_what_an_author_writes_at_length_is_cut_in_the_line_and_not_kept() -> None:
    watched = Watched()
    tracemalloc.start()
    try:
        for number in range(20):
            watched.telemetry.review(REVIEW, decided("x" * 1_000_000 + str(number)), "untouched", 0.001)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4_000_000
    assert {len(line["decisions"][0]["image"]) for line in watched.lines()} == {512}


def test_an_internal_error_is_logged_with_its_id_and_place_and_without_values() -> None:
    watched = Watched()
    try:
        int(marked("hunter2"))
    except ValueError as error:
        watched.telemetry.bug("id-7", "0b4a", error)
    (line,) = watched.lines()
    assert (line["level"], line["event"], line["id"], line["uid"], line["type"]) == (
        "error", "internal error", "id-7", "0b4a", "ValueError",
    )  # fmt: skip
    assert "test_telemetry.py" in line["traceback"][-1]
    assert "hunter2" not in watched.stream.getvalue()
    assert watched.samples()["moorage_internal_errors_total",] == 1


def test_what_may_not_be_read_is_told_once_an_hour_for_each_resource() -> None:
    stream, time = io.StringIO(), Clock()
    telemetry = Telemetry(Log(stream, clock=time))
    for after, resource in ((0, "jobs"), (60, "jobs"), (1, "pods"), (3538, "jobs"), (1, "jobs"), (1, "pods")):
        time.forward(after)
        telemetry.cluster_unread(resource, f"{resource} is forbidden")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one["problem"] for one in lines] == ["jobs is forbidden", "pods is forbidden", "jobs is forbidden"]


def test_another_install_is_told_of_once_an_hour() -> None:
    stream, time = io.StringIO(), Clock()
    telemetry = Telemetry(Log(stream, clock=time))
    for after, namespace in ((0, "shop"), (60, "shop"), (3539, "other"), (1, "third")):
        time.forward(after)
        telemetry.foreign(namespace)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["level"], one["event"], one["namespace"]) for one in lines] == [
        ("warning", "another install", "shop"),
        ("warning", "another install", "third"),
    ]
    assert "foreign seal" in lines[0]["problem"]
    assert "`moorage doctor` names the registrations" in lines[0]["do"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_fault_shows_neither_what_its_frames_hold_nor_what_it_came_from(form: str) -> None:
    watched = Watched(form=form)

    def inner(password: str) -> None:
        held = {"Authorization": f"Basic {password}"}
        try:
            int(held["Authorization"])
        except ValueError as cause:
            raise RuntimeError(held) from cause

    try:
        inner(marked("password"))
    except RuntimeError as error:
        error.add_note(marked("note"))
        watched.telemetry.bug("id-7", "0b4a", error)
    watched.telemetry.log.flush()
    told = watched.stream.getvalue()
    assert "RuntimeError" in told
    assert " inner" in told
    assert not has_any(told)


def test_what_is_worse_than_information_is_on_the_stream_at_once() -> None:
    watched = Watched()
    watched.telemetry.log.write("info", "one")
    assert watched.stream.getvalue() == ""
    watched.telemetry.log.write("warning", "two")
    assert [json.loads(line)["event"] for line in watched.stream.getvalue().splitlines()] == ["one", "two"]


def test_a_higher_level_leaves_reviews_out_of_the_log_and_in_the_metrics() -> None:
    watched = Watched(level="warning")
    watched.telemetry.review(REVIEW, decided(IMAGE), "changed", 0.001)
    assert watched.lines() == []
    assert watched.samples()["moorage_admission_reviews_total", "outcome=changed", "resource=pods"] == 1


def test_text_for_people_has_one_line_an_event() -> None:
    watched = Watched(form="text")
    watched.telemetry.review(REVIEW, decided(IMAGE, digest=known()), "changed", 0.001)
    watched.telemetry.log.flush()
    (line,) = watched.stream.getvalue().splitlines()
    assert "review" in line
    assert "uid=0b4a" in line
    assert "\x1b" not in line


# What libraries log


def said_by_libraries(log: Any) -> list[dict[str, Any]]:
    watched = Watched()
    handler = Libraries(watched.telemetry.log)
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    log(logger)
    logger.removeHandler(handler)
    return watched.lines()


def test_a_library_speaks_through_our_log_without_its_arguments() -> None:
    (line,) = said_by_libraries(
        lambda logger: logger.warning("it cannot be read: %s", marked("canary-of-the-password"))
    )
    assert (line["level"], line["event"], line["name"], line["said"]) == (
        "warning", "library", "some.library", "it cannot be read: %s",
    )  # fmt: skip


def test_a_library_is_heard_only_when_something_is_wrong() -> None:
    assert said_by_libraries(lambda logger: logger.info("all is well")) == []


def test_an_error_that_a_library_logs_is_told_by_its_type_and_place_and_not_by_its_text() -> None:
    def log(logger: logging.Logger) -> None:
        try:
            int(marked("canary-of-the-password"))
        except ValueError:
            logger.exception("Task exception was never retrieved\nfuture: " + marked("canary-of-the-password"))  # noqa: G003 - as asyncio puts it together

    (line,) = said_by_libraries(log)
    assert (line["level"], line["said"], line["type"]) == ("error", "Task exception was never retrieved", "ValueError")
    assert "canary" not in json.dumps(line)
    assert "test_telemetry.py" in line["traceback"][-1]


# What readers of metrics ask for

OPEN = "application/openmetrics-text"
PLAIN = "text/plain"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", OPEN),
        ("*/*", OPEN),
        # prometheus/config DefaultScrapeProtocols of 3.x, and of 2.x
        (f"{OPEN};version=1.0.0;escaping=allow-utf-8;q=0.6,{OPEN};version=0.0.1;q=0.5,{PLAIN};version=1.0.0;escaping=allow-utf-8;q=0.4,{PLAIN};version=0.0.4;q=0.3,*/*;q=0.2", OPEN),
        (f"{OPEN};version=1.0.0,{OPEN};version=0.0.1;q=0.75,{PLAIN};version=0.0.4;q=0.5,*/*;q=0.1", OPEN),
        # a scrape configuration that names the older form only
        (f"{PLAIN};version=0.0.4;q=0.5,*/*;q=0.1", PLAIN),
        (f"{PLAIN};version=1.0.0;escaping=allow-utf-8", PLAIN),
        ("text/plain", PLAIN),
        ("text/html,application/xhtml+xml,*/*;q=0.8", OPEN),
        (f"{OPEN};version=x", OPEN),
        (f"{OPEN};version=1.0.0;escaping=nonsense", OPEN),
        ("nonsense;;;,", OPEN),
    ],
)  # fmt: skip
def test_metrics_come_in_the_form_that_is_accepted(accept: str, kind: str) -> None:
    body, told = Telemetry().exposition(accept)
    assert told.startswith(kind)
    assert b"moorage_build_info" in body
    assert body.endswith(b"# EOF\n") == (kind == OPEN)


def test_lines_that_nobody_took_are_counted() -> None:
    lost = [0]
    telemetry = Telemetry(Log(io.StringIO(), lost=lambda: lost[0]))
    lost[0] = 3
    assert b"moorage_log_lines_lost_total 3" in telemetry.exposition()[0]
