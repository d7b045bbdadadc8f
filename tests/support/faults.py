"""Faults of registries as small functions: each makes of the right answer another one."""

import gzip
from collections.abc import Callable
from functools import cache

from msgspec.structs import replace

from tests.support.registry import CANARY, Asked, Fault
from tests.support.wire import Answer, Wire


def with_header(name: str, *values: str) -> Fault:
    """This header, with these values: none leaves it out."""

    def fault(_asked: Asked, answer: Answer) -> Answer:
        kept = tuple(pair for pair in answer.headers if pair[0].lower() != name.lower())
        return replace(answer, headers=(*kept, *((name, value) for value in values)))

    return fault


def with_body(body: bytes, media_type: str = "") -> Fault:
    """Another body, with the header of the right one."""

    def fault(asked: Asked, answer: Answer) -> Answer:
        changed = replace(answer, body=body)
        return with_header("Content-Type", media_type)(asked, changed) if media_type else changed

    return fault


def with_status(status: int, *headers: tuple[str, str], body: str = CANARY) -> Fault:
    """This status and these headers, with a body that nobody should see again."""
    return lambda _asked, answer: replace(answer, status=status, headers=headers, body=body.encode())


def sent_as(wire: Wire) -> Fault:
    """The right answer, sent in another way."""
    return lambda _asked, answer: replace(answer, wire=wire)


def redirected(url: str | Callable[[Asked], str], status: int = 307) -> Fault:
    """Somewhere else."""

    def fault(asked: Asked, answer: Answer) -> Answer:
        location = url if isinstance(url, str) else url(asked)
        return with_status(status, ("Location", location))(asked, answer)

    return fault


def first(times: int, fault: Fault) -> Fault:
    """Only so many times."""
    left = [times]

    def limited(asked: Asked, answer: Answer) -> Answer:
        left[0] -= 1
        return fault(asked, answer) if left[0] >= 0 else answer

    return limited


def together(*faults: Fault) -> Fault:
    """One after the other."""

    def fault(asked: Asked, answer: Answer) -> Answer:
        for one in faults:
            answer = one(asked, answer)
        return answer

    return fault


def bombed(asked: Asked, answer: Answer) -> Answer:
    """Little on the wire, much once it is unpacked."""
    return together(with_body(_bomb()), with_header("Content-Encoding", "gzip"))(asked, answer)


@cache
def _bomb() -> bytes:
    return gzip.compress(b"\0" * (16 * 1024 * 1024))
