"""The only door to registries: what may be dialled, how long, how much, and with what the answer comes back."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from webhook.core.addresses import Allowance, is_odd_number, refusal
from webhook.core.challenge import Request, Response, Trouble
from webhook.core.hosts import Registries, Registry
from webhook.core.reason import Reason

MAX_REDIRECTS: Final = 3
KEEP_ALIVE: Final = 60.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEPT_HEADERS: Final = frozenset(
    {"content-type", "content-length", "docker-content-digest", "www-authenticate", "location", "retry-after"}
)

Observe = Callable[[str, str, str, float], None]
"""Told of each request: registry host, method, status code or reason, seconds."""


class AddressRefused(OSError):
    """A name led to an address that must not be dialled."""


class _Route(msgspec.Struct, frozen=True):
    """What makes two requests share a session: authorities, allowed addresses, proxy."""

    ca: str
    allowance: Allowance
    proxy: str


_refused: ContextVar[list[str] | None] = ContextVar("refused", default=None)


class Outbound:
    """Sends one request at a time of any conversation; holds the sessions, nothing else."""

    def __init__(
        self,
        registries: Registries,
        *,
        observe: Observe | None = None,
        wall: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registries = registries
        self._observe = observe or (lambda _host, _method, _code, _seconds: None)
        self._wall = wall
        self._now = now
        self._transports: dict[_Route, AiohttpTransport] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def aclose(self) -> None:
        """Close every session."""
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()

    async def send(self, request: Request, *, registry: Registry, deadline: float) -> Response | Trouble:
        """Send a request for `registry` and give the answer by the absolute loop time `deadline`.

        Follows redirects of manifests to listed hosts, without any credential; never those of tokens.
        """
        started = self._now()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._follow(request, registry)
        except TimeoutError:
            answer = Trouble(Reason.OUT_OF_TIME, "no answer in time")
        code = str(answer.status) if isinstance(answer, Response) else answer.reason.value
        self._observe(registry.host, request.method, code, self._now() - started)
        return answer

    async def _follow(self, request: Request, registry: Registry) -> Response | Trouble:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._once(request, registry)
            if not isinstance(answer, Response) or answer.status not in _REDIRECTS:
                return answer
            if request.purpose == "token":
                return Trouble(Reason.LOGIN_REFUSED, "its token server redirects, which is never followed")
            step = self._redirected(request, answer, registry)
            if isinstance(step, Trouble):
                return step
            request, registry = step
        return Trouble(Reason.BAD_REGISTRY, f"it redirects more than {MAX_REDIRECTS} times")

    def _redirected(self, request: Request, answer: Response, registry: Registry) -> tuple[Request, Registry] | Trouble:
        url = urljoin(request.url, answer.header("location") or "")
        before, after = urlsplit(request.url), urlsplit(url)
        if after.scheme not in {"https", before.scheme}:
            return Trouble(Reason.BAD_REGISTRY, f"it redirects to {after.scheme or 'no scheme'}")
        host = after.netloc.rpartition("@")[2]
        found = registry if host == before.netloc else self._registries.find(host)
        if found is None:
            return Trouble(
                Reason.HOST_NOT_LISTED,
                f"it redirects to {host}, which is not listed; to allow it add registries.{host}: {{}}",
            )
        return msgspec.structs.replace(request, url=url, authorization=type(request.authorization)("")), found

    async def _once(self, request: Request, registry: Registry) -> Response | Trouble:
        if is_odd_number(urlsplit(request.url).netloc):
            return Trouble(Reason.ADDRESS_REFUSED, "its host is a number that is no plain address; write it in full")
        transport = self._transport(self._route(request, registry))
        refused: list[str] = []
        token = _refused.set(refused)
        try:
            response = await transport.handle_async_request(_to_httpx(request))
            try:
                return await self._read(request, response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
            return _trouble(error, refused, registry)
        finally:
            _refused.reset(token)

    async def _read(self, request: Request, response: httpx.Response) -> Response | Trouble:
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in response.headers.multi_items():
            if name in _KEPT_HEADERS:
                headers[name] = (*headers.get(name, ()), value)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return Trouble(Reason.BAD_REGISTRY, "it compresses its answer although that was not asked for")
        body = b""
        if request.method != "HEAD":
            parts, size = [], 0
            async for part in response.aiter_raw():
                size += len(part)
                if size > request.limit:
                    return _too_large(request, response.status_code, headers)
                parts.append(part)
            body = b"".join(parts)
        answer = Response(response.status_code, headers, body)
        return self._throttled(answer) if answer.status == 429 else answer

    def _throttled(self, answer: Response) -> Trouble:
        return Trouble(Reason.THROTTLED, "it asks to wait (429)", _seconds(answer.header("retry-after"), self._wall()))

    def _route(self, request: Request, registry: Registry) -> _Route:
        host = urlsplit(request.url).netloc
        if registry.proxy:
            # Behind a proxy the dialled address is the proxy's, which the operator chose.
            return _Route(registry.ca, Allowance(private=True, loopback=True), registry.proxy)
        own = host == registry.endpoint
        listed = self._registries.literal.get(host) if not own else registry
        # A realm that is listed for a registry on loopback may live there too.
        near = registry.allow_loopback and host in registry.realms
        allowance = Allowance(
            private=listed is not None and listed.listed,
            loopback=near or (listed is not None and listed.allow_loopback),
        )
        return _Route(listed.ca if listed is not None else registry.ca, allowance, "")

    def _transport(self, route: _Route) -> AiohttpTransport:
        transport = self._transports.get(route)
        if transport is None:
            transport = self._transports[route] = self._make(route)
        return transport

    def _make(self, route: _Route) -> AiohttpTransport:
        context = self._contexts.get(route.ca)
        if context is None:
            context = self._contexts[route.ca] = _context(route.ca)
        connector = aiohttp.TCPConnector(
            ssl=context,
            limit=0,  # the bulkhead of each registry is the limit
            keepalive_timeout=KEEP_ALIVE,
            resolver=aiohttp.AsyncResolver(),
            socket_factory=_checked_socket(route.allowance),
        )
        # One jar for all tenants would carry one's cookies to the next.
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        proxy = httpx.Proxy(route.proxy) if route.proxy else None
        return AiohttpTransport(verify=context, trust_env=False, client=session, proxy=proxy)


def _context(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _checked_socket(allowance: Allowance) -> Callable[[Any], socket.socket]:
    def make(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        why = refusal(address[0], allowance)
        if why is not None:
            refused = _refused.get()
            if refused is not None:
                refused.append(why)
            raise AddressRefused(f"{why} address")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return make


def _to_httpx(request: Request) -> httpx.Request:
    headers = {"Accept-Encoding": "identity", "User-Agent": "moorage"}
    if request.accept:
        headers["Accept"] = request.accept
    if request.authorization:
        headers["Authorization"] = request.authorization.reveal()
    data: Mapping[str, str] | None = {name: value.reveal() for name, value in request.form} or None
    return httpx.Request(request.method, request.url, headers=headers, data=data)


def _too_large(request: Request, status: int, headers: dict[str, tuple[str, ...]]) -> Response | Trouble:
    # The body of an error is never needed; a large one says nothing more than its status.
    if status not in {200, 429}:
        return Response(status, headers)
    return Trouble(Reason.BAD_REGISTRY, f"its answer has more than {request.limit} bytes")


def _trouble(error: Exception, refused: list[str], registry: Registry) -> Trouble:
    """Translate what the client libraries raise; the text is ours, theirs could carry an address or a header."""
    if refused:
        advice = (
            f"set allowLoopback under registries.{registry.host}"
            if refused[0] == "loopback"
            else f"list the host literally: registries.{registry.host}: {{}}"
        )
        return Trouble(
            Reason.ADDRESS_REFUSED,
            f"it leads to a {refused[0]} address"
            + (
                f"; if that is right, {advice}"
                if refused[0] in {"loopback", "private"}
                else ", which is never contacted"
            ),
        )
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    for kind, reason, detail in _TROUBLES:
        if isinstance(cause, kind):
            return Trouble(reason, detail)
    return Trouble(Reason.UNAVAILABLE, "the connection failed")


_TROUBLES: Final[tuple[tuple[type[Exception], Reason, str], ...]] = (
    (aiohttp.ClientConnectorCertificateError, Reason.UNAVAILABLE, "its certificate is not trusted"),
    (aiohttp.ClientSSLError, Reason.UNAVAILABLE, "the TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, Reason.UNAVAILABLE, "its name cannot be resolved"),
    (aiohttp.ClientProxyConnectionError, Reason.UNAVAILABLE, "the proxy cannot be reached"),
    (aiohttp.ClientHttpProxyError, Reason.UNAVAILABLE, "the proxy refuses the connection"),
    (aiohttp.ServerFingerprintMismatch, Reason.UNAVAILABLE, "its certificate is not trusted"),
    (aiohttp.ServerTimeoutError, Reason.OUT_OF_TIME, "no answer in time"),
    (aiohttp.ServerDisconnectedError, Reason.UNAVAILABLE, "it closed the connection without an answer"),
    (aiohttp.ClientConnectorError, Reason.UNAVAILABLE, "the connection is refused or the host cannot be reached"),
    (aiohttp.ClientConnectionError, Reason.UNAVAILABLE, "the connection broke"),
    (aiohttp.ClientPayloadError, Reason.UNAVAILABLE, "the connection broke in the middle of the answer"),
    (aiohttp.ClientResponseError, Reason.BAD_REGISTRY, "it answers something that is not HTTP"),
    (aiohttp.InvalidURL, Reason.BAD_REGISTRY, "it names an address that is no URL"),
    (ValueError, Reason.BAD_REGISTRY, "it names an address that is no URL"),
)


def _seconds(text: str | None, wall: float) -> float | None:
    """Retry-After in seconds, from a number or a date (RFC 9110 section 10.2.3)."""
    if not text:
        return None
    if text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall)
    except (ValueError, OverflowError):
        return None
