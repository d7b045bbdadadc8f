"""The only door to registries: what may be dialled, how long, how much, and with what the answer comes back."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport

from webhook.core.addresses import Allowance, is_odd_number, refusal
from webhook.core.challenge import PING_BODY, Request, Response, Trouble
from webhook.core.hosts import Registries, Registry
from webhook.core.reason import Reason
from webhook.core.secret import Secret
from webhook.core.urls import DEFAULT_PORT, read_url

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
        resolver: Callable[[], AbstractResolver] = aiohttp.AsyncResolver,
    ) -> None:
        self._registries = registries
        self._observe = observe or (lambda _host, _method, _code, _seconds: None)
        self._wall = wall
        self._now = now
        self._resolver = resolver
        self._resolvers: list[AbstractResolver] = []
        self._transports: dict[_Route, AiohttpTransport] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def aclose(self) -> None:
        """Close every session."""
        transports, self._transports = self._transports, {}
        resolvers, self._resolvers = self._resolvers, []
        for transport in transports.values():
            await transport.aclose()
        for resolver in resolvers:
            await resolver.close()

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
        location = answer.header("location")
        place = read_url(location, request.url) if location else None
        if place is None:
            return Trouble(Reason.BAD_REGISTRY, "it redirects to something that is no plain URL")
        before = urlsplit(request.url)
        found = registry if before.netloc in place.names else self._find(place.names)
        if found is None:
            return Trouble(
                Reason.HOST_NOT_LISTED,
                f"it redirects to {place.host}, which is not listed; to allow it add registries.{place.host}: {{}}",
            )
        if place.scheme == "http" and (before.scheme == "https" or not found.plain_http):
            return Trouble(Reason.BAD_REGISTRY, "it redirects to plain http, which is not followed")
        return msgspec.structs.replace(request, url=place.url, authorization=Secret("")), found

    def _find(self, names: tuple[str, ...]) -> Registry | None:
        return next((found for name in names if (found := self._registries.find(name)) is not None), None)

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
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            return _trouble(error, refused, registry)
        finally:
            _refused.reset(token)

    async def _read(self, request: Request, response: httpx.Response) -> Response | Trouble:
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in response.headers.multi_items():
            if name in _KEPT_HEADERS:
                headers[name] = (*headers.get(name, ()), value)
        status = response.status_code
        if status != 200:
            # Nothing in the body of an error is needed; what is short is read so that the connection can be used again.
            await _body(response, PING_BODY)
            answer = Response(status, headers)
            return self._throttled(answer) if status == 429 else answer
        if request.method == "HEAD":
            return Response(status, headers)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return Trouble(Reason.BAD_REGISTRY, "it compresses its answer although that was not asked for")
        body = await _body(response, request.limit)
        if body is None:
            return Trouble(Reason.BAD_REGISTRY, f"its answer has more than {request.limit} bytes")
        return Response(status, headers, body)

    def _throttled(self, answer: Response) -> Trouble:
        return Trouble(Reason.THROTTLED, "it asks to wait (429)", _seconds(answer.header("retry-after"), self._wall()))

    def _route(self, request: Request, registry: Registry) -> _Route:
        parts = urlsplit(request.url)
        names = (parts.netloc, f"{parts.netloc}{DEFAULT_PORT[parts.scheme]}")
        if registry.proxy:
            # Behind a proxy the dialled address is the proxy's, which the operator chose.
            return _Route(registry.ca, Allowance(private=True, loopback=True), registry.proxy)
        literal = self._registries.literal
        own = registry.endpoint in names
        listed = registry if own else next((literal[name] for name in names if name in literal), None)
        # A realm that is listed for a registry on loopback may live there too.
        near = registry.allow_loopback and any(name in registry.realms for name in names)
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
        resolver = self._resolver()
        self._resolvers.append(resolver)
        connector = aiohttp.TCPConnector(
            ssl=context,
            limit=0,  # the bulkhead of each registry is the limit
            keepalive_timeout=KEEP_ALIVE,
            resolver=resolver,
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


async def _body(response: httpx.Response, limit: int) -> bytes | None:
    """The whole body as it came, None when it is longer than that."""
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _trouble(error: Exception, refused: list[str], registry: Registry) -> Trouble:
    """Translate what the client libraries raise; the text is ours, theirs could carry an address or a header."""
    # The transport wraps some of aiohttp's errors and lets others through, with the parser's as their cause.
    is_wrapped = isinstance(error, httpx.HTTPError) and isinstance(error.__cause__, Exception)
    cause = error.__cause__ if is_wrapped else error
    # One of several addresses may be refused and another one be connected to: what breaks later is another story.
    if refused and isinstance(cause, aiohttp.ClientConnectorError):
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
    (aiohttp.UploadAbortedError, Reason.UNAVAILABLE, "the connection broke"),
    (aiohttp.ClientPayloadError, Reason.UNAVAILABLE, "the connection broke in the middle of the answer"),
    (aiohttp.ClientResponseError, Reason.BAD_REGISTRY, "it answers something that is not HTTP"),
    (aiohttp.InvalidURL, Reason.BAD_REGISTRY, "it names an address that is no URL"),
    (aiohttp.NonHttpUrlClientError, Reason.BAD_REGISTRY, "it names an address that is no URL"),
    (aiohttp.RedirectClientError, Reason.BAD_REGISTRY, "it names an address that is no URL"),
    (httpx.InvalidURL, Reason.BAD_REGISTRY, "it names an address that is no URL"),
    (ValueError, Reason.BAD_REGISTRY, "it names an address that is no URL"),
)


def _seconds(text: str | None, wall: float) -> float | None:
    """Retry-After in seconds, from a number or a date (RFC 9110 section 10.2.3)."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall)
    except (ValueError, OverflowError):
        return None
