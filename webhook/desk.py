"""What one admission request is answered with, however it arrived: statuses, limits, deadlines. Knows no sockets."""

from collections.abc import Callable
from hmac import compare_digest
from typing import Final, Protocol

import msgspec

from webhook.core.admission import MAX_BODY, BadReview, seconds_allowed
from webhook.engine import Waiting

IN_FLIGHT: Final = 512
"""Reviews that may wait for a registry at once; those that memory answers are not counted."""

JSON: Final = b"application/json"
TEXT: Final = b"text/plain; charset=utf-8"


class Deciding(Protocol):
    """Who decides: `webhook.engine.Engine`."""

    def answer_now(self, body: bytes) -> bytes | Waiting:
        """From memory, or what has to be waited for."""

    async def answer(self, waiting: Waiting, *, deadline: float) -> bytes:
        """By the absolute loop time `deadline`."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A status, a body, and whether the connection ends with it. `retry_after` in seconds, 0 for none."""

    status: int
    body: bytes
    kind: bytes = JSON
    close: bool = False
    retry_after: int = 0


TOO_LARGE: Final = Reply(413, f"a review has at most {MAX_BODY} bytes\n".encode(), TEXT, close=True)
TOO_SLOW: Final = Reply(408, b"the request did not arrive in time\n", TEXT, close=True)
ONLY_POST: Final = Reply(405, b"send an AdmissionReview with POST\n", TEXT)
FULL: Final = Reply(503, b"too many reviews are under way\n", TEXT, close=True, retry_after=1)


class Desk:
    """Holds the engine in force. A reload puts another one here; reviews under way end on their own."""

    def __init__(
        self,
        engine: Deciding,
        *,
        budget: float,
        secret: str = "",
        in_flight: int = IN_FLIGHT,
        shed: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.budget = budget
        self.draining = False
        self._path = (f"/mutate/{secret}" if secret else "/mutate").encode()
        self._is_secret = bool(secret)
        self._in_flight = in_flight
        self._waiting = 0
        self._shed = shed

    def serves(self, path: bytes) -> bool:
        """Whether reviews arrive at this path; a secret in it is compared in constant time."""
        return compare_digest(path, self._path) if self._is_secret else path == self._path

    def reply_now(self, body: bytes) -> "Reply | Waiting":
        """The reply from memory, or the review that has to wait and for which there is room."""
        try:
            outcome = self.engine.answer_now(body)
        except BadReview as bad:
            return Reply(400, f"{bad}\n".encode(), TEXT)
        if isinstance(outcome, bytes):
            return Reply(200, outcome, close=self.draining)
        if self._waiting >= self._in_flight:
            self._shed()
            return FULL
        return outcome

    async def reply(self, waiting: Waiting, query: str, arrived: float) -> Reply:
        """The reply to a review that has to wait; `arrived` is the loop time from which its deadline counts."""
        self._waiting += 1
        try:
            deadline = arrived + seconds_allowed(query, self.budget)
            return Reply(200, await self.engine.answer(waiting, deadline=deadline), close=self.draining)
        finally:
            self._waiting -= 1
