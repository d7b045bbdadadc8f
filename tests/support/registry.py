"""One registry on loopback that keeps the real rules, and breaks them where it is told to.

Rules: distribution-spec (pulling manifests), distribution docs/content/spec/auth/token.md; a document that the Accept
line does not name is not found, as docker-registry 2.8.2 answers.
"""

import asyncio
import hashlib
import json
import socket
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.support.canary import marked
from tests.support.wire import Answer, Sending
from webhook.core.manifest import OCI_MANIFEST

CANARY: Final = marked("canary-of-the-upstream")
SERVICE: Final = "the registry"
PATH: Final = "team/app"

Fault = Callable[["Asked", Answer], Answer]
"""Makes of the right answer another one."""


class Asked(msgspec.Struct, frozen=True):
    """One request as it came in."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    port: int = 0

    def header(self, name: str) -> str | None:
        """All values of a header, comma-joined; None when it is absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def path(self) -> str:
        """The target without host and query."""
        return urlsplit(self.target).path

    @property
    def purpose(self) -> str:
        """What is asked for: manifest, blob, ping, token, tunnel or other."""
        if self.method == "CONNECT":
            return "tunnel"
        named = {"/v2/": "ping", "/token": "token"}.get(self.path)
        return named or next((kind for kind in ("manifest", "blob") if f"/{kind}s/" in self.path), "other")

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the target, or of a form."""
        return parse_qs(self.body.decode() or urlsplit(self.target).query)


class Document(msgspec.Struct, frozen=True):
    """What a registry keeps."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        """Its sha256."""
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"


class _Grant(msgspec.Struct, frozen=True):
    user: str
    scope: str
    until: float


def image_document(config: str = "{}", media_type: str = OCI_MANIFEST, **more: Any) -> Document:
    """A manifest of a single image with this configuration."""
    digest = Document("", config.encode()).digest
    blob = {"mediaType": "application/octet-stream", "digest": digest, "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": media_type, "config": blob, "layers": [blob], **more}
    return Document(media_type, json.dumps(document).encode())


class FakeRegistry:
    """Documents by (path, tag or digest), users, and faults by purpose, optionally `purpose method`.

    `login` is empty, basic or bearer; tokens live `life` seconds of `now` (None leaves it out of the answer). `rights` are
    the paths that a user may read; who stands not there may read all.
    """

    def __init__(self, *, now: Callable[[], float] = lambda: 0.0) -> None:
        self.host = ""
        self.asked: list[Asked] = []
        self.faults: dict[str, Fault] = {}
        self.release = asyncio.Event()
        self.arrived = asyncio.Event()
        self.documents: dict[tuple[str, str], Document] = {}
        self.login = ""
        self.realm = ""
        self.users = {"reader": marked("password-of-reader"), "writer": marked("password-of-writer")}
        self.identities = {marked("identity-of-robot"): "robot"}
        self.rights: dict[str, set[str]] = {}
        self.is_public = False
        self.life: float | None = 300
        self.most_taken = 0
        self._now = now
        self._grants: dict[str, _Grant] = {}
        self._issued = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def push(self, tag: str = "stable", document: Document | None = None, path: str = PATH) -> str:
        """Keep a document under a tag and its digest, which is returned."""
        kept = document or image_document()
        self.documents[path, tag] = self.documents[path, kept.digest] = kept
        return kept.digest

    def of(self, purpose: str) -> list[Asked]:
        """The requests for one purpose."""
        return [one for one in self.asked if one.purpose == purpose]

    def revoke(self) -> None:
        """Take all tokens back."""
        self._grants.clear()

    def share_with(self, other: "FakeRegistry") -> None:
        """Issue tokens that another registry takes."""
        self._grants = other._grants

    def refusal(self, path: str = PATH) -> Answer:
        """What one hears who is not logged in."""
        return Answer(401, (("WWW-Authenticate", self._challenge(path)),), _error("UNAUTHORIZED"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        sending = Sending(writer, self.release)
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(msgspec.structs.replace(asked, port=writer.get_extra_info("peername")[1]))
                self.arrived.set()
                answer = self._answer(asked)
                if answer.wire is not None:
                    await answer.wire(sending, answer)
                    break
                await sending.send(answer.head + answer.payload)
        except _TlsHello:
            await sending.send(Answer(400, body=CANARY.encode()).head)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # `stop` cancels, and a task of asyncio's streams may not end so.
            pass
        finally:
            self.most_taken = max(self.most_taken, sending.taken)
            writer.close()

    async def stop(self) -> None:
        """End every connection."""
        self.release.set()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _answer(self, asked: Asked) -> Answer:
        headers = (("X-Canary", CANARY), ("Docker-Distribution-Api-Version", "registry/2.0"))
        answer = self._right_answer(asked)
        answer = msgspec.structs.replace(answer, headers=answer.headers + headers, is_headless=asked.method == "HEAD")
        fault = self.faults.get(f"{asked.purpose} {asked.method}") or self.faults.get(asked.purpose)
        return fault(asked, answer) if fault is not None else answer

    def _right_answer(self, asked: Asked) -> Answer:
        if asked.purpose == "token":
            return self._token(asked)
        name, _, wanted = asked.path.removeprefix("/v2/").replace("/blobs/", "/manifests/").partition("/manifests/")
        if self.login and not self._may(asked, name):
            return self.refusal(name)
        if asked.purpose == "ping":
            return Answer(200, (("Content-Type", "application/json"),), b"{}")
        found = self.documents.get((name, wanted))
        accepted = (asked.header("Accept") or "").split(", ")
        if found is None or (asked.purpose == "manifest" and found.media_type not in accepted):
            return Answer(404, (("Content-Type", "application/json"),), _error("MANIFEST_UNKNOWN"))
        return Answer(200, (("Content-Type", found.media_type), ("Docker-Content-Digest", found.digest)), found.body)

    def _challenge(self, name: str) -> str:
        if self.login == "basic":
            return f'Basic realm="{CANARY}"'
        realm = self.realm or f"http://{self.host}/token"
        scope = f',scope="repository:{name}:pull"' if name else ""
        return f'Bearer realm="{realm}",service="{SERVICE}"{scope}'

    def _may(self, asked: Asked, name: str) -> bool:
        given = asked.header("Authorization") or ""
        if self.login == "basic":
            user = self._user(given)
            return user is not None and name in self.rights.get(user, {name})
        grant = self._grants.get(given.removeprefix("Bearer "))
        if grant is None or self._now() >= grant.until:
            return False
        # Any token will do for /v2/ itself, as distribution's (app.go: no access records on the base route).
        may_read = grant.scope == f"repository:{name}:pull" and name in self.rights.get(grant.user, {name})
        return asked.purpose == "ping" or may_read

    def _user(self, authorization: str) -> str | None:
        scheme, _, text = authorization.partition(" ")
        name, _, password = b64decode(text).decode().partition(":") if scheme == "Basic" else ("", "", "")
        return name if name and self.users.get(name) == password else None

    def _token(self, asked: Asked) -> Answer:
        query = asked.query
        if asked.method == "POST":
            user = self.identities.get(query.get("refresh_token", [""])[0])
        elif authorization := asked.header("Authorization"):
            user = self._user(authorization)
        else:
            user = "" if self.is_public else None
        if user is None or query.get("service") != [SERVICE]:
            return Answer(401, (), _error("UNAUTHORIZED"))
        self._issued += 1
        token = marked(f"token-{self._issued}-of-{user or 'nobody'}")
        self._grants[token] = _Grant(user, query["scope"][0], self._now() + (self.life or 60))
        given = {"token": token} if self.life is None else {"token": token, "expires_in": self.life}
        return Answer(200, (("Content-Type", "application/json"),), json.dumps(given).encode())


class _TlsHello(Exception):
    """TLS is spoken to one who speaks none."""


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        begin = await reader.readexactly(1)
        if begin == b"\x16":
            raise _TlsHello
        head = (begin + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    asked = Asked(method, target, headers)
    body = await reader.readexactly(int(asked.header("Content-Length") or 0))
    return msgspec.structs.replace(asked, body=body)


def _error(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": CANARY}]}).encode()


@asynccontextmanager
async def fake_registry(
    *, now: Callable[[], float] = lambda: 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[FakeRegistry]:
    """A registry on a free port for as long as the block lasts."""
    registry = FakeRegistry(now=now)
    server = await asyncio.start_server(registry.serve, "127.0.0.1", 0, ssl=tls)
    registry.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield registry
    finally:
        server.close()
        await registry.stop()
        await server.wait_closed()


class TrapSocket:
    """A listener that nobody should connect to."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self.port = listening.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self._connections = 0

    @property
    def connections(self) -> int:
        """How many did: the kernel has completed them, whether or not anybody took them."""
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return self._connections
            self._connections += 1


@contextmanager
def trap_socket() -> Iterator[TrapSocket]:
    """A trap for as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield TrapSocket(listening)
