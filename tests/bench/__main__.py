"""Measures everything and prints it: `python -m tests.bench [--only NAME…] [--rounds N] [--seconds S] [--write FILE]`."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.bench import cold
from tests.bench.cluster import cluster
from tests.bench.figures import Figure, table
from tests.bench.logins import logins
from tests.bench.machine import described
from tests.bench.steady import steady
from tests.bench.warm import Rounds, growth, warm
from webhook.tls import self_signed, utc_now

MARKS: Final = {
    word: (f"<!-- measured: make {word} -->", f"<!-- end of make {word} -->") for word in ("bench", "bench-cluster")
}

PAGES: Final[dict[str, Callable[[Path, Rounds], list[Figure]]]] = {
    "warm": warm,
    "cold": lambda folder, _: [*cold.slow_upstream(folder), *cold.lookups(folder)],
    "memory": lambda folder, _: cold.memory(folder),
    "logins": logins,
    "startup": lambda folder, _: cold.startup(folder),
    "growth": growth,
    "cluster": cluster,
    "steady": steady,
}
IN_CLUSTER: Final = ("cluster", "steady")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write where that is asked for. Exit 1 where a must is missed."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument(
        "--only", nargs="*", choices=list(PAGES), default=[name for name in PAGES if name not in IN_CLUSTER]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args(arguments)
    machine, parts = described(), {}
    missed = False
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as place:
        folder = Path(place)
        pair, ca = self_signed("localhost", now=utc_now())
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        (folder / "ca.crt").write_bytes(ca)
        for name in given.only:
            figures = PAGES[name](folder, Rounds(given.seconds, given.rounds))
            missed = missed or any(
                figure.bound is not None and "misses" in figure.bound.verdict(figure.value) for figure in figures
            )
            parts[name.capitalize()] = f"{datetime.now(UTC):%Y-%m-%d}\n\n{table(figures)}"
            sys.stderr.write(f"{parts[name.capitalize()]}\n\n")
    print(_joined(machine, parts))
    if given.write is not None:
        _write(given.write, "bench-cluster" if set(given.only) <= set(IN_CLUSTER) else "bench", machine, parts)
    return 1 if missed else 0


def _write(page: Path, word: str, machine: str, parts: Mapping[str, str]) -> None:
    """Put what was measured in its place; what was not stays, with the date of its own."""
    start, end = MARKS[word]
    before, _, rest = page.read_text().partition(start)
    there, _, after = rest.partition(end)
    stood = (part.partition(", ") for part in there.strip().split("\n\n### ")[1:])
    whole = _joined(machine, {**{name: text for name, _, text in stood}, **parts})
    page.write_text(f"{before}{start}\n\n{whole}\n\n{end}{after}")


def _joined(machine: str, parts: Mapping[str, str]) -> str:
    return "\n\n".join([machine, *(f"### {name}, {text}" for name, text in parts.items())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
