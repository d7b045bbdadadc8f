"""Questions that are put again: the Pods of one rollout bring the very same ones, and their answers stand for a while."""

from typing import Final

import msgspec
from cachetools import LRUCache

from webhook.core.ask import Ask, AskDigest
from webhook.core.credential import Candidates
from webhook.core.freshness import Age, Entry
from webhook.core.memo import Memo
from webhook.core.reference import Reference

Key = tuple[tuple[Reference, ...], bytes]
"""The images in the order of their upstreams, and the fingerprints of the credentials for each: what was told to one
login no other can read, nor learn by timing."""

KEPT: Final = 4 * 1024 * 1024
"""Bytes of all questions that are at hand."""
QUESTION: Final = 1024
"""Bytes that one takes, and each character of a name in it one more."""


class Answers(LRUCache[Key, Entry]):
    """What upstreams said. An entry that is replaced or pushed out stands no longer, for those who have it at hand."""

    def __setitem__(self, key: Key, entry: Entry) -> None:
        """Keep an answer in place of the one before."""
        before = self.get(key)
        if before is not None:
            before.stands = False
        super().__setitem__(key, entry)
        entry.stands = True

    def __delitem__(self, key: Key) -> None:
        """Forget an answer."""
        self[key].stands = False
        super().__delitem__(key)


class Repeat(msgspec.Struct, frozen=True, gc=False):
    """A question that memory has answered, and what the answer hangs on. `label` is its registry's name in metrics."""

    ask: AskDigest
    candidates: Candidates
    entry: Entry
    label: str


class Repeats:
    """The questions of one resolver that were answered from memory, by identity: that spares most of the way to the
    answer. Each second a rollout's questions are new ones, so that what is in use does not look unused in memory."""

    def __init__(self) -> None:
        self._kept: Memo[int, Repeat] = Memo(KEPT)

    def find(self, ask: Ask, now: float) -> Repeat | None:
        """This very question, if its answer is still fresh, not yet due, and the one in memory."""
        found = self._kept.get(id(ask))
        if found is None or found.ask is not ask:
            return None
        entry = found.entry
        return found if entry.stands and entry.age(now) is Age.FRESH else None

    def keep(self, repeat: Repeat) -> None:
        """Have it at hand."""
        ask = repeat.ask
        names = sum([len(image.path) for image in ask.images]) + sum([len(name) for name in ask.audience.secrets])
        self._kept.keep(id(ask), repeat, QUESTION + names)
