"""What happens to one slot, and why: the value that webhook, command line and page all show."""

from enum import StrEnum
from typing import Final

import msgspec

from webhook.core.reason import Reason, Trace
from webhook.core.subject import Slot


class Action(StrEnum):
    """What is done with the image."""

    REWRITTEN = "rewritten"
    PINNED = "pinned"
    RECORDED = "recorded"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    FAILED = "failed"


class Source(StrEnum):
    """Where the digest came from."""

    PIN = "pin"
    SIBLING = "sibling"
    FRESH = "fresh"
    CACHED = "cached"
    STALE = "stale"
    GIVEN = "given"
    LOCKED = "locked"
    NONE = "none"


RESOLVED: Final = frozenset({Source.PIN, Source.SIBLING, Source.FRESH, Source.CACHED, Source.STALE})
"""What an upstream has named to credentials of this namespace: what stands in an image or in a lock was never asked."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The outcome for one slot.

    `to` is the text that is written, empty when the image stays as it is. `rule` and `target` are names of the
    configuration, empty when none applies; `arm` is `rewrite` or `pin` where a rule has a percentage, else empty; `at` is
    when the upstream named the digest of a rollout (unix milliseconds).
    """

    slot: Slot
    action: Action
    reason: Reason
    rule: str = ""
    target: str = ""
    to: str = ""
    digest: str = ""
    source: Source = Source.NONE
    arm: str = ""
    trace: Trace = ()
    at: int = 0

    @property
    def allows(self) -> bool:
        """Whether the object may be admitted as far as this slot is concerned."""
        return self.action is not Action.REFUSED
