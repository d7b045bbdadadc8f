"""The registry client against the distribution registry v3: the happy ways, and what an outage looks like."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.real import registry as real
from tests.real import tokens
from tests.real.conftest import PASSWORDS
from webhook.core.ask import Absent, Failed, Known, Passed
from webhook.core.credential import ANONYMOUS, Candidates, Credential, candidates
from webhook.core.hosts import Registries, Registry
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.secret import Secret
from webhook.outbound import Outbound
from webhook.registry import RegistryClient

pytestmark = pytest.mark.parts

KINDS = [
    (real.OCI_MANIFEST, "oci"),
    (real.DOCKER_MANIFEST, "docker"),
    (real.OCI_INDEX, "oci-index"),
    (real.DOCKER_LIST, "docker-list"),
]


def known_as(*credentials: Credential) -> Candidates:
    return candidates(credentials, b"k" * 32)


ANYONE = known_as(ANONYMOUS)
READER = known_as(Credential("file", "reader", Secret(PASSWORDS["reader"])))
WRONG = Credential("file", "reader", Secret("wrong-pw"))
ROBOT = known_as(Credential("file", identity_token=Secret("identity-right")))


class Asking:
    """A client of our own, and the requests that it sent."""

    def __init__(self, client: RegistryClient, sent: list[tuple[str, str, str]]) -> None:
        self.client = client
        self.sent = sent

    async def digest(self, image: str, who: Candidates = ANYONE) -> Known | Absent | Failed:
        """What the client finds out within five seconds."""
        return await self.client.digest_of(Reference.parse(image), who, deadline=soon())


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


@asynccontextmanager
async def asking(*registries: Registry) -> AsyncIterator[Asking]:
    sent: list[tuple[str, str, str]] = []
    known = Registries(registries)
    outbound = Outbound(known, observe=lambda host, method, code, _seconds: sent.append((host, method, code)))
    try:
        yield Asking(RegistryClient(outbound, known, now=time.monotonic), sent)
    finally:
        await outbound.aclose()


def plain(registry: real.RealRegistry) -> Registry:
    return Registry(registry.host, plain_http=True, allow_loopback=True)


def encrypted(registry: real.RealRegistry, server: tokens.TokenServer, authority: trustme.CA) -> Registry:
    ca = authority.cert_pem.bytes().decode()
    return Registry(registry.host, realms=(server.host,), ca=ca, allow_loopback=True)


def pushed(registry: real.RealRegistry, path: str, tag: str, media_type: str) -> tuple[str, frozenset[str]]:
    """The digest of what the tag names, and those of its children."""
    if media_type in {real.OCI_INDEX, real.DOCKER_LIST}:
        digest, children = registry.push_index(path, tag, media_type)
        return digest, frozenset(children.values())
    return registry.push_image(path, tag, media_type), frozenset()


@pytest.mark.parametrize(("media_type", "tag"), KINDS, ids=[row[1] for row in KINDS])
async def test_gives_the_digest_that_was_pushed_and_never_a_childs(
    open_registry: real.RealRegistry, media_type: str, tag: str
) -> None:
    digest, children = pushed(open_registry, "team/kinds", tag, media_type)
    async with asking(plain(open_registry)) as asked:
        found = await asked.digest(f"{open_registry.host}/team/kinds:{tag}")
    assert isinstance(found, Known), found
    assert (found.digest, found.media_type, found.source) == (digest, media_type, "fresh")
    assert found.digest not in children
    assert (found.host, found.credential, found.requests) == (open_registry.host, "anonymous", 1)
    assert [row[1:] for row in asked.sent] == [("HEAD", "200")]


async def test_follows_a_tag_that_moves(open_registry: real.RealRegistry) -> None:
    old = open_registry.push_image("team/moving", "stable", architecture="amd64")
    image = f"{open_registry.host}/team/moving:stable"
    async with asking(plain(open_registry)) as asked:
        before = await asked.digest(image)
        new = open_registry.push_image("team/moving", "stable", architecture="arm64")
        after = await asked.digest(image)
        given = await asked.digest(f"{open_registry.host}/team/moving@{old}")
    assert isinstance(before, Known)
    assert isinstance(after, Known)
    assert isinstance(given, Known)
    assert (before.digest, after.digest, given.digest) == (old, new, old)
    assert old != new


@pytest.mark.parametrize(
    "name",
    ["team/nothing:stable", "team/kinds:nothing", "team/kinds@sha256:" + "0" * 64],
    ids=["repository", "tag", "digest"],
)
async def test_what_is_not_there_is_absent(open_registry: real.RealRegistry, name: str) -> None:
    open_registry.push_image("team/kinds", "oci")
    async with asking(plain(open_registry)) as asked:
        assert isinstance(await asked.digest(f"{open_registry.host}/{name}"), Absent)


async def test_lists_platforms_of_an_index_and_of_a_single_image(open_registry: real.RealRegistry) -> None:
    index, _ = open_registry.push_index("team/platforms", "index")
    single = open_registry.push_image("team/platforms", "single", architecture="arm64")
    async with asking(plain(open_registry)) as asked:
        of_index, of_single = [
            await asked.client.platforms_of(
                Reference.parse(f"{open_registry.host}/team/platforms@{digest}"), ANYONE, deadline=soon()
            )
            for digest in (index, single)
        ]
    assert of_index == ("linux/amd64", "linux/arm64")
    assert of_single == ("linux/arm64",)


@pytest.mark.parametrize(
    ("platforms", "held"),
    [((), True), (("linux/amd64",), True), (("linux/amd64", "linux/arm64"), True), (("linux/s390x",), False)],
)
async def test_says_whether_a_registry_holds_a_digest(
    open_registry: real.RealRegistry, platforms: tuple[str, ...], *, held: bool
) -> None:
    digest, _ = open_registry.push_index("team/held", "index")
    image = Reference.parse(f"{open_registry.host}/team/held@{digest}")
    async with asking(plain(open_registry)) as asked:
        found = await asked.client.holds(image, ANYONE, scheme="http", platforms=platforms, deadline=soon())
    assert isinstance(found, Passed if held else Absent), found


async def test_logs_in_with_a_password(password_registry: real.RealRegistry) -> None:
    digest = password_registry.push_image("team/app", "stable")
    image = f"{password_registry.host}/team/app:stable"
    async with asking(plain(password_registry)) as asked:
        first = await asked.digest(image, READER)
        asked.sent.clear()
        again = await asked.digest(image, READER)
    assert isinstance(first, Known), first
    assert isinstance(again, Known), again
    assert (first.digest, first.credential) == (digest, "file")
    assert [row[1:] for row in asked.sent] == [("HEAD", "200")]


@pytest.mark.parametrize(
    "who", [known_as(WRONG), ANYONE, known_as(WRONG, ANONYMOUS)], ids=["wrong", "anonymous", "both"]
)
async def test_a_refused_login_is_absent(password_registry: real.RealRegistry, who: Candidates) -> None:
    password_registry.push_image("team/app", "stable")
    async with asking(plain(password_registry)) as asked:
        assert isinstance(await asked.digest(f"{password_registry.host}/team/app:stable", who), Absent)


async def test_nobody_asks_where_no_credential_counts(password_registry: real.RealRegistry) -> None:
    async with asking(plain(password_registry)) as asked:
        found = await asked.digest(f"{password_registry.host}/team/app:stable", known_as())
    assert isinstance(found, Failed), found
    assert (found.reason, asked.sent) == (Reason.NO_LOGIN, [])


async def test_tries_the_next_credential_when_one_is_refused(password_registry: real.RealRegistry) -> None:
    digest = password_registry.push_image("team/app", "stable")
    async with asking(plain(password_registry)) as asked:
        found = await asked.digest(f"{password_registry.host}/team/app:stable", known_as(WRONG, READER.credentials[0]))
    assert isinstance(found, Known), found
    assert found.digest == digest


@pytest.mark.parametrize(
    ("path", "who", "method"),
    [("team/app", READER, "GET"), ("team/app", ROBOT, "POST"), ("public/app", ANYONE, "GET")],
    ids=["password", "identity token", "anonymous"],
)
async def test_asks_for_one_token_and_then_sends_one_head(
    token_registry: real.RealRegistry,
    token_server: tokens.TokenServer,
    authority: trustme.CA,
    path: str,
    who: Candidates,
    method: str,
) -> None:
    digest = token_registry.push_image(path, "stable")
    token_server.asked.clear()
    image = f"{token_registry.host}/{path}:stable"
    async with asking(encrypted(token_registry, token_server, authority)) as asked:
        cold = await asked.digest(image, who)
        first, asked.sent[:] = list(asked.sent), []
        warm = await asked.digest(image, who)
    assert isinstance(cold, Known), cold
    assert isinstance(warm, Known), warm
    assert cold.digest == warm.digest == digest
    assert [row[1:] for row in first] == [("HEAD", "401"), (method, "200"), ("HEAD", "200")]
    assert [row[1:] for row in asked.sent] == [("HEAD", "200")]
    (request,) = token_server.asked
    assert (request.method, request.service) == (method, tokens.SERVICE)
    assert request.scopes == (f"repository:{path}:pull",)


@pytest.mark.parametrize(
    ("path", "who"),
    [("team/app", known_as(WRONG)), ("team/app", ANYONE), ("private/app", READER), ("team/nothing", READER)],
    ids=["wrong password", "anonymous", "another's", "not there"],
)
async def test_what_no_token_opens_is_absent(
    token_registry: real.RealRegistry,
    token_server: tokens.TokenServer,
    authority: trustme.CA,
    path: str,
    who: Candidates,
) -> None:
    if path != "team/nothing":
        token_registry.push_image(path, "stable")
    async with asking(encrypted(token_registry, token_server, authority)) as asked:
        found = await asked.digest(f"{token_registry.host}/{path}:stable", who)
    assert isinstance(found, Absent), found
    # At most the challenge, one token, one more try with a token of its own: never a loop.
    assert len(asked.sent) <= 5


async def test_a_password_goes_to_no_realm_that_is_not_listed(
    token_registry: real.RealRegistry, token_server: tokens.TokenServer, authority: trustme.CA
) -> None:
    token_registry.push_image("team/app", "stable")
    token_server.asked.clear()
    unlisted = Registry(token_registry.host, ca=authority.cert_pem.bytes().decode(), allow_loopback=True)
    async with asking(unlisted) as asked:
        found = await asked.digest(f"{token_registry.host}/team/app:stable", READER)
    assert isinstance(found, Failed), found
    assert found.reason is Reason.LOGIN_REFUSED
    assert token_server.asked == []


async def test_a_certificate_of_an_unknown_authority_is_refused(
    token_registry: real.RealRegistry, token_server: tokens.TokenServer
) -> None:
    trusting = Registry(token_registry.host, realms=(token_server.host,), allow_loopback=True)
    async with asking(trusting) as asked:
        found = await asked.digest(f"{token_registry.host}/team/app:stable", READER)
    assert isinstance(found, Failed), found
    assert found.reason in {Reason.UNAVAILABLE, Reason.BAD_REGISTRY}


async def test_a_stopped_registry_is_unavailable(tmp_path: Path) -> None:
    with real.running(tmp_path) as registry:
        registry.push_image("team/app", "stable")
        image = f"{registry.host}/team/app:stable"
        async with asking(plain(registry)) as asked:
            assert isinstance(await asked.digest(image), Known)
            registry.stop()
            found = await asked.digest(image)
    assert isinstance(found, Failed), found
    assert found.reason is Reason.UNAVAILABLE
    assert registry.host in found.what


async def test_a_host_that_is_not_listed_gets_no_packet(open_registry: real.RealRegistry) -> None:
    async with asking() as asked:
        found = await asked.digest(f"{open_registry.host}/team/app:stable")
    assert isinstance(found, Failed), found
    assert found.reason is Reason.HOST_NOT_LISTED
    assert asked.sent == []
