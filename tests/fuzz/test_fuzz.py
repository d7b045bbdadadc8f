"""What was once of interest is tried before anything new, costs grow with the input, and the fuzzer finds what is planted."""

import msgspec
import pytest

from tests.fuzz.longer import LONGER, Cut
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.trying import TooMuch, campaign, grows_evenly, smaller, tried
from tests.fuzz.work import Endless, ending, steps

BY_NAME = {target.name: target for target in TARGETS}
KEPT = [(target.name, name) for target in TARGETS for name in target.corpus()]
WAYS = [(name, cut) for name, cuts in LONGER.items() for cut in cuts]


@pytest.mark.parametrize(("target", "name"), KEPT, ids=[f"{target}-{name}" for target, name in KEPT])
def test_what_is_kept_is_read_or_refused_as_it_may_be(target: str, name: str) -> None:
    tried(BY_NAME[target], BY_NAME[target].corpus()[name])


@pytest.mark.parametrize("target", TARGETS, ids=lambda one: one.name)
def test_of_what_is_kept_something_is_read_and_there_are_ways_to_more(target: Target) -> None:
    assert any(tried(target, data) for data in target.corpus().values())
    assert LONGER[target.name]


@pytest.mark.parametrize(("target", "cut"), WAYS, ids=[f"{name}-{cut[1].decode()!r}" for name, cut in WAYS])
def test_twice_as_much_costs_twice_as_much(target: str, cut: Cut) -> None:
    grows_evenly(BY_NAME[target], *cut)


def test_a_fault_is_found_made_small_and_told_with_its_input() -> None:
    def run(data: bytes) -> None:
        data.index(b"=") if b"realm" in data else None

    planted = msgspec.structs.replace(BY_NAME["challenge"], run=run)
    found = campaign(planted, 20.0, 1)
    assert found.failed == b"realm"
    assert isinstance(found.error, ValueError)


def test_work_and_memory_that_grow_with_the_square_are_found() -> None:
    def works(data: bytes) -> None:
        for _ in data:
            sum(1 for _ in data[:200])

    def square(data: bytes) -> None:
        for _ in data[::4]:
            sum(1 for _ in data[::4])

    def holds(data: bytes) -> None:
        bytes(len(data) ** 2)

    grows_evenly(msgspec.structs.replace(BY_NAME["warning"], run=works), b"", b"a", b"")
    for run, what in ((square, "steps"), (holds, "bytes")):
        with pytest.raises(TooMuch, match=what):
            grows_evenly(msgspec.structs.replace(BY_NAME["warning"], run=run), b"", b"a", b"")


def test_what_does_not_end_is_ended() -> None:
    def endless() -> None:
        with ending(0.05):
            while True:
                pass

    with pytest.raises(Endless):
        endless()


def test_a_cost_is_the_same_each_time() -> None:
    def run() -> None:
        sum(range(100))
        [one for one in range(100)]  # noqa: C416 - steps of Python are what is counted

    assert steps(run) == steps(run) > 100


def test_what_is_made_smaller_still_fails() -> None:
    assert smaller(b"abcdefgh" * 9 + b"x" + b"abc", lambda data: b"x" in data) == b"x"
