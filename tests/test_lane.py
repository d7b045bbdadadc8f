"""The lane and plain ASGI over raw TLS sockets: one table through both, and what only a connection shows."""

import asyncio
import json

import pytest

from tests.support.serving import Running, post, review, serving
from webhook.connection import RELIED_ON, fits
from webhook.core.admission import MAX_BODY
from webhook.core.secret import Secret

BOTH = pytest.mark.parametrize("lane", [True, False], ids=["lane", "asgi"])


async def exchange(running: Running, data: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = await running.connect()
    await connection.send(data)
    answer = await connection.answer()
    connection.close()
    return answer


ROWS = [
    ("a review", post(review("a")), 200),
    ("with a query", post(review("a"), path="/mutate?timeout=3s"), 200),
    ("chunked", b"POST /mutate HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(review("a")), review("a")), 200),
    ("not JSON", post(b"nonsense"), 400),
    ("empty", post(b""), 400),
    ("no uid", post(b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}}'), 400),
    ("GET", post(b"", method="GET"), 405),
    ("PUT", post(review("a"), method="PUT"), 405),
    ("another path", post(review("a"), path="/other"), 404),
    ("a longer path", post(review("a"), path="/mutate/x"), 404),
    ("too large by its header", b"POST /mutate HTTP/1.1\r\nHost: l\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
    ("as large as may be", post(review("a", padding=MAX_BODY - len(review("a")))), 200),
]  # fmt: skip


@BOTH
async def test_status(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        answers = {name: (await exchange(running, data))[0] for name, data, _ in ROWS}
    assert answers == {name: status for name, _, status in ROWS}


async def test_lane_and_asgi_give_the_same_bodies_and_kinds() -> None:
    answers = []
    for lane in (True, False):
        async with serving(lane=lane) as running:
            answers.append([await exchange(running, data) for _, data, status in ROWS if status != 404])
    for one, other in zip(*answers, strict=True):
        assert (one[0], one[2], one[1]["content-type"]) == (other[0], other[2], other[1]["content-type"])


@BOTH
async def test_a_connection_is_kept_and_used_again(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        for number in range(5):
            await connection.send(post(review(f"r{number}")))
            status, headers, body = await connection.answer()
            assert (status, json.loads(body)["uid"]) == (200, f"r{number}")
            assert headers.get("connection", "keep-alive") != "close"
        connection.close()


@BOTH
async def test_pipelined_reviews_are_answered_in_order_behind_one_that_waits(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(post(review("wait-1")) + post(review("b")) + post(b"", method="GET") + post(review("c")))
        await running.engine.waiting.wait()
        running.engine.release.set()
        answers = [await connection.answer() for _ in range(4)]
        assert [status for status, _, _ in answers] == [200, 200, 405, 200]
        assert [json.loads(answers[number][2])["uid"] for number in (0, 1, 3)] == ["wait-1", "b", "c"]
        connection.close()


@BOTH
async def test_a_review_that_waits_delays_no_other_connection(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        slow, quick = await running.connect(), await running.connect()
        await slow.send(post(review("wait")))
        await running.engine.waiting.wait()
        await quick.send(post(review("q")))
        assert (await quick.answer())[0] == 200
        running.engine.release.set()
        assert (await slow.answer())[0] == 200
        for one in (slow, quick):
            one.close()


@BOTH
async def test_a_body_in_many_small_parts_is_put_together(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        data = post(review("parts"))
        for start in range(0, len(data), 7):
            await connection.send(data[start : start + 7])
        assert json.loads((await connection.answer())[2])["uid"] == "parts"
        connection.close()


@BOTH
async def test_a_chunked_body_over_the_cap_is_cut_off(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        await connection.send(b"POST /mutate HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        for _ in range(7):
            await connection.send(chunk)
        await connection.send(b"1\r\nx\r\n")
        assert (await connection.answer())[0] == 413
        connection.close()


@BOTH
async def test_a_client_that_expects_it_is_told_to_continue(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection = await running.connect()
        head, _, body = post(review("e"), "Expect: 100-continue").partition(b"\r\n\r\n")
        await connection.send(head + b"\r\n\r\n")
        assert b"100 Continue" in await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(body)
        assert (await connection.answer())[0] == 200
        connection.close()


@BOTH
async def test_a_client_that_asks_to_close_is_closed(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        for uid in ("now", "wait"):
            running.engine.release.set()
            connection = await running.connect()
            await connection.send(post(review(uid), "Connection: close"))
            assert (await connection.answer())[0] == 200
            assert await connection.is_closed()


@BOTH
async def test_too_many_that_wait_are_turned_away_and_what_memory_answers_is_not(*, lane: bool) -> None:
    async with serving(lane=lane, in_flight=1) as running:
        waiting, shed, quick = [await running.connect() for _ in range(3)]
        await waiting.send(post(review("wait-1")))
        await running.engine.waiting.wait()
        await shed.send(post(review("wait-2")))
        status, headers, _ = await shed.answer()
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        await quick.send(post(review("quick")))
        assert (await quick.answer())[0] == 200
        running.engine.release.set()
        assert (await waiting.answer())[0] == 200
        for one in (waiting, quick):
            one.close()


@BOTH
async def test_a_client_that_leaves_while_its_review_waits_harms_nobody(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        leaving, other = await running.connect(), await running.connect()
        await leaving.send(post(review("wait")))
        await running.engine.waiting.wait()
        leaving.writer.transport.abort()
        running.engine.release.set()
        await other.send(post(review("other")))
        assert (await other.answer())[0] == 200
        other.close()


@BOTH
async def test_while_draining_every_answer_ends_its_connection(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        connection, another = await running.connect(), await running.connect()
        await connection.send(post(review("before")))
        assert "close" not in (await connection.answer())[1].get("connection", "")
        running.desk.draining = True
        for one in (connection, another):
            await one.send(post(review("after")))
            status, headers, _ = await one.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await one.is_closed()


@BOTH
async def test_a_secret_in_the_path_is_asked_for(*, lane: bool) -> None:
    async with serving(lane=lane, secrets=(Secret("s3cr3ts3cr3ts3cr3t"),)) as running:
        assert (await exchange(running, post(review("a"))))[0] == 404
        assert (await exchange(running, post(review("a"), path="/mutate/wrong")))[0] == 404
        assert (await exchange(running, post(review("a"), path="/mutate/s3cr3ts3cr3ts3cr3t")))[0] == 200


@BOTH
async def test_what_is_not_http_is_refused_and_the_server_goes_on(*, lane: bool) -> None:
    async with serving(lane=lane) as running:
        assert (await exchange(running, b"\x00\x01nonsense\r\n\r\n"))[0] == 400
        assert (await exchange(running, post(review("a"))))[0] == 200


def test_uvicorn_still_has_what_the_lane_builds_on() -> None:
    assert fits(), RELIED_ON


async def test_where_it_does_not_fit_plain_asgi_answers_alike() -> None:
    async with serving(own_protocol=False) as running:
        assert running.lines("serving")[0]["lane"] is False
        for _, data, status in ROWS:
            assert (await exchange(running, data))[0] == status
        endless = await running.connect()
        await endless.send(b"POST /mutate HTTP/1.1\r\nHost: l\r\nX-Long: " + b"x" * 200_000)
        assert (await endless.answer())[0] == 400
        waiting = await running.connect()
        await waiting.send(post(review("wait")))
        await running.engine.waiting.wait()
        running.server.stop()
        while not running.desk.draining:  # noqa: ASYNC110 - the flag is the event
            await asyncio.sleep(0)
        running.engine.release.set()
        status, headers, _ = await waiting.answer()
        assert (status, headers["connection"]) == (200, "close")
        await running.task


async def test_the_end_waits_for_a_review_that_waits() -> None:
    async with serving() as running:
        connection = await running.connect()
        await connection.send(post(review("wait")))
        await running.engine.waiting.wait()
        running.server.stop()
        await asyncio.sleep(0)
        running.engine.release.set()
        assert (await connection.answer())[0] == 200
        await running.task
