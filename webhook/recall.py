"""Reviews that were decided a moment ago: the Pods of one rollout differ in their uid alone.

A ladder is a pure function of what it hears. So a subject that is the same, and whose questions all get the same
answers from memory, has the same decisions, and the rest of its answer can be used again. Every question is put anew:
nothing is decided on an answer that memory would not give now.
"""

from collections.abc import Hashable
from typing import Final

import msgspec
from cachetools import LRUCache

from webhook.core.admission import Review
from webhook.core.annotation import IMAGES
from webhook.core.ask import Ask, Fact, Oracle, alike
from webhook.core.decision import Decision
from webhook.core.rules import RuleSet

ENTRIES: Final = 1024
SEALED_FOR: Final = 1000
"""Milliseconds for which a seal is used again: its time is that of the answer, give or take this."""

Heard = tuple[Oracle, Ask, Fact]


class Outcome(msgspec.Struct, frozen=True):
    """What was decided, on which facts, and the rest of the answer. `sealed` in unix milliseconds."""

    heard: tuple[Heard, ...]
    decisions: tuple[Decision, ...]
    name: str
    rest: bytes
    sealed: int


class Recall:
    """The outcomes of one engine, bounded; those that were used last stay."""

    def __init__(self, rules: RuleSet) -> None:
        self._reads_labels = rules.reads_labels
        self._outcomes: LRUCache[Hashable, Outcome] = LRUCache(ENTRIES)

    def key_of(self, review: Review) -> Hashable | None:
        """What the decisions and the patch depend on, but for the facts; None where the review has to be looked at in
        full: it shows an annotation of ours, whose time counts."""
        subject = review.subject
        if subject is None or IMAGES in subject.annotations:
            return None
        labels = tuple(subject.labels.items()) if self._reads_labels else ()
        return (
            subject.slots,
            subject.audience,
            subject.owner,
            subject.workload,
            bool(subject.annotations),
            subject.opted_out,
            review.may_change,
            review.may_annotate,
            labels,
        )

    def find(self, key: Hashable, milliseconds: int) -> Outcome | None:
        """The outcome, if memory still answers all its questions alike."""
        outcome = self._outcomes.get(key)
        if outcome is None or not 0 <= milliseconds - outcome.sealed <= SEALED_FOR:
            return None
        for oracle, ask, fact in outcome.heard:
            now = oracle.peek(ask)
            if now is not fact and (now is None or not alike(now, fact)):
                return None
        return outcome

    def keep(self, key: Hashable, outcome: Outcome) -> None:
        """Remember an outcome whose facts all came from memory."""
        self._outcomes[key] = outcome
