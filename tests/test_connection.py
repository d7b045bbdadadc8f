"""The bounds of a connection, over raw TLS sockets: how slowly, how much, how long; and who leaves or breaks."""

import asyncio
import contextlib
import json
import socket
import sys

import pytest

from tests.support.serving import Connection, Running, post, review, serving
from webhook import listening
from webhook.core.admission import MAX_BODY
from webhook.core.secret import Secret
from webhook.desk import PATIENCE

BOTH = pytest.mark.parametrize("lane", [True, False], ids=["lane", "asgi"])
ELSEWHERE = pytest.mark.skipif(sys.platform != "linux", reason="on other systems loopback is one address")
HEAD = b"POST /mutate HTTP/1.1\r\nHost: l\r\n"


async def exchange(running: Running, data: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = await running.connect()
    await connection.send(data)
    async with asyncio.timeout(PATIENCE):
        answer = await connection.answer()
    connection.close()
    return answer


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    """A review's request in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n" + trailers + b"\r\n"


def sized(size: int) -> bytes:
    """A review of exactly so many bytes."""
    return review("a", padding=size - len(review("a")))


# How a request may look

WHOLE = review("a")
FINE = [
    ("chunks of one byte", chunked(*[WHOLE[at : at + 1] for at in range(len(WHOLE))])),
    ("chunks with extensions", HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x;name=value\r\n%b\r\n0;x\r\n\r\n" % (len(WHOLE), WHOLE)),
    ("trailers", chunked(WHOLE, trailers=b"X-Checksum: 1\r\n")),
    ("a header in other letters", post(WHOLE).replace(b"Content-Length", b"cONTENT-lENGTH")),
    ("an empty line before it", b"\r\n" + post(WHOLE)),
    ("an address with its host", post(WHOLE, path="https://localhost/mutate")),
    ("a letter of the path escaped", post(WHOLE, path="/%6dutate")),
    ("a query", post(WHOLE, path="/mutate?timeout=3s&x=%00&&=")),
    ("two questions", post(WHOLE, path="/mutate?a?b")),
    ("HTTP/1.0", post(WHOLE).replace(b"HTTP/1.1", b"HTTP/1.0")),
    ("60 KB of headers", post(WHOLE, *[f"X-{number}: {'x' * 1000}" for number in range(58)])),
]  # fmt: skip


@BOTH
async def test_what_http_allows_is_answered(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        answers = {name: await exchange(running, data) for name, data in FINE}
    assert {name: (status, body) for name, (status, _, body) in answers.items()} == {
        name: (200, b'{"uid": "a", "more": ""}') for name, _ in FINE
    }


WRONG = [
    ("two lengths", HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("length and chunks", HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("a negative length", HEAD + b"Content-Length: -1\r\n\r\n", 400),
    ("a length beyond numbers", HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    ("a chunk that is no number", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ("a header without a colon", HEAD + b"nonsense\r\n\r\n", 400),
    ("a path that is no ASCII", post(b"", path="/").replace(b"POST / ", b"POST /\xff ", 1), 400),
    ("a query that is no ASCII", post(WHOLE).replace(b"/mutate ", b"/mutate?timeout=\xe9 "), 400),
    ("no address", post(b"", path="nonsense"), 400),
    ("a host and no path", post(WHOLE, path="http://localhost"), 400),
    ("a port that does not exist", post(WHOLE, path="http://localhost:99999/mutate"), 400),
    ("two users", post(WHOLE, path="http://a@b@localhost/mutate"), 400),
    ("a way to somewhere else", post(b"", path="localhost:443", method="CONNECT"), 400),
    ("a wish for another protocol", post(WHOLE, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("a slash at the end", post(WHOLE, path="/mutate/"), 404),
    ("two slashes", post(WHOLE, path="//mutate"), 404),
    ("a slash that is escaped", post(WHOLE, path="/mutate%2f"), 404),
    ("the root", post(WHOLE, path="/"), 404),
    ("what a browser asks for", post(b"", path="/docs", method="GET"), 404),
    ("DELETE", post(b"", method="DELETE"), 405),
    ("OPTIONS", post(b"", method="OPTIONS"), 405),
]  # fmt: skip


@BOTH
async def test_what_is_wrong_is_told_so_and_nothing_is_decided(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        answers = {name: (await exchange(running, data))[0] for name, data, _ in WRONG}
        assert answers == {name: status for name, _, status in WRONG}
        assert running.engine.now == []


@BOTH
async def test_the_right_method_is_named_and_an_answer_to_head_has_no_body(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(post(b"", "Connection: close", method="HEAD"))
        head, _, body = (await connection.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nallow: POST\r\n" in head
        assert body == b""


@BOTH
async def test_a_client_of_http_1_0_that_wants_no_more_is_closed(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(post(WHOLE).replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = (await connection.rest()).partition(b"\r\n\r\n")
        assert json.loads(body)["uid"] == "a"
        assert b"connection: close" in head


@BOTH
async def test_a_connection_that_shall_speak_another_protocol_is_closed(*, lane: bool) -> None:
    async with serving(lane=lane, patience=0.05) as running:
        connection = await running.connect()
        await connection.send(
            post(b"", "Connection: Upgrade", "Upgrade: websocket", path="/", method="GET") + b"\x81\x05"
        )
        assert (await connection.answer())[0] == 404
        assert await connection.is_closed()


# How large

LARGEST = sized(MAX_BODY)
CAP = [
    ("by length", post(LARGEST), 200),
    ("by length, one more", post(sized(MAX_BODY + 1)), 413),
    ("in chunks", chunked(LARGEST), 200),
    ("in chunks, one more", chunked(sized(MAX_BODY + 1)), 413),
    ("in many chunks", chunked(*[LARGEST[at : at + 4096] for at in range(0, MAX_BODY, 4096)]), 200),
]


@BOTH
async def test_the_cap_is_met_to_the_byte_by_one_who_reads_only_when_all_is_sent(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        answers = {name: (await exchange(running, data))[0] for name, data, _ in CAP}
        assert answers == {name: status for name, _, status in CAP}
        assert set(running.engine.sizes) == {MAX_BODY}


@BOTH
async def test_one_who_is_refused_while_he_sends_is_heard_out(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(HEAD + b"Content-Length: %d\r\n\r\n" % (4 * MAX_BODY))
        assert (await connection.answer())[0] == 413
        for _ in range(16):
            await connection.send(b"x" * (MAX_BODY // 4))
        assert not connection.reader.at_eof()
        connection.close()


@BOTH
async def test_one_who_asks_first_is_not_told_to_send_what_is_too_large(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        assert (await connection.answer())[0] == 413
        connection.close()


@BOTH
async def test_headers_that_come_all_at_once_are_bounded_too(*, lane: bool) -> None:
    long = [f"X-{number}: {'x' * 1000}" for number in range(100)]
    async with serving(lane=lane) as running:
        alone, behind = await running.connect(), await running.connect()
        await alone.send(post(WHOLE, *long))
        assert (await alone.answer())[0] == 431
        await behind.send(post(sized(40_000)) + post(WHOLE, *long))
        assert (await behind.answer())[0] == 200
        assert (await behind.rest())[:12] in {b"HTTP/1.1 431", b""}
        assert running.engine.now == ["a"]
        alone.close()
        behind.close()


@BOTH
async def test_a_body_in_the_same_piece_is_not_taken_for_headers(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(post(sized(200_000)) * 3)
        assert [(await connection.answer())[0] for _ in range(3)] == [200, 200, 200]
        connection.close()


ENDLESS = [
    ("a line", b"POST /mutate?", b"x" * 65536),
    ("a header", HEAD + b"X-Long: ", b"x" * 65536),
    ("headers", HEAD, b"X-Many: x\r\n" * 5000),
    ("an extension of a chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x" * 65536),
    ("trailers", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-Many: x\r\n" * 5000),
]


@BOTH
async def test_what_stands_around_a_body_does_not_go_on_for_ever(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        answers = {}
        for name, start, more in ENDLESS:
            connection = await running.connect()
            await connection.send(start)
            for _ in range(16):
                await connection.send(more)
            answers[name] = (await connection.answer())[0]
            connection.close()
        assert answers == {name: 431 for name, _, _ in ENDLESS}
        assert running.engine.now == []


@BOTH
async def test_large_bodies_that_arrive_at_once_are_bounded_together_and_give_their_room_back(*, lane: bool) -> None:
    large = post(sized(300_000))
    async with serving(lane=lane, gathered=500_000) as running:
        one, other, small = [await running.connect() for _ in range(3)]
        await one.send(large[:280_000])
        # What is small needs no room, and its answer shows that the first one has arrived so far.
        await small.send(post(sized(50_000)))
        assert (await small.answer())[0] == 200
        await other.send(large)
        status, headers, _ = await other.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert running.count("moorage_reviews_shed_total") == 1
        await one.send(large[280_000:])
        assert (await one.answer())[0] == 200
        # One who leaves gives his room back too, as soon as that is seen.
        leaving = await running.connect()
        await leaving.send(large[:280_000])
        while not running.desk.gathered:  # noqa: ASYNC110 - the count is the event
            await asyncio.sleep(0)
        leaving.writer.transport.abort()
        while running.desk.gathered:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        for connection in (one, other, small):
            connection.close()


@BOTH
@ELSEWHERE
async def test_one_who_took_all_room_for_large_bodies_gives_way_to_one_from_elsewhere(*, lane: bool) -> None:
    large = post(sized(1_000_000))
    async with serving(lane=lane, gathered=2_000_000) as running:
        many = [await running.connect("127.0.0.66") for _ in range(2)]
        for number, connection in enumerate(many, 1):
            await connection.send(large[:900_000])
            while running.desk.gathered < number * 800_000:  # noqa: ASYNC110 - the count is the event
                await asyncio.sleep(0)
        few = await running.connect()
        await few.send(large)
        assert (await few.answer())[0] == 200
        status, headers, _ = await many[1].answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert running.count("moorage_reviews_shed_total") == 1
        await many[0].send(large[900_000:])
        assert (await many[0].answer())[0] == 200
        for connection in (*many, few):
            connection.close()


# How slowly

SLOW = [
    ("half a line", b"POST /mut"),
    ("half a header", HEAD + b"X-Half: "),
    ("no body", HEAD + b"Content-Length: 10\r\n\r\n"),
    ("half a body", post(WHOLE)[:-10]),
    ("half a chunk", chunked(WHOLE)[:-30]),
    ("no end of the chunks", chunked(WHOLE)[:-5]),
    ("nobody who continues", HEAD + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"),
]


@BOTH
async def test_a_request_that_does_not_arrive_in_time_is_told_so(*, lane: bool) -> None:
    async def answered(data: bytes) -> bytes:
        connection = await running.connect()
        await connection.send(data)
        return (await connection.rest()).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")

    async with serving(lane=lane, patience=0.2) as running:
        answers = await asyncio.gather(*(answered(data) for _, data in SLOW))
        assert {name: answer[:13] for (name, _), answer in zip(SLOW, answers, strict=True)} == {
            name: b"HTTP/1.1 408 " for name, _ in SLOW
        }
        assert all(b"connection: close" in answer for answer in answers)
        assert running.engine.now == []


@BOTH
async def test_an_idle_connection_ends_by_itself_but_not_before_the_api_server_gives_it_up(
    monkeypatch: pytest.MonkeyPatch, *, lane: bool
) -> None:
    # client-go keeps an idle one for 90 s; a review that crosses our close is lost.
    assert listening.KEEP_ALIVE > 90
    monkeypatch.setattr(listening, "KEEP_ALIVE", 0)
    async with serving(lane=lane, patience=0.2) as running:
        connection = await running.connect()
        await connection.send(post(WHOLE))
        assert (await connection.answer())[0] == 200
        async with asyncio.timeout(30):
            assert await connection.is_closed()


async def test_it_has_ten_seconds() -> None:
    async with serving() as running:
        assert running.desk.patience == PATIENCE == 10.0


@BOTH
async def test_one_who_waits_for_an_answer_is_not_called_slow_for_what_stands_behind(*, lane: bool) -> None:
    async with serving(lane=lane, patience=0.05) as running:
        connections, other = [await running.connect() for _ in range(2)], await running.connect()
        for connection, part in zip(connections, (HEAD, post(review("behind"))[:-5]), strict=True):
            await connection.send(post(review("wait")) + part)
        await other.send(HEAD)
        # Longer than anybody may take to send: the other one's time is over.
        assert (await other.answer())[0] == 408
        running.engine.release.set()
        for connection in connections:
            assert json.loads((await connection.answer())[2])["uid"] == "wait"
            assert (await connection.rest()).startswith(b"HTTP/1.1 408 ")
        other.close()


@BOTH
async def test_a_deadline_counts_from_the_first_byte(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        data = post(review("wait"), path="/mutate?timeout=2s")
        await connection.send(data[:-10])
        await exchange(running, post(WHOLE))
        arrived = asyncio.get_running_loop().time()
        await connection.send(data[-10:])
        await running.engine.waiting.wait()
        assert running.engine.deadlines[0] < arrived + 1.5
        running.engine.release.set()
        assert (await connection.answer())[0] == 200
        connection.close()


@BOTH
async def test_one_who_never_reads_his_answers_is_asked_for_no_more_and_cut_off(*, lane: bool) -> None:
    async with serving(lane=lane, patience=0.2) as running:
        connection = await running.connect()
        connection.reader._transport.pause_reading()  # type: ignore[attr-defined]  # a caller who does not read
        sent = 0
        try:
            async with asyncio.timeout(20):
                while True:
                    await connection.send(post(review(f"long{sent}", padding=50_000)))
                    sent += 1
        except ConnectionError:
            pass
        # A hundred answers of 100 KB are more than what a kernel and two transports hold.
        assert len(running.engine.now) < 200
        assert (await exchange(running, post(WHOLE)))[0] == 200


# Who leaves


async def test_what_nobody_waits_for_any_more_gives_its_place_to_the_next() -> None:
    for lane in (True, False):
        async with serving(lane=lane, in_flight=1) as running:
            leaving = await running.connect()
            await leaving.send(post(review("wait-1")))
            await running.engine.waiting.wait()
            leaving.close()
            await running.engine.gone.wait()
            running.engine.waiting.clear()
            next_one = await running.connect()
            await next_one.send(post(review("wait-2")))
            await running.engine.waiting.wait()
            running.engine.release.set()
            assert json.loads((await next_one.answer())[2])["uid"] == "wait-2"
            next_one.close()


@BOTH
async def test_one_who_leaves_with_more_on_the_way_makes_no_noise(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        for behind in (post(WHOLE), post(WHOLE)[:-5], post(b"", method="GET"), b"nonsense\r\n\r\n"):
            leaving = await running.connect()
            running.engine.waiting.clear()
            await leaving.send(post(review("wait")) + behind)
            await running.engine.waiting.wait()
            leaving.writer.transport.abort()
        await exchange(running, post(review("other")))
        running.engine.release.set()
        assert (await exchange(running, post(review("another"))))[0] == 200
        assert running.lines("internal error") == []


@BOTH
async def test_a_connection_that_is_lost_in_the_middle_of_a_body_decides_nothing(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        for data in (post(WHOLE)[:-1], chunked(WHOLE)[:-1], chunked(WHOLE)[:-8], HEAD):
            for leave in (asyncio.StreamWriter.close, lambda writer: writer.transport.abort()):
                connection = await running.connect()
                await connection.send(data)
                await exchange(running, post(review("other")))
                leave(connection.writer)
        await exchange(running, post(review("other")))
        assert set(running.engine.now) == {"other"}


# How many


@BOTH
async def test_the_connection_that_was_idle_for_longest_makes_room_for_a_new_one(*, lane: bool) -> None:
    async with serving(lane=lane, crowd=3) as running:
        first, busy, last = [await running.connect() for _ in range(3)]
        clock = asyncio.get_running_loop().time
        for connection in (last, first):
            await connection.send(post(WHOLE))
            assert (await connection.answer())[0] == 200
            now = clock()
            while clock() == now:  # noqa: ASYNC110 - the loop's clock counts milliseconds
                await asyncio.sleep(0)
        await busy.send(post(review("wait")))
        await running.engine.waiting.wait()
        new = await running.connect()
        assert await last.is_closed()
        for connection in (new, first):
            await connection.send(post(WHOLE))
            assert (await connection.answer())[0] == 200
        running.engine.release.set()
        assert (await busy.answer())[0] == 200
        for connection in (first, busy, new):
            connection.close()


@BOTH
async def test_a_new_connection_takes_nothing_from_those_who_wait(*, lane: bool) -> None:
    async with serving(lane=lane, crowd=2) as running:
        waiting = [await running.connect() for _ in range(2)]
        for connection in waiting:
            running.engine.waiting.clear()
            await connection.send(post(review("wait")))
            await running.engine.waiting.wait()
        assert await is_turned_away(running)
        running.engine.release.set()
        for connection in waiting:
            assert (await connection.answer())[0] == 200
            connection.close()


async def is_turned_away(running: Running, source: str = "127.0.0.1") -> bool:
    """Whether one who comes now is let go before he is heard."""
    try:
        return await (await running.connect(source)).is_closed()
    except OSError:
        return True


@BOTH
@ELSEWHERE
async def test_one_who_took_all_connections_keeps_nobody_from_elsewhere_out(*, lane: bool) -> None:
    async with serving(lane=lane, crowd=4) as running:
        many = [await running.connect("127.0.0.66") for _ in range(4)]
        for connection in many:
            await connection.send(post(WHOLE))
            assert (await connection.answer())[0] == 200
            await connection.send(post(WHOLE)[:-5])
        callers = running.server._callers
        while not all(getattr(one, "_arriving_since", None) for one in callers):  # noqa: ASYNC110 - that is the event
            await asyncio.sleep(0)
        assert await is_turned_away(running, "127.0.0.66")
        few = [await running.connect() for _ in range(2)]
        for connection in few:
            await connection.send(post(WHOLE))
            assert (await connection.answer())[0] == 200
        told = [await connection.answer() for connection in many[:2]]
        assert [(status, headers["retry-after"]) for status, headers, _ in told] == [(503, "1")] * 2
        # Both hold as many now, and nobody takes a place from the other.
        assert await is_turned_away(running, "127.0.0.66")
        for connection in (*many[2:], *few):
            await connection.send(post(WHOLE)[-5:] if connection in many else post(WHOLE))
            assert (await connection.answer())[0] == 200
        for connection in (*many, *few):
            connection.close()


@BOTH
@ELSEWHERE
async def test_those_who_come_and_do_not_finish_the_handshake_take_no_place_from_elsewhere(*, lane: bool) -> None:
    async with serving(lane=lane, crowd=4, last_call=0.1) as running:
        kept = await running.connect()
        silent = [socket.create_connection(running.admission, source_address=("127.0.0.66", 0)) for _ in range(9)]
        new = await running.connect()
        for connection in (kept, new):
            await connection.send(post(WHOLE))
            assert (await connection.answer())[0] == 200
        # Two of four places are left to them: all others were let go.
        for one in silent:
            one.setblocking(False)
        loop = asyncio.get_running_loop()
        ended = {asyncio.create_task(loop.sock_recv(one, 1)) for one in silent}
        gone: set[asyncio.Task[bytes]] = set()
        while len(gone) < 7:
            done, ended = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            gone |= done
        for each in gone:
            assert each.exception() is not None or each.result() == b""
        for left in ended:
            left.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        for one in silent:
            one.close()
        for connection in (kept, new):
            connection.close()


@BOTH
async def test_behind_one_address_those_who_say_nothing_go_before_those_who_have_spoken(*, lane: bool) -> None:
    async with serving(lane=lane, crowd=4, patience=0.5, last_call=0.1) as running:
        speaks = await running.connect()
        await speaks.send(post(WHOLE))
        assert (await speaks.answer())[0] == 200
        silent = [await running.connect() for _ in range(3)]
        clock = asyncio.get_running_loop().time
        since = clock()
        while clock() - since <= running.desk.patience / 10:  # noqa: ASYNC110 - the loop's clock is the event
            await asyncio.sleep(0)
        new = await running.connect()
        assert await silent[0].is_closed()
        for connection in (speaks, new):
            await connection.send(post(WHOLE))
            assert (await connection.answer())[0] == 200
        for connection in (speaks, new, *silent):
            connection.close()


@BOTH
async def test_a_handshake_that_fails_gives_its_place_back(*, lane: bool) -> None:
    async with serving(lane=lane, crowd=2) as running:
        kept = await running.connect()
        for _ in range(5):
            with socket.create_connection(running.admission) as broken:
                broken.sendall(b"GET / HTTP/1.1\r\n\r\n")
                broken.setblocking(False)
                with contextlib.suppress(ConnectionError):
                    while await asyncio.get_running_loop().sock_recv(broken, 64):
                        pass
        await kept.send(post(WHOLE))
        assert (await kept.answer())[0] == 200
        other = await running.connect()
        await other.send(post(WHOLE))
        assert (await other.answer())[0] == 200
        kept.close()
        other.close()


@BOTH
@ELSEWHERE
async def test_one_who_took_all_places_gives_way_to_a_review_from_elsewhere(*, lane: bool) -> None:
    async with serving(lane=lane, in_flight=2) as running:
        many = [await running.connect("127.0.0.66") for _ in range(2)]
        for number, connection in enumerate(many):
            running.engine.waiting.clear()
            await connection.send(post(review(f"wait-{number}")))
            await running.engine.waiting.wait()
        few = await running.connect()
        await few.send(post(review("wait-few")))
        while not running.count("moorage_reviews_shed_total"):  # noqa: ASYNC110 - the count is the event
            await asyncio.sleep(0)
        running.engine.release.set()
        (kept, headers, _), (given, last, _), (new, _, _) = [await one.answer() for one in (*many, few)]
        assert (kept, given, new) == (200, 503, 200)
        assert (last["retry-after"], last["connection"], headers.get("connection")) == ("1", "close", None)
        assert await many[1].is_closed()
        for connection in (many[0], few):
            connection.close()


# What is on one connection at once


async def all_answers(connection: Connection, count: int) -> list[str]:
    return [json.loads((await connection.answer())[2])["uid"] for _ in range(count)]


@BOTH
async def test_many_reviews_in_one_piece_are_answered_in_order(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        names = [f"r{number}" for number in range(50)]
        await connection.send(b"".join(post(review(name)) for name in names))
        assert await all_answers(connection, 50) == names
        connection.close()


@BOTH
async def test_the_last_of_a_row_may_ask_to_close_and_those_before_it_are_answered(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        rows = [post(review("wait")), post(review("b")), post(review("wait-c"), "Connection: close")]
        await connection.send(b"".join(rows))
        await running.engine.waiting.wait()
        running.engine.release.set()
        assert await all_answers(connection, 3) == ["wait", "b", "wait-c"]
        assert await connection.is_closed()


@BOTH
async def test_a_wish_to_close_that_has_half_arrived_counts_for_its_own_answer_only(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        last = post(review("last"), "Connection: close")
        await connection.send(post(review("wait")) + last[:-5])
        await running.engine.waiting.wait()
        running.engine.release.set()
        assert await all_answers(connection, 1) == ["wait"]
        await connection.send(last[-5:])
        assert await all_answers(connection, 1) == ["last"]
        assert await connection.is_closed()


@BOTH
async def test_what_stands_behind_a_wish_to_close_is_not_answered(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(post(review("a"), "Connection: close") + post(review("b")))
        assert await all_answers(connection, 1) == ["a"]
        assert await connection.rest() == b""


@BOTH
@pytest.mark.parametrize(
    "broken", [b"nonsense\r\n\r\n", post(b"", path="http://localhost")], ids=["nonsense", "no path"]
)
async def test_what_is_broken_behind_a_review_that_waits_does_not_take_its_answer_away(
    broken: bytes, *, lane: bool
) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(post(review("wait")) + broken)
        await running.engine.waiting.wait()
        running.engine.release.set()
        assert await all_answers(connection, 1) == ["wait"]
        assert await connection.is_closed()


# Faults of ours


@BOTH
@pytest.mark.parametrize("uid", ["fault now", "fault later"])
async def test_a_fault_that_got_past_the_engine_admits_unchanged_and_the_connection_goes_on(
    uid: str, *, lane: bool
) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(post(review(uid)))
        status, _, body = await connection.answer()
        told = json.loads(body)["response"]
        assert status == 200
        assert (told["uid"], told["allowed"], "patch" in told) == (uid, True, False)
        assert told["warnings"] == ["moorage: internal error id-1: admitted unchanged; the log has the same id"]
        (line,) = running.lines("internal error")
        assert (line["id"], line["uid"], line["type"]) == ("id-1", uid, "RuntimeError")
        assert "canary" not in running.log.getvalue()
        assert running.count("moorage_internal_errors_total") == 1
        await connection.send(post(review("after")))
        assert (await connection.answer())[0] == 200
        connection.close()


async def test_a_fault_where_faults_are_told_ends_one_connection_and_is_still_told() -> None:
    def broken(uid: str, error: BaseException) -> str:
        raise KeyError(uid)

    async with serving() as running:
        running.desk._fault = broken
        status, headers, _ = await exchange(running, post(review("fault now")))
        assert (status, headers["connection"]) == (400, "close")
        (told,) = running.noise
        assert isinstance(told["exception"], KeyError)
        running.noise.clear()
        assert (await exchange(running, post(WHOLE)))[0] == 200


# The secret

SECRET = "s3cr3ts3cr3ts3cr3t"
PATHS = [
    (f"/mutate/{SECRET}", "POST", 200),
    (f"/mutate/{SECRET}?timeout=3s", "POST", 200),
    (f"/mutate/{SECRET[:-1]}%74", "POST", 200),
    (f"/mutate/{SECRET}", "GET", 405),
    ("/mutate", "POST", 404),
    ("/mutate", "GET", 404),
    ("/mutate/", "POST", 404),
    (f"/mutate/{SECRET[:-1]}", "POST", 404),
    (f"/mutate/{SECRET}x", "POST", 404),
    (f"/mutate/{SECRET}/", "POST", 404),
    (f"/mutate/{SECRET.upper()}", "POST", 404),
]


@BOTH
async def test_a_secret_path_is_served_and_no_other_and_nothing_tells_it(*, lane: bool) -> None:
    async with serving(lane=lane, secrets=(Secret(SECRET),)) as running:
        answers = [await exchange(running, post(WHOLE, path=path, method=method)) for path, method, _ in PATHS]
        assert [answer[0] for answer in answers] == [status for _, _, status in PATHS]
        told = b"".join(answer[2] for answer in answers) + running.telemetry.exposition()[0]
        assert SECRET not in told.decode() + running.log.getvalue()
