"""The door to registries, against real sockets on loopback: what is dialled, how much is read, and what is told."""

import asyncio
from base64 import b64encode
from typing import Any, Final

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import webhook.outbound as outbound_module
from tests.doors import soon
from tests.support import wire
from tests.support.canary import marked
from tests.support.door import LIMIT, LOGIN, NOON, Names, door, manifest, plain
from tests.support.faults import bombed, sent_as, together, with_body, with_header, with_status
from tests.support.registry import CANARY, FakeRegistry, fake_registry
from webhook.core.challenge import Response, Trouble
from webhook.core.hosts import Registries, Registry
from webhook.core.manifest import ACCEPT
from webhook.core.reason import Reason
from webhook.core.secret import Secret
from webhook.outbound import WARNINGS, Outbound

HUNTER: Final = marked("hunter2")
SOCKET_BUFFERS: Final = 8 * 1024 * 1024
"""What the kernel takes from one who sends before anybody reads."""


async def answer_of(fake: FakeRegistry, method: str = "GET", *, seconds: float = 5.0) -> Response | Trouble:
    async with door(plain(fake)) as outbound:
        return await outbound.send(manifest(fake.host, method), registry=plain(fake), deadline=soon(seconds))


def broken(detail: str) -> Trouble:
    return Trouble(Reason.UNAVAILABLE, detail)


def bad(detail: str) -> Trouble:
    return Trouble(Reason.BAD_REGISTRY, detail)


LATE: Final = Trouble(Reason.OUT_OF_TIME, "no answer in time")
CLOSED: Final = broken("it closed the connection without an answer")
BROKE: Final = broken("the connection broke")
CUT: Final = broken("the connection broke in the middle of the answer")
NOT_HTTP: Final = bad("it answers something that is not HTTP")

WIRES: list[tuple[wire.Wire, str, Trouble, int]] = [
    # The client library dials once more by itself where a connection ends before an answer begins.
    (wire.closed, "HEAD", CLOSED, 2),
    (wire.closed, "GET", CLOSED, 2),
    (wire.half, "HEAD", CLOSED, 2),
    (wire.half, "GET", CUT, 1),
    (wire.reset, "HEAD", BROKE, 2),
    (wire.reset, "GET", BROKE, 2),
    (wire.reset_in_body, "GET", CUT, 1),
    (wire.silence, "HEAD", LATE, 1),
    (wire.silence, "GET", LATE, 1),
    (wire.silence_in_body, "GET", LATE, 1),
    (wire.endless_patience, "HEAD", LATE, 1),
    (wire.endless_body, "GET", bad(f"its answer has more than {LIMIT} bytes"), 1),
    (wire.endless_headers, "HEAD", NOT_HTTP, 1),
    (wire.endless_headers, "GET", NOT_HTTP, 1),
    (wire.endless_header, "GET", NOT_HTTP, 1),
    (wire.other_protocol, "HEAD", NOT_HTTP, 1),
]


@pytest.mark.parametrize(
    ("broken_wire", "method", "expected", "requests"), WIRES, ids=[f"{row[0].__name__} {row[1]}" for row in WIRES]
)
async def test_what_breaks_on_the_wire_is_told_in_our_words(
    broken_wire: wire.Wire, method: str, expected: Trouble, requests: int
) -> None:
    async with fake_registry() as fake:
        fake.push()
        fake.faults["manifest"] = sent_as(broken_wire)
        told = await answer_of(fake, method, seconds=0.3 if expected is LATE else 5.0)
        assert told == expected
        assert len(fake.asked) == requests
        assert fake.most_taken <= LIMIT + SOCKET_BUFFERS


async def test_an_answer_is_its_status_its_body_and_the_headers_that_count() -> None:
    async with fake_registry() as fake:
        digest = fake.push()
        document = fake.documents["team/app", "stable"]
        fake.faults["manifest"] = with_header("Set-Cookie", f"a={CANARY}")
        told = await answer_of(fake)
        assert told == Response(
            200,
            {
                "content-type": (document.media_type,),
                "docker-content-digest": (digest,),
                "content-length": (str(len(document.body)),),
            },
            document.body,
        )
        (asked,) = fake.asked
        assert {name: asked.header(name) for name in ("Accept", "Accept-Encoding", "User-Agent", "Authorization")} == {
            "Accept": ACCEPT,
            "Accept-Encoding": "identity",
            "User-Agent": "moorage",
            "Authorization": LOGIN,
        }


async def test_a_header_that_came_twice_has_two_values() -> None:
    async with fake_registry() as fake:
        fake.push()
        fake.faults["manifest"] = with_header("Docker-Content-Digest", "one", "two")
        told = await answer_of(fake, "HEAD")
        assert isinstance(told, Response)
        assert told.headers["docker-content-digest"] == ("one", "two")
        assert told.header("docker-content-digest") is None


async def test_what_is_compressed_is_not_unpacked() -> None:
    async with fake_registry() as fake:
        fake.push()
        fake.faults["manifest"] = bombed
        assert await answer_of(fake) == bad("it compresses its answer although that was not asked for")


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 418, 500, 503, 599])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_the_body_of_an_error_is_dropped_whatever_it_is(status: int, method: str) -> None:
    async with fake_registry() as fake:
        fake.faults["manifest"] = with_status(status, ("Content-Encoding", "gzip"), body="" if status < 400 else CANARY)
        told = await answer_of(fake, method)
        assert isinstance(told, Response)
        assert (told.status, told.body) == (status, b"")


@pytest.mark.parametrize("status", [401, 404, 429, 503])
async def test_the_body_of_an_error_may_have_no_end(status: int) -> None:
    async with fake_registry() as fake:
        fake.faults["manifest"] = together(with_status(status), sent_as(wire.endless_body))
        told = await answer_of(fake)
        found = told.status if isinstance(told, Response) else told
        assert found == (Trouble(Reason.THROTTLED, "it asks to wait (429)") if status == 429 else status)
        assert fake.most_taken <= SOCKET_BUFFERS


async def test_short_errors_leave_the_connection_to_the_next_request() -> None:
    async with fake_registry() as fake, door(plain(fake)) as outbound:
        ports = set()
        for _ in range(3):
            await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
            ports.add(fake.asked[-1].port)
        assert len(fake.asked) == 3
        assert len(ports) == 1


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ([], None),
        ([""], None),
        (["0"], 0.0),
        (["30"], 30.0),
        (["030"], 30.0),
        (["9" * 400], 999_999_999_999.0),
        (["Fri, 15 Jan 2027 08:02:00 GMT"], 120.0),
        (["Fri, 15 Jan 2027 07:58:00 GMT"], 0.0),
        (["Friday, 15-Jan-27 08:02:00 GMT"], 120.0),
        (["Fri, 31 Dec 9999 23:59:59 GMT"], 251_602_300_799.0),
        (["30", "30"], 30.0),
        (["30", "60"], None),
        (["-30"], None),
        (["1.5"], None),
        (["30 s"], None),
        (["soon"], None),
        (["Fri, 99 Jan 2027 08:02:00 GMT"], None),
        (["Fri, 15 Jan 2027 08:02:00 +99999999999"], None),
        (["\u00b2"], None),
        (["\u00bd"], None),
    ],
)
async def test_tells_how_long_a_registry_asks_to_wait(said: list[str], seconds: float | None) -> None:
    async with fake_registry() as fake:
        fake.faults["manifest"] = with_status(429, *(("Retry-After", one) for one in said))
        assert await answer_of(fake) == Trouble(Reason.THROTTLED, "it asks to wait (429)", seconds)
        assert len(fake.asked) == 1


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            ["Fri", ",", " ", "15", "Jan", "2027", "08:00:00", "GMT", "-0000", "+9999", ":", "0", "a", "99"]
        ),
        max_size=14,
    ).map("".join)
)
def test_whatever_stands_in_retry_after_it_is_a_time_or_none(said: str) -> None:
    seconds = outbound_module._seconds(said, NOON)
    assert seconds is None or 0 <= seconds < float("inf")


async def test_no_cookie_travels_from_one_answer_to_the_next_request() -> None:
    """The registry has a name here: jars keep no cookies of bare addresses, so that with one nothing would be seen."""
    async with fake_registry() as fake:
        fake.push()
        named = Registry(f"registry.example.com:{fake.host.rpartition(':')[2]}", plain_http=True, allow_loopback=True)
        fake.faults["manifest"] = with_header("Set-Cookie", "session=of-one-tenant; Path=/", "b=c")
        async with door(named, resolver=Names({"registry.example.com": ["127.0.0.1"]})) as outbound:
            for _ in range(3):
                told = await outbound.send(manifest(named.host), registry=named, deadline=soon())
                assert isinstance(told, Response)
        assert [asked.header("Cookie") for asked in fake.asked] == [None, None, None]


async def test_every_request_is_told_to_whoever_observes() -> None:
    seen: list[tuple[str, str, str]] = []
    async with fake_registry() as fake:
        fake.push()
        outbound = Outbound(
            Registries([plain(fake)]), observe=lambda host, method, code, _seconds: seen.append((host, method, code))
        )
        for fault in (with_status(404), with_status(429), sent_as(wire.reset), with_body(b"x" * (LIMIT + 1))):
            fake.faults["manifest"] = fault
            await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
        await outbound.aclose()
        assert seen == [(fake.host, "GET", code) for code in ("404", "429", "Unavailable", "BadRegistry")]


WARNING: Final = ("Warning", '299 - "this token ends soon"')


async def test_what_a_registry_wants_people_to_read_is_told_once_and_changes_nothing() -> None:
    told: list[tuple[str, str]] = []
    async with fake_registry() as fake:
        digest = fake.push()
        async with door(plain(fake), warn=lambda *one: told.append(one)) as outbound:
            for fault in (with_header(*WARNING), with_header(*WARNING), with_status(404, WARNING), lambda _, one: one):
                fake.faults["manifest"] = fault
                answer = await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
        assert told == [(fake.host, "this token ends soon")]
        assert isinstance(answer, Response)
        assert answer.header("docker-content-digest") == digest


async def test_a_registry_that_varies_its_warnings_fills_neither_memory_nor_the_log() -> None:
    told: list[str] = []
    async with fake_registry() as fake, door(plain(fake), warn=lambda _, text: told.append(text)) as outbound:
        for number in range(2 * WARNINGS):
            fake.faults["manifest"] = with_header("Warning", f'299 - "{number}"')
            await outbound.send(manifest(fake.host, "HEAD"), registry=plain(fake), deadline=soon())
    assert told == [str(number) for number in range(WARNINGS)]


@pytest.mark.parametrize(
    "authorization",
    [f"Basic {b64encode(f'user:{HUNTER}'.encode()).decode()}", f"Bearer {HUNTER}"],
    ids=["basic", "bearer"],
)
async def test_a_warning_that_repeats_our_login_is_told_to_nobody(authorization: str) -> None:
    told: list[str] = []
    async with fake_registry() as fake:
        said = (f"you sent {HUNTER}", f"you sent {authorization}", "you sent something")
        fake.faults["manifest"] = with_header("Warning", *(f'299 - "{text}"' for text in said))
        request = replace(manifest(fake.host), authorization=Secret(authorization))
        async with door(plain(fake), warn=lambda _, text: told.append(text)) as outbound:
            await outbound.send(request, registry=plain(fake), deadline=soon())
    assert told == ["you sent something"]


LONG: Final = "".join(f"{number:05}" for number in range(1000))
"""A token that is longer than what is read of a warning, and in which nothing comes twice."""


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"authorization": Secret(f"Bearer {LONG}")}, LONG),
        ({"authorization": Secret(f"Bearer {LONG}")}, f"{LONG[:40]}..."),
        ({"authorization": Secret(f"Basic {b64encode('user:gehört'.encode()).decode()}")}, "gehört"),
        ({"method": "POST", "form": (("refresh_token", Secret(HUNTER)),)}, HUNTER),
        ({"method": "POST", "form": (("access_token", Secret(LONG)),)}, LONG),
    ],
    ids=["long", "its beginning", "letters that are not shown", "identity token", "token of a cloud"],
)
async def test_nor_is_one_that_repeats_a_part_of_what_was_sent(sent: dict[str, Any], said: str) -> None:
    told: list[str] = []
    async with fake_registry() as fake:
        lines = [f'299 - "you sent {text}"' for text in (said[:2000], "something for moorage")]
        fake.faults["manifest"] = with_header("Warning", *[line.encode().decode("latin-1") for line in lines])
        form = sent.get("form", ())
        request = replace(manifest(fake.host), **{**sent, "form": (*form, ("client_id", Secret("moorage")))})
        async with door(plain(fake), warn=lambda _, text: told.append(text)) as outbound:
            await outbound.send(request, registry=plain(fake), deadline=soon())
    assert told == ["you sent something for moorage"]


async def test_one_that_is_cancelled_leaves_nothing_behind() -> None:
    async with fake_registry() as fake, door(plain(fake)) as outbound:
        fake.faults["manifest"] = sent_as(wire.silence)
        asking = asyncio.create_task(outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon()))
        await fake.arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        fake.faults.clear()
        told = await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
        assert isinstance(told, Response)


def told_of(error: Exception) -> Trouble:
    return outbound_module._trouble(error, [], manifest("registry.example.com"), Registry("registry.example.com"))


def kinds_of(error: type[Exception]) -> set[type[Exception]]:
    return {error} | {kind for child in error.__subclasses__() for kind in kinds_of(child)}


@pytest.mark.parametrize(
    "kind", sorted(kinds_of(aiohttp.ClientError) - {aiohttp.ClientError}, key=str), ids=lambda kind: kind.__name__
)
def test_every_error_of_the_client_library_has_words_of_ours(kind: type[aiohttp.ClientError]) -> None:
    error = kind.__new__(kind)
    error.args = (CANARY,)
    wrapped = httpx.ConnectTimeout(CANARY)
    wrapped.__cause__ = error
    rows = [(reason, detail) for row, reason, detail in outbound_module._TROUBLES if issubclass(kind, row)]
    for raised in (error, wrapped):
        told = told_of(raised)
        assert (told.reason, told.detail) == rows[0]


@pytest.mark.parametrize(
    "error", [httpx.InvalidURL(CANARY), ValueError(CANARY), OSError(CANARY), httpx.ReadError(CANARY)]
)
def test_and_so_have_the_others_that_may_come(error: Exception) -> None:
    told = told_of(error)
    assert CANARY not in told.detail
