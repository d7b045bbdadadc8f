"""A cloud on loopback: a real HTTPS server that answers under the names of the real services, each with a certificate of
its own for that name. Libraries reach it as their proxy (their requests keep the real host, path and signature), the
door to registries by a table of names. Plain HTTP, which metadata services speak, is answered too.
"""

import asyncio
import json
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import trustme
from aiohttp.abc import ResolveResult

from tests.core.world import PRIVATE
from tests.doors import Clock
from tests.support.door import Names
from tests.support.registry import CANARY, PATH, Document, image_document
from tests.support.stack import Answered, Stack
from webhook.core.credential import Credential
from webhook.core.globs import Globs
from webhook.core.hosts import CredentialSource, Registries, Registry
from webhook.credentials.cloud import NAME, CloudLogins
from webhook.credentials.cloud import Cloud as Source
from webhook.credentials.renewals import Renewals
from webhook.credentials.source import Dated
from webhook.outbound import Outbound

SECONDS: Final = 10.0
_VARIABLES: Final = ("AWS_", "AZURE_", "GOOGLE_", "GCE_", "CLOUDSDK_", "IDENTITY_", "MSI_", "IMDS_")


class Ask(msgspec.Struct, frozen=True):
    """A request as a service of the cloud got it. `host` is the name that it was sent to, `headers` have lower-case
    names."""

    host: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    is_tls: bool

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the target."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def form(self) -> dict[str, str]:
        """The parameters of the body."""
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    @property
    def basic(self) -> tuple[str, str]:
        """User and password, empty where there are none."""
        scheme, _, packed = self.headers.get("authorization", "").partition(" ")
        user, _, password = b64decode(packed).decode().partition(":") if scheme == "Basic" else ("", "", "")
        return user, password

    @property
    def bearer(self) -> str:
        """The token, empty where there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else ""


class Said(msgspec.Struct, frozen=True):
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def as_json(value: Any, status: int = 200, *headers: tuple[str, str]) -> Said:
    """An answer in JSON."""
    return Said(status, json.dumps(value).encode(), (("Content-Type", "application/json"), *headers))


def refused(status: int, *headers: tuple[str, str]) -> Said:
    """No, with a text that nobody else may see."""
    return as_json({"errors": [{"code": "DENIED", "message": CANARY}]}, status, *headers)


Service = Callable[[Ask], Said | None]
"""Answers what is asked at its own hosts."""


class Cloud:
    """What the services of all clouds share: what was asked, what hangs, and registries with one document."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.faults: dict[str, Service] = {}
        self.document: Document = image_document()
        self.hanging = threading.Event()
        self.hanging.set()
        self.services: list[Service] = []

    def answer(self, ask: Ask) -> Said:
        """The first service whose host this is."""
        self.asked.append(ask)
        self.hanging.wait(SECONDS)
        fault = next((fault for host, fault in self.faults.items() if ask.host.startswith(host)), None)
        said = fault(ask) if fault is not None else None
        for service in () if said is not None else self.services:
            said = service(ask)
            if said is not None:
                break
        return said if said is not None else Said(404, CANARY.encode())

    def of(self, host: str) -> list[Ask]:
        """What was asked at hosts that begin so."""
        return [one for one in self.asked if one.host.startswith(host)]

    def manifest(self, ask: Ask) -> Said:
        """The document, once whoever asks may have it."""
        if ask.path != f"/v2/{PATH}/manifests/stable":
            return refused(404)
        headers = (("Content-Type", self.document.media_type), ("Docker-Content-Digest", self.document.digest))
        return Said(200, self.document.body, headers)


class Front(Names):
    """The listener, and the table of names that leads to it."""

    def __init__(self, cloud: Cloud, authority: trustme.CA) -> None:
        super().__init__({})
        self.cloud = cloud
        self.authority = authority
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every name leads here, whatever the port."""
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self.port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    def close(self) -> Any:
        """There is nothing that the door could close."""
        return asyncio.sleep(0)

    def stop(self) -> None:
        """End every connection, once nobody calls any more: who gave up waiting left a thread behind, which would go on
        under the next test, no longer led here."""
        self.cloud.hanging.set()
        for caller in threading.enumerate():
            if caller.name == NAME:
                caller.join(SECONDS)
                assert not caller.is_alive(), "a call of a cloud's library does not end"
        # A listener that another thread waits at ends only so.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in tuple(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listening.accept()
                self._open.add(taken)
                threading.Thread(target=self._talk, args=(taken,), daemon=True).start()

    def _talk(self, taken: socket.socket) -> None:
        one = taken
        try:
            taken.settimeout(SECONDS)
            host, is_tls = "", taken.recv(1, socket.MSG_PEEK) == b"\x16"
            if is_tls:
                one, host = self._shaken(taken)
            stream = one.makefile("rb")
            while (ask := _read(stream, host, is_tls=is_tls)) is not None:
                if ask.method == "CONNECT":
                    one.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    one, host = self._shaken(one)
                    stream, is_tls = one.makefile("rb"), True
                    continue
                one.sendall(_written(self.cloud.answer(ask), ask))
        except (OSError, ValueError):
            pass
        finally:
            self._open.discard(taken)
            one.close()

    def _shaken(self, raw: socket.socket) -> tuple[ssl.SSLSocket, str]:
        names: list[str] = []

        def chosen(wrapped: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            names.append(name or "")
            wrapped.context = self._context(name or "nobody.invalid")

        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        first.sni_callback = chosen
        self.authority.issue_cert("nobody.invalid").configure_cert(first)
        return first.wrap_socket(raw, server_side=True), names[0] if names else ""

    def _context(self, name: str) -> ssl.SSLContext:
        if name not in self._contexts:
            context = self._contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(name).configure_cert(context)
        return self._contexts[name]

    def registry(self, host: str, *kinds: str | CredentialSource) -> Registry:
        """How a registry of this cloud is reached, by these kinds of credentials."""
        sources = tuple(CredentialSource(kind) if isinstance(kind, str) else kind for kind in kinds)
        authority = self.authority.cert_pem.bytes().decode()
        return Registry(host, sources, ca=authority, allow_loopback=True)


def _read(stream: Any, host: str, *, is_tls: bool) -> Ask | None:
    line = stream.readline(65_536).decode("latin-1").strip()
    if not line:
        return None
    method, target, _ = line.split(" ")
    headers: dict[str, str] = {}
    while field := stream.readline(65_536).decode("latin-1").strip():
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    if target.startswith("http://"):
        # As a proxy is asked: http://169.254.169.254/latest/…
        host = urlsplit(target).netloc
        target = target.partition(host)[2]
    if is_tls and headers.get("host", "").removesuffix(":443") != host:
        raise ValueError("the Host header is not the name of the certificate")
    return Ask(host or headers.get("host", ""), method, target, headers, body, is_tls)


def _written(said: Said, ask: Ask) -> bytes:
    headers = (*said.headers, ("Content-Length", str(len(said.body))), ("X-Canary", CANARY))
    head = f"HTTP/1.1 {said.status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    return head.encode() + b"\r\n" + (b"" if ask.method == "HEAD" else said.body)


@contextmanager
def served(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, folder: Path, ambient: Sequence[str] = ()) -> Iterator[Front]:
    """The cloud for as long as the block lasts; the environment of its libraries leads to it and nowhere else."""
    import os  # noqa: PLC0415 - of the environment only what must not be seen

    for name in list(os.environ):
        if name.startswith(_VARIABLES) and name not in ambient:
            monkeypatch.delenv(name)
    authority = trustme.CA()
    file = folder / "cloud-ca.pem"
    authority.cert_pem.write_to_path(file)
    front = Front(cloud, authority)
    proxy = f"http://127.0.0.1:{front.port}"
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, str(file))
    monkeypatch.setenv("HOME", str(folder))
    try:
        yield front
    finally:
        front.stop()


class Logged(Stack):
    """A whole stack that logs in at one cloud, with the cloud's own library. `troubles` holds the outcome of each
    login, empty for one that was had."""

    def __init__(self, make: Callable[[Outbound, Registries, Clock], Source], *hosts: str) -> None:
        self.troubles: list[str] = []
        rule = msgspec.structs.replace(PRIVATE, images=Globs(tuple(f"{host}/**" for host in hosts)))
        super().__init__(rule, providers=self._made)
        self._make = make
        self.kept = Renewals[Credential](
            self.clock, jitter=lambda: 0.0, tell=lambda _place, trouble: self.troubles.append(trouble)
        )

    def _made(self, outbound: Outbound, registries: Registries) -> Mapping[str, Dated]:
        cloud = self._make(outbound, registries, self.clock)
        return {cloud.kind: CloudLogins(cloud, self.kept)}

    async def admit(self, *images: str, seconds: float = 30.0, **more: Any) -> Answered:
        """Ask for a Pod, with time for a library that begins."""
        return await super().admit(*images, seconds=seconds, **more)

    async def close(self) -> None:
        """End everything that is under way."""
        await self.kept.aclose()
        await super().close()

    async def landed(self) -> None:
        """Wait until no login is under way."""
        while tasks := [*self.kept._flying.values()]:
            await asyncio.wait(tasks)

    async def burst(self, host: str, number: int, *, seconds: float = 30.0) -> set[str]:
        """What Pods of so many namespaces, all at once, get for the same image."""
        seen = await asyncio.gather(
            *(
                self.admit(f"{host}/{PATH}:stable", seconds=seconds, namespace=f"team-{number}")
                for number in range(number)
            )
        )
        return {one.images[0] for one in seen}
