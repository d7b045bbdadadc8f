"""When a request is sent once more: after what, how long after, and for how long the first one is waited for."""

from typing import Final

from webhook.core.challenge import Response, Trouble
from webhook.core.reason import Reason

SHARE: Final = 0.6
"""Of the time that is left, what the first attempt gets: of many servers behind one name one may hang."""
SHORTEST: Final = 0.25
"""Seconds that another attempt needs at least."""
LONGEST_WAIT: Final = 1.0
"""Seconds that a registry may ask to wait and is waited for. Longer, and a stale answer now is better than one later."""

_PASSING: Final = frozenset({408, 500, 502, 503, 504})


def first_deadline(now: float, deadline: float) -> float:
    """Until when the first attempt is waited for; the deadline itself when no time would be left for another."""
    rest = (deadline - now) * (1 - SHARE)
    return deadline - rest if rest > SHORTEST else deadline


def pause_after(answer: Response | Trouble, spread: float) -> float | None:
    """Seconds after which it may go better; None where it would not. `spread` in [0, 1) parts those who failed together."""
    soon = 0.02 + 0.08 * spread
    if isinstance(answer, Response):
        return soon if answer.status in _PASSING else None
    match answer.reason:
        case Reason.UNAVAILABLE:
            return soon
        case Reason.OUT_OF_TIME:
            return 0.0
        case Reason.THROTTLED if (answer.retry_after or 0.0) <= LONGEST_WAIT:
            return (answer.retry_after or 0.0) + 4 * soon
        case _:
            return None


def fits(pause: float, now: float, deadline: float) -> bool:
    """Whether there is time for another attempt after a pause."""
    return now + pause + SHORTEST < deadline
