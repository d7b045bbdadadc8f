"""Places and room at the desk, and what becomes of faults; no sockets."""

import asyncio
import json
from typing import Any

import pytest

from tests.doors import settled
from tests.support.serving import Echo, review
from webhook.core.admission import BadReview
from webhook.core.secret import Secret
from webhook.desk import FULL, Desk, Reply
from webhook.engine import Waiting


def desk(engine: Any = None, **more: Any) -> tuple[Desk, list[str]]:
    shed: list[str] = []
    return Desk(engine or Echo(), budget=4.0, shed=lambda: shed.append("shed"), **more), shed


def waiting(at: Desk, uid: str = "wait") -> Waiting:
    outcome = at.reply_now(review(uid))
    assert isinstance(outcome, Waiting)
    return outcome


SECRETS = (Secret("s3cr3ts3cr3ts3cr3t"), Secret("0ld0ld0ld0ld0ld0ld"))


@pytest.mark.parametrize(
    ("secrets", "is_open", "served"),
    [
        ((), False, {"/mutate"}),
        ((), True, {"/mutate"}),
        (SECRETS, False, {"/mutate/s3cr3ts3cr3ts3cr3t", "/mutate/0ld0ld0ld0ld0ld0ld"}),
        (SECRETS, True, {"/mutate/s3cr3ts3cr3ts3cr3t", "/mutate/0ld0ld0ld0ld0ld0ld", "/mutate"}),
    ],
)
def test_reviews_arrive_at_the_paths_that_are_told_and_at_no_other(
    secrets: tuple[Secret, ...], is_open: bool, served: set[str]
) -> None:
    at, _ = desk()
    at.serve_at(secrets, is_open=is_open)
    paths = {"/", "/mutate", "/mutate/", "/mutate/s3cr3ts3cr3ts3cr3t", "/mutate/0ld0ld0ld0ld0ld0ld", "/mutate/other"}
    assert {path for path in paths if at.serves(path.encode())} == served


class Unequal(bytes):
    """A path that may be compared in constant time, and in no other way."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("what `==` takes tells how much was right")


def test_a_secret_path_is_compared_in_constant_time() -> None:
    at, _ = desk()
    at.serve_at(SECRETS, is_open=True)
    assert at.serves(Unequal(b"/mutate/0ld0ld0ld0ld0ld0ld"))
    assert not at.serves(Unequal(b"/mutate/s3cr3ts3cr3ts3cr3x"))


async def test_a_place_is_taken_before_the_work_begins() -> None:
    at, shed = desk(in_flight=2)
    tasks = [at.reply(waiting(at), "", 0.0) for _ in range(2)]
    # None of them has run yet: reviews that arrive in one turn of the loop are counted too.
    assert at.reply(waiting(at), "", 0.0).result() is FULL
    assert shed == ["shed"]
    for task in tasks:
        task.cancel()
    await settled()
    assert not at.reply(waiting(at), "", 0.0).done()


async def test_a_review_that_is_given_up_before_it_began_gives_its_place_back() -> None:
    at, _ = desk(in_flight=1)
    given_up = at.reply(waiting(at), "", 0.0)
    given_up.cancel()
    await settled()
    assert not at.reply(waiting(at), "", 0.0).done()


async def test_a_source_that_is_alone_may_have_all_places() -> None:
    engine = Echo()
    at, shed = desk(engine, in_flight=3)
    replies = [at.reply(waiting(at, f"wait-{number}"), "", 0.0, "10.0.0.1") for number in range(3)]
    engine.release.set()
    assert [reply.status for reply in await asyncio.gather(*replies)] == [200, 200, 200]
    assert shed == []


async def test_a_source_that_took_all_places_gives_way_to_another_and_is_told_to_come_again() -> None:
    engine = Echo()
    at, shed = desk(engine, in_flight=4)
    many = [at.reply(waiting(at, f"wait-{number}"), "", 0.0, "10.0.0.66") for number in range(4)]
    few = [at.reply(waiting(at, f"wait-{number}"), "", 0.0, "10.0.0.1") for number in range(4, 6)]
    assert [one.done() for one in many] == [False, False, True, True]
    # Who gave way cannot take a place back from one who holds no more than he.
    again = at.reply(waiting(at), "", 0.0, "10.0.0.66")
    assert [one.result() for one in (*many[2:], again)] == [FULL, FULL, FULL]
    assert shed == ["shed"] * 3
    engine.release.set()
    told = await asyncio.gather(*many[:2], *few)
    assert [json.loads(reply.body)["uid"] for reply in told] == ["wait-0", "wait-1", "wait-4", "wait-5"]


async def test_the_work_on_a_review_that_gave_way_ends() -> None:
    engine = Echo()
    at, _ = desk(engine, in_flight=2)
    many = [at.reply(waiting(at), "", 0.0, "10.0.0.66") for _ in range(2)]
    await engine.waiting.wait()
    at.reply(waiting(at), "", 0.0, "10.0.0.1")
    assert many[1].done()
    await engine.gone.wait()


def test_what_memory_answers_needs_no_place() -> None:
    at, shed = desk(in_flight=0)
    outcome = at.reply_now(review("now"))
    assert isinstance(outcome, Reply)
    assert outcome.status == 200
    assert shed == []


@pytest.mark.parametrize(
    ("query", "seconds"), [("", 4.0), ("timeout=2s", 1.5), ("timeout=30s", 4.0), ("timeout=x", 4.0)]
)
async def test_a_deadline_is_counted_from_the_arrival(query: str, seconds: float) -> None:
    engine = Echo()
    at, _ = desk(engine)
    engine.release.set()
    await at.reply(waiting(at), query, 1000.0)
    assert engine.deadlines == [1000.0 + seconds]


class Body:
    """One that arrives."""

    def __init__(self) -> None:
        self.is_turned_away = False

    def give_way(self) -> None:
        self.is_turned_away = True


def held(at: Desk, *parts: tuple[Body, int, str]) -> list[bool]:
    """Whether each is still held when all have come."""
    for body, size, source in parts:
        at.make_room(body, size, source)
    return [not body.is_turned_away for body, _, _ in parts]


def test_room_is_given_once_and_comes_back() -> None:
    at, _ = desk(gathered=100)
    one = Body()
    assert held(at, (one, 60, "a"), (Body(), 50, "a")) == [True, False]
    at.give_back(one, "a")
    assert at.gathered == 0
    assert held(at, (Body(), 100, "a")) == [True]


def test_the_source_that_took_all_room_gives_back_as_much_as_another_needs() -> None:
    at, _ = desk(gathered=100)
    assert held(at, *[(Body(), 25, "many") for _ in range(4)], (Body(), 40, "few")) == [True, True, False, False, True]
    assert at.gathered == 90


def test_a_body_that_grows_beyond_what_others_hold_gives_way_itself() -> None:
    at, _ = desk(gathered=100)
    grows, stays = Body(), Body()
    assert held(at, (stays, 45, "few"), (grows, 30, "many"), (grows, 20, "many")) == [True, True, True]
    assert held(at, (grows, 10, "many")) == [False]
    assert (at.gathered, stays.is_turned_away) == (45, False)


class Broken:
    """An engine that fails where nothing of the review is known yet."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def answer_now(self, body: bytes) -> bytes | Waiting:
        raise self._error

    async def answer(self, waiting: Waiting, *, deadline: float) -> bytes:
        raise self._error


def test_a_fault_in_front_of_the_engine_admits_unchanged_under_the_uid_of_the_review() -> None:
    told: list[tuple[str, BaseException]] = []

    def fault(uid: str, error: BaseException) -> str:
        told.append((uid, error))
        return "id-7"

    error = MemoryError()
    at, _ = desk(Broken(error), fault=fault)
    outcome = at.reply_now(review("a"))
    assert isinstance(outcome, Reply)
    assert (outcome.status, json.loads(outcome.body)["response"]) == (
        200,
        {
            "uid": "a",
            "allowed": True,
            "warnings": ["moorage: internal error id-7: admitted unchanged; the log has the same id"],
        },
    )
    assert told == [("a", error)]


@pytest.mark.parametrize(("body", "error"), [(b"nonsense", RuntimeError()), (b"{}", BadReview("why"))])
def test_what_has_no_uid_to_answer_to_is_refused_and_no_fault_of_ours(body: bytes, error: Exception) -> None:
    at, _ = desk(Broken(error), fault=lambda uid, _: pytest.fail(uid))
    outcome = at.reply_now(body)
    assert isinstance(outcome, Reply)
    assert outcome.status == 400
