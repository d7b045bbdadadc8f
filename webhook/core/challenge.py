"""The registry's login conversation, as generators of requests: a test can play the other side, and nobody dials here.

Sources: distribution-spec (pulling manifests), distribution docs/content/spec/auth/{token,oauth,scope}.md, RFC 9110
section 11 (challenges).
"""

import re
from base64 import b64encode
from collections.abc import Generator, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import msgspec

from webhook.core.addresses import is_never
from webhook.core.broken import UNREADABLE
from webhook.core.credential import Credential
from webhook.core.hosts import Registry
from webhook.core.reason import Reason
from webhook.core.secret import Secret
from webhook.core.urls import read_url

MIN_TOKEN_LIFE: Final = 60.0
"""Seconds: what a token lives when the server does not say, and the least it may say (auth/token.md)."""
MAX_TOKEN_LIFE: Final = 86400.0
MAX_TOKEN: Final = 16 * 1024
TOKEN_BODY: Final = 64 * 1024
PING_BODY: Final = 8 * 1024

_SCHEME = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9._-]*)(?:[ \t]+|(?=,)|$)(?!=)", re.ASCII)
_PARAMETER = re.compile(r'[\s,]*([A-Za-z][\w.-]*)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\s,"]*)', re.ASCII)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)", re.ASCII)
_ESCAPE = re.compile(r"\\(.)", re.ASCII | re.DOTALL)
_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)


class Request(msgspec.Struct, frozen=True):
    """One request. `limit` caps the body in bytes; `purpose` is manifest, blob, ping or token: a token request is
    never redirected. `form` is a POST body."""

    method: str
    url: str
    purpose: str
    accept: str = ""
    authorization: Secret = Secret("")
    form: tuple[tuple[str, Secret], ...] = ()
    limit: int = PING_BODY


class Response(msgspec.Struct, frozen=True):
    """What came back. Header names are lower-case; a header that came twice has two values. `retry_after` are the
    seconds that the server asks to wait."""

    status: int
    headers: Mapping[str, tuple[str, ...]] = {}
    body: bytes = b""
    retry_after: float | None = None

    def header(self, name: str) -> str | None:
        """The one value of a header; None when it is absent or stands there more than once with different values."""
        values = set(self.headers.get(name, ()))
        return values.pop() if len(values) == 1 else None

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


class Trouble(msgspec.Struct, frozen=True):
    """A request that gave no usable answer. `detail` is a short text of ours, never the upstream's."""

    reason: Reason
    detail: str
    retry_after: float | None = None


class Challenge(msgspec.Struct, frozen=True):
    """How a registry wants its clients to log in. `scheme` is bearer or basic. The scope it names is left out: ours is
    to say, and many leave it out themselves (Harbor's /v2/)."""

    scheme: str
    realm: str = ""
    service: str = ""


class NeedToken(msgspec.Struct, frozen=True):
    """A token is needed; whoever drives the conversation has one in its store or runs `fetch_token`. `refused` is the
    token that the registry has just sent back, empty at first."""

    realm: str
    service: str
    scope: str
    credential: Credential
    refused: Secret = Secret("")


class Token(msgspec.Struct, frozen=True):
    """A bearer token and the seconds it may be used, counted from its receipt."""

    text: Secret
    life: float


def parse_challenges(lines: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """All challenges of all WWW-Authenticate lines, as (lower-case scheme, parameters); broken ends are dropped."""
    return [challenge for line in lines for challenge in _parse_line(line)]


def _parse_line(line: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while (scheme := _SCHEME.match(line, at)) is not None:
        parameters: dict[str, str] = {}
        token68 = _TOKEN68.match(line, scheme.end())
        at = token68.end() if token68 is not None else scheme.end()
        while (parameter := _PARAMETER.match(line, at)) is not None:
            name, value = parameter.groups()
            text = _ESCAPE.sub(r"\1", value[1:-1]) if value.startswith('"') else value
            parameters.setdefault(name.lower(), text)
            at = parameter.end()
        found.append((scheme[1].lower(), parameters))
    return found


def choose(response: Response) -> Challenge | None:
    """The challenge to answer: Bearer before Basic; other schemes are not ours."""
    challenges = parse_challenges(response.headers.get("www-authenticate", ()))
    for scheme, parameters in challenges:
        if scheme == "bearer" and parameters.get("realm"):
            return Challenge("bearer", parameters["realm"], parameters.get("service", ""))
    return Challenge("basic") if any(scheme == "basic" for scheme, _ in challenges) else None


def realm_url(challenge: Challenge, request_url: str, registry: Registry) -> str | Trouble:
    """Where the token is to be asked for, once the configuration allows it (CVE-2026-33540 and its kin)."""
    place = read_url(challenge.realm, request_url)
    if place is None or "#" in challenge.realm:
        return Trouble(Reason.LOGIN_REFUSED, "the token address it names is no plain URL")
    plain = registry.plain_http and registry.is_at(place.names)
    if place.scheme != "https" and not plain:
        return Trouble(Reason.LOGIN_REFUSED, f"it wants a login over {place.scheme}, only https is allowed")
    if not any(map(registry.may_issue_tokens, place.names)):
        advice = (
            ", which is never contacted"
            if is_never(place.host)
            else f"; if that is right, add `realms: [{place.host}]` to registries.{registry.host}"
        )
        return Trouble(Reason.LOGIN_REFUSED, f"it sends to {place.host} for tokens{advice}")
    return place.url


def basic(credential: Credential) -> Secret:
    """The value of an Authorization header for a user and password; an identity token may stand for the password."""
    password = credential.password or credential.identity_token
    pair = f"{credential.username}:{password.reveal()}".encode()
    return Secret(f"Basic {b64encode(pair).decode()}")


_NO_TOKEN = frozenset({400, 401, 403, 404})

Exchange = Generator[Request, Response | Trouble, Token | Trouble]


def fetch_token(need: NeedToken) -> Exchange:
    """Ask the token server: POST for identity tokens, GET for the rest and where POST is not known."""
    if need.credential.identity_token:
        answer = yield _token_post(need)
        # What servers without POST answer (containerd, core/remotes/docker/authorizer.go).
        if isinstance(answer, Response) and answer.status in {400, 401, 404, 405}:
            answer = yield _token_get(need)
    else:
        answer = yield _token_get(need)
    if isinstance(answer, Trouble):
        return answer
    if answer.status != 200:
        return Trouble(_why_none(answer.status), f"its token server answers {answer.status}", answer.retry_after)
    return read_token(answer.body)


def _why_none(status: int) -> Reason:
    """What a token server means by a status: only what is said of this login is taken for a refusal, and remembered."""
    if status in _NO_TOKEN:
        return Reason.ABSENT
    return Reason.UNAVAILABLE if status >= 500 or status == 408 else Reason.BAD_REGISTRY


def _token_get(need: NeedToken) -> Request:
    parts = urlsplit(need.realm)
    query = parse_qsl(parts.query, keep_blank_values=True)
    query += [(name, value) for name, value in (("service", need.service), ("scope", need.scope)) if value]
    authorization = Secret("")
    if need.credential.username:
        query.append(("account", need.credential.username))
    if need.credential.username or need.credential.identity_token:
        authorization = basic(need.credential)
    query.append(("client_id", "moorage"))
    url = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(query), ""))
    return Request("GET", url, "token", authorization=authorization, limit=TOKEN_BODY)


def _token_post(need: NeedToken) -> Request:
    form = (
        ("grant_type", Secret("refresh_token")),
        ("refresh_token", need.credential.identity_token),
        ("service", Secret(need.service)),
        ("scope", Secret(need.scope)),
        ("client_id", Secret("moorage")),
    )
    return Request("POST", need.realm, "token", form=form, limit=TOKEN_BODY)


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: object = None

    def __repr__(self) -> str:
        return "_TokenAnswer(***)"


def read_token(body: bytes) -> Token | Trouble:
    """A token answer; the text must be what fits into a header."""
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except UNREADABLE:
        return Trouble(Reason.BAD_REGISTRY, "its token server answers something that is no token")
    text = answer.token or answer.access_token or ""
    if not 0 < len(text) <= MAX_TOKEN or _TOKEN.fullmatch(text) is None:
        return Trouble(Reason.BAD_REGISTRY, "its token server answers something that is no token")
    return Token(Secret(text), _life(answer.expires_in))


class _ExchangeAnswer(msgspec.Struct):
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "_ExchangeAnswer(***)"


def read_refresh_token(body: bytes) -> Secret | Trouble:
    """The refresh token that an Azure registry gives for one of Entra's."""
    try:
        text = msgspec.json.decode(body, type=_ExchangeAnswer).refresh_token
    except UNREADABLE:
        text = ""
    if not 0 < len(text) <= MAX_TOKEN or _TOKEN.fullmatch(text) is None:
        return Trouble(Reason.BAD_REGISTRY, "its /oauth2/exchange answers something that is no token")
    return Secret(text)


def _life(said: object) -> float:
    """Seconds. What is no number says nothing; 0 does not mean for ever (earthly#890)."""
    if isinstance(said, bool) or not isinstance(said, int | float):
        return MIN_TOKEN_LIFE
    return float(min(max(MIN_TOKEN_LIFE, said), MAX_TOKEN_LIFE))


Talk = Generator[Request | NeedToken, Response | Trouble | Token, tuple[Response | Trouble, Challenge | None]]


def with_login(
    request: Request, *, path: str, registry: Registry, credential: Credential, known: Challenge | None
) -> Talk:
    """Send a request, log in when asked to, and give back the last answer with the challenge that worked.

    `known` is what this registry asked for the last time: with it a warm resolution is one request. A refusal with a
    token from the store is answered once with a new token, and then believed.
    """
    first = yield from _authorize(known, request, path, registry, credential, refused=Secret(""))
    if isinstance(first, Trouble):
        return first, None
    answer = yield _with(request, first)
    if not isinstance(answer, Response) or answer.status not in _MAY_WANT_LOGIN:
        return _plain(answer), known
    sent = bool(first)
    if answer.status != 401 and (sent or credential.is_anonymous):
        return answer, known
    # Who does not say again what he wants means that of the last time; with a new token.
    offered = choose(answer) or (known if sent else None)
    if offered is None:
        if sent:
            return answer, known
        # gcr and old GitHub tell how to log in on /v2/ only (containers/image#211, containerd#3291).
        ping = yield Request("GET", urljoin(request.url, "/v2/"), "ping")
        if _leaves_open(answer, ping):
            return _plain(ping), known
        offered = choose(ping) if isinstance(ping, Response) and ping.status == 401 else None
        if offered is None:
            return answer, known
    authorization = yield from _authorize(offered, request, path, registry, credential, refused=first)
    if isinstance(authorization, Trouble):
        return authorization, offered
    if not authorization:
        return answer, offered
    return _plain((yield _with(request, authorization))), offered


_MAY_WANT_LOGIN = frozenset({401, 403, 404})
_PASSING = frozenset({Reason.UNAVAILABLE, Reason.OUT_OF_TIME, Reason.THROTTLED})


def _leaves_open(answer: Response, ping: Response | Trouble | Token) -> bool:
    """Whether a /v2/ in trouble leaves open what an answer means: who wants a login and cannot say which one right now
    has refused nobody."""
    if isinstance(ping, Trouble):
        return ping.reason in _PASSING
    return answer.status == 401 and isinstance(ping, Response) and ping.status >= 500


def _with(request: Request, authorization: Secret) -> Request:
    return msgspec.structs.replace(request, authorization=authorization)


def _plain(answer: Response | Trouble | Token) -> Response | Trouble:
    if isinstance(answer, Token):
        raise TypeError("a token was sent where a response was due")
    return answer


def _authorize(
    challenge: Challenge | None,
    request: Request,
    path: str,
    registry: Registry,
    credential: Credential,
    *,
    refused: Secret,
) -> Generator[Request | NeedToken, Response | Trouble | Token, Secret | Trouble]:
    """The Authorization value that answers a challenge; empty when this credential has none but the refused one."""
    if credential.registry_token:
        return _unless(refused, Secret(f"Bearer {credential.registry_token.reveal()}"))
    if challenge is None:
        return Secret("")
    if challenge.scheme == "basic":
        return _unless(refused, basic(credential)) if credential.username else Secret("")
    realm = realm_url(challenge, request.url, registry)
    if isinstance(realm, Trouble):
        return realm
    # The scope is ours to say: a registry that names another repository gets no token for it.
    scope = f"repository:{path}:pull"
    sent_back = Secret(refused.reveal().removeprefix("Bearer "))
    token = yield NeedToken(realm, challenge.service, scope, credential, sent_back)
    if isinstance(token, Token):
        return Secret(f"Bearer {token.text.reveal()}")
    return token if isinstance(token, Trouble) else Trouble(Reason.INTERNAL_ERROR, "no token came")


def _unless(refused: Secret, value: Secret) -> Secret:
    return Secret("") if value == refused else value
