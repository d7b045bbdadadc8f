"""A way to an HTTP server that writes down each request, and is slow, silent, refusing or gone where it is told to.

Requests are read one after the other; answers pass as bytes. Stands before a registry, and with TLS on both sides
before the API server.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Final, Self

import msgspec

from tests.support.aside import aside

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_HEAD: Final = 64 * 1024
_LAST_WORDS: Final = 0.2
"""Seconds for the end of a connection."""


class Request(msgspec.Struct, frozen=True):
    """One that came in; `target` is its path and query."""

    method: str
    target: str


class Fault(msgspec.Struct):
    """What happens to the requests that fit; `held` counts those that wait now."""

    fits: Callable[[Request], bool]
    forwards: bool = True
    holds: bool = False
    seconds: float = 0
    answer: bytes = b""
    held: int = 0


class Proxy:
    """Listens on a port of its own and forwards to `server`, a host and a port, which may change."""

    def __init__(
        self,
        host: str,
        port: int,
        server: tuple[str, int],
        taking: ssl.SSLContext | None,
        dialling: ssl.SSLContext | None,
    ) -> None:
        self.host = f"{host}:{port}"
        self.server = server
        self.requests: list[Request] = []
        self._at = (host, port)
        self._taking = taking
        self._dialling = dialling
        self._faults: list[Fault] = []
        self._loop = asyncio.get_running_loop()
        self._released = asyncio.Event()
        self._listening: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @classmethod
    def running(
        cls,
        port: int,
        server: tuple[str, int],
        *,
        host: str = "127.0.0.1",
        taking: ssl.SSLContext | None = None,
        dialling: ssl.SSLContext | None = None,
    ) -> AbstractContextManager[Self]:
        """A proxy for as long as the block lasts, in a thread of its own."""
        return aside(cls._serving(host, port, server, taking, dialling))

    @classmethod
    @asynccontextmanager
    async def _serving(
        cls,
        host: str,
        port: int,
        server: tuple[str, int],
        taking: ssl.SSLContext | None,
        dialling: ssl.SSLContext | None,
    ) -> AsyncIterator[Self]:
        made = cls(host, port, server, taking, dialling)
        await made._listen()
        try:
            yield made
        finally:
            await made._close()

    def hang(self, fits: Callable[[Request], bool] = lambda _: True) -> Fault:
        """Requests are taken, go nowhere and get no answer; their connections end with `release`."""
        return self._add(Fault(fits, forwards=False, holds=True))

    def hold(self, fits: Callable[[Request], bool] = lambda _: True) -> Fault:
        """Requests are forwarded, and their answers kept back until `release`."""
        return self._add(Fault(fits, holds=True))

    def delay(self, seconds: float, fits: Callable[[Request], bool] = lambda _: True) -> Fault:
        """Answers come so much later."""
        return self._add(Fault(fits, seconds=seconds))

    def refuse(self, status: int, body: bytes = b"{}", fits: Callable[[Request], bool] = lambda _: True) -> Fault:
        """Requests go nowhere and are answered with this status."""
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return self._add(Fault(fits, forwards=False, answer=head.encode() + body))

    def release(self) -> None:
        """No more faults; what was held goes on."""
        self._soon(self._release)

    def shut(self) -> None:
        """Nobody listens here any more, and open connections end."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    def open(self) -> None:
        """Listens again."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def _add(self, fault: Fault) -> Fault:
        self._soon(lambda: self._faults.append(fault))
        return fault

    def _soon(self, change: Callable[[], None]) -> None:
        async def changed() -> None:
            change()

        asyncio.run_coroutine_threadsafe(changed(), self._loop).result(10)

    def _release(self) -> None:
        self._faults.clear()
        self._released.set()
        self._released = asyncio.Event()

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._take, *self._at, ssl=self._taking, limit=_HEAD)

    async def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await _Passage(self, reader, writer).run()
        finally:
            with suppress(asyncio.CancelledError):
                await _end(writer)
            self._open.discard(task)

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server."""
        return await asyncio.open_connection(*self.server, ssl=self._dialling)

    def taken(self, head: bytes) -> Fault | None:
        """Write a request down; the fault that it meets."""
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        request = Request(method, target)
        self.requests.append(request)
        return next((fault for fault in self._faults if fault.fits(request)), None)

    async def held(self, fault: Fault) -> None:
        """Wait for `release`."""
        released = self._released
        fault.held += 1
        try:
            await released.wait()
        finally:
            fault.held -= 1


class _Passage:
    """One connection of a caller, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._caller = (reader, writer)
        self._fault: Fault | None = None

    async def run(self) -> None:
        reader, writer = await self._proxy.dial()
        back = asyncio.create_task(self._answers(reader))
        forth = asyncio.create_task(self._requests(writer))
        try:
            # Whichever side ends ends the other.
            done, _ = await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Before anything is awaited: this may be ended while it is ending.
            writer.close()
            for task in (back, forth):
                task.cancel()
            await asyncio.gather(back, forth, return_exceptions=True)
            await _end(writer)

    async def _requests(self, server: asyncio.StreamWriter) -> None:
        reader, caller = self._caller
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            fault = self._fault = self._proxy.taken(head)
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            if fault is not None and not fault.forwards:
                if fault.holds:
                    return await self._proxy.held(fault)
                caller.write(fault.answer)
                await caller.drain()
                continue
            server.write(head + body)
            await server.drain()
            if _CHUNKED.search(head):
                # A pushed blob of unknown length: what follows on this connection passes unread.
                return await _copy(reader, server)

    async def _answers(self, server: asyncio.StreamReader) -> None:
        caller = self._caller[1]
        while data := await server.read(_HEAD):
            fault, self._fault = self._fault, None
            if fault is not None and fault.holds:
                await self._proxy.held(fault)
            elif fault is not None and fault.seconds:
                await asyncio.sleep(fault.seconds)
            caller.write(data)
            await caller.drain()


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close; a peer that does not take part in the end of TLS is not waited for long."""
    writer.close()
    try:
        with suppress(TimeoutError, ConnectionError, ssl.SSLError):
            async with asyncio.timeout(_LAST_WORDS):
                await writer.wait_closed()
    finally:
        writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_HEAD):
        writer.write(data)
        await writer.drain()
