"""Entries and their age: fresh, due, stale, gone. Clocks are numbers that are passed in.

Model: CoreDNS's cache plugin and RFC 8767 (serving stale data), carried over from names to tags.
"""

from enum import Enum
from typing import Final

import msgspec

from webhook.core.ask import Absent, Known
from webhook.core.reason import Reason

DUE_AT: Final = 0.85
"""The share of its fresh time after which an entry that is in use is refreshed ahead."""
SPREAD: Final = 0.05
"""How far that moment is moved either way, as a share of the same time, so that entries of one second part company."""
RECHECK: Final = 30.0
"""Seconds that a failed refresh is let be before the next one (RFC 8767, section 5)."""

NEVER: Final = float("-inf")
"""The end of the fresh time of what no upstream said."""


class Resolving(msgspec.Struct, frozen=True, gc=False):
    """`resolving:` of the configuration; times in seconds. `denied` is how long a 401 or 403 is believed, `pins` how long
    what was read of a rollout."""

    fresh: float = 30.0
    stale: float = 86_400.0
    not_found: float = 10.0
    denied: float = 5.0
    budget: float = 4.0
    entries: int = 10_000
    pins: float = 60.0


class Age(Enum):
    """What an entry is worth now."""

    FRESH = "fresh"
    DUE = "due"
    STALE = "stale"
    GONE = "gone"


class Entry(msgspec.Struct, gc=False):
    """A digest that an upstream named. Times are of the monotonic clock: `began` when its request was sent, `until`
    ends its fresh time, `gone` its use when the upstream is silent. From `due` on it is refreshed when it is used. It
    `stands` while it is the one in memory."""

    known: Known
    began: float
    due: float
    until: float
    gone: float
    again: Known | None = None
    stands: bool = False

    def age(self, now: float) -> Age:
        """Fresh, then due (still fresh, but to be refreshed when used), stale, gone."""
        if now < self.until:
            return Age.FRESH if now < self.due else Age.DUE
        return Age.STALE if now < self.gone else Age.GONE

    def answers(self, since: float) -> bool:
        """Whether an upstream said so, to a request that was sent at that moment or later."""
        return self.until != NEVER and self.began >= since

    def outdates(self, began: float) -> bool:
        """Whether it is the answer to a later request than one that was sent at `began`."""
        return self.until != NEVER and self.began > began

    def cached(self) -> Known:
        """The answer as one from memory, the same value for all who ask: how old it is counts for none of them."""
        if self.again is None:
            self.again = _again(self.known, "cached", 0.0, None)
        return self.again

    def stale(self, now: float, trouble: Reason) -> Known:
        """The answer as one that could not be renewed, with the reason."""
        return _again(self.known, "stale", now - self.began, trouble)

    def put_off(self, now: float) -> None:
        """A refresh failed: the entry is as good as before, and is not refreshed ahead again at once."""
        self.due = max(self.due, now + RECHECK)


class Refusal(msgspec.Struct, gc=False):
    """That an upstream said no, and until when this is believed."""

    absent: Absent
    began: float
    until: float

    def holds(self, now: float, since: float | None) -> bool:
        """Whether it is still believed by one who wants to know what was true at `since` or later."""
        return now < self.until and (since is None or self.began >= since)

    def outdates(self, began: float) -> bool:
        """Whether it is the answer to a later request than one that was sent at `began`."""
        return self.began > began


def keep(known: Known, *, began: float, now: float, resolving: Resolving, spread: float, fixed: bool = False) -> Entry:
    """An entry for an answer that came now. `fixed` answers confirm a digest, which cannot change. `spread` in [0, 1)
    places the moment at which it is due within the last 10 to 20 % of its fresh time."""
    life = max(resolving.fresh, resolving.stale) if fixed else resolving.fresh
    due = now + life * (DUE_AT + SPREAD * (1 - 2 * spread))
    return Entry(known, began, due, now + life, now + max(life, resolving.stale))


def keep_stale(known: Known, *, began: float, resolving: Resolving) -> Entry:
    """An entry for what was true at `began` and is told by another than the upstream: good for hard times only."""
    return Entry(known, began, NEVER, NEVER, began + resolving.stale)


def refuse(absent: Absent, *, began: float, now: float, resolving: Resolving) -> Refusal:
    """A no that came now: a 404 is believed for longer than a 401 or 403, which a new secret may cure."""
    return Refusal(absent, began, now + (resolving.denied if absent.denied else resolving.not_found))


def _again(known: Known, source: str, age: float, trouble: Reason | None) -> Known:
    return Known(known.digest, source, known.host, known.credential, max(0.0, age), 0, 0.0, known.media_type, trouble)
