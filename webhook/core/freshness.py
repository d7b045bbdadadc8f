"""Entries and their age: fresh, due, stale, gone. Clocks are numbers that are passed in.

Model: CoreDNS's cache plugin and RFC 8767 (serving stale data), carried over from names to tags.
"""

from enum import Enum
from typing import Final

import msgspec

from webhook.core.ask import Known
from webhook.core.reason import Reason

DUE_AT: Final = 0.8
"""The share of its time after which an entry that is in use is refreshed ahead."""
RECHECK: Final = 30.0
"""Seconds that a failed refresh is let be before the next one (RFC 8767, section 4)."""
SPREAD: Final = 0.1


class Resolving(msgspec.Struct, frozen=True, gc=False):
    """`resolving:` of the configuration; times in seconds. `denied` is how long a 401 or 403 is believed."""

    fresh: float = 30.0
    stale: float = 86_400.0
    not_found: float = 10.0
    denied: float = 5.0
    budget: float = 4.0
    entries: int = 10_000


class Age(Enum):
    """What an entry is worth now."""

    FRESH = "fresh"
    DUE = "due"
    STALE = "stale"
    GONE = "gone"


class Entry(msgspec.Struct, gc=False):
    """A digest that an upstream named. Times are of the monotonic clock: `began` when its request was sent,
    `due` and `until` bound its fresh time, `gone` its use when the upstream is silent."""

    known: Known
    began: float
    due: float
    until: float
    gone: float

    def age(self, now: float) -> Age:
        """Fresh before `due`, then due (still fresh, to be refreshed when used), stale, gone."""
        if now < self.due:
            return Age.FRESH
        if now < self.until:
            return Age.DUE
        return Age.STALE if now < self.gone else Age.GONE

    def cached(self, now: float) -> Known:
        """The answer as one from memory."""
        return _from(self.known, "cached", now - self.began, None)

    def stale(self, now: float, trouble: Reason) -> Known:
        """The answer as one that could not be renewed, with the reason."""
        return _from(self.known, "stale", now - self.began, trouble)

    def put_off(self, now: float) -> None:
        """A refresh failed: leave the entry as it is, and do not try again at once."""
        self.due = max(self.due, now + RECHECK)


def entry(known: Known, *, began: float, now: float, resolving: Resolving, fixed: bool, spread: float) -> Entry:
    """A new entry. `fixed` answers confirm a digest, which cannot change; `spread` in [0, 1) keeps refreshes apart."""
    life = resolving.stale if fixed else resolving.fresh
    due = now + life * DUE_AT * (1 - SPREAD * spread)
    return Entry(known, began, due, now + life, now + max(life, resolving.stale))


def _from(known: Known, source: str, age: float, trouble: Reason | None) -> Known:
    return Known(known.digest, source, known.host, known.credential, max(0.0, age), 0, 0.0, known.media_type, trouble)
