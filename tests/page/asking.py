"""A server that shows its page, and one who asks for it in raw bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.support.canary import marked, search
from tests.support.registry import PATH, FakeRegistry, fake_registry
from tests.test_reload import Running, docker_config, running


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body, as text."""
        return self.body.decode()

    @property
    def data(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


class Paged(msgspec.Struct, frozen=True):
    """A server with its page, and the registry that it asks."""

    server: Running
    registry: FakeRegistry

    @property
    def url(self) -> str:
        """Where the page is."""
        return self.server.listening["page"]

    @property
    def image(self) -> str:
        """An image that the registry has, by its tag."""
        return f"{self.registry.host}/{PATH}:stable"

    async def say(self, request: bytes) -> Answer:
        """Send bytes, and read until the other side ends the connection."""
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        search("an answer of the page", head + body)
        first, *lines = head.decode().split("\r\n")
        headers = [line.partition(": ") for line in lines]
        assert len({name for name, _, _ in headers}) == len(headers), "a header came twice"
        return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in headers}, body)

    async def get(self, path: str, *, host: str = "localhost", method: str = "GET", more: str = "") -> Answer:
        """Ask for a path."""
        return await self.say(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode())

    async def reviews(self, query: str = "") -> list[dict[str, Any]]:
        """The reviews that it shows."""
        shown: list[dict[str, Any]] = (await self.get(f"/api/decisions{query}")).data["reviews"]
        return shown


@asynccontextmanager
async def paged(folder: Path, **options: Any) -> AsyncIterator[Paged]:
    """A server with its page on a free port of loopback, and a registry that knows its login."""
    async with fake_registry() as registry:
        registry.push()
        registry.login = "basic"
        registry.users["reader"] = marked("password-of-reader")
        (folder / "docker.json").write_text(docker_config(registry.host, marked("password-of-reader")))
        options = {"page_listen": "127.0.0.1:0"} | options
        async with running(folder, host=registry.host, **options) as server:
            yield Paged(server, registry)
