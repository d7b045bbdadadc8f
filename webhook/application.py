"""The admission port for ASGI: reviews at a plain endpoint in front of a FastAPI application that answers the rest."""

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webhook.core.admission import MAX_BODY
from webhook.desk import ONLY_POST, SMALL, TOO_LARGE, TOO_SLOW, Desk, Reply


def admission(desk: Desk) -> ASGIApp:
    """Reviews, and 404 for every other path."""
    rest = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @rest.exception_handler(404)
    async def nothing_here(_request: Request, _error: Exception) -> PlainTextResponse:
        desk.refused(404)
        return PlainTextResponse("reviews are answered at /mutate\n", 404)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and desk.draining:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        if scope["type"] == "http" and desk.serves(scope["path"].encode()):
            reply = await _reply(desk, scope, receive)
            if reply is not None:
                # What is no review is counted by whoever finds that out, and what there was no room for as such.
                if reply.status not in {200, 400, 503}:
                    desk.refused(reply.status)
                await _send(reply, send_last)
        else:
            await rest(scope, receive, send_last)

    return app


async def _reply(desk: Desk, scope: Scope, receive: Receive) -> Reply | None:
    """None when the caller is gone."""
    if scope["method"] != "POST":
        return ONLY_POST
    arrived = asyncio.get_running_loop().time()
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY:
        return TOO_LARGE
    source = scope["client"][0] if scope["client"] is not None else ""
    body = await _Body(desk, receive, source).read()
    if not isinstance(body, bytes):
        return body
    outcome = desk.reply_now(body)
    if isinstance(outcome, Reply):
        return outcome
    answering = desk.reply(outcome, scope["query_string"].decode("latin-1"), arrived, source)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        either: set[asyncio.Future[Any]] = {answering, leaving}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else None
    finally:
        answering.cancel()
        leaving.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Body:
    """The body of one review, up to the cap, in time, and as long as there is room for it."""

    def __init__(self, desk: Desk, receive: Receive, source: str) -> None:
        self._desk = desk
        self._receive = receive
        self._source = source
        self._time = asyncio.timeout(desk.patience)
        self._is_turned_away = False

    async def read(self) -> bytes | Reply | None:
        """None when the caller left before it was whole."""
        try:
            async with self._time:
                return await self._read()
        except TimeoutError:
            return self._desk.turned_away() if self._is_turned_away else TOO_SLOW
        finally:
            self._desk.give_back(self, self._source)

    def give_way(self) -> None:
        """Read no more of it: its time is over."""
        self._is_turned_away = True
        self._time.reschedule(0.0)

    async def _read(self) -> bytes | Reply | None:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY:
                return TOO_LARGE
            if size > SMALL and part:
                self._desk.make_room(self, len(part), self._source)
                if self._is_turned_away:
                    return self._desk.turned_away()
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


async def _send(reply: Reply, send: Send) -> None:
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", reply.kind),
        (b"content-length", b"%d" % len(reply.body)),
    ]
    if reply.retry_after:
        headers.append((b"retry-after", b"%d" % reply.retry_after))
    if reply.allow:
        headers.append((b"allow", reply.allow))
    if reply.close:
        headers.append((b"connection", b"close"))
    start: dict[str, Any] = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})
