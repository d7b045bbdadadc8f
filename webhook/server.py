"""The process that serves: its ports, its signals, its end. It decides nothing."""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec
import uvicorn

from webhook.application import admission
from webhook.desk import Desk
from webhook.lane import fits, lane_of
from webhook.ops import operations
from webhook.telemetry import FLUSH_EVERY, Telemetry
from webhook.tls import Pair, context

KEEP_ALIVE: Final = 125
"""Seconds: the API server holds idle connections 90 s and must be the one who closes them (linkerd2#14096)."""
BACKLOG: Final = 2048
GRACE: Final = 15


class Listen(msgspec.Struct, frozen=True):
    """Host and port; port 0 picks a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """From `host:port`.

        Raises:
            ValueError: it is none.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is no address; write it as 0.0.0.0:8443")
        return cls(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - serving others is what it is for

    def bound(self) -> socket.socket:
        """A socket bound to it."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((self.host, self.port))
        return made


class _Quiet(uvicorn.Server):
    """A uvicorn server without signal handlers of its own: they are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Admission over TLS and operations over HTTP, until a signal; one object per process."""

    def __init__(
        self,
        desk: Desk,
        telemetry: Telemetry,
        pair: Pair,
        *,
        listen: Listen,
        ops_listen: Listen,
        drain: float,
        client_ca: str = "",
        reload: Callable[[], Awaitable[None]] | None = None,
        lane: bool = True,
    ) -> None:
        self._desk = desk
        self._telemetry = telemetry
        self._client_ca = client_ca
        self._drain = drain
        self._reload = reload
        self._listen = listen
        self._ops_listen = ops_listen
        self._pair = pair
        self._stop = asyncio.Event()
        self._lane = lane and fits()
        self._admission: _Quiet | None = None
        self._socket: socket.socket | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, *, ready: Callable[[str], None] = print) -> None:
        """Serve until SIGTERM or SIGINT, then drain. `ready` gets the line of chosen addresses."""
        self._socket, ops_socket = self._listen.bound(), self._ops_listen.bound()
        self._telemetry.expiry.set(self._pair.expires)
        self._admission = _Quiet(self._config(admission(self._desk), lane=True, tls=True))
        ops = _Quiet(self._config(operations(self._checks, self._telemetry.exposition), lane=False, tls=False))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        addresses = {
            "admission": f"https://{_shown(self._socket)}",
            "ops": f"http://{_shown(ops_socket)}",
        }
        serving = [
            # A duplicate: the listener of a pair closes its socket when the next pair takes over.
            asyncio.create_task(self._admission.serve([self._socket.dup()])),
            asyncio.create_task(ops.serve([ops_socket])),
        ]
        flushing = asyncio.create_task(self._flush())
        try:
            while not (self._admission.started and ops.started):  # noqa: ASYNC110 - uvicorn has a flag, no event
                await asyncio.sleep(0.01)
            self._telemetry.log.write("info", "serving", lane=self._lane, **addresses)
            ready(json.dumps({"listening": addresses}))
            sys.stdout.flush()
            await self._stop.wait()
            await self._end(serving, ops)
        finally:
            flushing.cancel()
            self._telemetry.log.flush()

    def stop(self) -> None:
        """What SIGTERM does."""
        self._stop.set()

    async def swap(self, pair: Pair) -> None:
        """Serve new connections with another certificate; open ones stay.

        A new listener on a duplicate of the socket replaces the old one: changing a context under a listener would
        not change what is asked of clients.
        """
        if self._admission is None or self._socket is None:
            raise RuntimeError("nothing is served yet")
        made = context(pair, client_ca=self._client_ca)
        old = self._admission.servers[0]
        listener = await asyncio.get_running_loop().create_server(
            self._protocol, sock=self._socket.dup(), ssl=made, backlog=BACKLOG
        )
        self._admission.servers[0] = listener
        old.close()
        self._pair = pair
        self._telemetry.expiry.set(pair.expires)
        self._telemetry.log.write("info", "certificate changed", expires=pair.expires)

    def _protocol(self) -> asyncio.Protocol:
        server = self._admission
        if server is None:
            raise RuntimeError("nothing is served yet")
        kind: Any = server.config.http_protocol_class
        made: asyncio.Protocol = kind(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return made

    def _config(self, app: Any, *, lane: bool, tls: bool) -> uvicorn.Config:
        def make_context(_config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
            return context(self._pair, client_ca=self._client_ca)

        return uvicorn.Config(
            app,
            http=lane_of(self._desk) if lane and self._lane else "httptools",
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
            backlog=BACKLOG,
            ssl_context_factory=make_context if tls else None,
        )

    def _checks(self) -> dict[str, str]:
        return {"configuration": "", "draining": "the server is about to stop" if self._desk.draining else ""}

    def _on_hangup(self) -> None:
        if self._reload is not None:
            task = asyncio.ensure_future(self._reload())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            self._telemetry.log.flush()

    async def _end(self, serving: list[asyncio.Task[None]], ops: uvicorn.Server) -> None:
        """Not ready, still accepting, every answer ends its connection; then stop."""
        self._desk.draining = True
        self._telemetry.log.write("info", "draining", seconds=self._drain)
        await asyncio.sleep(self._drain)
        if self._admission is not None and self._socket is not None:
            # Ours first: while a duplicate is open, connections would be taken that nobody answers.
            self._socket.close()
            self._admission.should_exit = True
        await serving[0]
        ops.should_exit = True
        await serving[1]
        self._telemetry.log.write("info", "stopped")


def _shown(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
