"""Logging in, against a registry on loopback that keeps its own tokens: how often it is asked, and as whom."""

import asyncio
from base64 import b64decode
from typing import Final

import pytest
import trustme
from msgspec.structs import replace

from tests.doors import soon
from tests.support import wire
from tests.support.asking import READER, ROBOT, SECRETS, WRITER, WRONG, asking, known_as
from tests.support.canary import marked
from tests.support.door import encrypted, plain, server_context
from tests.support.faults import bombed, first, redirected, sent_as, with_body, with_status
from tests.support.registry import CANARY, PATH, FakeRegistry, Fault, fake_registry, trap_socket
from webhook.core.ask import Absent, Failed, Known
from webhook.core.challenge import MAX_TOKEN, Challenge, NeedToken, Token
from webhook.core.credential import ANONYMOUS, Credential
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.secret import Secret
from webhook.credentials.keyring import Keyring
from webhook.registry import CHALLENGES, TOKENS

COLD: Final = ["HEAD", "GET token", "HEAD"]
WARM: Final = ["HEAD"]


def wants(fake: FakeRegistry, login: str = "bearer") -> FakeRegistry:
    """The same registry, with one image, where one has to log in."""
    fake.push()
    fake.login = login
    return fake


@pytest.mark.parametrize(
    "who", [READER, WRITER, ANONYMOUS, ROBOT], ids=["reader", "writer", "nobody", "identity token"]
)
async def test_a_token_is_fetched_once_and_serves_the_next_asks(who: Credential) -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.is_public = True
        found = [await asked.digest(who) for _ in range(3)]
        token = "POST token" if who is ROBOT else "GET token"
        assert asked.said() == ["HEAD", token, "HEAD", *WARM, *WARM]
        assert [(one.credential, one.requests) for one in found if isinstance(one, Known)] == [
            (who.kind, 3),
            (who.kind, 1),
            (who.kind, 1),
        ]


async def test_fifty_at_once_fetch_one_token() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        found = await asyncio.gather(*(asked.digest(READER) for _ in range(50)))
        assert {type(one) for one in found} == {Known}
        assert len(fake.of("token")) == 1


async def test_fifty_whose_token_was_revoked_fetch_one_new_one() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        assert isinstance(await asked.digest(READER), Known)
        fake.revoke()
        asked.said()
        found = await asyncio.gather(*(asked.digest(READER) for _ in range(50)))
        assert {type(one) for one in found} == {Known}
        assert len(fake.of("token")) == 1
        assert len(fake.of("manifest")) <= 100


async def test_one_who_hears_late_that_its_token_was_revoked_takes_the_new_one() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        assert isinstance(await asked.digest(READER), Known)
        fake.revoke()
        fake.faults["manifest"] = first(1, sent_as(wire.hesitation))
        asked.said()
        fake.arrived.clear()
        late = asyncio.create_task(asked.digest(READER))
        await fake.arrived.wait()
        assert isinstance(await asked.digest(READER), Known)
        fake.release.set()
        assert isinstance(await late, Known)
        assert len(fake.of("token")) == 1


@pytest.mark.parametrize(
    ("life", "used_for"),
    [(300, 240.0), (3600, 2880.0), (60, 48.0), (None, 48.0), (10**9, 69120.0)],
)
async def test_a_token_is_renewed_after_four_fifths_of_its_life(life: float | None, used_for: float) -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.life = life
        assert isinstance(await asked.digest(READER), Known)
        asked.said()
        asked.clock.forward(used_for - 0.1)
        assert isinstance(await asked.digest(READER), Known)
        assert asked.said() == WARM
        asked.clock.forward(0.2)
        assert isinstance(await asked.digest(READER), Known)
        assert asked.said() == ["GET token", "HEAD"]


async def test_a_token_is_for_one_credential_and_one_path() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.push(path="team/other")
        for who, path in [(READER, PATH), (WRITER, PATH), (READER, "team/other"), (READER, PATH), (WRITER, PATH)]:
            assert isinstance(await asked.digest(who, path=path), Known)
        given = [one.header("Authorization") for one in fake.of("manifest") if one.header("Authorization")]
        assert given == [
            f"Bearer {token}"
            for token in (
                marked("token-1-of-reader"),
                marked("token-2-of-writer"),
                marked("token-3-of-reader"),
                marked("token-1-of-reader"),
                marked("token-2-of-writer"),
            )
        ]
        assert [one.query["scope"] for one in fake.of("token")] == [
            [f"repository:{path}:pull"] for path in (PATH, PATH, "team/other")
        ]


async def test_a_token_that_is_refused_for_ever_is_asked_for_once_more_and_no_further() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        assert isinstance(await asked.digest(READER), Known)
        fake.faults["manifest"] = lambda request, answer: replace(fake.refusal(), is_headless=True)
        asked.said()
        assert await asked.digest(READER) == Absent(fake.host, f"{fake.host}/{PATH}:stable", denied=True)
        assert asked.said() == ["HEAD", "GET token", "HEAD"]


WRONG_TOO: Final = Credential("pod", "writer", Secret(marked("canary-of-the-password")))


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ((ANONYMOUS,), ["HEAD", "GET token"]),
        ((WRONG,), ["HEAD", "GET token"]),
        ((WRONG, ANONYMOUS), ["HEAD", "GET token"]),
        ((WRONG, WRONG_TOO), ["HEAD", "GET token", "GET token"]),
    ],
    ids=["nobody", "wrong", "wrong, then nobody", "two that are wrong"],
)
async def test_who_gets_no_token_hears_that_it_is_absent(who: tuple[Credential, ...], said: list[str]) -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        assert await asked.digest(*who) == Absent(fake.host, f"{fake.host}/{PATH}:stable", denied=True)
        assert asked.said() == said


async def test_the_next_credential_is_tried_where_one_is_refused() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        found = await asked.digest(WRONG, WRITER)
        assert isinstance(found, Known)
        assert found.credential == "file"
        assert asked.said() == ["HEAD", "GET token", "GET token", "HEAD"]


async def test_nobody_is_not_tried_where_a_login_was_refused() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.is_public = True
        assert isinstance(await asked.digest(WRONG, ANONYMOUS), Absent)
        assert [one.header("Authorization") is None for one in fake.of("token")] == [False]


async def test_all_that_match_are_tried_in_the_kubelets_order() -> None:
    async with fake_registry() as fake, asking(wants(fake, "basic")) as asked:
        places = {"": "c", "/team": "a", "/team/app": "b", "/other": "d"}
        auths = {f"{fake.host}{path}": {"username": user, "password": "wrong"} for path, user in places.items()}
        auths[fake.host] = {"username": "reader", "password": marked("password-of-reader")}
        found = await asked.digest(*Keyring.from_docker_config({"auths": auths}).lookup(f"{fake.host}/{PATH}"))
        assert isinstance(found, Known)
        sent = [(one.header("Authorization") or "").removeprefix("Basic ") for one in fake.asked]
        tried = [b64decode(one).decode().partition(":")[0] for one in sent if one]
        assert tried == ["b", "a", "reader"]


@pytest.mark.parametrize("status", [401, 403])
async def test_whoever_was_refused_is_not_followed_by_nobody(status: int) -> None:
    async with fake_registry() as fake, asking(wants(fake, "basic")) as asked:
        fake.faults["manifest"] = lambda request, answer: (
            answer if request.header("Authorization") is None else with_status(status)(request, answer)
        )
        assert await asked.digest(READER, ANONYMOUS) == Absent(fake.host, f"{fake.host}/{PATH}:stable", denied=True)
        assert [one.header("Authorization") is None for one in fake.of("manifest")] == [True, False]


async def test_whoever_found_nothing_is_followed_by_nobody() -> None:
    async with fake_registry() as fake, asking(wants(fake, "basic")) as asked:
        fake.faults["manifest"] = lambda request, answer: (
            answer if request.header("Authorization") is None else with_status(404)(request, answer)
        )
        assert isinstance(await asked.digest(READER, ANONYMOUS), Absent)
        assert [one.header("Authorization") is None for one in fake.of("manifest")][-1]


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_an_identity_token_serves_as_a_password_where_there_is_no_post(status: int) -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.users["robot"] = marked("identity-of-robot")
        fake.faults["token POST"] = with_status(status)
        found = await asked.digest(Credential("file", "robot", identity_token=ROBOT.identity_token))
        assert isinstance(found, Known)
        assert asked.said() == ["HEAD", "POST token", "GET token", "HEAD"]


async def test_a_password_is_sent_once_it_is_asked_for_and_then_at_once() -> None:
    async with fake_registry() as fake, asking(wants(fake, "basic")) as asked:
        assert isinstance(await asked.digest(READER), Known)
        assert isinstance(await asked.digest(READER), Known)
        assert [one.header("Authorization") is None for one in fake.asked] == [True, False, False]
        assert isinstance(await asked.digest(WRONG), Absent)
        assert isinstance(await asked.digest(ANONYMOUS), Absent)


NO_TOKEN: Final = "its token server answers something that is no token"
BROKEN: list[tuple[str, Fault, tuple[Reason, str, float | None], int]] = [
    ("a page", with_body(CANARY.encode()), (Reason.BAD_REGISTRY, NO_TOKEN, None), 1),
    ("a token of two lines", with_body(b'{"token": "a\\r\\nb"}'), (Reason.BAD_REGISTRY, NO_TOKEN, None), 1),
    ("a bomb", bombed, (Reason.BAD_REGISTRY, "it compresses its answer although that was not asked for", None), 1),
    ("no end", sent_as(wire.endless_body), (Reason.BAD_REGISTRY, "its answer has more than 65536 bytes", None), 1),
    (
        "a redirect",
        redirected("/token"),
        (Reason.LOGIN_REFUSED, "its token server redirects, which is never followed", None),
        1,
    ),
    ("429", with_status(429, ("Retry-After", "30")), (Reason.THROTTLED, "it asks to wait (429)", 30.0), 1),
    ("500", with_status(500), (Reason.UNAVAILABLE, "its token server answers 500", None), 2),
    ("408", with_status(408), (Reason.UNAVAILABLE, "its token server answers 408", None), 2),
    ("405", with_status(405), (Reason.BAD_REGISTRY, "its token server answers 405", None), 1),
    ("reset", sent_as(wire.reset), (Reason.UNAVAILABLE, "the connection broke", None), 4),
    ("silence", sent_as(wire.silence), (Reason.OUT_OF_TIME, "no answer in time", None), 1),
]


@pytest.mark.parametrize(("fault", "expected", "tokens"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_a_token_server_that_is_broken_is_told(
    fault: Fault, expected: tuple[Reason, str, float | None], tokens: int
) -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.faults["token"] = fault
        found = await asked.digest(READER, seconds=0.4 if expected[0] is Reason.OUT_OF_TIME else 5)
        reason, detail, retry_after = expected
        assert found == Failed(reason, f"{fake.host}/{PATH}", detail, retry_after)
        assert not any(word in repr(found) for word in SECRETS)
        assert (len(fake.of("manifest")), len(fake.of("token"))) == (1, tokens)
        fake.faults.clear()
        assert isinstance(await asked.digest(READER), Known)


@pytest.mark.parametrize(
    "place", ["https://{trap}/token", "http://{trap}/token", "http://169.254.169.254/token", "//{trap}/"]
)
async def test_a_realm_that_is_not_listed_gets_no_packet(place: str) -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        with trap_socket() as trap:
            fake.realm = place.format(trap=trap.host)
            found = await asked.digest(READER)
            assert isinstance(found, Failed)
            assert (found.reason, found.what) == (Reason.LOGIN_REFUSED, f"{fake.host}/{PATH}")
            assert asked.said() == WARM
            assert trap.connections == 0


@pytest.mark.parametrize("has_its_own", [False, True], ids=["the registry's authority", "its own authority"])
async def test_a_realm_that_is_listed_gives_tokens(has_its_own: bool) -> None:
    authority, another = trustme.CA(), trustme.CA()
    theirs = another if has_its_own else authority
    async with (
        fake_registry(tls=server_context(authority.issue_cert("127.0.0.1"))) as fake,
        fake_registry(tls=server_context(theirs.issue_cert("127.0.0.1"))) as issuer,
    ):
        registries = [replace(encrypted(fake.host, authority), realms=(issuer.host,))]
        if has_its_own:
            registries.append(encrypted(issuer.host, another))
        async with asking(wants(fake), registries) as asked:
            fake.realm = f"https://{issuer.host}/token"
            issuer.share_with(fake)
            assert isinstance(await asked.digest(READER), Known)
            assert asked.said() == ["HEAD", "HEAD"]
            assert len(issuer.of("token")) == 1


async def test_a_registry_that_moves_its_realm_is_understood_at_the_second_ask() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        assert isinstance(await asked.digest(READER), Known)
        asked.clock.forward(1000)
        fake.realm = f"http://{fake.host}/token?at=the-new-place"
        fake.faults["token"] = lambda request, answer: (
            answer if "at" in request.query else with_status(404)(request, answer)
        )
        await asked.digest(READER)
        assert isinstance(await asked.digest(READER), Known)


async def test_one_in_a_hurry_waits_no_longer_than_it_has_time() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.faults["token"] = sent_as(wire.silence)
        patient = asyncio.create_task(asked.digest(READER))
        while not fake.of("token"):
            fake.arrived.clear()
            await fake.arrived.wait()
        hurried = await asked.digest(READER, seconds=0.2)
        assert hurried == Failed(Reason.OUT_OF_TIME, f"{fake.host}/{PATH}", "no answer in time")
        assert not patient.done()
        fake.faults.clear()
        fake.release.set()
        assert isinstance(await patient, Known)


async def test_one_in_a_hurry_takes_nothing_from_those_who_wait_with_it() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        fake.faults["token"] = first(1, sent_as(wire.silence))
        hurried = asyncio.create_task(asked.digest(READER, seconds=0.3))
        while not fake.of("token"):
            fake.arrived.clear()
            await fake.arrived.wait()
        patient = await asked.digest(READER)
        assert isinstance(await hurried, Failed)
        assert isinstance(patient, Known)
        assert len(fake.of("token")) == 2


async def test_one_that_is_cancelled_takes_nothing_from_those_who_wait_with_it() -> None:
    async with fake_registry() as fake, asking(wants(fake)) as asked:
        many = [asyncio.create_task(asked.digest(READER)) for _ in range(5)]
        while not fake.of("token"):
            fake.arrived.clear()
            await fake.arrived.wait()
        many[0].cancel()
        found = await asyncio.gather(*many, return_exceptions=True)
        assert [type(one) for one in found] == [asyncio.CancelledError, Known, Known, Known, Known]
        assert len(fake.of("token")) == 1


async def test_a_token_server_that_hangs_holds_up_nobody_who_needs_no_token_of_it() -> None:
    async with (
        fake_registry() as fake,
        fake_registry() as other,
        asking(wants(fake), [plain(fake), plain(other)]) as asked,
    ):
        fake.push(path="team/other")
        digest = other.push()
        assert isinstance(await asked.digest(READER), Known)
        fake.faults["token"] = sent_as(wire.silence)
        stuck = [asyncio.create_task(asked.digest(who, path="team/other")) for who in (READER, WRITER)]
        while len(fake.of("token")) < 3:
            fake.arrived.clear()
            await fake.arrived.wait()
        assert isinstance(await asked.digest(READER), Known)
        elsewhere = Reference(other.host, PATH, "stable")
        found = await asked.client.digest_of(elsewhere, known_as(), deadline=soon())
        assert isinstance(found, Known)
        assert found.digest == digest
        assert not any(one.done() for one in stuck)
        fake.faults.clear()
        fake.release.set()
        assert [type(one) for one in await asyncio.gather(*stuck)] == [Known, Known]


async def test_what_is_kept_of_tokens_and_challenges_is_bounded_by_its_size() -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        client = asked.client
        for number in range(2_000):
            need = NeedToken("https://auth.example.com/token", "s", f"repository:app/{number}:pull", READER)
            client._keep(need, Token(Secret("t" * MAX_TOKEN), 300.0))
            client._challenges["registry.example.com", str(number)] = Challenge("bearer", "r" * 4096, "s" * 4096)
        assert sum(len(kept.token.text.reveal()) for kept in client._tokens.values()) <= TOKENS
        assert sum(len(one.realm) + len(one.service) for one in client._challenges.values()) <= CHALLENGES
