"""Who comes to the admission port: takes its place among all connections, and is let through the handshake of TLS.

A listener of asyncio's tells nobody of a caller before his handshake is over, so that those under way could not be counted.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from webhook.connection import Connection

HANDSHAKE: Final = 10
"""Seconds for a TLS handshake; the API server gives up after as many."""
GOODBYE: Final = 2
"""Seconds that a caller may take to agree that a connection ends."""
AT_ONCE: Final = 64
"""Callers who are taken in one turn of the loop."""
BREATH: Final = 1.0
"""Seconds until the next try where the system gives no more connections."""


class Arrivals:
    """Callers at a bound socket. `made` makes the protocol of one, `context` gives how TLS is spoken with those who come
    from now on."""

    def __init__(
        self,
        port: socket.socket,
        made: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext],
        *,
        breath: float = BREATH,
    ) -> None:
        self._port = port
        self._made = made
        self._context = context
        self._breath = breath
        self._loop = asyncio.get_running_loop()
        self._shaking: set[asyncio.Future[Any]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_open = False

    def listen(self, backlog: int) -> None:
        """From now on take who comes."""
        self._port.listen(backlog)
        self._port.setblocking(False)
        self._is_open = True
        self._loop.add_reader(self._port, self._take)

    def is_serving(self) -> bool:
        """Whether callers are taken."""
        return self._is_open

    def close(self) -> None:
        """Take nobody more; the socket stays open, and who is under way goes on."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._port)
            if self._pause is not None:
                self._pause.cancel()

    def hang_up(self) -> None:
        """End the handshakes that are under way."""
        for one in tuple(self._shaking):
            one.cancel()

    async def wait_closed(self) -> None:
        """Until no handshake is under way."""
        await asyncio.gather(*self._shaking, return_exceptions=True)

    def let_in(self, caller: socket.socket) -> None:
        """Go on with somebody whose connection the kernel has made, unless there is no place for him."""
        try:
            source = str(caller.getpeername()[0])
        except OSError:
            # He is gone already.
            caller.close()
            return
        caller.setblocking(False)
        protocol = self._made()
        if isinstance(protocol, Connection) and not protocol.enter(source):
            caller.close()
            return
        shaking: asyncio.Future[Any] = asyncio.ensure_future(
            self._loop.connect_accepted_socket(
                lambda: protocol,
                caller,
                ssl=self._context(),
                ssl_handshake_timeout=HANDSHAKE,
                ssl_shutdown_timeout=GOODBYE,
            )
        )
        self._shaking.add(shaking)
        if isinstance(protocol, Connection):
            protocol.handshake = shaking
        shaking.add_done_callback(partial(self._through, protocol, caller))

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            try:
                caller, _ = self._port.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._loop.call_exception_handler({"message": "the system gives no connection", "exception": error})
                self._loop.remove_reader(self._port)
                self._pause = self._loop.call_later(self._breath, self._loop.add_reader, self._port, self._take)
                return
            self.let_in(caller)

    def _through(self, protocol: asyncio.Protocol, caller: socket.socket, shaking: asyncio.Future[Any]) -> None:
        self._shaking.discard(shaking)
        # A handshake that failed is the caller's trouble.
        if shaking.cancelled() or shaking.exception() is not None:
            # One that was given up before it began has no transport yet that would do so.
            caller.close()
            if isinstance(protocol, Connection):
                protocol.is_gone()
