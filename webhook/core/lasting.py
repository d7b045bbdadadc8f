"""How long something that expires is used, when it is asked for anew, and what is told while it cannot be had."""

from typing import Final, Generic, TypeVar

import msgspec

RENEW_AT: Final = 0.5
"""The share of its life after which it is renewed, and a tenth more by chance: replicas shall not ask at once."""
SPREAD: Final = 0.1
MARGIN: Final = 30.0
"""Seconds before its end from which on it is not used any more, where it lives long enough."""
AGAIN: Final = 5.0
"""Seconds after which one that could not be had is asked for again; twice as many after each further failure."""
AGAIN_AT_MOST: Final = 120.0
DOUBTED_AFTER: Final = 300.0
"""Seconds for which one that is new is not taken for revoked because a registry refuses it: it may be about the image."""

Value = TypeVar("Value")


class Lasting(msgspec.Struct, Generic[Value], frozen=True):
    """Something that may be used for so many seconds from now."""

    value: Value
    life: float


class Kept(msgspec.Struct, Generic[Value], frozen=True):
    """What is known of one: the value, if there ever was one, and why it could not be had the last time. All times are
    of one monotonic clock."""

    value: Value | None = None
    born: float = 0.0
    due: float = 0.0
    until: float = 0.0
    again: float = 0.0
    failures: int = 0
    trouble: str = ""

    def usable(self, now: float) -> Value | None:
        """The value, while it lives."""
        return self.value if now < self.until else None

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask for a new one."""
        return now >= self.due and now >= self.again

    def is_let_be(self, now: float) -> bool:
        """Whether it is too early to ask again after a failure."""
        return now < self.again

    def failed(self, trouble: str, now: float, jitter: float) -> "Kept[Value]":
        """A new one could not be had; `jitter` lies between 0 and 1."""
        pause = min(AGAIN * 2**self.failures, AGAIN_AT_MOST) * (1 - SPREAD * jitter)
        failures = min(self.failures + 1, 16)
        return msgspec.structs.replace(self, again=now + pause, failures=failures, trouble=trouble)

    def doubted(self, value: Value, now: float) -> "Kept[Value]":
        """This value was refused: if it is the one that is used, and not all new, it is due."""
        if self.value != value or now - self.born < DOUBTED_AFTER:
            return self
        return msgspec.structs.replace(self, due=0.0, again=0.0)


def kept(found: Lasting[Value], now: float, jitter: float) -> Kept[Value]:
    """One that has just been had; `jitter` lies between 0 and 1."""
    wait = found.life * (RENEW_AT + SPREAD * jitter)
    return Kept(found.value, now, now + wait, now + found.life - min(MARGIN, found.life * SPREAD))
