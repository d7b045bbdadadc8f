"""Rows named `kubelet` are cases that kubernetes pkg/credentialprovider/keyring_test.go pins."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canary import marked
from webhook.core.credential import Credential
from webhook.core.secret import Secret
from webhook.credentials.keyring import AuthFile, BadDockerConfig, Keyring

CANARY = marked("hunter2-canary")


def packed(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def keyring(*places: str) -> Keyring:
    """A keyring whose users are named after their places."""
    return Keyring.from_docker_config({"auths": {place: {"username": place, "password": "x"} for place in places}})


def users(found: tuple[Credential, ...]) -> list[str]:
    return [one.username for one in found]


FITS = [
    # kubelet: TestUrlsMatch
    ("*.kubernetes.io", "prefix.kubernetes.io/x"),
    ("prefix.*.io", "prefix.kubernetes.io/x"),
    ("prefix.kubernetes.*", "prefix.kubernetes.io/x"),
    ("*-good.kubernetes.io", "prefix-good.kubernetes.io/x"),
    ("*.kubernetes.io/blah", "prefix.kubernetes.io/blah"),
    ("prefix.*.io/foo", "prefix.kubernetes.io/foo/bar"),
    ("*.kubernetes.io:1111/blah", "prefix.kubernetes.io:1111/blah"),
    ("prefix.*.io:1111/foo", "prefix.kubernetes.io:1111/foo/bar"),
    # kubelet: TestDockerKeyringForGlob
    ("https://hello.kubernetes.io", "hello.kubernetes.io/foo/bar"),
    ("https://*.docker.io", "prefix.docker.io/foo/bar"),
    ("https://prefix.*.io/path", "prefix.docker.io/path/subpath/foo/bar"),
    ("https://prefix.docker.*:8888", "prefix.docker.io:8888/foo/bar"),
    ("https://*.docker.io/v1/", "prefix.docker.io/path/foo/bar"),
    ("https://*.docker.io/v2/", "prefix.docker.io/path/foo/bar"),
    ("*.docker.io:1111", "prefix.docker.io:1111/path/foo/bar"),
    # kubelet: TestKeyringHitWithUnqualifiedDockerHub and its kin, TestIsDefaultRegistryMatch
    ("https://index.docker.io/v1/", "google/docker-registry"),
    ("https://index.docker.io/v1/", "jenkins"),
    ("https://index.docker.io/v1/", "index.docker.io/google/docker-registry"),
    ("https://index.docker.io/v1/", "docker.io/library/nginx"),
    # kubelet: the path is a prefix of bytes, not of segments (TestDockerKeyringLookup)
    ("bar.example.com/pong", "bar.example.com/pongz"),
    # the rest
    ("http://registry.example.com", "registry.example.com/x"),
    ("registry.example.com/", "registry.example.com/x"),
    ("registry.example.com/v2/team", "registry.example.com/team/app"),
    ("docker.io", "docker.io/library/nginx"),
    ("localhost:5000", "localhost:5000/x"),
    ("[fc00::1]:5000", "[fc00::1]:5000/x"),
    ("https://user:pw@registry.example.com/", "registry.example.com/x"),
]

MISSES = [
    # kubelet: TestUrlsMatch
    ("*.kubernetes.io", "kubernetes.io/x"),
    ("*.*.kubernetes.io", "prefix.kubernetes.io/x"),
    ("kubernetes.io", "kubernetes.com/x"),
    ("k*.io", "quay.io/x"),
    ("*.kubernetes.io:1234/blah", "prefix.kubernetes.io:1111/blah"),
    ("prefix.*.io/foo", "prefix.kubernetes.io:1111/foo/bar"),
    # kubelet: TestKeyringMiss, TestKeyringMissWithDockerHubCredentials, TestIsDefaultRegistryMatch
    ("https://hello.kubernetes.io", "world.mesos.org/foo/bar"),
    ("https://prefix.*.io/path:1111", "prefix.docker.io/path/subpath:1111/foo/bar"),
    ("https://index.docker.io/v1/", "world.mesos.org/foo/bar"),
    ("https://index.docker.io/v1/", "registry:5000/foo/bar"),
    ("https://index.docker.io/v1/", "myhostdocker.io/foo/bar"),
    ("https://index.docker.io/v1/", ""),
    # an absent port is not 443, and a star never crosses a dot
    ("registry.example.com:443", "registry.example.com/x"),
    ("registry.example.com", "registry.example.com:443/x"),
    ("*.example.com", "a.b.example.com/x"),
    ("*", "registry.example.com/x"),
    # a question mark starts a query, as in any URL
    ("r?gistry.example.com", "registry.example.com/x"),
    # unlike the kubelet: Docker Hub's password does not go to hosts that merely have no dot
    ("https://index.docker.io/v1/", "localhost/x"),
    ("https://index.docker.io/v1/", "REGISTRY/x"),
    # names near a host that is known
    ("registry.example.com", "registry.example.com.evil.test/x"),
    ("registry.example.com", "evil.test/registry.example.com"),
    ("registry.example.com/team", "registry.example.com/other/team"),
]


@pytest.mark.parametrize(("place", "repository"), FITS)
def test_finds(place: str, repository: str) -> None:
    assert users(keyring(place).lookup(repository)) == [place]


@pytest.mark.parametrize(("place", "repository"), MISSES)
def test_misses(place: str, repository: str) -> None:
    assert keyring(place).lookup(repository) == ()


@pytest.mark.parametrize(
    ("places", "repository", "order"),
    [
        (["h.io", "h.io/team", "h.io/team/app"], "h.io/team/app", ["h.io/team/app", "h.io/team", "h.io"]),
        (["*.h.io", "a.h.io", "b.h.io"], "a.h.io/x", ["a.h.io", "*.h.io"]),
        (["*.h.io/team/app", "a.h.io"], "a.h.io/team/app", ["a.h.io", "*.h.io/team/app"]),
        (["https://h.io/v1/", "h.io", "http://h.io/v2/"], "h.io/x", ["https://h.io/v1/", "h.io", "http://h.io/v2/"]),
        (["docker.io", "https://index.docker.io/v1/"], "docker.io/library/nginx", ["docker.io"]),
    ],
    ids=[
        "longest path first",
        "plain host before pattern",
        "keys sorted as text",
        "one key, all its entries",
        "hub last",
    ],
)
def test_gives_all_matches_in_the_kubelets_order(places: list[str], repository: str, order: list[str]) -> None:
    assert users(keyring(*places).lookup(repository)) == order


def known(username: str = "", password: str = "", *, identity: str = "", registry: str = "") -> Credential:
    return Credential("file", username, Secret(password), Secret(identity), Secret(registry))


SHAPES: list[tuple[str, dict[str, Any], Credential]] = [
    ("plain", {"username": "u", "password": "p"}, known("u", "p")),
    ("packed", {"auth": packed("u", "p:q")}, known("u", "p:q")),
    ("unpadded", {"auth": packed("u", "p").rstrip("=")}, known("u", "p")),
    (
        "wrapped",
        {"auth": packed("user", "password")[:8] + "\n" + packed("user", "password")[8:]},
        known("user", "password"),
    ),
    ("packed wins", {"username": "a", "password": "b", "auth": packed("u", "p")}, known("u", "p")),
    (
        "identity token",
        {"auth": packed("00000000-0000", ""), "identitytoken": "t"},
        known("00000000-0000", identity="t"),
    ),
    ("registry token", {"registrytoken": "t"}, known(registry="t")),
    ("unicode", {"auth": packed("ü", "pß")}, known("ü", "pß")),
    ("trailing NULs", {"auth": packed("u", "p\0\0")}, known("u", "p")),
]


@pytest.mark.parametrize(("entry", "expected"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
@pytest.mark.parametrize("old_form", [False, True], ids=["config.json", ".dockercfg"])
@pytest.mark.parametrize("as_text", [False, True], ids=["mapping", "text"])
def test_reads_every_shape(entry: dict[str, Any], expected: Credential, *, old_form: bool, as_text: bool) -> None:
    config: dict[str, Any] = {"registry.example.com": entry} if old_form else {"auths": {"registry.example.com": entry}}
    found = Keyring.from_docker_config(json.dumps(config) if as_text else config).lookup("registry.example.com/app")
    assert found == (expected,)


def test_shows_the_fields_that_users_of_the_keyring_read() -> None:
    (found,) = Keyring.from_docker_config({"auths": {"h.io": {"username": "u", "password": "x"}}}).lookup("h.io/app")
    assert found.username == "u"
    assert found.password == "x"
    assert found.identity_token == ""
    assert found.password != "y"


BROKEN: list[tuple[object, str]] = [
    ({"auth": CANARY + "!"}, "auth is not base64 of user:password"),
    ({"auth": base64.b64encode(CANARY.encode()).decode()}, "auth is not base64 of user:password"),
    ({"auth": base64.b64encode(b"\xff\xfe:x").decode()}, "auth is not base64 of user:password"),
    ({"username": "u", "password": [CANARY]}, "password is no text"),
    ({"username": "u", "password": CANARY + "\ud800"}, "password holds characters that cannot be sent"),
    ({"registrytoken": CANARY + "\r\nX: y"}, "registrytoken holds characters that no token has"),
    (CANARY, "not a JSON object"),
    ([CANARY], "not a JSON object"),
]


@pytest.mark.parametrize(("entry", "why"), BROKEN, ids=[f"{index}-{row[1]}" for index, row in enumerate(BROKEN)])
def test_a_broken_entry_is_named_and_spoils_no_other(entry: object, why: str) -> None:
    ring = Keyring.from_docker_config({"auths": {"bad.example.com": entry, "h.io": {"username": "u", "password": "p"}}})
    assert ring.problems == (f"auths[bad.example.com]: {why}",)
    assert ring.lookup("bad.example.com/x") == ()
    assert users(ring.lookup("h.io/x")) == ["u"]
    assert CANARY not in repr(ring) + "".join(ring.problems)


def test_a_problem_shows_no_secret_of_a_url() -> None:
    ring = Keyring.from_docker_config({"auths": {f"https://u:{CANARY}@bad.example.com/x?t={CANARY}": 1}})
    assert ring.problems == ("auths[bad.example.com/x]: not a JSON object",)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"auths": {}},
        {"auths": None},
        {"auths": {"https://index.docker.io/v1/": {}}, "credsStore": "desktop"},
        {"credsStore": "desktop", "HttpHeaders": {"User-Agent": "x"}, "credHelpers": {"a.io": "x"}},
        {"auths": {"h.io": {"auth": "", "email": "a@b"}}},
    ],
)
def test_a_config_without_logins_is_no_trouble(config: dict[str, Any]) -> None:
    ring = Keyring.from_docker_config(config)
    assert (bool(ring), ring.problems, ring.lookup("docker.io/library/nginx"), ring.lookup("h.io/x")) == (
        False,
        (),
        (),
        (),
    )


@pytest.mark.parametrize(
    "config",
    ["", "{", "[]", "null", f'"{CANARY}"', f'{{"auths": "{CANARY}"}}', '{"auths": [1]}', "[" * 100_000, "\ud800"],
    ids=range(9),
)
def test_refuses_what_is_no_docker_config(config: str) -> None:
    with pytest.raises(BadDockerConfig) as caught:
        Keyring.from_docker_config(config)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_takes_a_byte_order_mark() -> None:
    assert Keyring.from_docker_config(b'\xef\xbb\xbf{"auths":{"h.io":{"username":"u"}}}').lookup("h.io/x")


@given(st.text(), st.text())
def test_any_key_and_any_repository_are_looked_up_without_fault(place: str, repository: str) -> None:
    ring = Keyring.from_docker_config({"auths": {place: {"username": "u"}}})
    assert len(ring.lookup(repository)) <= 1


# containers-auth.json(5): segment by segment, the longest first, one match.

SEGMENTS = [
    (["h.io/team/app", "h.io/team", "h.io"], "h.io/team/app", ["h.io/team/app"]),
    (["h.io/team/app", "h.io/team", "h.io"], "h.io/team/other", ["h.io/team"]),
    (["h.io/team", "h.io"], "h.io/teams/app", ["h.io"]),
    (["h.io/team"], "h.io/teams", []),
    (["*.h.io"], "a.h.io/x", []),
    (["h.io"], "h.io:443/x", []),
    (["https://h.io/v1/"], "h.io/x", ["https://h.io/v1/"]),
    (["h.io/v1"], "h.io/x", []),
    (["https://index.docker.io/v1/"], "docker.io/library/nginx", ["https://index.docker.io/v1/"]),
    (["docker.io/library"], "docker.io/library/nginx", ["docker.io/library"]),
    (["docker.io"], "docker.io/library/nginx", ["docker.io"]),
    (["https://index.docker.io/v1/"], "localhost/x", []),
]


@pytest.mark.parametrize(("places", "repository", "expected"), SEGMENTS)
def test_looks_up_as_podman_does(places: list[str], repository: str, expected: list[str]) -> None:
    file = AuthFile.from_auth_json({"auths": {place: {"username": place} for place in places}})
    assert users(file.lookup(repository)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
ENTRIES = st.dictionaries(
    st.sampled_from(["auth", "username", "password", "identitytoken", "registrytoken", "email", "Auth"]),
    JSON | st.sampled_from([packed("user", "pw"), "====", "dXNlcg==", "dXNlcjpwdw", "\udc80", "a\nb"]),
    max_size=4,
)
CONFIGS = st.dictionaries(
    st.sampled_from(["auths", "credHelpers", "credsStore", "registry.example.com", "HttpHeaders"]),
    JSON | st.dictionaries(st.sampled_from(["registry.example.com", "https://", "[", "*", "a/b?c"]), ENTRIES | JSON),
    max_size=3,
)


@given(CONFIGS | JSON)
def test_whatever_a_docker_config_holds_it_is_read_or_refused_and_never_shown(config: Any) -> None:
    try:
        keyring = Keyring.from_docker_config(json.dumps(config))
    except BadDockerConfig:
        return
    assert not any(one.is_anonymous for one in keyring.lookup("registry.example.com/team/app"))
    assert all(len(problem) < 300 for problem in keyring.problems)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes | str) -> None:
    try:
        Keyring.from_docker_config(content)
    except BadDockerConfig:
        return


@pytest.mark.parametrize("config", ["[" * 200_000, '{"auths":' * 100_000, '{"auths": {"a.b": ' + "[" * 200_000])
def test_a_file_may_be_as_deep_as_it_likes(config: str) -> None:
    with pytest.raises(BadDockerConfig):
        Keyring.from_docker_config(config)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["*", "[", "[!", "*a", "?", "\\", "[a-", "a*"])
def test_looking_up_takes_no_more_than_the_length_of_a_pattern(part: str) -> None:
    """Whoever may write a pull secret would keep a reader for hours that tries every way to match."""
    place = f"{part * (3000 // len(part))}.example.com"
    assert len(keyring(place).lookup(f"{'a' * 3000}.example.com/x")) <= 1
