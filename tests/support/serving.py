"""A real server in the test's own loop, and a client that speaks in raw bytes."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from webhook.core.admission import decode
from webhook.desk import Desk
from webhook.engine import Waiting
from webhook.server import Listen, Server
from webhook.telemetry import Log, Telemetry
from webhook.tls import Pair, self_signed, utc_now


class Echo:
    """Decides nothing: answers a review with its uid, at once, or when `release` is set where the uid says so."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self.now: list[str] = []

    def answer_now(self, body: bytes) -> bytes | Waiting:
        uid = decode(body).uid
        self.now.append(uid)
        if uid.startswith("wait"):
            return Waiting(decode(body), 0.0, [], [])
        return json.dumps({"uid": uid}).encode()

    async def answer(self, waiting: Waiting, *, deadline: float) -> bytes:
        self.waiting.set()
        await self.release.wait()
        return json.dumps({"uid": waiting.review.uid}).encode()


class Running(msgspec.Struct):
    """A server that runs."""

    server: Server
    desk: Desk
    engine: Echo
    telemetry: Telemetry
    admission: tuple[str, int]
    ops: tuple[str, int]
    ca: bytes
    task: asyncio.Task[None]
    log: io.StringIO

    async def connect(self) -> "Connection":
        """A TLS connection to the admission port."""
        context = ssl.create_default_context(cadata=self.ca.decode())
        reader, writer = await asyncio.open_connection(*self.admission, ssl=context, server_hostname="localhost")
        return Connection(reader, writer)


class Connection:
    """Raw bytes over TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One whole answer: status, headers, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        status = int(head[0].split()[1])
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return status, headers, body

    async def is_closed(self) -> bool:
        """Whether the other side ended it: waits for that."""
        try:
            return await self.reader.read() == b""
        except (ConnectionError, ssl.SSLError):
            return True

    def close(self) -> None:
        """End it."""
        self.writer.close()


@asynccontextmanager
async def serving(
    *, lane: bool = True, drain: float = 0.0, in_flight: int = 64, pair: Pair | None = None, **more: Any
) -> AsyncIterator[Running]:
    """A server on free ports of loopback."""
    made, ca = self_signed("localhost", now=utc_now())
    engine = Echo()
    log = io.StringIO()
    telemetry = Telemetry(Log(log))
    desk = Desk(engine, budget=4.0, in_flight=in_flight, shed=telemetry.shed, **more)
    free = Listen("127.0.0.1", 0)
    server = Server(desk, telemetry, pair or made, listen=free, ops_listen=free, drain=drain, lane=lane)
    lines: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(server.run(ready=lines.put_nowait))
    getting = asyncio.create_task(lines.get())
    await asyncio.wait({task, getting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        getting.cancel()
        await task
    addresses = json.loads(getting.result())["listening"]
    try:
        yield Running(
            server, desk, engine, telemetry, _place(addresses["admission"]), _place(addresses["ops"]), ca, task, log
        )
    finally:
        engine.release.set()
        server.stop()
        await task


def _place(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


def review(uid: str, *, padding: int = 0) -> bytes:
    """A review as bytes."""
    request = {"uid": uid, "resource": {"resource": "pods"}, "operation": "CREATE", "object": {"x": "x" * padding}}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def post(body: bytes, *headers: str, path: str = "/mutate", method: str = "POST") -> bytes:
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
