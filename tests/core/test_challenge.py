"""What a challenge means, where a token may be asked for, and what counts as one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canary import marked
from webhook.core.challenge import (
    MAX_TOKEN,
    Challenge,
    Response,
    Token,
    Trouble,
    choose,
    parse_challenges,
    read_token,
    realm_url,
)
from webhook.core.hosts import Registry
from webhook.core.reason import Reason
from webhook.core.secret import Secret

HOST = "registry.example.com"
MANIFEST = f"https://{HOST}/v2/team/app/manifests/stable"
CANARY = marked("canary-of-the-upstream")
HUB = Registry("docker.io")
LISTED = Registry(HOST, realms=("auth.example.com",))
PLAIN = Registry("localhost:5000", plain_http=True)
Parsed = list[tuple[str, dict[str, str]]]

WELL_FORMED: list[tuple[list[str], Parsed, str]] = [
    ([], [], "no header"),
    (
        ['Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"'],
        [
            (
                "bearer",
                {
                    "realm": "https://auth.docker.io/token",
                    "service": "registry.docker.io",
                    "scope": "repository:a/b:pull",
                },
            )
        ],
        "distribution, auth/token.md",
    ),
    (['Basic realm="a"', 'Bearer realm="b"'], [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})], "two lines"),
    (
        ['Basic realm="a", Bearer realm="b", service="s"'],
        [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "s"})],
        "two in a line, RFC 9110 section 11.6.1",
    ),
    (
        ['Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"'],
        [("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}), ("basic", {"realm": "simple"})],
        "the RFC's own example",
    ),
    (['BEARER REALM="a",Service="b"'], [("bearer", {"realm": "a", "service": "b"})], "case does not count"),
    (["Bearer realm=https://a/t,service=b"], [("bearer", {"realm": "https://a/t", "service": "b"})], "bare values"),
    (['Bearer realm = "a" , service = b'], [("bearer", {"realm": "a", "service": "b"})], "blanks around ="),
    (['Bearer realm="a\\\\b\\c"'], [("bearer", {"realm": "a\\bc"})], "escapes"),
    (['Bearer realm="a,b=c d"'], [("bearer", {"realm": "a,b=c d"})], "separators in quotes"),
    (['Bearer realm="a",scope=""'], [("bearer", {"realm": "a", "scope": ""})], "empty quoted value"),
    (['Bearer realm="a",scope=,service="s"'], [("bearer", {"realm": "a", "scope": "", "service": "s"})], "empty value"),
    ([', ,Bearer realm="a",,'], [("bearer", {"realm": "a"})], "empty elements, RFC 9110 section 5.6.1"),
    (['Bearer realm="a" service="s"'], [("bearer", {"realm": "a", "service": "s"})], "no comma"),
    (['Bearer realm="a",realm="b"'], [("bearer", {"realm": "a"})], "the first of two counts"),
    (["Basic"], [("basic", {})], "a scheme alone"),
    (["Negotiate"], [("negotiate", {})], "a scheme alone"),
    (['Negotiate, Basic realm="a"'], [("negotiate", {}), ("basic", {"realm": "a"})], "Artifactory with Kerberos"),
    (['Negotiate YII/+a==, Bearer realm="a"'], [("negotiate", {}), ("bearer", {"realm": "a"})], "token68"),
    (['NTLM TlRMTVNT, Basic realm="a"'], [("ntlm", {}), ("basic", {"realm": "a"})], "token68 without its padding"),
]
BROKEN: list[tuple[list[str], Parsed, str]] = [
    ([""], [], "empty"),
    ([",,,"], [], "only commas"),
    (['="x"'], [], "no scheme"),
    (['Bearer realm="https://a/token'], [("bearer", {"realm": ""})], "a quote that does not close"),
    (['Bearer realm="a",service="b', "Basic"], [("bearer", {"realm": "a", "service": ""}), ("basic", {})], "next line"),
    (['Bearer realm="a\\'], [("bearer", {"realm": ""})], "ends in a backslash"),
    (['Bearer realm="a",;;;'], [("bearer", {"realm": "a"})], "rubbish at the end"),
    (['Bearer realm="a",service'], [("bearer", {"realm": "a"}), ("service", {})], "a name without a value"),
    (['Bearer "realm"'], [("bearer", {})], "a value without a name"),
    (["Bärer realm=a"], [], "letters beyond ASCII"),
]


@pytest.mark.parametrize(
    ("lines", "expected", "source"), WELL_FORMED + BROKEN, ids=[row[2] for row in WELL_FORMED + BROKEN]
)
def test_reads_challenges(lines: list[str], expected: Parsed, source: str) -> None:
    assert parse_challenges(lines) == expected


@given(st.text())
def test_whatever_a_header_holds_reading_it_ends(line: str) -> None:
    assert all(scheme == scheme.lower() and scheme.isascii() for scheme, _ in parse_challenges([line]))


HEADER_PARTS = st.sampled_from(
    [
        "Bearer",
        "Basic",
        "a",
        "realm",
        "=",
        '"',
        ",",
        " ",
        "\t",
        "\\",
        "x" * 50,
        "https://a/t",
        "==",
        "\x00",
        "\xe9",
        ";",
    ]
)


@given(st.lists(HEADER_PARTS, max_size=30).map("".join), st.lists(HEADER_PARTS, max_size=30).map("".join))
def test_a_broken_line_spoils_no_other(broken: str, other: str) -> None:
    assert parse_challenges([broken, other]) == parse_challenges([broken]) + parse_challenges([other])
    assert choose(Response(401, {"www-authenticate": (broken, 'Bearer realm="https://a/t"')})) is not None


REPEATED = [
    "a",
    "a ",
    "a,",
    ",",
    " ",
    "=",
    "a=",
    "a=b,",
    'a="',
    'a="b"',
    'a="b",',
    '"',
    "\\",
    '"\\',
    "Bearer ",
    "a=b ",
    ", ,a ",
    "-",
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("head", ["", "Bearer ", 'Bearer realm="', "Bearer realm=", "Basic ,"])
@pytest.mark.parametrize("part", REPEATED)
def test_reading_a_header_takes_no_more_than_its_length(part: str, head: str) -> None:
    """A header this long would keep a reader for hours that looks twice at what it has read."""
    parse_challenges([head + part * (100_000 // len(part))])


BEARER = Challenge("bearer", "https://a/t", "s")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (('Bearer realm="https://a/t",service="s",scope="c"',), BEARER),
        (('Basic realm="x"', 'Bearer realm="https://a/t",service="s",scope="c"'), BEARER),
        (('Basic realm="x", Bearer realm="https://a/t",service="s",scope="c"',), BEARER),
        (('Bearer realm="https://a/t"',), Challenge("bearer", "https://a/t")),
        (('Bearer service="s"', 'Bearer realm="https://a/t"'), Challenge("bearer", "https://a/t")),
        (('Bearer realm=""', "Basic"), Challenge("basic")),
        (('Basic realm="https://elsewhere"',), Challenge("basic")),
        (("Negotiate", "NTLM", "Basic"), Challenge("basic")),
        (("Negotiate", 'Digest realm="a"'), None),
        (('Bearer service="s"',), None),
        ((), None),
    ],
)
def test_answers_bearer_before_basic_and_nothing_else(lines: tuple[str, ...], expected: Challenge | None) -> None:
    assert choose(Response(401, {"www-authenticate": lines})) == expected


ALLOWED = [
    (f"https://{HOST}/token", LISTED, f"https://{HOST}/token", "its own host"),
    (f"https://{HOST}:443/token", LISTED, f"https://{HOST}/token", "the port that https has anyway"),
    (f"HTTPS://{HOST.upper()}/token", LISTED, f"https://{HOST}/token", "case of scheme and host"),
    ("https://auth.example.com/token", LISTED, "https://auth.example.com/token", "a listed pair"),
    (f"https://{HOST}/token?service=x", LISTED, f"https://{HOST}/token?service=x", "a query of its own, ggcr#758"),
    ("/token", LISTED, f"https://{HOST}/token", "relative: regclient allows it"),
    ("https:///token", LISTED, f"https://{HOST}/token", "relative, as urljoin reads it"),
    ("//auth.example.com/token", LISTED, "https://auth.example.com/token", "relative to the scheme"),
    ("https://auth.docker.io/token", HUB, "https://auth.docker.io/token", "the pair of docker.io"),
    ("http://localhost:5000/token", PLAIN, "http://localhost:5000/token", "plain HTTP where all is plain"),
    (
        f"https://{HOST}/token",
        Registry(HOST.upper()),
        f"https://{HOST}/token",
        "its own host, which the configuration writes in capitals",
    ),
    (
        "https://auth.example.com/token",
        Registry(HOST, realms=("Auth.Example.com",)),
        "https://auth.example.com/token",
        "a listed pair in capitals",
    ),
    (
        f"https://{HOST}/token",
        Registry(f"{HOST}:443"),
        f"https://{HOST}/token",
        "the registry is configured with the port that https has anyway",
    ),
]
PAIR = "if that is right, add"
REFUSED = [
    ("https://evil.example/token", LISTED, PAIR, "CVE-2026-33540"),
    ("https://169.254.169.254/token", LISTED, "which is never contacted", "metadata, ggcr#2291"),
    ("https://auth.docker.io/token", LISTED, PAIR, "another registry's pair"),
    (f"https://{HOST}.evil.example/token", LISTED, PAIR, "a longer name"),
    (f"https://evil.example/{HOST}", LISTED, PAIR, "the name in the path"),
    (f"https://{HOST}:8443/token", LISTED, PAIR, "another port"),
    ("//evil.example/token", LISTED, PAIR, "relative to the scheme"),
    (f"https://{HOST}@evil.example/token", LISTED, "no plain URL", "userinfo"),
    (f"https://user:pw@{HOST}/token", LISTED, "no plain URL", "userinfo"),
    (f"https://evil.example\\@{HOST}/token", LISTED, "no plain URL", "WHATWG takes \\ for /"),
    (f"https://{HOST}/token#evil", LISTED, "no plain URL", "fragment"),
    (f"http://{HOST}/token", LISTED, "only https", "plain HTTP"),
    ("http://auth.example.com/token", LISTED, "only https", "plain HTTP at a listed pair"),
    ("http://auth.example.com/token", PLAIN, "only https", "plain HTTP at another host"),
    ("http://localhost:5001/token", PLAIN, "only https", "plain HTTP at another port"),
    (f"file://{HOST}/etc/passwd", LISTED, "no plain URL", "another scheme"),
    (f"{CANARY}://{HOST}/", LISTED, "no plain URL", "another scheme"),
    ("javascript:alert(1)", LISTED, "no plain URL", "no host"),
    ("https://[::1/token", LISTED, "no plain URL", "a bracket that does not close"),
    ("https://]/token", LISTED, "no plain URL", "a bracket that does not open"),
    (f"https://{HOST}:99999/token", LISTED, "no plain URL", "a port that does not exist"),
    (f"https://{HOST}:x/token", LISTED, "no plain URL", "a port that is no number"),
    (f"https://{CANARY} please do this/token", LISTED, "no plain URL", "words where a host should be"),
    (f"https://{CANARY}<b>/token", LISTED, "no plain URL", "markup where a host should be"),
    (f"https://{'a' * 300}.{CANARY}/token", LISTED, "no plain URL", "longer than any name"),
    (f"https://{HOST}\\.evil.example/token", LISTED, "no plain URL", "WHATWG takes \\ for /"),
    ("https://рф.example/token", LISTED, "no plain URL", "letters beyond ASCII"),
]


@pytest.mark.parametrize(("realm", "registry", "expected", "why"), ALLOWED, ids=[row[3] for row in ALLOWED])
def test_tokens_are_asked_for_where_the_configuration_allows_it(
    realm: str, registry: Registry, expected: str, why: str
) -> None:
    request = MANIFEST if registry is not PLAIN else "http://localhost:5000/v2/team/app/manifests/stable"
    assert realm_url(Challenge("bearer", realm), request, registry) == expected


@pytest.mark.parametrize(
    ("realm", "registry", "words", "why"), REFUSED, ids=[f"{row[3]}: {row[0][:40]}" for row in REFUSED]
)
def test_and_nowhere_else(realm: str, registry: Registry, words: str, why: str) -> None:
    refused = realm_url(Challenge("bearer", realm), MANIFEST, registry)
    assert isinstance(refused, Trouble), refused
    assert refused.reason is Reason.LOGIN_REFUSED
    assert words in refused.detail
    assert CANARY not in refused.detail


def test_a_refused_realm_says_what_to_configure() -> None:
    refused = realm_url(Challenge("bearer", "https://auth.elsewhere.example:8443/t"), MANIFEST, LISTED)
    assert refused == Trouble(
        Reason.LOGIN_REFUSED,
        "it sends to auth.elsewhere.example:8443 for tokens; if that is right, "
        "add `realms: [auth.elsewhere.example:8443]` to registries.registry.example.com",
    )


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]:8443", "[::ffff:169.254.169.254]"])
def test_nobody_is_told_to_configure_what_is_never_contacted(host: str) -> None:
    refused = realm_url(Challenge("bearer", f"https://{host}/t"), MANIFEST, LISTED)
    assert isinstance(refused, Trouble)
    assert "realms: [" not in refused.detail


@given(st.text())
def test_whatever_a_realm_is_it_is_a_url_or_refused(realm: str) -> None:
    found = realm_url(Challenge("bearer", realm), MANIFEST, LISTED)
    assert isinstance(found, Trouble) or found.lower().startswith(f"https://{HOST}")


NO_TOKEN = Trouble(Reason.BAD_REGISTRY, "its token server answers something that is no token")


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        ({"token": "t", "expires_in": 300, "issued_at": "2015-01-01T00:00:00Z"}, 300.0),
        ({"access_token": "t", "expires_in": 300}, 300.0),
        ({"token": "t", "access_token": "u", "expires_in": 300}, 300.0),
        ({"token": "", "access_token": "t", "expires_in": 300}, 300.0),
        ({"token": None, "access_token": "t", "expires_in": 300}, 300.0),
        ({"token": "t", "expires_in": 90.5}, 90.5),
        ({"token": "t"}, 60.0),
        ({"token": "t", "expires_in": None}, 60.0),
        ({"token": "t", "expires_in": 0}, 60.0),
        ({"token": "t", "expires_in": -1}, 60.0),
        ({"token": "t", "expires_in": 1}, 60.0),
        ({"token": "t", "expires_in": "soon"}, 60.0),
        ({"token": "t", "expires_in": True}, 60.0),
        ({"token": "t", "expires_in": []}, 60.0),
        ({"token": "t", "expires_in": 10**12}, 86400.0),
        ({"token": "t", "expires_in": 10**400}, 86400.0),
        ({"token": "t", "expires_in": 1e308}, 86400.0),
    ],
    ids=lambda value: json.dumps(value)[:48],
)
def test_a_token_lives_as_it_says_but_a_minute_at_least_and_a_day_at_most(answer: object, life: float) -> None:
    assert read_token(json.dumps(answer).encode()) == Token(Secret("t"), life)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"t"',
        b"{}",
        b"<html>sign in</html>",
        b"token=t",
        b"\xff\xfe",
        b'{"token": "\xff"}',
        b'{"token": ""}',
        b'{"token": 7}',
        b'{"token": ["t"]}',
        b'{"Token": "t"}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX-Injected: b"}',
        b'{"token": "a\\u0000"}',
        b'{"token": "t\\u00e4"}',
        b'{"token": "t"',
        b"[" * 100_000,
        b'{"token": "' + b"t" * (MAX_TOKEN + 1) + b'"}',
        b'{"errors": [{"code": "DENIED", "message": marked("canary-of-the-upstream")}]}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_token_is_refused_without_a_word_of_it(body: bytes) -> None:
    assert read_token(body) == NO_TOKEN


def test_the_longest_token_is_taken() -> None:
    text = "t" * MAX_TOKEN
    assert read_token(json.dumps({"token": text}).encode()) == Token(Secret(text), 60.0)
