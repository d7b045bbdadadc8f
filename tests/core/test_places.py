"""Places that sources share: one alone has them all, and nobody who asks for little goes without."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.places import Places


def taken(count: int, sources: str) -> tuple[dict[str, int], list[str]]:
    """Holders come one after the other, each from the source of that letter, and none leaves by himself: how many each
    source has in the end, and who had to go, by source."""
    places: Places[tuple[str, int]] = Places(count)
    held: set[tuple[str, int]] = set()
    went = []
    for number, source in enumerate(sources):
        gone = places.take((source, number), source)
        held.add((source, number))
        if gone is not None:
            held.remove(gone)
            went.append(gone[0])
    return {source: sum(one == source for one, _ in held) for source in dict.fromkeys(sources)}, went


@pytest.mark.parametrize(
    ("sources", "left", "went"),
    [
        ("aaaa", {"a": 4}, ""),
        ("aaaaa", {"a": 4}, "a"),
        ("aaaab", {"a": 3, "b": 1}, "a"),
        ("aaaabbbb", {"a": 2, "b": 2}, "aabb"),
        ("abab", {"a": 2, "b": 2}, ""),
        ("ababa", {"a": 2, "b": 2}, "a"),
        ("aaaabcd", {"a": 1, "b": 1, "c": 1, "d": 1}, "aaa"),
        ("abcde", {"a": 1, "b": 1, "c": 1, "d": 1, "e": 0}, "e"),
        # No place moves where the next one of the other source could take it back.
        ("aaabb", {"a": 2, "b": 2}, "a"),
        ("aaabba", {"a": 2, "b": 2}, "aa"),
    ],
)
def test_when_four_places_are_taken_the_source_that_holds_most_gives_way(
    sources: str, left: dict[str, int], went: str
) -> None:
    assert taken(4, sources) == (left, list(went))


def test_the_newest_goes_for_he_is_farthest_from_his_answer() -> None:
    places: Places[int] = Places(2)
    assert [places.take(1, "a"), places.take(2, "a"), places.take(3, "b")] == [None, None, 2]


def test_without_places_each_goes_at_once() -> None:
    assert taken(0, "ab") == ({"a": 0, "b": 0}, ["a", "b"])


def test_a_place_that_is_left_is_free_once() -> None:
    places: Places[int] = Places(1)
    places.take(1, "a")
    places.leave(1, "a")
    places.leave(1, "a")
    assert [places.take(2, "b"), places.take(3, "c")] == [None, 3]


@given(st.integers(1, 12), st.text("abcd", max_size=60))
def test_each_source_is_sure_of_its_part_and_no_place_stays_empty(count: int, sources: str) -> None:
    left, _ = taken(count, sources)
    sure = count // max(1, len(left))
    assert sum(left.values()) == min(count, len(sources))
    assert all(held >= min(sure, sources.count(source)) for source, held in left.items())
