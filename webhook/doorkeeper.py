"""Whom a connection belongs to, by the names in the caller's certificate: asked once, when it is made."""

import asyncio
from collections.abc import Callable
from typing import ClassVar

import msgspec

from webhook.connection import encoded
from webhook.core.callers import Allowed, names_of
from webhook.desk import STRANGER


class Door(msgspec.Struct, frozen=True):
    """Who is let in; `refused` is told the names and the address of each connection on which a stranger has spoken. For
    `linger` seconds what he still sends is thrown away, so that he gets to see the answer."""

    allowed: Allowed
    refused: Callable[[str, str], None]
    linger: float


class _Kept(asyncio.Protocol):
    """Stands in front of a protocol, which never hears a word of what a stranger says."""

    door: ClassVar[Door]
    _stranger: asyncio.Transport | None = None
    _is_answered = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """See who it is."""
        if not self.door.allowed.admits(names_of(transport.get_extra_info("peercert"))):
            self._stranger = transport
        # It counts the connection, bounds its time and ends it, whosever it is.
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on what a caller says; a stranger gets one answer, whatever he asked for."""
        if self._stranger is None:
            super().data_received(data)
        elif not self._is_answered:
            self._is_answered = True
            self._stranger.write(encoded(STRANGER, keep=False))
            asyncio.get_running_loop().call_later(self.door.linger, self._stranger.close)
            place = self._stranger.get_extra_info("peername") or ("",)
            self.door.refused(str(names_of(self._stranger.get_extra_info("peercert"))), str(place[0]))


def kept(protocol: type[asyncio.Protocol], door: Door) -> type[asyncio.Protocol]:
    """The protocol behind a door. Without one nobody looks, and nothing is slower."""
    return type(f"Kept{protocol.__name__}", (_Kept, protocol), {"door": door})
