"""Redirects at the door, against real sockets on loopback: which are followed, and that no password goes along."""

from collections.abc import Callable
from typing import Final

import pytest

from tests.doors import soon
from tests.support.asking import READER, asking
from tests.support.door import door, manifest, plain
from tests.support.faults import redirected, with_status
from tests.support.registry import CANARY, PATH, TrapSocket, fake_registry, trap_socket
from webhook.core.ask import Failed
from webhook.core.challenge import Response, Trouble
from webhook.core.credential import ANONYMOUS
from webhook.core.hosts import Registry
from webhook.core.reason import Reason

ODD: Final = Trouble(Reason.ADDRESS_REFUSED, "its host is a number that is no plain address; write it in full")
LINK_LOCAL: Final = Trouble(Reason.ADDRESS_REFUSED, "it leads to a link-local address, which is never contacted")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("is_same", [True, False], ids=["same host", "other host"])
async def test_a_redirect_is_followed_without_the_password(status: int, is_same: bool) -> None:
    async with fake_registry() as fake, fake_registry() as other:
        to = fake if is_same else other
        digest = to.push("elsewhere")
        fake.faults["manifest"] = lambda asked, answer: (
            answer
            if asked.path.endswith("/elsewhere")
            else redirected(f"http://{to.host}/v2/team/app/manifests/elsewhere", status)(asked, answer)
        )
        async with door(plain(fake), plain(other)) as outbound:
            told = await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
        assert isinstance(told, Response)
        assert told.header("docker-content-digest") == digest
        assert to.asked[-1].header("Authorization") is None
        assert to.asked[-1].header("Accept") == fake.asked[0].header("Accept")
        assert len(fake.asked) + len(other.asked) == 2


NOT_A_URL: Final = Trouble(Reason.BAD_REGISTRY, "it redirects to something that is no plain URL")
TO_HTTP: Final = Trouble(Reason.BAD_REGISTRY, "it redirects to plain http, which is not followed")


def not_listed(host: str) -> Trouble:
    advice = f"which is not listed; to allow it add registries.{host}: {{}}"
    return Trouble(Reason.HOST_NOT_LISTED, f"it redirects to {host}, {advice}")


NEVER: Final = Trouble(Reason.HOST_NOT_LISTED, "it redirects to 169.254.169.254, which is never contacted")
Where = Callable[[TrapSocket], str]
REDIRECTS: list[tuple[str, Where, Callable[[TrapSocket], Trouble]]] = [
    ("unlisted", lambda trap: f"http://{trap.host}/x", lambda trap: not_listed(trap.host)),
    ("unlisted, TLS", lambda trap: f"https://{trap.host}/x", lambda trap: not_listed(trap.host)),
    ("relative to the scheme", lambda trap: f"//{trap.host}/x", lambda trap: not_listed(trap.host)),
    ("another port", lambda _: "http://127.0.0.1:1/x", lambda _: not_listed("127.0.0.1:1")),
    ("metadata", lambda _: "http://169.254.169.254/latest", lambda _: NEVER),
    ("metadata, listed", lambda _: "http://169.254.169.254:81/x", lambda _: LINK_LOCAL),
    ("an odd number, listed", lambda trap: f"http://127.1:{trap.port}/x", lambda _: ODD),
    ("plain http where TLS is wanted", lambda trap: f"http://localhost:{trap.port}/x", lambda _: TO_HTTP),
    ("with a user", lambda trap: f"http://{CANARY}:{CANARY}@{trap.host}/x", lambda _: NOT_A_URL),
    ("a file", lambda _: "file:///etc/passwd", lambda _: NOT_A_URL),
    ("another scheme", lambda trap: f"{CANARY}://{trap.host}/x", lambda _: NOT_A_URL),
    ("a bracket that does not close", lambda _: "http://[::1/x", lambda _: NOT_A_URL),
    ("a port that does not exist", lambda _: "http://127.0.0.1:99999/x", lambda _: NOT_A_URL),
    ("blanks", lambda trap: f"http://{trap.host}/{CANARY} {CANARY}", lambda _: NOT_A_URL),
    ("letters beyond ASCII", lambda trap: f"http://{trap.host}/\xff", lambda _: NOT_A_URL),
    ("a backslash", lambda trap: f"http:\\\\{trap.host}\\x", lambda _: NOT_A_URL),
    ("too long", lambda trap: f"http://{trap.host}/{'x' * 5000}", lambda _: NOT_A_URL),
    ("nowhere", lambda _: "", lambda _: NOT_A_URL),
]


@pytest.mark.parametrize(("where", "expected"), [row[1:] for row in REDIRECTS], ids=[row[0] for row in REDIRECTS])
async def test_other_redirects_are_not_followed(where: Where, expected: Callable[[TrapSocket], Trouble]) -> None:
    async with fake_registry() as fake:
        with trap_socket() as trap:
            fake.faults["manifest"] = redirected(where(trap))
            near = [Registry(f"127.1:{trap.port}", plain_http=True, allow_loopback=True)]
            near += [Registry("169.254.169.254:81", plain_http=True)]
            near += [Registry(f"localhost:{trap.port}", allow_loopback=True)]
            async with door(plain(fake), *near) as outbound:
                told = await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
            assert told == expected(trap)
            assert (len(fake.asked), trap.connections) == (1, 0)


@pytest.mark.parametrize("login", ["basic", "bearer"])
async def test_a_login_that_another_host_wants_is_not_taken_for_the_registrys_own(login: str) -> None:
    async with fake_registry() as fake, fake_registry() as other:
        other.push()
        other.login = login
        fake.faults["manifest"] = redirected(lambda asked: f"http://{other.host}{asked.target}")
        async with asking(fake, [plain(fake), plain(other)]) as asked:
            found = await asked.digest(READER, ANONYMOUS)
        detail = f"it redirects to {other.host}, which wants a login; none goes along"
        assert found == Failed(Reason.LOGIN_REFUSED, f"{fake.host}/{PATH}", detail)
        assert [one.header("Authorization") for one in (*fake.asked, *other.asked)] == [None, None]


async def test_a_redirect_without_a_place_or_with_two_is_not_followed() -> None:
    async with fake_registry() as fake, door(plain(fake)) as outbound:
        for places in ([], ["/a", "/b"]):
            fake.asked.clear()
            fake.faults["manifest"] = with_status(307, *(("Location", place) for place in places))
            assert await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon()) == NOT_A_URL
            assert len(fake.asked) == 1


async def test_a_loop_of_redirects_ends() -> None:
    async with fake_registry() as fake:
        fake.faults["manifest"] = redirected(lambda asked: asked.target)
        async with door(plain(fake)) as outbound:
            told = await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
        assert told == Trouble(Reason.BAD_REGISTRY, "it redirects more than 3 times")
        assert len(fake.asked) == 4


@pytest.mark.parametrize("place", ["/token2", "http://{trap}/token", "https://169.254.169.254/"])
async def test_a_token_server_that_redirects_is_never_followed(place: str) -> None:
    async with fake_registry() as fake:
        with trap_socket() as trap:
            fake.faults["manifest"] = redirected(place.format(trap=trap.host))
            async with door(plain(fake), Registry(trap.host, plain_http=True, allow_loopback=True)) as outbound:
                request = manifest(fake.host, purpose="token")
                told = await outbound.send(request, registry=plain(fake), deadline=soon())
            assert told == Trouble(Reason.LOGIN_REFUSED, "its token server redirects, which is never followed")
            assert (len(fake.asked), trap.connections) == (1, 0)
