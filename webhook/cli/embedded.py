"""A registry small enough to live inside the demo: manifests only, in memory, on loopback, the protocol's rules kept."""

import asyncio
import socket
from hashlib import sha256
from typing import Any

import msgspec
import uvicorn
from starlette.types import Receive, Scope, Send

from webhook.core.manifest import OCI_INDEX


class EmbeddedRegistry:
    """Serves what was pushed; counts what was asked."""

    def __init__(self) -> None:
        self._manifests: dict[str, bytes] = {}
        self.asked = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.host = f"localhost:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            proxy_headers=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            loop="none",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    def push(self, path: str, tag: str, note: str) -> str:
        """Put an index under a tag and give its digest; `note` makes it differ from others."""
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {"note": note}}
        body = msgspec.json.encode(index)
        digest = f"sha256:{sha256(body).hexdigest()}"
        for name in (tag, digest):
            self._manifests[f"/v2/{path}/manifests/{name}"] = body
        return digest

    async def start(self) -> None:
        """Serve on loopback."""
        self._socket.listen()
        self._serving = asyncio.create_task(self._server._serve([self._socket]))  # noqa: SLF001 - without its signal handlers
        while not self._server.started:  # noqa: ASYNC110 - uvicorn has a flag, no event
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Be gone: connections are refused from now on."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._socket.close()

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.asked += 1
        body = self._manifests.get(scope["path"])
        accepts = dict(scope["headers"]).get(b"accept", b"")
        status, kind = 404, b"application/json"
        if body is not None and OCI_INDEX.encode() in accepts:
            status, kind = 200, OCI_INDEX.encode()
        else:
            body = b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        if status == 200:
            headers.append((b"docker-content-digest", f"sha256:{sha256(body).hexdigest()}".encode()))
        start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
