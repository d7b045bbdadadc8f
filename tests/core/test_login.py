"""The login conversation, played from the other side: what is said to which answer, and what is believed in the end."""

from collections.abc import Generator, Sequence
from typing import Any, Final

import msgspec
import pytest

from webhook.core.challenge import (
    Challenge,
    NeedToken,
    Request,
    Response,
    Token,
    Trouble,
    basic,
    fetch_token,
    with_login,
)
from webhook.core.credential import ANONYMOUS, Credential
from webhook.core.hosts import Registry
from webhook.core.reason import Reason
from webhook.core.secret import Secret

HOST: Final = "registry.example.com"
REALM: Final = f"https://{HOST}/token"
SCOPE: Final = "repository:team/app:pull"
REGISTRY: Final = Registry(HOST)
HEAD: Final = Request("HEAD", f"https://{HOST}/v2/team/app/manifests/stable", "manifest", "a/b", limit=7)
PING: Final = Request("GET", f"https://{HOST}/v2/", "ping")
USER: Final = Credential("pod", "user", Secret("password"))
USER_BASIC: Final = "Basic dXNlcjpwYXNzd29yZA=="
ROBOT: Final = Credential("file", identity_token=Secret("identity"))
READY: Final = Credential("file", registry_token=Secret("ready"))
BEARER: Final = Challenge("bearer", REALM, "the registry")
BASIC: Final = Challenge("basic")
OLD: Final = Token(Secret("old"), 60.0)
NEW: Final = Token(Secret("new"), 60.0)

OK: Final = Response(200)
DOWN: Final = Trouble(Reason.UNAVAILABLE, "the connection broke")


def refuses(status: int, *challenges: str) -> Response:
    return Response(status, {"www-authenticate": challenges} if challenges else {})


WANTS_TOKEN: Final = refuses(
    401, f'Bearer realm="{REALM}",service="the registry",scope="repository:another/one:pull,push"'
)
WANTS_PASSWORD: Final = refuses(401, 'Basic realm="x"')
SILENT: Final = refuses(401)


def said(authorization: str) -> Request:
    return msgspec.structs.replace(HEAD, authorization=Secret(authorization))


def need(credential: Credential, refused: str = "") -> NeedToken:
    return NeedToken(REALM, "the registry", SCOPE, credential, Secret(refused))


def play(talk: Generator[Any, Any, Any], answers: Sequence[Any]) -> tuple[list[Any], Any]:
    """What was said, and how it ended."""
    heard = iter(answers)
    says: list[Any] = []
    try:
        says.append(next(talk))
        while True:
            says.append(talk.send(next(heard)))
    except StopIteration as done:
        assert list(heard) == [], "some answers were not waited for"
        return says, done.value


Row = tuple[str, Credential, Challenge | None, list[Any], list[Any], tuple[Response | Trouble, Challenge | None]]
ROWS: list[Row] = [
    ("an open registry is asked once", ANONYMOUS, None, [OK], [HEAD], (OK, None)),
    ("a password is not shown to a registry that asks for none", USER, None, [OK], [HEAD], (OK, None)),
    (
        "a token is fetched for our own scope",
        USER,
        None,
        [WANTS_TOKEN, NEW, OK],
        [HEAD, need(USER), said("Bearer new")],
        (OK, BEARER),
    ),
    (
        "nobody gets a token too",
        ANONYMOUS,
        None,
        [WANTS_TOKEN, NEW, OK],
        [HEAD, need(ANONYMOUS), said("Bearer new")],
        (OK, BEARER),
    ),
    (
        "what is known saves a request",
        USER,
        BEARER,
        [OLD, OK],
        [need(USER), said("Bearer old")],
        (OK, BEARER),
    ),
    (
        "a token that is refused is renewed once",
        USER,
        BEARER,
        [OLD, WANTS_TOKEN, NEW, OK],
        [need(USER), said("Bearer old"), need(USER, "old"), said("Bearer new")],
        (OK, BEARER),
    ),
    (
        "and then the registry is believed",
        USER,
        BEARER,
        [OLD, WANTS_TOKEN, NEW, WANTS_TOKEN],
        [need(USER), said("Bearer old"), need(USER, "old"), said("Bearer new")],
        (WANTS_TOKEN, BEARER),
    ),
    (
        "a fresh token that is refused is believed",
        USER,
        None,
        [WANTS_TOKEN, NEW, WANTS_TOKEN],
        [HEAD, need(USER), said("Bearer new")],
        (WANTS_TOKEN, BEARER),
    ),
    (
        "a token server that gives none ends it",
        USER,
        None,
        [WANTS_TOKEN, DOWN],
        [HEAD, need(USER)],
        (DOWN, BEARER),
    ),
    ("and what is known is forgotten", USER, BEARER, [DOWN], [need(USER)], (DOWN, None)),
    (
        "a password is sent when it is asked for",
        USER,
        None,
        [WANTS_PASSWORD, OK],
        [HEAD, said(USER_BASIC)],
        (OK, BASIC),
    ),
    ("and at once when that is known", USER, BASIC, [OK], [said(USER_BASIC)], (OK, BASIC)),
    ("a refused password is believed", USER, BASIC, [WANTS_PASSWORD], [said(USER_BASIC)], (WANTS_PASSWORD, BASIC)),
    ("nobody has no password", ANONYMOUS, None, [WANTS_PASSWORD], [HEAD], (WANTS_PASSWORD, BASIC)),
    ("an identity token is no password", ROBOT, None, [WANTS_PASSWORD], [HEAD], (WANTS_PASSWORD, BASIC)),
    (
        "a registry that changes from tokens to passwords",
        USER,
        BEARER,
        [OLD, WANTS_PASSWORD, OK],
        [need(USER), said("Bearer old"), said(USER_BASIC)],
        (OK, BASIC),
    ),
    (
        "and back",
        USER,
        BASIC,
        [WANTS_TOKEN, NEW, OK],
        [said(USER_BASIC), need(USER, USER_BASIC), said("Bearer new")],
        (OK, BEARER),
    ),
    ("a ready token goes first", READY, None, [OK], [said("Bearer ready")], (OK, None)),
    ("a refused ready token is believed", READY, None, [WANTS_TOKEN], [said("Bearer ready")], (WANTS_TOKEN, BEARER)),
    (
        "who does not say how is asked at /v2/ (containers/image#211)",
        USER,
        None,
        [SILENT, WANTS_TOKEN, NEW, OK],
        [HEAD, PING, need(USER), said("Bearer new")],
        (OK, BEARER),
    ),
    ("once", ANONYMOUS, None, [SILENT, SILENT], [HEAD, PING], (SILENT, None)),
    ("an open /v2/ says nothing", ANONYMOUS, None, [SILENT, OK], [HEAD, PING], (SILENT, None)),
    ("a broken /v2/ says nothing", USER, None, [refuses(404), Response(500)], [HEAD, PING], (refuses(404), None)),
    ("but for a 401, which it leaves open", USER, None, [SILENT, Response(503)], [HEAD, PING], (Response(503), None)),
    ("a /v2/ that cannot be reached leaves it open", USER, None, [refuses(404), DOWN], [HEAD, PING], (DOWN, None)),
    (
        "a 404 may hide what a login opens (containerd#3291)",
        USER,
        None,
        [refuses(404), WANTS_TOKEN, NEW, OK],
        [HEAD, PING, need(USER), said("Bearer new")],
        (OK, BEARER),
    ),
    ("not for nobody", ANONYMOUS, None, [refuses(404)], [HEAD], (refuses(404), None)),
    (
        "not when a login was sent",
        USER,
        BEARER,
        [OLD, refuses(404)],
        [need(USER), said("Bearer old")],
        (refuses(404), BEARER),
    ),
    ("nor when it was a password", USER, BASIC, [refuses(403)], [said(USER_BASIC)], (refuses(403), BASIC)),
    (
        "a token is renewed for one who does not say again what he wants",
        USER,
        BEARER,
        [OLD, SILENT, NEW, OK],
        [need(USER), said("Bearer old"), need(USER, "old"), said("Bearer new")],
        (OK, BEARER),
    ),
    (
        "and then he is believed",
        USER,
        BEARER,
        [OLD, SILENT, NEW, SILENT],
        [need(USER), said("Bearer old"), need(USER, "old"), said("Bearer new")],
        (SILENT, BEARER),
    ),
    ("a refused password too, whatever is said", USER, BASIC, [SILENT], [said(USER_BASIC)], (SILENT, BASIC)),
    ("and a refused ready token", READY, None, [SILENT], [said("Bearer ready")], (SILENT, None)),
    ("other answers are not about a login", USER, None, [Response(500)], [HEAD], (Response(500), None)),
    ("nor is silence", USER, None, [DOWN], [HEAD], (DOWN, None)),
]


@pytest.mark.parametrize(
    ("credential", "known", "answers", "says", "end"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_conversation(
    credential: Credential,
    known: Challenge | None,
    answers: list[Any],
    says: list[Any],
    end: tuple[Response | Trouble, Challenge | None],
) -> None:
    talk = with_login(HEAD, path="team/app", registry=REGISTRY, credential=credential, known=known)
    assert play(talk, answers) == (says, end)


@pytest.mark.parametrize("known", [None, Challenge("bearer", "https://evil.example/t")], ids=["offered", "known"])
def test_a_realm_elsewhere_gets_no_credential(known: Challenge | None) -> None:
    answers = [] if known else [refuses(401, 'Bearer realm="https://evil.example/t"')]
    talk = with_login(HEAD, path="team/app", registry=REGISTRY, credential=USER, known=known)
    if known:
        with pytest.raises(StopIteration) as done:
            next(talk)
        ended = done.value.value[0]
    else:
        says, (ended, _) = play(talk, answers)
        assert says == [HEAD]
    assert isinstance(ended, Trouble)
    assert ended.reason is Reason.LOGIN_REFUSED


def test_a_basic_challenge_beside_a_bad_realm_is_not_answered() -> None:
    both = refuses(401, 'Bearer realm="https://evil.example/t"', 'Basic realm="x"')
    talk = with_login(HEAD, path="team/app", registry=REGISTRY, credential=USER, known=None)
    says, (ended, _) = play(talk, [both])
    assert says == [HEAD]
    assert isinstance(ended, Trouble)


ANSWER: Final = Response(200, body=b'{"token": "new"}')
QUERY: Final = "service=the+registry&scope=repository%3Ateam%2Fapp%3Apull"


def asks(query: str, authorization: str = "") -> Request:
    return Request("GET", f"{REALM}?{query}", "token", authorization=Secret(authorization), limit=65536)


POST: Final = Request(
    "POST",
    REALM,
    "token",
    form=(
        ("grant_type", Secret("refresh_token")),
        ("refresh_token", Secret("identity")),
        ("service", Secret("the registry")),
        ("scope", Secret(SCOPE)),
        ("client_id", Secret("moorage")),
    ),
    limit=65536,
)
NAMELESS_GET: Final = asks(f"{QUERY}&client_id=moorage", "Basic OmlkZW50aXR5")
ADMIN: Final = Credential("file", "admin", Secret("pw"), Secret("identity"))
ADMIN_GET: Final = asks(f"{QUERY}&account=admin&client_id=moorage", "Basic YWRtaW46cHc=")


@pytest.mark.parametrize(
    ("credential", "answers", "says", "end"),
    [
        (ANONYMOUS, [ANSWER], [asks(f"{QUERY}&client_id=moorage")], NEW),
        (USER, [ANSWER], [asks(f"{QUERY}&account=user&client_id=moorage", USER_BASIC)], NEW),
        (ROBOT, [ANSWER], [POST], NEW),
        (ROBOT, [Response(400), ANSWER], [POST, NAMELESS_GET], NEW),
        (ROBOT, [Response(401), ANSWER], [POST, NAMELESS_GET], NEW),
        (ROBOT, [Response(404), ANSWER], [POST, NAMELESS_GET], NEW),
        (ROBOT, [Response(405), ANSWER], [POST, NAMELESS_GET], NEW),
        (ADMIN, [Response(405), ANSWER], [POST, ADMIN_GET], NEW),
        (ROBOT, [Response(500)], [POST], Trouble(Reason.UNAVAILABLE, "its token server answers 500")),
        (ROBOT, [Response(403)], [POST], Trouble(Reason.ABSENT, "its token server answers 403")),
        (ROBOT, [DOWN], [POST], DOWN),
        (ANONYMOUS, [DOWN], [asks(f"{QUERY}&client_id=moorage")], DOWN),
        *[
            (
                ANONYMOUS,
                [Response(status)],
                [asks(f"{QUERY}&client_id=moorage")],
                Trouble(reason, f"its token server answers {status}"),
            )
            for status, reason in [
                (400, Reason.ABSENT),
                (401, Reason.ABSENT),
                (403, Reason.ABSENT),
                (404, Reason.ABSENT),
                (503, Reason.UNAVAILABLE),
                # These say nothing about a login: none of them may end an answer that was good before.
                (408, Reason.UNAVAILABLE),
                (204, Reason.BAD_REGISTRY),
                (304, Reason.BAD_REGISTRY),
                (405, Reason.BAD_REGISTRY),
                (410, Reason.BAD_REGISTRY),
                (451, Reason.BAD_REGISTRY),
            ]
        ],
    ],
)
def test_asks_for_a_token(
    credential: Credential, answers: list[Any], says: list[Request], end: Token | Trouble
) -> None:
    assert play(fetch_token(need(credential)), answers) == (says, end)


@pytest.mark.parametrize(
    ("realm", "service", "url"),
    [
        (REALM, "", f"{REALM}?scope=repository%3Ateam%2Fapp%3Apull&client_id=moorage"),
        (f"{REALM}?a=b&c=", "s", f"{REALM}?a=b&c=&service=s&scope=repository%3Ateam%2Fapp%3Apull&client_id=moorage"),
        (
            f"https://{HOST}",
            "s&t=u",
            f"https://{HOST}/?service=s%26t%3Du&scope=repository%3Ateam%2Fapp%3Apull&client_id=moorage",
        ),
    ],
)
def test_the_realms_own_query_stays(realm: str, service: str, url: str) -> None:
    says, _ = play(fetch_token(NeedToken(realm, service, SCOPE, ANONYMOUS)), [ANSWER])
    assert [request.url for request in says] == [url]


def test_a_password_may_hold_any_letter() -> None:
    assert basic(Credential("pod", "üser", Secret("pä:ss"))).reveal() == "Basic w7xzZXI6cMOkOnNz"
