"""What it costs to keep the answers of one login from another's: a keyed hash of what a registry is asked with."""

import timeit
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.figures import Bound, Figure
from webhook.core.credential import ANONYMOUS, Credential, candidates
from webhook.core.secret import Secret

TIMES: Final = 20_000
ROUNDS: Final = 7
KEY: Final = bytes(32)
ONE: Final = Credential("pod", "robot", Secret("x" * 64))
TOKEN: Final = Credential("file", registry_token=Secret("x" * 4096))


def logins(_folder: Path, _rounds: object) -> list[Figure]:
    """Microseconds each time that logins are put together anew; what is remembered of them is not hashed again."""
    return [
        _hashed("keyed hash of one login with a password", [ONE], Bound(5)),
        _hashed("keyed hash of three pull secrets, then anonymous", [ONE, ONE, ONE, ANONYMOUS], None),
        _hashed("keyed hash of a token of 4 KB", [TOKEN], None),
    ]


def _hashed(measure: str, ordered: Sequence[Credential], bound: Bound | None) -> Figure:
    seconds = timeit.repeat(lambda: candidates(ordered, KEY), repeat=ROUNDS, number=TIMES)
    each = [one / TIMES * 1e6 for one in seconds]
    value = median(each)
    return Figure(measure, f"{value:.2f} µs", value, bound, "µs", (min(each), max(each)))
