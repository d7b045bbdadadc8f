"""A registry that has every image and answers after a set time: `python -m tests.bench.upstream PORT SECONDS`.

It is there to be faster than what is measured, so it knows nothing but manifests by HEAD and how often it was asked.
"""

import asyncio
import json
import sys
from collections import Counter
from hashlib import sha256
from typing import ClassVar

import httptools
import uvloop

_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: 500\r\n"
    b"Docker-Content-Digest: sha256:%b\r\n\r\n"
)


class Upstream(asyncio.Protocol):
    """One connection."""

    asked: ClassVar[Counter[str]] = Counter()
    delay = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is of no class of asyncio's
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        if self._url == b"/asked":
            body = json.dumps(self.asked).encode()
            self._send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        self.asked[self._url.decode()] += 1
        answer = _ANSWER % sha256(self._url).hexdigest().encode()
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(port: int, delay: float) -> None:
    """Until the process is ended."""
    Upstream.delay = delay
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
