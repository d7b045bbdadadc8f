"""The only door to registries: what may be dialled, how long, how much, and with what the answer comes back."""

import asyncio
import socket
import ssl
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from aiohttp.abc import AbstractResolver
from cachetools import LRUCache
from httpx_aiohttp import AiohttpTransport

from webhook.core import warning
from webhook.core.addresses import Allowance, is_never, is_odd_number, refusal
from webhook.core.challenge import PING_BODY, Request, Response, Trouble
from webhook.core.hosts import Registries, Registry
from webhook.core.reason import Reason
from webhook.core.secret import Secret
from webhook.core.urls import DEFAULT_PORT, read_url

MAX_REDIRECTS: Final = 3
KEEP_ALIVE: Final = 60.0
LARGE: Final = 128 * 1024
"""Bytes of a body from which on it is read alone: manifests are smaller, and many large ones at once fill memory."""
PLACES: Final = 4_096
WARNINGS: Final = 16
"""Texts that one registry host may have told: one that varies them fills neither memory nor the log."""
_SECRET_FIELDS: Final = frozenset({"access_token", "refresh_token"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {
    name.encode(): name
    for name in (
        "content-encoding",
        "content-length",
        "content-type",
        "docker-content-digest",
        "location",
        "retry-after",
        "warning",
        "www-authenticate",
    )
}
_PROBES: Final = ("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)
"""A connection that a firewall forgot is noticed while it idles, and not by the request that is sent on it."""

Observe = Callable[[str, str, str, float], None]
"""Told of each request: registry host, method, status code or reason, seconds."""
Warn = Callable[[str, str], None]
"""Told once of what a registry host wants people to read."""


class AddressRefused(OSError):
    """A name led to an address that must not be dialled."""


class _Route(msgspec.Struct, frozen=True):
    """What makes two requests share a session: authorities (None where no TLS is spoken), allowed addresses, proxy."""

    ca: str | None
    allowance: Allowance
    proxy: str


_BASIS: Final = httpx.Headers({"Accept-Encoding": "identity", "User-Agent": "moorage"})
_NOWHERE: Final = httpx.URL("https://nowhere.invalid/")

_refused: ContextVar[list[str] | None] = ContextVar("refused", default=None)


class Outbound:
    """Sends one request at a time of any conversation; holds the sessions, nothing else."""

    def __init__(
        self,
        registries: Registries,
        *,
        observe: Observe | None = None,
        warn: Warn | None = None,
        wall: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
        resolver: Callable[[], AbstractResolver] = aiohttp.AsyncResolver,
    ) -> None:
        self._registries = registries
        self._observe = observe or (lambda _host, _method, _code, _seconds: None)
        self._warn = warn or (lambda _host, _text: None)
        self._warned: LRUCache[str, set[str]] = LRUCache(PLACES)
        self._wall = wall
        self._now = now
        self._resolver = resolver
        self._resolvers: list[AbstractResolver] = []
        self._transports: dict[_Route, AiohttpTransport] = {}
        self._ways: LRUCache[tuple[str, str], AiohttpTransport | Trouble] = LRUCache(PLACES)
        self._turns: LRUCache[str, asyncio.Semaphore] = LRUCache(PLACES)

    async def aclose(self) -> None:
        """Close every session."""
        transports, self._transports = self._transports, {}
        resolvers, self._resolvers = self._resolvers, []
        self._ways.clear()
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
        self._observe(registry.host, request.method, _code(answer), self._now() - started)
        return answer

    async def _follow(self, request: Request, registry: Registry) -> Response | Trouble:
        for hop in range(MAX_REDIRECTS + 1):
            answer = await self._once(request, registry)
            if hop and isinstance(answer, Response) and answer.status == 401:
                # Its challenge is none of the registry's: who took it for that would log in at another's token server.
                place = urlsplit(request.url).netloc
                return Trouble(Reason.LOGIN_REFUSED, f"it redirects to {place}, which wants a login; none goes along")
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
        found = registry if before.netloc.lower() in place.names else self._find(place.names)
        if found is None:
            why = (
                "which is never contacted"
                if is_never(place.host)
                else f"which is not listed; to allow it add registries.{place.host}: {{}}"
            )
            return Trouble(Reason.HOST_NOT_LISTED, f"it redirects to {place.host}, {why}")
        if place.scheme == "http" and (before.scheme == "https" or not found.plain_http):
            return Trouble(Reason.BAD_REGISTRY, "it redirects to plain http, which is not followed")
        return msgspec.structs.replace(request, url=place.url, authorization=Secret("")), found

    def _find(self, names: tuple[str, ...]) -> Registry | None:
        return next((found for name in names if (found := self._registries.find(name)) is not None), None)

    async def _once(self, request: Request, registry: Registry) -> Response | Trouble:
        refused: list[str] = []
        token = _refused.set(refused)
        try:
            way = self._way(request.url, registry)
            if isinstance(way, Trouble):
                return way
            response = await way.handle_async_request(_to_httpx(request))
            try:
                return await self._read(request, response, registry)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
            return _trouble(error, refused, request, registry)
        finally:
            _refused.reset(token)

    async def _read(self, request: Request, response: httpx.Response, registry: Registry) -> Response | Trouble:
        headers = _headers(response)
        if "warning" in headers:
            self._tell(registry.host, headers["warning"], request)
        status = response.status_code
        if status != 200:
            # Nothing in the body of an error is needed; what is short is read so that the connection can be used again.
            await self._body(response, PING_BODY, registry)
            return self._refusal(Response(status, headers))
        if request.method == "HEAD":
            return Response(status, headers)
        if any(value.lower() != "identity" for value in headers.get("content-encoding", ())):
            return Trouble(Reason.BAD_REGISTRY, "it compresses its answer although that was not asked for")
        body = await self._body(response, request.limit, registry)
        if body is None:
            return Trouble(Reason.BAD_REGISTRY, f"its answer has more than {request.limit} bytes")
        return Response(status, headers, body)

    async def _body(self, response: httpx.Response, limit: int, registry: Registry) -> bytes | None:
        """The whole body as it came, None when it is longer than that."""
        parts: list[bytes] = []
        size = 0
        async with AsyncExitStack() as alone:
            async for part in response.aiter_raw():
                size += len(part)
                if size > limit:
                    return None
                if size > LARGE >= size - len(part):
                    turn = self._turns.setdefault(registry.host, asyncio.Semaphore(1))
                    await alone.enter_async_context(turn)
                parts.append(part)
            return b"".join(parts)

    def _tell(self, host: str, lines: tuple[str, ...], request: Request) -> None:
        """Pass on what a registry wants people to read, once, and unless it repeats our login."""
        told = self._warned.setdefault(host, set())
        for text in warning.texts(lines):
            if text not in told and len(told) < WARNINGS and not _repeats(text, request):
                told.add(text)
                self._warn(host, text)

    def _refusal(self, answer: Response) -> Response | Trouble:
        if answer.status != 429 and answer.status < 500:
            return answer
        wait = _seconds(answer.header("retry-after"), self._wall())
        if answer.status == 429:
            return Trouble(Reason.THROTTLED, "it asks to wait (429)", wait)
        return answer if wait is None else msgspec.structs.replace(answer, retry_after=wait)

    def _way(self, url: str, registry: Registry) -> AiohttpTransport | Trouble:
        """What a request to this place goes through. It depends on the configuration alone, so it is found once."""
        key = (url[: url.find("/", len("https://"))], registry.host)
        way = self._ways.get(key)
        if way is None:
            scheme, _, place = key[0].partition("://")
            way = self._ways[key] = self._find_way(scheme, place, registry)
        return way

    def _find_way(self, scheme: str, place: str, registry: Registry) -> AiohttpTransport | Trouble:
        if is_odd_number(place):
            return Trouble(Reason.ADDRESS_REFUSED, "its host is a number that is no plain address; write it in full")
        route = self._route((place, f"{place}{DEFAULT_PORT[scheme]}"), registry)
        if scheme == "http" and not route.proxy:
            route = msgspec.structs.replace(route, ca=None)
        return self._transport(route)

    def _route(self, names: tuple[str, str], registry: Registry) -> _Route:
        if registry.proxy:
            # Behind a proxy the dialled address is the proxy's, which the operator chose.
            return _Route(registry.ca, Allowance(private=True, loopback=True), registry.proxy)
        literal = self._registries.literal
        own = registry.is_at(name.lower() for name in names)
        listed = registry if own else next((literal[name] for name in names if name in literal), None)
        # A realm that is listed for a registry on loopback may live there too.
        near = registry.allow_loopback and any(name in {one.lower() for one in registry.realms} for name in names)
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
        context = _context(route.ca)
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


@lru_cache(maxsize=64)
def _context(ca: str | None) -> ssl.SSLContext:
    """Whom to trust. Reading the system's authorities holds the loop up for some 50 ms, so a reload does not do it anew."""
    if ca is None:
        # No TLS is spoken there; if it were after all, this one trusts nobody.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if ca:
        # Besides the system's, as with docker and containerd: a token server may be another's.
        context.load_verify_locations(cadata=ca)
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
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES:
            if hasattr(socket, name):  # macOS has none of the first
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return made

    return make


class _Written(httpx.URL):
    """A URL as a text. It was taken apart when it was written, and the client library below does that once more; a third
    time, by httpx, would cost more than the rest of the request."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _to_httpx(request: Request) -> httpx.Request:
    headers = _with_accept(request.accept) if request.accept else _BASIS
    if request.authorization:
        headers = headers.copy()
        headers["Authorization"] = request.authorization.reveal()
    if request.form:
        data = {name: value.reveal() for name, value in request.form}
        return httpx.Request(request.method, request.url, headers=headers, data=data)
    made = httpx.Request(request.method, _NOWHERE, headers=headers, stream=httpx.ByteStream(b""))
    made.read()
    made.url = _Written(request.url)
    return made


@lru_cache(maxsize=16)
def _with_accept(accept: str) -> httpx.Headers:
    return httpx.Headers({**_BASIS, "Accept": accept})


def _headers(response: httpx.Response) -> dict[str, tuple[str, ...]]:
    """The headers that count; one that came twice has two values."""
    found: dict[str, tuple[str, ...]] = {}
    for raw, value in response.headers.raw:
        name = _HEADERS.get(raw.lower())
        if name is not None:
            found[name] = (*found.get(name, ()), value.decode("latin-1"))
    return found


def _repeats(text: str, request: Request) -> bool:
    """Whether a text holds a part of our login."""
    scheme, _, packed = request.authorization.reveal().partition(" ")
    password = b64decode(packed).decode(errors="replace").partition(":")[2] if scheme == "Basic" else ""
    sent = [value.reveal() for name, value in request.form if name in _SECRET_FIELDS]
    return any(warning.repeats(text, secret) for secret in (packed, password, *sent))


def _trouble(error: Exception, refused: list[str], request: Request, registry: Registry) -> Trouble:
    """Translate what the client libraries raise; the text is ours, theirs could carry an address or a header."""
    # The transport wraps some of aiohttp's errors and lets others through, with the parser's as their cause.
    is_wrapped = isinstance(error, httpx.HTTPError) and isinstance(error.__cause__, Exception)
    cause = error.__cause__ if is_wrapped else error
    # One of several addresses may be refused and another one be connected to: what breaks later is another story.
    if refused and isinstance(cause, aiohttp.ClientConnectorError):
        # A realm is another host than the registry; docker.io is dialled under another name.
        place = urlsplit(request.url).netloc
        host = registry.host if place == registry.endpoint else place
        advice = (
            f"set allowLoopback under registries.{registry.host}"
            if refused[0] == "loopback"
            else f"list the host literally: registries.{host}: {{}}"
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


def _code(answer: Response | Trouble) -> str:
    """The status, under which people look for it, or why there was none that counts."""
    if isinstance(answer, Response):
        return str(answer.status)
    return "429" if answer.reason is Reason.THROTTLED else answer.reason.value


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
