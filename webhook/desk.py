"""What one admission request is answered with, however it arrived: statuses, limits, deadlines. Knows no sockets."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from hmac import compare_digest
from typing import Final, Protocol

import msgspec

from webhook.core.admission import MAX_BODY, BadReview, decode_envelope, fault_warning, seconds_allowed, untouched
from webhook.core.paths import path_of
from webhook.core.places import Places
from webhook.core.secret import Secret
from webhook.engine import Waiting

IN_FLIGHT: Final = 512
"""Reviews that may wait for a registry at once; those that memory answers are not counted. One API server may need all of
them, so that no source has a bound of its own, here and below: where they run out, the source that holds most gives way."""
PATIENCE: Final = 10.0
"""Seconds that a request may take to arrive."""
CROWD: Final = 2048
"""Connections at once, with those whose handshake is under way; each takes some 50 KiB. API servers keep 25 idle ones each and open more in bursts."""
SMALL: Final = 64 * 1024
"""Bytes up to which the body of a review that is still arriving is not counted."""
GATHERED: Final = 64 * 1024 * 1024
"""Bytes of all larger bodies that are arriving at once: more would be memory that strangers decide about."""

JSON: Final = b"application/json"
TEXT: Final = b"text/plain; charset=utf-8"


class Deciding(Protocol):
    """Who decides: `webhook.engine.Engine`."""

    def answer_now(self, body: bytes) -> bytes | Waiting:
        """From memory, or what has to be waited for."""

    async def answer(self, waiting: Waiting, *, deadline: float) -> bytes:
        """By the absolute loop time `deadline`."""


class Arriving(Protocol):
    """A large body on its way."""

    def give_way(self) -> None:
        """Its room is needed: its sender is turned away, and nothing of it is held from now on."""


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A status, a body, and whether the connection ends with it. `retry_after` in seconds, 0 for none; `allow` names
    the method that would have been right."""

    status: int
    body: bytes
    kind: bytes = JSON
    close: bool = False
    retry_after: int = 0
    allow: bytes = b""


TOO_LARGE: Final = Reply(413, f"a review has at most {MAX_BODY} bytes\n".encode(), TEXT, close=True)
TOO_SLOW: Final = Reply(408, b"the request did not arrive in time\n", TEXT, close=True)
ONLY_POST: Final = Reply(405, b"send an AdmissionReview with POST\n", TEXT, allow=b"POST")
STRANGER: Final = Reply(403, b"the certificate of this caller bears no name that may call\n", TEXT, close=True)
FULL: Final = Reply(503, b"too many reviews are under way\n", TEXT, close=True, retry_after=1)


class Desk:
    """Holds the engine in force. A reload puts another one here; reviews under way end on their own.

    `shed` is told of each review that is turned away for want of a place, `refused` of each other request that no review comes
    of, with its status. `fault` is told of an error that got past the engine, with the uid, and gives the id under which it is logged.
    """

    def __init__(
        self,
        engine: Deciding,
        *,
        budget: float,
        secrets: Sequence[Secret] = (),
        in_flight: int = IN_FLIGHT,
        gathered: int = GATHERED,
        patience: float = PATIENCE,
        crowd: int = CROWD,
        shed: Callable[[], None] = lambda: None,
        refused: Callable[[int], None] = lambda _status: None,
        fault: Callable[[str, BaseException], str] = lambda _uid, _error: "",
    ) -> None:
        self.engine = engine
        self.budget = budget
        self.patience = patience
        self.crowd = crowd
        self.draining = False
        self._paths: tuple[bytes, ...] = ()
        self._is_secret = False
        self.serve_at(secrets)
        self._places: Places[asyncio.Future[Reply]] = Places(in_flight)
        self._room: Places[Arriving] = Places(gathered)
        self._shed = shed
        self.refused = refused
        self._fault = fault

    def serve_at(self, secrets: Sequence[Secret], *, is_open: bool = False) -> None:
        """From now on reviews arrive at the paths with these secrets, and at the one without, where there are none or
        `is_open` says so."""
        plain = (None,) if is_open or not secrets else ()
        self._paths = tuple(path_of(one).encode() for one in (*secrets, *plain))
        self._is_secret = bool(secrets)

    @property
    def path(self) -> str:
        """Where callers are told that reviews arrive."""
        return self._paths[0].decode()

    def serves(self, path: bytes) -> bool:
        """Whether reviews arrive at this path; a secret in it is compared in constant time."""
        if not self._is_secret:
            return path == self._paths[0]
        does = False
        for one in self._paths:
            does |= compare_digest(path, one)
        return does

    def reply_now(self, body: bytes) -> "Reply | Waiting":
        """The reply from memory, or the review that has to wait."""
        try:
            outcome = self.engine.answer_now(body)
        except BadReview as bad:
            return self._not_a_review(bad)
        except Exception as error:  # noqa: BLE001 - the last door: what gets here must not stop a Pod either
            return self._admit(body, error)
        return Reply(200, outcome) if isinstance(outcome, bytes) else outcome

    def reply(self, waiting: Waiting, query: str, arrived: float, source: str = "") -> "asyncio.Future[Reply]":
        """The reply to a review that has to wait; `arrived` is the loop time from which its deadline counts, `source` the
        address that it came from.

        It takes a place until it is there. Where there is none left, the source that holds most of them gives one back,
        by a reply that is turned away; that may be this one. Who asked cancels it when nobody waits for the reply any
        more: what was asked of registries goes on for others.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Reply] = loop.create_future()
        for gone in self._places.take(told, source):
            if not gone.done():
                gone.set_result(self.turned_away())
        if not told.done():
            work = loop.create_task(self._finish(waiting, query, arrived))
            work.add_done_callback(partial(_tell, told))
            told.add_done_callback(partial(self._leave, source, work))
        return told

    async def _finish(self, waiting: Waiting, query: str, arrived: float) -> Reply:
        try:
            deadline = arrived + seconds_allowed(query, self.budget)
            return Reply(200, await self.engine.answer(waiting, deadline=deadline))
        except Exception as error:  # noqa: BLE001 - the same last door
            warning = fault_warning(self._fault(waiting.review.uid, error))
            return Reply(200, untouched(waiting.review, warning))

    def _leave(self, source: str, work: "asyncio.Task[Reply]", told: "asyncio.Future[Reply]") -> None:
        self._places.leave(told, source)
        work.cancel()

    def turned_away(self) -> Reply:
        """The reply to what there is no room for, counted."""
        self._shed()
        return FULL

    def make_room(self, body: Arriving, size: int, source: str) -> None:
        """So many bytes more of a body from this source are held, until `give_back`. Who has to give way for them is told
        so; that may be this body."""
        for gone in self._room.take(body, source, size):
            gone.give_way()

    def give_back(self, body: Arriving, source: str) -> None:
        """It is held no longer."""
        self._room.leave(body, source)

    @property
    def gathered(self) -> int:
        """Bytes of large bodies that are held."""
        return self._room.taken

    def _admit(self, body: bytes, error: Exception) -> Reply:
        try:
            review = decode_envelope(body)
        except BadReview as bad:
            return self._not_a_review(bad)
        return Reply(200, untouched(review, fault_warning(self._fault(review.uid, error))))

    def _not_a_review(self, bad: BadReview) -> Reply:
        self.refused(400)
        return Reply(400, f"{bad}\n".encode(), TEXT)


def _tell(told: "asyncio.Future[Reply]", work: "asyncio.Task[Reply]") -> None:
    """What came of the work, to whoever still waits for it."""
    if told.done():
        return
    if work.cancelled():
        told.cancel()
    elif (fault := work.exception()) is not None:
        told.set_exception(fault)
    else:
        told.set_result(work.result())
