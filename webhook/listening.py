"""Ports: where they are, how uvicorn serves at them, and how a process waits until it does."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from typing import Any, Final, Protocol

import msgspec
import uvicorn

BACKLOG: Final = 2048
KEEP_ALIVE: Final = 125
"""Seconds: the API server holds idle connections 90 s and must be the one who closes them (linkerd2#14096)."""
GRACE: Final = 15
"""Seconds that requests which wait, and connections that close, may take at the end."""

LOOK_EVERY: Final = 0.005
"""Seconds between looks at whether all have gone."""


class CannotServe(RuntimeError):
    """A port was lost: the server cannot go on."""


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
            raise ValueError(f"{text!r} is no address; write HOST:PORT, such as 127.0.0.1:8443")
        return cls(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - serving others is what it is for

    @property
    def is_loopback(self) -> bool:
        """Whether nobody reaches it from another machine."""
        return self.host == "localhost" if self.names else ip_address(self.host).is_loopback

    @property
    def names(self) -> tuple[str, ...]:
        """The host, where it is a name and no address."""
        try:
            ip_address(self.host)
        except ValueError:
            return (self.host,)
        return ()

    def bound(self) -> socket.socket:
        """A socket bound to it."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((self.host, self.port))
        except OSError as failed:
            made.close()
            # Of several ports it has to be told which one.
            raise OSError(failed.errno, failed.strerror, f"{self.host}:{self.port}") from None
        return made


class Listener(Protocol):
    """Who takes callers at a port: an `asyncio.Server`, or `webhook.arrivals.Arrivals`."""

    def close(self) -> None:
        """Take nobody more."""

    async def wait_closed(self) -> None:
        """Until that is done."""


class Quiet(uvicorn.Server):
    """A uvicorn server whose signals, listeners and end are ours. `listen` makes its listener; it is `up` from then on,
    until `ending` is set."""

    def __init__(self, config: uvicorn.Config, listen: Callable[["Quiet"], Awaitable[Listener]]) -> None:
        super().__init__(config)
        self.listeners: list[Listener] = []
        self.up = asyncio.Event()
        self.ending = asyncio.Event()
        self._listen = listen

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: whoever runs it hears them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - as in uvicorn
        """Listen."""
        await self.lifespan.startup()
        self.listeners = [await self._listen(self)]
        self.started = True
        self.up.set()

    async def main_loop(self) -> None:
        """Serve until it is to end."""
        # Uvicorn's own looks ten times a second for an end and a new date header.
        await self.ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - as in uvicorn
        """Take nobody new; end once all who wait have their answers, or at `GRACE`."""
        # Uvicorn's own takes a tenth of a second at least, also where nobody is connected.
        for server in self.listeners:
            server.close()
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(LOOK_EVERY)
                for server in self.listeners:
                    await server.wait_closed()
        for task in tuple(self.server_state.tasks):
            task.cancel()

    def protocol(self) -> asyncio.Protocol:
        """A protocol for one connection."""
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made


class Plain:
    """A port of plain HTTP beside the one for reviews: bound first, served at later."""

    def __init__(self, listen: Listen, app: Any, protocol: type[asyncio.Protocol]) -> None:
        self._listen = listen
        self._socket: socket.socket | None = None
        self.server = Quiet(configured(app, protocol), self._begin)

    def bind(self) -> None:
        """Take the port.

        Raises:
            OSError: it cannot be had.
        """
        self._socket = self._listen.bound()

    @property
    def url(self) -> str:
        """Where it is, once it is bound."""
        return f"http://{address_of(self._bound())}"

    def close(self) -> None:
        """Give the port back."""
        for listener in self.server.listeners:
            listener.close()
        if self._socket is not None:
            self._socket.close()

    def _bound(self) -> socket.socket:
        if self._socket is None:
            raise CannotServe("the port is not bound")
        return self._socket

    async def _begin(self, server: Quiet) -> Listener:
        loop = asyncio.get_running_loop()
        return await loop.create_server(server.protocol, sock=self._bound(), backlog=BACKLOG)


def configured(app: Any, http: Any = "h11") -> uvicorn.Config:
    """How uvicorn serves an application, and with which protocol."""
    return uvicorn.Config(
        app,
        http=http,
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE,
    )


def announce(line: str) -> None:
    """Print where the server is reached; whether anybody reads it is their affair."""
    with contextlib.suppress(OSError):
        print(line, flush=True)  # noqa: T201 - standard output is for this line


async def until(serving: list[asyncio.Task[None]], *events: asyncio.Event) -> None:
    """Until all of this has happened, as long as all servers serve.

    Raises:
        OSError: a port cannot be listened at.
        CannotServe: a server ended by itself.
    """
    happening: asyncio.Future[Any] = asyncio.gather(*(event.wait() for event in events))
    every: set[asyncio.Future[Any]] = {happening, *serving}
    await asyncio.wait(every, return_when=asyncio.FIRST_COMPLETED)
    if not happening.done():
        happening.cancel()
        for one in serving:
            if one.done():
                one.result()
        raise CannotServe("a server ended that should go on")


def address_of(bound: socket.socket) -> str:
    """Host and port of a socket, as they stand in a URL."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
