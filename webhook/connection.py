"""One HTTP connection within bounds that uvicorn does not set: how slowly a request may come, how much around its body,
how long nobody may use it, and an end that cuts off nothing.

What this relies on inside uvicorn is listed in RELIED_ON and pinned by a test; where that does not fit, uvicorn's own
protocol over h11 serves, which bounds headers too.
"""

import asyncio
import inspect
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from webhook.core.admission import MAX_BODY
from webhook.core.places import Places
from webhook.desk import CROWD, FULL, PATIENCE, TEXT, TOO_LARGE, TOO_SLOW, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AROUND: Final = 64 * 1024
"""Bytes of a request that are no body: its line, headers, trailers and what cuts a body into chunks."""
LAST_LOOK: Final = 0.05
"""Seconds between the end of the server and that of an idle connection: a request may be on its way."""

BROKEN: Final = Reply(400, b"this is no HTTP request\n", TEXT, close=True)
TOO_MUCH: Final = Reply(431, b"the headers are too large\n", TEXT, close=True)

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
        "pause_writing",
        "resume_writing",
        "shutdown",
        "_unset_keepalive_if_required",
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
        "client",
    ),
    "cycle": ("disconnected", "response_started", "response_complete", "keep_alive", "message_event"),
}


def fits() -> bool:
    """Whether this uvicorn still has what is built on here."""
    source = inspect.getsource(HttpToolsProtocol.__init__) + inspect.getsource(HttpToolsProtocol.on_message_begin)
    cycle = inspect.getsource(RequestResponseCycle.__init__)
    methods = all(callable(getattr(HttpToolsProtocol, name, None)) for name in RELIED_ON["methods"])
    attributes = all(f"self.{name}" in source for name in RELIED_ON["attributes"])
    return methods and attributes and all(f"self.{name}" in cycle for name in RELIED_ON["cycle"])


def _least_missed(connections: "Sequence[Connection]") -> "Connection":
    """Which of them has to go: one whose caller says nothing, else the one that was not used for longest, else the one that
    takes longest to say what it wants, else the one that had an answer last."""
    return min(connections, key=Connection.worth)


class Connection(HttpToolsProtocol):
    """A connection of uvicorn's, with bounds. `patience` in seconds is what a request may take to arrive, `crowd` the
    places of all connections that may be at once. From its caller's arrival on it has one of them: `handshake` is what he
    has to get through before there is a transport.

    For a fifth of that patience, what a refused caller still sends is read and thrown away, so that it gets to see the answer.
    """

    patience: ClassVar[float] = PATIENCE
    crowd: "ClassVar[Places[Connection]]" = Places(CROWD, _least_missed)
    refused: "ClassVar[staticmethod[[int], None]]" = staticmethod(lambda _status: None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._around = 0
        self._fed = 0
        self._began_a_read = False
        self._size = 0
        self._arriving_since: float | None = None
        self._quiet_since = self.loop.time()
        self._stuck_since: float | None = None
        self._look: asyncio.TimerHandle | None = None
        self._handed_over = False
        self._is_deaf = False
        self._has_ended = False
        self._stopping = False
        self._used = False
        self._source: str | None = None
        self.handshake: asyncio.Future[Any] | None = None

    def is_expected(self, within: float) -> bool:
        """Whether a request is arriving, or must be: its caller has come within so many seconds and said nothing yet."""
        is_new = not self._used and self.loop.time() - self._quiet_since < within
        return not self._has_ended and (is_new or self._arriving_since is not None)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start to watch for requests that do not arrive and connections that nobody uses."""
        super().connection_made(transport)
        self.handshake = None
        self._look = self.loop.call_later(self.patience / 4, self._look_after)
        if self._source is None:
            self.enter(self.client[0] if self.client is not None else "")
        elif self._has_ended:
            transport.abort()

    def enter(self, source: str) -> bool:
        """Take a place among all connections, for which another one may have to go; whether it is not this one."""
        self._source = source
        for one in self.crowd.take(self, source):
            one.give_way()
        return not self._has_ended

    def worth(self) -> tuple[int, float]:
        """The less, the sooner it may go."""
        if self._is_deaf:
            return 0, self._quiet_since
        if self.is_unused():
            # An API server speaks at once: behind one address nothing else tells it from strangers.
            is_silent = not self._used and self.loop.time() - self._quiet_since > self.patience / 10
            return 1 if is_silent else 2, self._quiet_since
        if self._arriving_since is not None:
            return 3, self._arriving_since
        return 4, -self._quiet_since

    def give_way(self) -> None:
        """Others need the place; what is arriving is told so."""
        if self._arriving_since is None or self._is_deaf:
            self._end()
        else:
            self._refuse(self._full())

    def _full(self) -> Reply:
        return FULL

    def is_gone(self) -> None:
        """It has ended, or will never begin: its place is free."""
        self._is_deaf = self._has_ended = True
        if self._source is not None:
            self.crowd.leave(self, self._source)

    def is_unused(self) -> bool:
        """Whether nothing arrives and nobody waits."""
        return self._is_idle() and self._arriving_since is None and not self._is_deaf

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self.is_gone()
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the last answer has been given."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._fed = len(data)
        self._around += self._fed
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded here. The parser takes what follows for the other protocol, so that nothing more can
            # be read; the request is answered as one without a body.
            self._hear_no_more()
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, (httptools.HttpParserError, ValueError)):
                self.loop.call_exception_handler({"message": "a fault on a connection", "exception": error.__context__})
            self._refuse(BROKEN)
        except httptools.HttpParserError:
            self._refuse(BROKEN)
        if self._around > AROUND and self._arriving_since is not None:
            self._refuse(TOO_MUCH)

    def on_message_begin(self) -> None:
        """A request starts."""
        self._arriving_since = self.loop.time()
        self._begin()
        self._used = True
        self._handed_over = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """From here on the request is uvicorn's."""
        if self._is_deaf:
            return
        if self._is_too_large():
            self._refuse(TOO_LARGE)
            return
        if self._has_long_head():
            self._refuse(TOO_MUCH)
            return
        if not _names_a_path(self.url):
            self._refuse(BROKEN)
            return
        super().on_headers_complete()
        # Not before: where uvicorn fails, the cycle that is there is another request's, or none.
        self._handed_over = True

    def _begin(self) -> None:
        """What was read last is this request's, unless another stands before it."""
        self._began_a_read = self._fed > 0
        self._around, self._fed = self._fed, 0

    def _has_long_head(self) -> bool:
        """Whether the headers, which may all have come at once, are over their cap."""
        # They are counted where they may be: what was read may be a body, or what stood before this request unknown.
        is_doubtful = self._around > AROUND or not self._began_a_read
        return is_doubtful and sum([len(name) + len(value) for name, value in self.headers]) > AROUND

    def _is_too_large(self) -> bool:
        """Whether the request says itself that its body is over the cap."""
        self._size = 0
        for name, value in self.headers:
            if name == b"content-length":
                return value.isdigit() and int(value) > MAX_BODY
        return False

    def on_body(self, body: bytes) -> None:
        """A part of a body, up to the cap."""
        if self._is_deaf:
            return
        self._around -= len(body)
        self._size += len(body)
        if self._size > MAX_BODY:
            self._refuse(TOO_LARGE)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has arrived whole."""
        self._fed = 0
        if self._is_deaf:
            return
        self._arriving_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered; one that arrived behind it could not be read so far."""
        self._quiet_since = self.loop.time()
        if self._arriving_since is not None and not self._handed_over:
            self._arriving_since = self._quiet_since
        super().on_response_complete()
        if self._is_idle() and (self._is_deaf or (self._stopping and self._arriving_since is None)):
            self._end()

    def pause_writing(self) -> None:
        """The caller does not read its answers."""
        self._stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stuck_since = None
        super().resume_writing()

    def _look_after(self) -> None:
        now = self.loop.time()
        since = self._quiet_since if self._has_ended else self._stuck_since
        if since is not None and now - since > self.patience:
            # Closing would wait for a caller that reads no more.
            self.transport.abort()
            return
        if self._is_idle() and not self._is_deaf:
            if self._arriving_since is None:
                if now - self._quiet_since > self.timeout_keep_alive:
                    self._end()
            elif now - self._arriving_since > self.patience:
                self._refuse(TOO_SLOW)
        self._look = self.loop.call_later(self.patience / 4, self._look_after)

    def _is_idle(self) -> bool:
        """Whether nobody works on an answer."""
        cycle: object = self.cycle
        return cycle is None or self.cycle.response_complete

    def _refuse(self, reply: Reply) -> None:
        """Answer what has not arrived whole, and read no more of it.

        What has its answer already gets no other, nor may this one overtake an answer that is still to come.
        """
        if self._is_deaf:
            return
        if self._take_back():
            if reply is not FULL:
                self.refused(reply.status)
            self.transport.write(encoded(reply, keep=False))
        self._hear_no_more()

    def _hear_no_more(self) -> None:
        """Let answers that are due go out, and end."""
        self._is_deaf = True
        self._arriving_since = None
        if self._is_idle():
            self.loop.call_later(self.patience / 5, self._end)

    def _take_back(self) -> bool:
        """Whether the answer to what is arriving is still to be given; from now on nobody else gives it."""
        if not self._handed_over:
            return self._is_idle()
        if self.pipeline or self.cycle.response_started:
            return False
        self.cycle.disconnected = self.cycle.response_complete = True
        self.cycle.message_event.set()
        return True

    def _end(self) -> None:
        if not self._has_ended:
            self._is_deaf = self._has_ended = True
            self._quiet_since = self.loop.time()
            if self.transport is not None:
                self.transport.close()
            elif self.handshake is not None:
                self.handshake.cancel()

    def shutdown(self) -> None:
        """The server stops: let a request that is arriving be answered first, and one that is on its way."""
        self._stopping = True
        if not self._is_idle():
            super().shutdown()
        elif self._is_deaf:
            self._end()
        else:
            self.loop.call_later(LAST_LOOK, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self.is_unused():
            self._end()


def _names_a_path(url: bytes) -> bool:
    """Whether it is what uvicorn takes for granted: `CONNECT x:443` and `GET http://x` name a host and nothing there."""
    try:
        return httptools.parse_url(url).path is not None
    except httptools.HttpParserError:
        return False


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
    if reply.allow:
        more += b"allow: %b\r\n" % reply.allow
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


def connection_of(patience: float, crowd: int, refused: "Callable[[int], None] | None" = None) -> type[Connection]:
    """The protocol with these bounds, for `uvicorn.Config(http=…)`."""
    return type("BoundConnection", (Connection,), bounds(patience, crowd, refused))


def bounds(patience: float, crowd: int, refused: "Callable[[int], None] | None") -> dict[str, Any]:
    """What a kind of connections of its own shares: `crowd` of them may be at once, `refused` is told the status of each
    request that they refuse by themselves."""
    told = {"refused": staticmethod(refused)} if refused is not None else {}
    return {"patience": patience, "crowd": Places(crowd, _least_missed), **told}
