"""How an answer goes on the wire: whole, or as registries and what stands before them have been seen to break it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec

from tests.support.canary import marked

BLOCK: Final = 64 * 1024


class Answer(msgspec.Struct, frozen=True):
    """A status, headers, a body, and how they are sent. `is_headless` is for HEAD: the body is measured and left out."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    wire: "Wire | None" = None
    is_headless: bool = False

    @property
    def head(self) -> bytes:
        """Status line and headers as bytes."""
        names = {name.lower() for name, _ in self.headers}
        length = () if names & {"content-length", "transfer-encoding"} else (("Content-Length", str(len(self.body))),)
        lines = [f"HTTP/1.1 {self.status} Whatever", *(f"{name}: {value}" for name, value in self.headers + length)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    @property
    def payload(self) -> bytes:
        """What follows the head."""
        return b"" if self.is_headless else self.body


class Sending:
    """One connection's writing end; counts what it takes."""

    def __init__(self, writer: asyncio.StreamWriter, release: asyncio.Event) -> None:
        self.release = release
        self.taken = 0
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire and wait until they are taken."""
        self._writer.write(data)
        await self._writer.drain()
        self.taken += len(data)

    def reset(self) -> None:
        """End the connection with a RST instead of a FIN."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Wire = Callable[[Sending, Answer], Awaitable[None]]
"""Sends an answer in its own way; the connection ends with it."""


async def silence(to: Sending, _answer: Answer) -> None:
    """Says nothing until it is released."""
    await to.release.wait()


async def hesitation(to: Sending, answer: Answer) -> None:
    """Says what it has to say when it is released."""
    await to.release.wait()
    await to.send(answer.head + answer.payload)


async def silence_in_body(to: Sending, answer: Answer) -> None:
    """Falls silent in the middle of the body."""
    await to.send(answer.head + answer.payload[: len(answer.payload) // 2])
    await to.release.wait()


async def closed(_to: Sending, _answer: Answer) -> None:
    """Closes the connection without a word."""


async def farewell(to: Sending, answer: Answer) -> None:
    """Says what it has to say and closes."""
    await to.send(answer.head + answer.payload)


async def half(to: Sending, answer: Answer) -> None:
    """Closes in the middle: of the body, or of the head where there is no body."""
    await to.send(answer.head + answer.payload[: len(answer.payload) // 2] if answer.payload else answer.head[:20])


async def reset(to: Sending, _answer: Answer) -> None:
    """Resets the connection without a word."""
    to.reset()


async def reset_in_body(to: Sending, answer: Answer) -> None:
    """Resets in the middle: of the body, or of the head where there is no body."""
    await half(to, answer)
    to.reset()


async def endless_body(to: Sending, answer: Answer) -> None:
    """Sends a body without end."""
    await to.send(msgspec.structs.replace(answer, headers=(*answer.headers, ("Transfer-Encoding", "chunked"))).head)
    chunk = b"%x\r\n%b\r\n" % (BLOCK, b" " * BLOCK)
    while not answer.is_headless:
        await to.send(chunk)


async def endless_headers(to: Sending, _answer: Answer) -> None:
    """Sends headers without end."""
    await to.send(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        number += 1
        await to.send(b"X-Filler-%d: %b\r\n" % (number, b"x" * 1024))


async def endless_header(to: Sending, _answer: Answer) -> None:
    """Sends one header without end."""
    await to.send(b"HTTP/1.1 200 OK\r\nX-Filler: ")
    while True:
        await to.send(b"x" * 1024)


async def endless_patience(to: Sending, _answer: Answer) -> None:
    """Promises an answer for ever."""
    while True:
        await to.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 64)


async def other_protocol(to: Sending, _answer: Answer) -> None:
    """Speaks something that is not HTTP."""
    await to.send(f"SSH-2.0-{marked('canary-of-the-upstream')}\r\n".encode())


async def drip(to: Sending, answer: Answer) -> None:
    """Sends the body byte by byte, and takes its time."""
    await to.send(answer.head)
    for byte in answer.payload:
        await to.send(bytes((byte,)))
        with suppress(TimeoutError):
            await asyncio.wait_for(to.release.wait(), 0.02)
