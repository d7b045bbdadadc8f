"""The fast lane of /mutate: uvicorn's own protocol, answering reviews where their last byte arrives.

It takes a request only when nothing else is open on the connection; all else goes on to ASGI as ever.
"""

import asyncio
from typing import Any, Final

from webhook.connection import TOO_MUCH, Connection, bounds, encoded
from webhook.core.admission import MAX_BODY
from webhook.desk import SMALL, TOO_LARGE, Desk, Reply
from webhook.engine import Waiting

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Open:
    """Stands in uvicorn's books for a review that waits, so that what comes after it on the connection queues up."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = keep_alive
        self.message_event = asyncio.Event()


class Lane(Connection):
    """One connection. `desk` is set on a subclass by `lane_of`."""

    desk: Desk

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._mine = False
        self._body: list[bytes] = []
        self._is_held = False
        self._began = 0.0
        self._answering: asyncio.Future[Reply] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer any more."""
        if self._answering is not None:
            self._answering.cancel()
        self._drop_body()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request starts; what ASGI needs to know of it is put together only when it goes there."""
        self._arriving_since = self._began = self.loop.time()
        self._begin()
        self._used = True
        self._handed_over = False
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Take the request, or hand it to ASGI."""
        if self._is_deaf:
            return
        path, _, _ = self.url.partition(b"?")
        if not (self._is_free() and self.parser.get_method() == b"POST" and self.desk.serves(path)):
            self._hand_over()
            return
        self._mine = True
        self._body = []
        if self._is_too_large():
            self._refuse(TOO_LARGE)
        elif self._has_long_head():
            self._refuse(TOO_MUCH)
        elif self.expect_100_continue:
            self.transport.write(CONTINUE)

    def _is_free(self) -> bool:
        """Whether an answer could be written now: nobody's else is due, and the caller reads."""
        return self._is_idle() and not self.pipeline and not self.flow.write_paused

    def _hand_over(self) -> None:
        began, url, headers, expects = self._began, self.url, self.headers, self.expect_100_continue
        around, alone = self._around, self._began_a_read
        super().on_message_begin()
        self._around, self._began_a_read = around, alone
        self._arriving_since, self.url, self.headers, self.expect_100_continue = began, url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of a review, up to the cap and as long as there is room."""
        if not self._mine:
            super().on_body(body)
            return
        if self._is_deaf:
            return
        size = len(body)
        self._around -= size
        self._size += size
        if self._size > MAX_BODY:
            self._refuse(TOO_LARGE)
        elif self._size <= SMALL or self._hold(size):
            self._body.append(body)

    def _hold(self, size: int) -> bool:
        """Whether the body may still be held; others, or this one, may have to give way for it."""
        self._is_held = True
        self.desk.make_room(self, size, self._address())
        return not self._is_deaf

    def _address(self) -> str:
        return self.client[0] if self.client is not None else ""

    def give_way(self) -> None:
        """As ever; a review that waits is told so, too."""
        if self._answering is None:
            super().give_way()
        elif not self._answering.done():
            self._answering.set_result(self.desk.turned_away())

    def _full(self) -> Reply:
        return self.desk.turned_away()

    def on_message_complete(self) -> None:
        """A request has arrived whole: answer it, at once when memory can."""
        if not self._mine:
            super().on_message_complete()
            return
        self._arriving_since = None
        self._fed = 0
        self._mine = False
        if self._is_deaf:
            return
        parts = self._body
        outcome = self.desk.reply_now(parts[0] if len(parts) == 1 else b"".join(parts))
        self._body = []
        if self._is_held:
            self._drop_body()
        keep = self.parser.should_keep_alive()
        if isinstance(outcome, Reply):
            self.server_state.total_requests += 1
            self._write(outcome, keep=keep)
        else:
            self._wait(outcome, keep=keep)

    def _drop_body(self) -> None:
        self._body = []
        if self._is_held:
            self._is_held = False
            self.desk.give_back(self, self._address())

    def _refuse(self, reply: Reply) -> None:
        self._drop_body()
        super()._refuse(reply)

    def _wait(self, waiting: Waiting, *, keep: bool) -> None:
        """Go on beside, as the server knows. What else arrives queues up behind it, as uvicorn does."""
        stand_in = _Open(keep_alive=keep)
        self.cycle = stand_in  # type: ignore[assignment]  # as much of a cycle as uvicorn looks at
        query = self.url.partition(b"?")[2].decode("latin-1")
        self._answering = told = self.desk.reply(waiting, query, self._began, self._address())
        self.tasks.add(told)  # type: ignore[arg-type]  # uvicorn only counts and cancels them
        told.add_done_callback(lambda done: self._answered(done, stand_in))

    def _answered(self, told: asyncio.Future[Reply], stand_in: _Open) -> None:
        self.tasks.discard(told)
        self._answering = None
        stand_in.response_complete = True
        if self._has_ended:
            return
        if told.cancelled():
            self._end()
            return
        self._write(told.result(), keep=stand_in.keep_alive)
        self.on_response_complete()

    def _write(self, reply: Reply, *, keep: bool) -> None:
        keep = keep and not (reply.close or self.desk.draining or self._stopping or (self._is_deaf and self._is_idle()))
        self.transport.write(encoded(reply, keep=keep))
        if keep:
            self._quiet_since = self.loop.time()
        else:
            self._end()


def lane_of(desk: Desk) -> type[Lane]:
    """The protocol for one desk, for `uvicorn.Config(http=…)`."""
    return type("DeskLane", (Lane,), {"desk": desk, **bounds(desk.patience, desk.crowd, desk.refused)})
