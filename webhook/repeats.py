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
TOUCHED: Final = 1.0
"""Seconds after which memory hears that an answer is still in use, so that it does not push it out."""
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


class Repeat(msgspec.Struct, gc=False):
    """A question that memory has answered, and what the answer hangs on. `label` is its registry's name in metrics; at
    `used` (monotonic, in seconds) memory was told last that the answer is in use."""

    ask: AskDigest
    candidates: Candidates
    key: Key
    entry: Entry
    label: str
    used: float


class Repeats:
    """The questions of one resolver that were answered from memory, by identity: that spares most of the way to the
    answer."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._kept: Memo[int, Repeat] = Memo(KEPT)

    def find(self, ask: Ask, now: float) -> Repeat | None:
        """This very question, if its answer is still fresh, not yet due, and the one in memory."""
        found = self._kept.get(id(ask))
        if found is None or found.ask is not ask:
            return None
        entry = found.entry
        if not entry.stands or entry.age(now) is not Age.FRESH:
            return None
        if now - found.used > TOUCHED:
            found.used = now
            self._answers.get(found.key)
        return found

    def keep(self, repeat: Repeat) -> None:
        """Have it at hand."""
        ask = repeat.ask
        names = sum([len(image.path) for image in ask.images]) + sum([len(name) for name in ask.audience.secrets])
        self._kept.keep(id(ask), repeat, QUESTION + names)
