"""The fast lane of /mutate: uvicorn's own protocol, answering reviews where their last byte arrives.

It takes a request only when nothing else is open on the connection; all else goes on to ASGI as ever. What it relies
on inside uvicorn is listed in RELIED_ON and pinned by a test; where that does not fit, plain ASGI serves alone.
"""

import asyncio
import inspect
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from webhook.core.admission import MAX_BODY
from webhook.desk import TOO_LARGE, TOO_SLOW, Desk, Reply
from webhook.engine import Waiting

SLOW: Final = 10.0
"""Seconds that a request may take to arrive."""
LOOK_EVERY: Final = 2.5

RELIED_ON: Final = {
    "methods": (
        "connection_made",
        "connection_lost",
        "data_received",
        "on_message_begin",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "on_response_complete",
        "shutdown",
    ),
    "attributes": (
        "parser",
        "headers",
        "url",
        "scope",
        "cycle",
        "pipeline",
        "flow",
        "transport",
        "tasks",
        "server_state",
        "loop",
        "timeout_keep_alive",
        "expect_100_continue",
    ),
}


def fits() -> bool:
    """Whether this uvicorn still has what the lane builds on."""
    source = inspect.getsource(HttpToolsProtocol.__init__) + inspect.getsource(HttpToolsProtocol.on_message_begin)
    methods = all(callable(getattr(HttpToolsProtocol, name, None)) for name in RELIED_ON["methods"])
    return methods and all(f"self.{name}" in source for name in RELIED_ON["attributes"])


class _Open:
    """Stands in uvicorn's books for a review that waits, so that what comes after it on the connection queues up."""

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.body = b""
        self.more_body = False
        self.message_event = asyncio.Event()


class Lane(HttpToolsProtocol):
    """One connection. `desk` is set on a subclass by `lane_of`."""

    desk: Desk

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._mine = False
        self._closing = False
        self._body: list[bytes] = []
        self._size = 0
        self._arriving_since: float | None = None
        self._quiet_since = self.loop.time()
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start to watch for requests that do not arrive and connections that nobody uses."""
        super().connection_made(transport)
        self._look = self.loop.call_later(LOOK_EVERY, self._look_after)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def _look_after(self) -> None:
        now = self.loop.time()
        idle = self._is_idle()
        if self._arriving_since is not None and now - self._arriving_since > SLOW:
            self._write(TOO_SLOW)
        elif idle and self._arriving_since is None and now - self._quiet_since > self.timeout_keep_alive:
            self.transport.close()
        else:
            self._look = self.loop.call_later(LOOK_EVERY, self._look_after)

    def _is_idle(self) -> bool:
        cycle: object = self.cycle
        return cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        """A request starts; what ASGI needs to know of it is put together only when it goes there."""
        self._arriving_since = self.loop.time()
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Take the request, or hand it to ASGI."""
        path, _, _ = self.url.partition(b"?")
        if (
            not (
                self._is_idle() and not self.pipeline and self.parser.get_method() == b"POST" and self.desk.serves(path)
            )
            or self._closing
        ):
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.headers, self.expect_100_continue = url, headers, expects
            self.scope["headers"] = headers
            super().on_headers_complete()
            return
        self._mine = True
        self._body = []
        self._size = 0
        length = next((value for name, value in self.headers if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > MAX_BODY:
            self._refuse()
        elif self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a part of a review, up to the cap."""
        if not self._mine:
            super().on_body(body)
            return
        self._size += len(body)
        if self._size > MAX_BODY:
            self._refuse()
        elif not self._closing:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """A request has arrived whole: answer it, at once when memory can."""
        self._arriving_since = None
        if not self._mine:
            super().on_message_complete()
            return
        self._mine = False
        if self._closing and self.transport.is_closing():
            return
        parts, self._body = self._body, []
        outcome = self.desk.reply_now(parts[0] if len(parts) == 1 else b"".join(parts))
        if isinstance(outcome, Reply):
            self.server_state.total_requests += 1
            self._write(outcome)
        else:
            self._wait(outcome)

    def _refuse(self) -> None:
        self._closing = True
        self._arriving_since = None
        self._write(TOO_LARGE)

    def _wait(self, waiting: Waiting) -> None:
        """Go on in a task that the server knows of, and read no more until it is done."""
        stand_in = _Open()
        stand_in.keep_alive = self.parser.should_keep_alive()
        self.cycle = stand_in  # type: ignore[assignment]  # as much of a cycle as uvicorn looks at
        self.flow.pause_reading()
        query = self.url.partition(b"?")[2].decode("latin-1")
        task = self.loop.create_task(self._finish(waiting, query, stand_in, self.loop.time()))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _finish(self, waiting: Waiting, query: str, stand_in: _Open, arrived: float) -> None:
        reply = await self.desk.reply(waiting, query, arrived)
        stand_in.response_complete = True
        if stand_in.disconnected or self.transport.is_closing():
            return
        if not stand_in.keep_alive:
            self._closing = True
        self._write(reply)
        if not self.transport.is_closing():
            self.on_response_complete()

    def _write(self, reply: Reply) -> None:
        self._quiet_since = self.loop.time()
        keep = not (reply.close or self._closing) and self.parser.should_keep_alive()
        self.transport.write(encoded(reply, keep=keep))
        if not keep:
            self.transport.close()

    def shutdown(self) -> None:
        """The server stops: let a review that is arriving be answered first."""
        if self._arriving_since is not None and self._mine:
            self._closing = True
            return
        super().shutdown()


def encoded(reply: Reply, *, keep: bool) -> bytes:
    """A reply on the wire."""
    status = reply.status
    if status == 200 and keep:
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
            len(reply.body),
            reply.body,
        )
    reason = HTTPStatus(status).phrase.encode()
    more = b"retry-after: %d\r\n" % reply.retry_after if reply.retry_after else b""
    if not keep:
        more += b"connection: close\r\n"
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status,
        reason,
        reply.kind,
        len(reply.body),
        more,
        reply.body,
    )


def lane_of(desk: Desk) -> type[Lane]:
    """The protocol for one desk, for `uvicorn.Config(http=…)`."""
    return type("DeskLane", (Lane,), {"desk": desk})
