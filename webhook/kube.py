"""The only door to the Kubernetes API: one request and its answer, in threads of its own, by a deadline.

What comes back is bytes: whoever asked decodes as much of it as it needs.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from webhook.access import Access
from webhook.core.broken import UNREADABLE

THREADS: Final = 8
MAX_BODY: Final = 32 * 1024 * 1024
"""Bytes of an answer; a page of a list is kept well below by its limit."""
PAGE: Final = 250

METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
EXPIRED: Final = 410


_WARNING: Final = re.compile(r'[0-9]{3} \S+ "((?:[^"\\]|\\.)*)"')
"""`299 - "text"` (RFC 7234, 5.5); several may share a line."""


class Answer(msgspec.Struct, frozen=True):
    """A status and a body. `status` is 0 where none came in time; `trouble` then says why, in our own words. `warnings`
    is what kubectl would print. The body of a refusal may quote what was sent: it is for whoever asked, never for a log."""

    status: int
    body: bytes = b""
    trouble: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether it did what was asked."""
        return 200 <= self.status <= 299

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"


class _ListMeta(msgspec.Struct, rename="camel"):
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    items: list[msgspec.Raw] = []
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)

    def __repr__(self) -> str:
        return f"_Page({len(self.items)} items)"


class _Status(msgspec.Struct):
    message: str = ""


_page: Final = msgspec.json.Decoder(_Page)
_status: Final = msgspec.json.Decoder(_Status)


class ListBroke(RuntimeError):
    """A list could not be read to its end; carries the answer that broke it."""

    def __init__(self, path: str, answer: Answer) -> None:
        super().__init__(f"{path}: {said(answer)}")
        self.answer = answer


class Kube:
    """One cluster, as one user. Threads and connections are bounded; a request that hangs holds one of each until its
    deadline."""

    def __init__(self, access: Access, *, threads: int = THREADS) -> None:
        self._access = access
        self._connections = _connections(access, threads)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="kube")

    @property
    def host(self) -> str:
        """Where the API server is."""
        return self._access.host

    async def get(
        self, path: str, *, deadline: float, accept: str = JSON, query: Mapping[str, str] | None = None
    ) -> Answer:
        """Read by the absolute loop time `deadline`."""
        return await self._send("GET", path, deadline, accept=accept, query=query)

    async def send(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        deadline: float,
        content_type: str = JSON,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Write: POST, PUT, PATCH or DELETE."""
        return await self._send(method, path, deadline, body=body, content_type=content_type, query=query)

    async def pages(
        self,
        path: str,
        *,
        deadline: float,
        accept: str = JSON,
        query: Mapping[str, str] | None = None,
        limit: int = PAGE,
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """The items of a list, page by page, each once. A list that expires on the way (410) goes on behind what came: what
        was made or changed since may be in the rest.

        Raises:
            ListBroke: a page did not come.
        """
        next_page = ""
        may_go_on = False
        while True:
            wanted = {**(query or {}), "limit": str(limit), **({"continue": next_page} if next_page else {})}
            answer = await self._send("GET", path, deadline, accept=accept, query=wanted)
            if answer.status == EXPIRED and may_go_on and (rest := _rest(answer)):
                may_go_on, next_page = False, rest
                continue
            if not answer.is_good:
                raise ListBroke(path, answer)
            try:
                page = _page.decode(answer.body)
            except UNREADABLE:
                raise ListBroke(path, Answer(0, trouble="the API server answers something that is no list")) from None
            yield page.items
            may_go_on, next_page = True, page.metadata.continue_
            if not next_page:
                return

    def close(self) -> None:
        """Take no more requests; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _send(
        self,
        method: str,
        path: str,
        deadline: float,
        *,
        accept: str = JSON,
        content_type: str = JSON,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        loop = asyncio.get_running_loop()
        seconds = deadline - loop.time()
        if seconds <= 0:
            return Answer(0, trouble="no time was left to ask the API server")
        headers = {"Accept": accept, "User-Agent": "moorage"}
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self._access.host}{path}{f'?{urlencode(query)}' if query else ''}"
        work = partial(self._work, method, url, headers, body, seconds)
        try:
            async with asyncio.timeout_at(deadline):
                return await loop.run_in_executor(self._threads, work)
        except TimeoutError:
            return Answer(0, trouble="the API server did not answer in time")

    def _work(self, method: str, url: str, headers: dict[str, str], body: Any, seconds: float) -> Answer:
        """In a thread."""
        try:
            response = self._connections.request(
                method,
                url,
                body=json.dumps(body).encode() if body is not None else None,
                headers={**headers, **self._access.headers()},
                timeout=urllib3.Timeout(seconds),
                # Ours is to retry, and only where a deadline leaves time for it; a redirect would carry the token along.
                retries=False,
                redirect=False,
                preload_content=False,
            )
            return Answer(response.status, _whole(response), warnings=_warnings(response.headers))
        except urllib3.exceptions.HTTPError as broken:
            return Answer(0, trouble=_trouble(broken))
        except OSError as broken:
            return Answer(0, trouble=f"the API server cannot be asked ({type(broken).__name__})")


def _connections(access: Access, number: int) -> urllib3.PoolManager:
    settings: dict[str, Any] = {
        "maxsize": number,
        "block": False,
        "cert_reqs": "CERT_REQUIRED" if access.is_verified else "CERT_NONE",
        "ca_certs": access.ca or None,
        "cert_file": access.certificate or None,
        "key_file": access.key or None,
        **({"server_hostname": access.name} if access.name else {}),
    }
    return urllib3.ProxyManager(access.proxy, **settings) if access.proxy else urllib3.PoolManager(**settings)


def _rest(answer: Answer) -> str:
    """Where the rest of a list that expired begins (apiserver, etcd3.handleCompactedErrorForPaging); empty where the API
    server does not say."""
    try:
        return _page.decode(answer.body).metadata.continue_
    except UNREADABLE:
        return ""


def said(answer: Answer) -> str:
    """Why it did not do what was asked, in the API server's words where it has some."""
    try:
        told = _status.decode(answer.body).message
    except UNREADABLE:
        told = ""
    return told or answer.trouble or f"the API server answers {answer.status}"


def named(*parts: str) -> str:
    """A path of these parts, each quoted."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _whole(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        body = response.read(MAX_BODY + 1)
    finally:
        response.release_conn()
    if len(body) > MAX_BODY:
        response.close()
        raise OSError("the answer is too large")
    return body


def _warnings(headers: urllib3.HTTPHeaderDict) -> tuple[str, ...]:
    """What the API server wants its users to read. It writes UTF-8, and the library reads Latin-1."""
    every = [found[1] for line in headers.getlist("Warning") for found in _WARNING.finditer(line)]
    return tuple(re.sub(r"\\(.)", r"\1", one).encode("latin-1", "replace").decode("utf-8", "replace") for one in every)


def _trouble(broken: urllib3.exceptions.HTTPError) -> str:
    for kind, words in _TROUBLES:
        if isinstance(broken, kind):
            return words
    return f"the API server cannot be asked ({type(broken).__name__})"


_TROUBLES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (urllib3.exceptions.SSLError, "the API server's certificate is not trusted"),
    (urllib3.exceptions.NameResolutionError, "the API server's name cannot be resolved"),
    (urllib3.exceptions.ReadTimeoutError, "the API server did not answer in time"),
    (urllib3.exceptions.NewConnectionError, "the API server refuses the connection"),
    (urllib3.exceptions.ConnectTimeoutError, "the API server cannot be reached in time"),
    (urllib3.exceptions.ProtocolError, "the connection to the API server broke"),
)
