"""The process that serves: its ports, its signals, its end. It decides nothing."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from webhook import closing
from webhook.application import admission
from webhook.arrivals import Arrivals
from webhook.connection import Connection, connection_of, fits
from webhook.core.callers import Allowed
from webhook.desk import Desk
from webhook.doorkeeper import Door, kept
from webhook.lane import lane_of
from webhook.listening import (
    BACKLOG,
    CannotServe,
    Listen,
    Listener,
    Plain,
    Quiet,
    address_of,
    announce,
    configured,
    until,
)
from webhook.ops import Checks, operations
from webhook.readiness import Handshake
from webhook.telemetry import FLUSH_EVERY, Telemetry
from webhook.tls import Pair, context

if TYPE_CHECKING:
    import socket
    import ssl

    from starlette.types import ASGIApp

PAGE_CROWD: Final = 64
"""Connections to the page at once: people, with some six of a browser each."""
LAST_CALL: Final = 2.0
"""Seconds that those who connected just before the end get to say what they want."""


class Server:
    """Admission over TLS and operations over HTTP, until a signal; one object per process."""

    def __init__(
        self,
        desk: Desk,
        telemetry: Telemetry,
        pair: Pair | None,
        *,
        listen: Listen,
        ops_listen: Listen,
        page_listen: Listen | None = None,
        page: "Callable[[Checks], ASGIApp] | None" = None,
        drain: float,
        client_ca: str = "",
        client_names: frozenset[str] = frozenset(),
        reload: Callable[[], Awaitable[object]] | None = None,
        lane: bool = True,
        own_protocol: bool = True,
        wall: Callable[[], float] = time.time,
        last_call: float = LAST_CALL,
    ) -> None:
        """`pair` and `client_ca` (PEM) serve until `swap` is given others; without a pair it waits for the first one, not
        ready, and tells why there is none as `missing` says. Callers must bear one of the `client_names`, where there are
        any. It is `up` once it serves, and `stopping` from the signal on. Without the `lane`, or without any protocol of
        our own, plain ASGI answers everything. The `page` is made with what readiness rests on, where it is to be served.

        Raises:
            BadCertificate: they cannot be loaded.
        """
        self._desk = desk
        self._telemetry = telemetry
        self._drain = drain
        self._last_call = last_call
        self._reload = reload
        self._listen = listen
        self._pair = pair
        self._client_ca = client_ca
        self._context = context(pair, client_ca=client_ca) if pair is not None else None
        self.missing = "there is no certificate yet"
        self._fits = own_protocol and fits()
        self._lane = lane and self._fits
        self.up = asyncio.Event()
        self.stopping = self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._begin = asyncio.Event()
        self._arrivals: Arrivals | None = None
        protocol = self._protocol(lane=self._lane, refused=desk.refused)
        if client_names:
            protocol = kept(protocol, Door(Allowed(client_names), telemetry.refused, desk.patience / 5))
        self._admission = Quiet(configured(admission(desk), protocol), self._listen_for_reviews)
        operated = operations(self._checks, telemetry.exposition, lambda: self._in_force().certificate)
        self._beside = {"ops": Plain(ops_listen, operated, self._protocol(lane=False))}
        if page is not None and page_listen is not None:
            self._beside["page"] = Plain(page_listen, page(self._checks), self._protocol(lane=False, crowd=PAGE_CROWD))
        self._handshake = Handshake(self._own_address, self._in_force, wall=wall)
        self._socket: socket.socket | None = None
        self._callers: WeakSet[asyncio.Protocol] = WeakSet()
        self._tasks: set[asyncio.Future[Any]] = set()

    async def run(self, *, ready: Callable[[str], None] = announce) -> None:
        """Serve until SIGTERM or SIGINT, then drain. `ready` gets the line of chosen addresses.

        Raises:
            OSError: a port cannot be had.
            CannotServe: one was lost on the way.
        """
        self._socket = self._listen.bound()
        try:
            for port in self._beside.values():
                port.bind()
        except OSError:
            self._give_back()
            raise
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        addresses = {
            "admission": f"https://{address_of(self._socket)}",
            **{name: port.url for name, port in self._beside.items()},
        }
        beside = [port.server for port in self._beside.values()]
        serving = [asyncio.create_task(one.serve()) for one in beside]
        flushing = asyncio.create_task(self._flush())
        try:
            await until(serving, *(one.up for one in beside))
            await self._await_pair(serving)
            if not self._stop.is_set():
                serving.append(asyncio.create_task(self._admission.serve()))
                await until(serving, self._admission.up)
                self.up.set()
                self._telemetry.log.write("info", "serving", lane=self._lane, **addresses)
                ready(json.dumps({"listening": addresses}))
            await until(serving, self._stop)
            await self._end(serving)
        finally:
            flushing.cancel()
            for one in (*serving, *self._tasks):
                one.cancel()
            if self._arrivals is not None:
                self._arrivals.hang_up()
            self._give_back()
            self._telemetry.log.flush()

    def _give_back(self) -> None:
        """Every port, however far it came."""
        for listener in self._admission.listeners:
            listener.close()
        for port in self._beside.values():
            port.close()
        if self._socket is not None:
            self._socket.close()

    async def _await_pair(self, serving: list[asyncio.Task[None]]) -> None:
        """Until there is something to serve with, or the end comes first."""
        if self._pair is not None:
            self._telemetry.expiry.set(self._pair.expires)
            return
        self._telemetry.log.write("info", "waiting for a certificate")
        await until(serving, self._begin)

    def stop(self) -> None:
        """What SIGTERM does; a second one cuts the drain short, and still nobody who waits goes without an answer."""
        (self._hurry if self._stop.is_set() else self._stop).set()
        self._begin.set()

    async def swap(self, pair: Pair, *, client_ca: str) -> None:
        """Serve new connections with another certificate and authority of clients; open ones stay.

        Raises:
            BadCertificate: they cannot be loaded; what was in force still is.
        """
        made = context(pair, client_ca=client_ca)
        if self._stop.is_set():
            return
        self._context = made
        self._pair, self._client_ca = pair, client_ca
        self._begin.set()
        self._telemetry.expiry.set(pair.expires)
        self._telemetry.log.write("info", "certificate changed", expires=pair.expires)

    @property
    def shown(self) -> tuple[Pair | None, str]:
        """The pair and the authority of clients that are in force."""
        return self._pair, self._client_ca

    def _in_force(self) -> Pair:
        if self._pair is None:
            raise CannotServe(self.missing)
        return self._pair

    async def _listen_for_reviews(self, server: Quiet) -> Listener:
        if self._socket is None:
            raise CannotServe("the port is not bound")
        self._arrivals = Arrivals(self._socket, lambda: self._caller(server), self._context_in_force)
        self._arrivals.listen(BACKLOG)
        return self._arrivals

    def _context_in_force(self) -> "ssl.SSLContext":
        if self._context is None:
            raise CannotServe(self.missing)
        return self._context

    def _caller(self, server: Quiet) -> asyncio.Protocol:
        made = server.protocol()
        self._callers.add(made)
        return made

    def _protocol(
        self, *, lane: bool, refused: Callable[[int], None] | None = None, crowd: int | None = None
    ) -> type[asyncio.Protocol]:
        if lane:
            return lane_of(self._desk)
        if self._fits:
            return connection_of(self._desk.patience, crowd or self._desk.crowd, refused)
        from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415 - not loaded where ours fits

        return H11Protocol

    async def _checks(self) -> dict[str, str]:
        return {
            "configuration": "",
            "tls": await self._handshake.problem() if self._pair is not None else self.missing,
            "draining": "the server is about to stop" if self._desk.draining else "",
        }

    def _own_address(self) -> tuple[str, int]:
        """Where we can be reached from here: an address that stands for all of them is dialled as loopback."""
        if self._socket is None:
            raise CannotServe("the port is not bound")
        host, port = self._socket.getsockname()[:2]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - that is what it stands for

    def _on_hangup(self) -> None:
        if self._reload is not None:
            task = asyncio.ensure_future(self._reload())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            self._telemetry.log.flush()

    async def _end(self, serving: list[asyncio.Task[None]]) -> None:
        """Not ready, still accepting, every answer ends its connection; then nobody new; then stop."""
        self._desk.draining = True
        self._telemetry.log.write("info", "draining", seconds=self._drain)
        if self.up.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._drain)
            if self._socket is not None:
                closing.turn_away(self._socket)
                await asyncio.sleep(closing.IN_FLIGHT)
            self._close_the_door()
            await self._hear_the_last()
            if self._arrivals is not None:
                self._arrivals.hang_up()
        for server in (self._admission, *(port.server for port in self._beside.values())):
            server.ending.set()
        await asyncio.gather(*serving)
        self._telemetry.log.write("info", "stopped")

    def _close_the_door(self) -> None:
        """Take nobody new. Whom the kernel took already is let in."""
        if self._socket is None or self._arrivals is None:
            return
        self._arrivals.close()
        for caller in closing.close(self._socket):
            self._arrivals.let_in(caller)

    async def _hear_the_last(self) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + self._last_call
        while clock() < until and self._expects_somebody():  # noqa: ASYNC110 - nobody tells when a handshake fails
            await asyncio.sleep(0.02)

    def _expects_somebody(self) -> bool:
        return any(isinstance(one, Connection) and one.is_expected(self._last_call) for one in tuple(self._callers))
