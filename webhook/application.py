"""The admission port for ASGI: reviews at a plain endpoint in front of a FastAPI application that answers the rest."""

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from webhook.core.admission import MAX_BODY
from webhook.desk import ONLY_POST, TOO_LARGE, TOO_SLOW, Desk, Reply

SLOW = 10.0


def admission(desk: Desk) -> ASGIApp:
    """Reviews, and 404 for every other path."""
    rest = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @rest.exception_handler(404)
    async def nothing_here(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("reviews are answered at /mutate\n", 404)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and desk.serves(scope["path"].encode()):
            await _send(await _review(desk, scope, receive), send)
        else:
            await rest(scope, receive, send)

    return app


async def _review(desk: Desk, scope: Scope, receive: Receive) -> Reply:
    if scope["method"] != "POST":
        return ONLY_POST
    arrived = asyncio.get_running_loop().time()
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY:
        return TOO_LARGE
    body: bytes | Reply
    try:
        async with asyncio.timeout(SLOW):
            body = await _body(receive)
    except TimeoutError:
        return TOO_SLOW
    if isinstance(body, Reply):
        return body
    outcome = desk.reply_now(body)
    if isinstance(outcome, Reply):
        return outcome
    return await desk.reply(outcome, scope["query_string"].decode("latin-1"), arrived)


async def _body(receive: Receive) -> bytes | Reply:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            return TOO_LARGE
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
    if reply.close:
        headers.append((b"connection", b"close"))
    start: dict[str, Any] = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})
