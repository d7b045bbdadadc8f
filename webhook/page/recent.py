"""The reviews of the last minutes with their decisions, newest first, bounded by number and by weight."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol

import msgspec

from webhook.core.admission import Review
from webhook.core.decision import Decision

MOST: Final = 1000
"""Reviews that are kept."""
WEIGHT: Final = 8 * 1024 * 1024
"""Bytes that they may take, by a high estimate: authors write texts of any length."""
SLOT: Final = 2048
"""Bytes that a decision takes, besides copies of the image's text."""
COPIES: Final = 3
"""Of the image's text: in the slot, in the reference, in the trace."""


class Observer(Protocol):
    """Who is told of every review and of every fault of ours: `webhook.telemetry.Telemetry`."""

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        """A review was answered."""

    def foreign(self, namespace: str) -> None:
        """A Pod of this namespace came with what another Moorage wrote on it a moment ago."""

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        """An internal error was turned into an untouched admission."""


class Seen(msgspec.Struct, frozen=True):
    """A review that was answered. `number` counts up from 1, `at` is in unix seconds, `seconds` is what the answer took."""

    number: int
    at: float
    uid: str
    namespace: str
    resource: str
    kind: str
    workload: str
    outcome: str
    seconds: float
    decisions: Sequence[Decision]


class Wanted(msgspec.Struct, frozen=True):
    """Which reviews to find: each field that is not empty must fit. `before` is a number; 0 for the newest."""

    namespace: str = ""
    rule: str = ""
    outcome: str = ""
    before: int = 0

    def fits(self, seen: Seen) -> bool:
        """Whether it is one of them; of a rule are reviews with an image that it decided on."""
        return (
            (not self.before or seen.number < self.before)
            and self.namespace in {"", seen.namespace}
            and self.outcome in {"", seen.outcome}
            and (not self.rule or any(one.rule == self.rule for one in seen.decisions))
        )


class Recent:
    """Hears of reviews beside `observer`, who hears of everything first. `wall` is in unix seconds.

    What holds no image is not kept, unless it went wrong; what weighs more than an eighth of all is only counted.
    """

    def __init__(
        self,
        observer: Observer,
        *,
        wall: Callable[[], float] = time.time,
        most: int = MOST,
        weight: int = WEIGHT,
    ) -> None:
        self._observer = observer
        self._wall = wall
        self._most = most
        self._limit = weight
        self._kept: deque[tuple[int, Seen]] = deque()
        self._weight = 0
        self.number = 0
        self.too_large = 0

    def review(self, review: Review, decisions: Sequence[Decision], outcome: str, seconds: float) -> None:
        """A review was answered."""
        self._observer.review(review, decisions, outcome, seconds)
        if not decisions and outcome == "untouched":
            return
        self.number += 1
        subject = review.subject
        kind, workload = ("", "") if subject is None else (subject.kind, subject.workload)
        uid, namespace, resource = review.uid, review.namespace, review.resource
        weight = (
            SLOT * (1 + len(decisions))
            + COPIES * sum([len(one.slot.text) for one in decisions])
            + len(uid) + len(namespace) + len(kind) + len(workload)
        )  # fmt: skip
        if weight * 8 > self._limit:
            self.too_large += 1
            return
        at = self._wall()
        seen = Seen(self.number, at, uid, namespace, resource, kind, workload, outcome, seconds, decisions)
        self._kept.append((weight, seen))
        self._weight += weight
        while self._weight > self._limit or len(self._kept) > self._most:
            self._weight -= self._kept.popleft()[0]

    def foreign(self, namespace: str) -> None:
        """Another Moorage is asked about the same Pods."""
        self._observer.foreign(namespace)

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        """A fault of ours; the review that it happened to is told of, too."""
        self._observer.bug(identity, uid, error)

    def find(self, wanted: Wanted, most: int) -> tuple[list[Seen], bool]:
        """So many of those that are wanted, newest first, and whether there are more."""
        found = list(islice(self._find(wanted), most + 1))
        return found[:most], len(found) > most

    def _find(self, wanted: Wanted) -> Iterator[Seen]:
        return (seen for _, seen in reversed(self._kept) if wanted.fits(seen))
