"""The real door to registries in a test: its hosts, its requests, and the names that it looks up."""

import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.support.canary import marked
from tests.support.registry import PATH, FakeRegistry
from webhook.core.challenge import Request
from webhook.core.hosts import Registries, Registry
from webhook.core.manifest import ACCEPT
from webhook.core.secret import Secret
from webhook.outbound import Outbound

LOGIN: Final = "Basic " + b64encode(b"reader:" + marked("canary-of-the-password").encode()).decode()
LIMIT: Final = 256 * 1024
NOON: Final = 1_800_000_000.0
"""Fri, 15 Jan 2027 08:00:00 GMT."""


class Names(AbstractResolver):
    """Looks names up in a table, and remembers which."""

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def __call__(self) -> "Names":
        return self

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.addresses:
            raise OSError(f"{host} is not in the table")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses[host]
        ]

    async def close(self) -> None:
        """There is nothing to close."""


@asynccontextmanager
async def door(*registries: Registry, **more: Any) -> AsyncIterator[Outbound]:
    """A door to these hosts for as long as the block lasts."""
    outbound = Outbound(Registries(registries), wall=lambda: NOON, **more)
    try:
        yield outbound
    finally:
        await outbound.aclose()


def plain(registry: FakeRegistry, **more: Any) -> Registry:
    """How a fake registry is reached."""
    return Registry(registry.host, plain_http=True, allow_loopback=True, **more)


def encrypted(host: str, authority: trustme.CA | None) -> Registry:
    """How one with a certificate is reached."""
    return Registry(host, ca=authority.cert_pem.bytes().decode() if authority else "", allow_loopback=True)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """What one with this certificate serves with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def manifest(host: str, method: str = "GET", *, purpose: str = "manifest", scheme: str = "http") -> Request:
    """A request for a manifest that carries a password."""
    url = f"{scheme}://{host}/v2/{PATH}/manifests/stable"
    return Request(method, url, purpose, ACCEPT, Secret(LOGIN), limit=LIMIT)
