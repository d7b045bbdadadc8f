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
        for one in gone:
            held.remove(one)
            went.append(one[0])
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
    assert [places.take(1, "a"), places.take(2, "a"), places.take(3, "b")] == [[], [], [2]]


def test_without_places_each_goes_at_once() -> None:
    assert taken(0, "ab") == ({"a": 0, "b": 0}, ["a", "b"])


def test_a_place_that_is_left_is_free_once() -> None:
    places: Places[int] = Places(1)
    places.take(1, "a")
    places.leave(1, "a")
    places.leave(1, "a")
    assert [places.take(2, "b"), places.take(3, "c")] == [[], [3]]


def test_who_gives_way_may_be_picked_among_those_of_one_source() -> None:
    places: Places[int] = Places(3, min)
    for holder in (5, 7, 6):
        places.take(holder, "a")
    assert [places.take(1, "b"), places.take(9, "a"), places.take(8, "a")] == [[5], [6], [7]]


@given(st.integers(1, 300), st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(1, 50))))
def test_room_is_never_given_twice_and_who_holds_less_than_his_part_is_never_turned_away(
    count: int, parts: list[tuple[str, int, int]]
) -> None:
    places: Places[tuple[str, int]] = Places(count)
    held: dict[tuple[str, int], int] = {}
    sources = len({source for source, _, _ in parts})
    for source, number, size in parts:
        holder = (source, number)
        sums = {one: sum(some for (whose, _), some in held.items() if whose == one) for one in "abc"}
        gone = places.take(holder, source, size)
        held[holder] = held.get(holder, 0) + size
        for one in gone:
            del held[one]
        assert places.taken == sum(held.values()) <= count
        if sums[source] + size <= count // sources:
            assert holder not in gone
            assert all(sums[whose] > sums[source] + size for whose, _ in gone)


@given(st.integers(1, 12), st.text("abcd", max_size=60))
def test_each_source_is_sure_of_its_part_and_no_place_stays_empty(count: int, sources: str) -> None:
    left, _ = taken(count, sources)
    sure = count // max(1, len(left))
    assert sum(left.values()) == min(count, len(sources))
    assert all(held >= min(sure, sources.count(source)) for source, held in left.items())
