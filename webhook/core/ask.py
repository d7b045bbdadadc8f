"""What the ladder may want to know, and what it may hear."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from webhook.core.reason import Reason, Trace
from webhook.core.reference import Reference
from webhook.core.subject import Audience, Owner


class AskNamespace(msgspec.Struct, frozen=True, gc=False):
    """Which labels does this namespace carry?"""

    name: str


class AskPin(msgspec.Struct, frozen=True, gc=False):
    """Which digest does the pin of this Pod's rollout name for an image (`host/path:tag`)?

    `anew` asks for what stands there now: a revision that came back may have a new pin.
    """

    owner: Owner
    namespace: str
    name: str
    anew: bool = False


class AskSibling(msgspec.Struct, frozen=True, gc=False):
    """Which digest do Pods of the same controller run for an image (`host/path:tag`)? `selector` finds them."""

    owner: Owner
    namespace: str
    name: str
    selector: str


class AskDigest(msgspec.Struct, frozen=True, gc=False):
    """What does the upstream say this image is now?

    `images` are the same image at each upstream, asked in order on outage, never on absence. An image with a digest
    asks for confirmation. `since` is a moment of the monotonic clock: only answers to requests that began later
    count as fresh (revisions pass their own arrival, a command line run its start); None means the cache's own time.
    `anew` sends a new request whatever is known.
    """

    images: tuple[Reference, ...]
    audience: Audience
    since: float | None = None
    anew: bool = False


class AskStanding(msgspec.Struct, frozen=True, gc=False):
    """Is this target well?"""

    target: str


class AskLogin(msgspec.Struct, frozen=True, gc=False):
    """Does one of the Pod's pull secrets hold a login for this place at the target?"""

    target: str
    place: Reference
    audience: Audience


class AskHeld(msgspec.Struct, frozen=True, gc=False):
    """Does this target hold the digest? `place` is where the webhook can ask, `platforms` are children to look at.
    `has_next` says that another target is there to be asked if this one is silent: it gets a share of the time."""

    target: str
    place: Reference
    audience: Audience
    platforms: tuple[str, ...] = ()
    scheme: str = "https"
    has_next: bool = False


Ask = AskNamespace | AskPin | AskSibling | AskDigest | AskStanding | AskLogin | AskHeld


class Known(msgspec.Struct, frozen=True, gc=False):
    """The digest, with what is known of the answer.

    `source` is one of fresh, cached, stale, pin, sibling; `age` in seconds, of a stale answer; `host` that answered; `credential` the
    *kind* that was accepted (`anonymous`, `file`, …), never the credential; `trouble` why a stale answer is given.
    Of a pin or sibling `is_hint` says that nobody vouches for it, `at` when the upstream said so (unix milliseconds);
    `notes` are for the trace.
    """

    digest: str
    source: str
    host: str = ""
    credential: str = ""
    age: float = 0.0
    requests: int = 0
    milliseconds: float = 0.0
    media_type: str = ""
    trouble: Reason | None = None
    is_hint: bool = False
    notes: Trace = ()
    at: int = 0


class Labels(msgspec.Struct, frozen=True):
    """What a namespace carries."""

    labels: Mapping[str, str]


class Passed(msgspec.Struct, frozen=True, gc=False):
    """Yes."""

    milliseconds: float = 0.0


class Absent(msgspec.Struct, frozen=True, gc=False):
    """No: the one who must know says that there is no such thing, or not for these credentials.

    `denied` (401, 403 instead of 404) only decides how long that is believed: both can mean either.
    """

    host: str = ""
    what: str = ""
    denied: bool = False
    notes: Trace = ()


class NotAsked(msgspec.Struct, frozen=True, gc=False):
    """Nobody was asked, by choice."""

    reason: Reason


class Failed(msgspec.Struct, frozen=True, gc=False):
    """Asked, and no usable answer. `what` names host and repository, `detail` is a short text of ours, `notes` are for the
    trace."""

    reason: Reason
    what: str = ""
    detail: str = ""
    retry_after: float | None = None
    notes: Trace = ()


Fact = Known | Labels | Passed | Absent | NotAsked | Failed


def alike(one: Fact, other: Fact) -> bool:
    """Whether two facts lead to the same decision and the same trace: the age of a good answer is in neither."""
    if isinstance(one, Known) and isinstance(other, Known) and one.trouble is None:
        return (
            one.digest == other.digest
            and one.source == other.source
            and one.host == other.host
            and one.credential == other.credential
            and one.milliseconds == other.milliseconds
            and one.notes == other.notes
            and other.trouble is None
        )
    return one == other


class Oracle(Protocol):
    """One who can answer an Ask."""

    def peek(self, ask: Ask) -> Fact | None:
        """Answer from memory; None when it would have to wait. Never waits, never raises."""

    def peek_again(self, ask: Ask) -> Fact | None:
        """The same for a question that was put before, as the very same object: who can, answers it with less work."""
        return self.peek(ask)

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Answer by the absolute loop time `deadline`; what comes too late is Failed(OUT_OF_TIME)."""
