"""Stands before the page: who asks under a foreign name, with another method or at great length is answered here, and
every answer carries what keeps other sites away from it."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webhook.page.names import Names

MOST: Final = 2048
"""Bytes of a path and its query."""
METHODS: Final = frozenset({"GET", "HEAD"})
HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Nothing is run, framed, kept, or fetched from elsewhere."""

_HEADERS: Final = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_FOREIGN: Final = (
    421,
    b"this page does not answer to that name; ask for localhost, or allow the name with --page-host\n",
)
_ONLY_READ: Final = (405, b"this page is only read: GET or HEAD\n")
_TOO_LONG: Final = (414, b"the address is too long\n")


class Guard:
    """The application behind it is asked by GET alone, and only under the `names`."""

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_head = scope["method"] == "HEAD"
        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(*refusal, send_guarded)
            return
        try:
            await self._app({**scope, "method": "GET"}, receive, send_guarded)
        except Exception:
            # The framework raises again what was answered and logged already.
            if not has_begun:
                raise

    def _refusal(self, scope: Scope) -> tuple[int, bytes] | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        dialled = scope["server"][0] if scope.get("server") else ""
        if len(hosts) != 1 or not self._names.have(hosts[0], dialled):
            return _FOREIGN
        if scope["method"] not in METHODS:
            return _ONLY_READ
        if len(scope["raw_path"]) + len(scope["query_string"]) > MOST:
            return _TOO_LONG
        return None


async def _refuse(status: int, text: bytes, send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
