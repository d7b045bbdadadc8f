"""Waiting for what others do in their own time: looked for again and again until a deadline, never slept for."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")

STALL: Final = 5.0
"""Seconds for which a busy machine may stand still: what is bounded by less is late only beyond them."""

# Who looks all the time takes the processor from what he waits for.
_SHORTEST: Final = 0.02
_LONGEST: Final = 0.2


def until(what: str, look: Callable[[], Found], *, seconds: float = 60) -> Found:
    """What `look` returns, once it is neither false nor empty.

    Raises:
        AssertionError: the time is up; says what was waited for and what was seen last.
    """
    end = time.monotonic() + seconds
    pause = _SHORTEST
    while not (seen := look()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s (seen last: {seen!r})")
        time.sleep(pause)
        pause = min(1.2 * pause, _LONGEST)
    return seen
