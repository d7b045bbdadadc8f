"""A real server in the test's own loop, and a client that speaks in raw bytes."""

import asyncio
import io
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.support.canary import marked, search
from webhook.core.admission import decode
from webhook.desk import Desk
from webhook.engine import Waiting
from webhook.listening import Listen
from webhook.server import LAST_CALL, Server
from webhook.telemetry import Log, Telemetry
from webhook.tls import Pair, self_signed, utc_now


class Echo:
    """Decides nothing: answers a review with its uid, at once, or when `release` is set where the uid says so. A uid can
    also ask for a fault, or for a long answer."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self.gone = asyncio.Event()
        self.now: list[str] = []
        self.sizes: list[int] = []
        self.deadlines: list[float] = []

    def answer_now(self, body: bytes) -> bytes | Waiting:
        uid = decode(body).uid
        self.now.append(uid)
        self.sizes.append(len(body))
        if uid.startswith("fault now"):
            raise RuntimeError(marked("canary of a fault"))
        if uid.startswith(("wait", "fault later")):
            return Waiting(decode(body), 0.0, [], [])
        return json.dumps({"uid": uid, "more": "x" * 100_000 if uid.startswith("long") else ""}).encode()

    async def answer(self, waiting: Waiting, *, deadline: float) -> bytes:
        self.deadlines.append(deadline)
        self.waiting.set()
        if waiting.review.uid.startswith("fault later"):
            raise RuntimeError(marked("canary of a fault"))
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
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
    noise: list[dict[str, Any]]
    """What reached the loop's exception handler. Must be empty at the end."""

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        self.telemetry.log.flush()
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]

    def count(self, name: str) -> float:
        """The value of a metric without labels."""
        text, _ = self.telemetry.exposition()
        return float(next(line for line in text.decode().splitlines() if line.startswith(f"{name} ")).split()[1])

    def refused(self) -> dict[str, float]:
        """How many requests were no review, by the status of the answer."""
        text, _ = self.telemetry.exposition()
        found = re.findall(r'^moorage_requests_refused_total\{status="(\d+)"\} (\S+)', text.decode(), re.MULTILINE)
        return {status: float(number) for status, number in found}

    async def connect(self, source: str = "127.0.0.1") -> "Connection":
        """A TLS connection to the admission port, from this address."""
        context = ssl.create_default_context(cadata=self.ca.decode())
        reader, writer = await asyncio.open_connection(
            *self.admission, ssl=context, server_hostname="localhost", local_addr=(source, 0)
        )
        return Connection(reader, writer)


def trusting() -> ssl.SSLContext:
    """A caller's side that takes any certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


class Faults:
    """Gives each fault the next id."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._count = 0

    def told(self, uid: str, error: BaseException) -> str:
        self._count += 1
        self._telemetry.bug(f"id-{self._count}", uid, error)
        return f"id-{self._count}"


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
        search("an answer", body)
        return status, headers, body

    async def rest(self) -> bytes:
        """All that comes until the other side ends it."""
        try:
            return await self.reader.read()
        except (ConnectionError, ssl.SSLError):
            return b""

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
    *,
    lane: bool = True,
    own_protocol: bool = True,
    drain: float = 0.0,
    in_flight: int = 64,
    pair: Pair | None = None,
    client_ca: str = "",
    client_names: frozenset[str] = frozenset(),
    wall: Callable[[], float] = time.time,
    last_call: float = LAST_CALL,
    **more: Any,
) -> AsyncIterator[Running]:
    """A server on free ports of loopback."""
    made, ca = self_signed("localhost", now=utc_now())
    engine = Echo()
    log = io.StringIO()
    telemetry = Telemetry(Log(log))
    faults = Faults(telemetry)
    desk = Desk(
        engine,
        budget=4.0,
        in_flight=in_flight,
        shed=telemetry.shed,
        refused=telemetry.refused_request,
        fault=faults.told,
        **more,
    )
    free = Listen("127.0.0.1", 0)
    server = Server(
        desk,
        telemetry,
        pair or made,
        listen=free,
        ops_listen=free,
        drain=drain,
        client_ca=client_ca,
        client_names=client_names,
        lane=lane,
        own_protocol=own_protocol,
        wall=wall,
        last_call=last_call,
    )
    lines: asyncio.Queue[str] = asyncio.Queue()
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: noise.append(told))
    task = asyncio.create_task(server.run(ready=lines.put_nowait))
    getting = asyncio.create_task(lines.get())
    await asyncio.wait({task, getting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        getting.cancel()
        await task
    addresses = json.loads(getting.result())["listening"]
    try:
        admission_place, ops_place = _place(addresses["admission"]), _place(addresses["ops"])
        yield Running(server, desk, engine, telemetry, admission_place, ops_place, ca, task, log, noise)
    finally:
        engine.release.set()
        server.stop()
        await task
    assert noise == []


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
