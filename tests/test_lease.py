"""Who of many does the work. Rows after client-go's leaderelection_test.go: held, expired, renewed, given up, taken at
once by two."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests.doors import Clock, settled
from tests.support.api import FakeApi
from webhook.kube import Answer
from webhook.lease import DURATION, RENEW_WITHIN, RETRY, Lease

FOLDER = "/apis/coordination.k8s.io/v1/namespaces/moorage-system/leases"
PATH = f"{FOLDER}/moorage-adopt"


def lease(api: FakeApi, clock: Clock, identity: str) -> Lease:
    wall = lambda: datetime(2027, 1, 15, 8, tzinfo=UTC)  # noqa: E731 - a clock that stands still
    return Lease(api, "moorage-system", "moorage-adopt", identity=identity, now=clock, wall=wall)


def holder(api: FakeApi) -> str | None:
    found: str | None = api.objects[PATH]["spec"].get("holderIdentity")
    return found


async def test_the_first_takes_it_and_the_second_waits() -> None:
    api, clock = FakeApi(), Clock()
    one, two = lease(api, clock, "one"), lease(api, clock, "two")
    assert await one.try_once()
    assert not await two.try_once()
    assert holder(api) == "one"
    assert api.objects[PATH]["spec"] == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2027-01-15T08:00:00.000000Z",
        "renewTime": "2027-01-15T08:00:00.000000Z",
        "leaseTransitions": 0,
    }


async def test_one_that_is_not_renewed_is_taken_by_our_own_clock() -> None:
    api, clock = FakeApi(), Clock()
    one, two = lease(api, clock, "one"), lease(api, clock, "two")
    await one.try_once()
    assert not await two.try_once()
    clock.forward(DURATION - 1)
    assert not await two.try_once()
    clock.forward(1)
    assert await two.try_once()
    assert holder(api) == "two"
    assert api.objects[PATH]["spec"]["leaseTransitions"] == 1
    assert not await one.try_once()


async def test_of_two_who_take_it_at_once_one_gets_it() -> None:
    api, clock = FakeApi(), Clock()
    api.objects[PATH] = {"metadata": {"name": "moorage-adopt", "resourceVersion": "0"}, "spec": {}}
    taken = await asyncio.gather(lease(api, clock, "one").try_once(), lease(api, clock, "two").try_once())
    assert sorted(taken) == [False, True]


async def test_what_is_given_up_is_free_at_once() -> None:
    api, clock = FakeApi(), Clock()
    one, two = lease(api, clock, "one"), lease(api, clock, "two")
    await one.try_once()
    await two.release()
    assert holder(api) == "one"
    await one.release()
    assert await two.try_once()


@pytest.mark.parametrize("answer", [Answer(0, trouble="down"), Answer(403), Answer(200, b"<html>")])
async def test_trouble_is_no_lease(answer: Answer) -> None:
    api = FakeApi()
    api.trouble = answer
    assert not await lease(api, Clock(), "one").try_once()


class Day:
    """Lets time pass where somebody sleeps, and others run meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.forward(seconds)
        await settled()


async def test_the_work_is_done_while_the_lease_is_held_and_ends_before_another_may_begin() -> None:
    api, clock = FakeApi(), Clock()
    day = Day(clock)
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    holding = asyncio.create_task(lease(api, clock, "one").hold(work, sleep=day))
    await began.wait()
    held_at = clock()
    api.trouble = Answer(0, trouble="down")
    await ended.wait()
    assert clock() - held_at <= RENEW_WITHIN + 2 * RETRY < DURATION
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_the_lease_is_given_up_at_the_end() -> None:
    api, clock = FakeApi(), Clock()
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    holding = asyncio.create_task(lease(api, clock, "one").hold(work, sleep=Day(clock)))
    await began.wait()
    assert holder(api) == "one"
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert holder(api) is None


async def test_a_fault_of_the_work_is_not_hidden() -> None:
    api, clock = FakeApi(), Clock()

    async def work() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        await lease(api, clock, "one").hold(work, sleep=Day(clock))
    assert holder(api) is None
