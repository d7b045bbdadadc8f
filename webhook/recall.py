"""Reviews that were decided a moment ago: the Pods of one rollout differ in their uid alone.

A ladder is a pure function of what it hears. So a subject that is the same, and whose questions all get the same
answers from memory, has the same decisions, and the rest of its answer can be used again. Every question is put anew:
nothing is decided on an answer that memory would not give now.
"""

from typing import Final

import msgspec

from webhook.core.admission import Review
from webhook.core.annotation import IMAGES
from webhook.core.ask import Ask, Fact, Oracle, alike
from webhook.core.decision import Decision
from webhook.core.memo import Memo
from webhook.core.subject import Subject

SEALED_FOR: Final = 1000
"""Milliseconds for which a seal is used again: its time is that of the answer, give or take this. Then the answer is
written anew from the same decisions."""

KEPT: Final = 6 * 1024 * 1024
"""What all outcomes weigh: the bytes of their reviews, of their answers, and SLOT for each image."""
SLOT: Final = 2048
"""Bytes that an image with what was asked, heard and decided about it takes at most."""

Heard = tuple[Oracle, Ask, Fact]


class Outcome(msgspec.Struct, frozen=True):
    """What was decided for a subject, on which facts, and the rest of the answer. `sealed` in unix milliseconds."""

    subject: Subject
    heard: tuple[Heard, ...]
    decisions: tuple[Decision, ...]
    name: str
    rest: bytes
    sealed: int

    def is_sealed(self, milliseconds: int) -> bool:
        """Whether the seal in `rest` may be given out at this time."""
        return 0 <= milliseconds - self.sealed <= SEALED_FOR


class Recall:
    """The outcomes of one engine, bounded.

    Equal reviews come with one and the same Subject (`core.admission` sees to that), so identity tells them apart.
    """

    def __init__(self) -> None:
        self._outcomes: Memo[int, Outcome] = Memo(KEPT)

    def find(self, review: Review) -> Outcome | None:
        """The outcome, if memory still answers all its questions alike."""
        subject = review.subject
        outcome = self._outcomes.get(id(subject))
        if outcome is None or outcome.subject is not subject:
            return None
        for oracle, ask, fact in outcome.heard:
            now = oracle.peek_again(ask)
            if now is not fact and (now is None or not alike(now, fact)):
                return None
        return outcome

    def keep(self, review: Review, outcome: Outcome) -> None:
        """Remember an outcome whose facts all came from memory, where the review is one that is remembered; not that of
        a Pod which shows an annotation of ours, whose time counts."""
        if review.size and IMAGES not in outcome.subject.annotations:
            weight = review.size + len(outcome.rest) + SLOT * len(outcome.subject.slots)
            self._outcomes.keep(id(outcome.subject), outcome, weight)
