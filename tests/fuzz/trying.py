"""How one input is tried, and how many; and what one costs that is two and four times as long."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final

import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz.longer import LONGER, Cut
from tests.fuzz.targets import CORPUS, Target
from tests.fuzz.work import ending, memory, steps

DOUBLED: Final = 2.5
"""How often the cost may be what it was, where the input is twice as long."""
_ROUND: Final = 100
_MUTANTS: Final = 50
_LENGTH: Final = 512
_FEWEST: Final = 6
"""Of a long part: what is there once is often read in another way than what is there twice."""
_STEPS: Final = 20_000
_MEMORY: Final = 64 * 1024
"""What costs less than this is no danger, however it grows."""


class Outcome(msgspec.Struct):
    """How many inputs were tried, and the smallest that failed, with what."""

    count: int = 0
    failed: bytes | None = None
    error: BaseException | None = None


class TooMuch(AssertionError):
    """An input twice as long costs more than twice as much."""


def tried(target: Target, data: bytes) -> bool:
    """Whether it was taken; else it was refused as it may be.

    Raises:
        Exception: what nobody expects of this target.
    """
    with ending():
        try:
            target.run(data)
        except target.allowed:
            return False
    return True


def repeated(head: bytes, part: bytes, tail: bytes, times: int) -> bytes:
    """An input with a part so many times; `#` in it stands for its number, so that no two are equal."""
    return head + b"".join(part.replace(b"#", b"%d" % number) for number in range(times)) + tail


def grows_evenly(target: Target, head: bytes, part: bytes, tail: bytes) -> None:
    """Measure an input whose part is repeated, once, twice and four times as often.

    Raises:
        TooMuch: the cost grows faster than the input.
    """
    times = max(_FEWEST, _LENGTH // max(1, len(part)))
    runs = [_warm(target, repeated(head, part, tail, times * more)) for more in (1, 2, 4)]
    cut = f"{target.name}: {head!r} + {part!r} again and again + {tail!r}"
    one, two, four = map(steps, runs)
    # What does not depend on the length is taken out.
    if four > _STEPS and four - two > DOUBLED * max(two - one, _STEPS / 10):
        raise TooMuch(f"{cut}: {one}, {two}, {four} steps")
    # Tables double at once, so that only all of it tells.
    least, most = memory(runs[0]), memory(runs[2])
    if most > DOUBLED**2 * max(least, _MEMORY):
        raise TooMuch(f"{cut}: {least} bytes, then {most}")


def _warm(target: Target, data: bytes) -> Callable[[], None]:
    """A run that was made once, so that what is made only once is not counted."""
    run = partial(_quietly, target, data)
    run()
    return run


def _quietly(target: Target, data: bytes) -> None:
    with suppress(*target.allowed):
        target.run(data)


def parts(data: bytes) -> Iterator[Cut]:
    """Ways to make an input of the corpus longer: all of it, its lines, and what stands between brackets and commas."""
    yield b"", data, b""
    for start, end in _spans(data):
        yield data[:start], data[start:end], data[end:]


def _spans(data: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    for place, byte in enumerate(data):
        if byte in b"\n,{[ ":
            if place > start:
                yield start, place + 1
            start = place + 1
    if start < len(data):
        yield start, len(data)


def campaign(target: Target, seconds: float, number: int) -> Outcome:
    """Try inputs for so many seconds: what Hypothesis thinks of, then changes of the corpus by the hundred, then how costs
    grow. `number` makes it another run."""
    outcome, began = Outcome(), monotonic()
    whole = target.inputs().map(lambda data: ((b"", data, b""),))
    spots = st.tuples(target.inputs(), st.integers(0, 200), st.integers(1, 40)).map(lambda drawn: (_cut(*drawn),))
    many = st.integers(0, 2**64).map(lambda chance: mutants(target, Random(chance)))
    _rounds(outcome, number, began + seconds * 0.3, whole, partial(_tried, target))
    _rounds(outcome, number, began + seconds * 0.75, many, partial(_tried, target))
    if outcome.failed is None:
        _known_ways(outcome, target, began + seconds, Random(number))
    _rounds(outcome, number, began + seconds, whole | spots, partial(_grows_evenly, target))
    return outcome


def _known_ways(outcome: Outcome, target: Target, end: float, chance: Random) -> None:
    """The ways to longer inputs that are known, and whether the longest that a door lets through comes to an end."""
    ways = [*LONGER.get(target.name, ()), *(cut for data in target.corpus().values() for cut in parts(data))]
    for cut in chance.sample(ways, len(ways)):
        if monotonic() > end or outcome.failed is not None:
            return
        outcome.count += 1
        longest = repeated(*cut, max(0, target.most - len(cut[0]) - len(cut[2])) // max(1, len(cut[1])))
        try:
            _grows_evenly(target, cut)
            tried(target, longest)
        except Exception as error:  # noqa: BLE001 - as above
            outcome.failed, outcome.error = b"".join(cut), error


def _cut(data: bytes, start: int, length: int) -> Cut:
    return data[:start], data[start : start + length], data[start + length :]


def _tried(target: Target, cut: Cut) -> None:
    tried(target, b"".join(cut))


def _grows_evenly(target: Target, cut: Cut) -> None:
    with ending():
        grows_evenly(target, *cut)


def mutants(target: Target, chance: Random) -> tuple[Cut, ...]:
    """Changes of an input of the corpus, far quicker than Hypothesis makes them."""
    kept = tuple(target.corpus().values())
    first = chance.choice(kept)
    return tuple((b"", _mutant(first, kept, target.words, chance), b"") for _ in range(_MUTANTS))


def _mutant(data: bytes, kept: tuple[bytes, ...], words: tuple[bytes, ...], chance: Random) -> bytes:
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 0, 1, 2, 8, 40)))
        other = chance.choice(kept)
        at = chance.randint(0, len(other))
        piece = chance.choice(
            (
                chance.choice(words),
                b"",
                data[start:end] * 2,
                other[at : at + 24],
                chance.randbytes(1),
                chance.choice(words),
            )
        )
        data = data[:start] + piece + data[end:]
    return data


def _rounds(
    outcome: Outcome,
    number: int,
    end: float,
    inputs: SearchStrategy[tuple[Cut, ...]],
    attempt: Callable[[Cut], object],
) -> None:
    """Rounds of Hypothesis until the time is over or one has failed, which is then made smaller."""
    failed: list[Cut] = []

    @settings(
        max_examples=_ROUND,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def each(cuts: tuple[Cut, ...]) -> None:
        for cut in cuts:
            if failed or monotonic() > end:
                return
            outcome.count += 1
            try:
                attempt(cut)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
                outcome.error = error
                failed.append(cut)

    while not failed and monotonic() < end:
        number += 1
        seed(number)(each)()
    if failed:
        outcome.failed = smaller(b"".join(failed[0]), lambda data: _fails(attempt, (b"", data, b"")))


def _fails(attempt: Callable[[Cut], object], cut: Cut) -> bool:
    try:
        attempt(cut)
    except Exception:  # noqa: BLE001 - as above
        return True
    return False


def smaller(data: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """What is left of an input that fails when all is taken away that it does not need to."""
    size = len(data) // 2
    while size:
        for start in range(0, len(data), size):
            shorter = data[:start] + data[start + size :]
            if len(shorter) < len(data) and fails(shorter):
                data = shorter
                break
        else:
            size //= 2
    return data


def keep(target: Target, data: bytes) -> Path:
    """Put an input that failed into the corpus, where the ordinary tests try it first."""
    place = CORPUS / target.name / f"found-{sha256(data).hexdigest()[:12]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place
