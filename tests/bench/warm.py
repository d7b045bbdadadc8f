"""Reviews that memory answers, beside the Go floor: CPU first, because it stays true on a busy machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.figures import Bound, Figure, ratio
from tests.bench.load import Seen, full, steady
from tests.bench.processes import Process, floor, moorage, upstream
from tests.bench.reviews import SIZE, WORKLOADS, configuration, images, review, script

SLOTS: Final = 4
RATE: Final = 500


class Rounds(msgspec.Struct, frozen=True):
    """How long and how often each thing is measured."""

    seconds: int = 4
    number: int = 5


def warm(folder: Path, rounds: Rounds) -> list[Figure]:
    """The rows about warm reviews."""
    with upstream(0) as registry:
        host = registry.url.removeprefix("http://")
        with floor(f"{host}/", folder) as theirs, moorage(configuration(folder, host), folder) as ours:
            same = review(images(host, SLOTS), size=SIZE)
            one = script(folder, "one", [same])
            many = script(folder, "many", _workloads(host))
            figures = _at_full(list(_pairs(ours, theirs, one, rounds)))
            steadily = [
                (
                    steady(ours, same, folder, rate=RATE, seconds=rounds.seconds),
                    steady(theirs, same, folder, rate=RATE, seconds=rounds.seconds),
                )
                for _ in range(rounds.number)
            ]
            figures.append(
                ratio(
                    f"p99 at {RATE} reviews/s",
                    [mine.p99 for mine, _ in steadily],
                    [other.p99 for _, other in steadily],
                    Bound(1.5, 1.0),
                    "ms",
                )
            )
            apart = list(_pairs(ours, theirs, many, rounds))
            figures.append(
                ratio(
                    f"CPU a warm review, {WORKLOADS} workloads in turn",
                    [mine.cpu for mine, _ in apart],
                    [other.cpu for _, other in apart],
                    None,
                    "µs",
                )
            )
    return figures


def _workloads(host: str) -> list[str]:
    return [review(images(host, SLOTS), workload=f"app-{number}", size=SIZE) for number in range(WORKLOADS)]


def _pairs(ours: Process, theirs: Process, script: Path, rounds: Rounds) -> Iterator[tuple[Seen, Seen]]:
    for server in (ours, theirs):
        full(server, script, 1)
    for _ in range(rounds.number):
        yield full(ours, script, rounds.seconds), full(theirs, script, rounds.seconds)


def _at_full(seen: list[tuple[Seen, Seen]]) -> list[Figure]:
    ours, theirs = [mine for mine, _ in seen], [other for _, other in seen]
    return [
        ratio("CPU a warm review", [one.cpu for one in ours], [one.cpu for one in theirs], Bound(1.0, 0.7), "µs"),
        ratio(
            "warm reviews/s at 16 connections",
            [one.rate for one in ours],
            [one.rate for one in theirs],
            Bound(1.0, 1.5, at_most=False),
            "/s",
        ),
        ratio("p99 at 16 connections", [one.p99 for one in ours], [one.p99 for one in theirs], Bound(1.5, 1.0), "ms"),
    ]


def growth(folder: Path, rounds: Rounds) -> list[Figure]:
    """How CPU time grows with images, rules and size; each review is another workload's, so that each is decided."""
    seconds = max(1, rounds.seconds // 2)
    figures = []
    with upstream(0) as registry:
        host = registry.url.removeprefix("http://")
        with floor(f"{host}/", folder) as theirs, moorage(configuration(folder, host), folder) as ours:
            for count in (1, 4, 16, 64):
                bodies = [review(images(host, count), workload=f"app-{number}") for number in range(WORKLOADS)]
                file = script(folder, f"images-{count}", bodies)
                figures.append(_beside(f"{count} images", ours, theirs, file, Rounds(seconds, rounds.number)))
            for size in (7, 70, 700):
                file = script(folder, f"size-{size}", [review(images(host, SLOTS), size=size * 1024)])
                figures.append(_beside(f"{size} KB", ours, theirs, file, Rounds(seconds, rounds.number)))
        figures += _rules(folder, host, Rounds(seconds, rounds.number))
    return figures


def _beside(name: str, ours: Process, theirs: Process, file: Path, rounds: Rounds) -> Figure:
    seen = list(_pairs(ours, theirs, file, rounds))
    mine, other = [one.cpu for one, _ in seen], [one.cpu for _, one in seen]
    return ratio(f"CPU a review of {name}", mine, other, None, "µs")


def _rules(folder: Path, host: str, rounds: Rounds) -> Iterator[Figure]:
    many = script(folder, "rules", _workloads(host))
    with moorage(configuration(folder, host), folder) as one_rule:
        for count in (10, 100, 1000):
            with moorage(configuration(folder, host, rules=count), folder) as more_rules:
                seen = list(_pairs(more_rules, one_rule, many, rounds))
            mine, other = [one.cpu for one, _ in seen], [one.cpu for _, one in seen]
            figure = ratio(f"CPU with {count} rules", mine, other, Bound(1.2) if count == 1000 else None, "µs")
            yield msgspec.structs.replace(figure, shown=figure.shown.replace("Go floor", "one rule"))
