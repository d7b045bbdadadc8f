"""What is remembered, up to a weight."""

from hypothesis import given
from hypothesis import strategies as st

from webhook.core.memo import Memo


def test_what_was_kept_is_given_back() -> None:
    memo: Memo[str, int] = Memo(100)
    assert memo.get("a") is None
    memo.keep("a", 1, 10)
    memo.keep("a", 2, 10)
    assert memo.get("a") == 2
    assert len(memo) == 1


def test_one_that_is_kept_again_weighs_once() -> None:
    memo: Memo[str, int] = Memo(100)
    memo.keep("other", 0, 10)
    for number in range(50):
        memo.keep("a", number, 10)
    assert memo.get("other") == 0


def test_it_begins_anew_when_it_is_full() -> None:
    memo: Memo[int, int] = Memo(100)
    for number in range(11):
        memo.keep(number, number, 10)
    assert len(memo) == 1
    assert memo.get(10) == 10


def test_one_that_would_push_out_the_others_is_not_kept() -> None:
    memo: Memo[str, int] = Memo(100)
    memo.keep("small", 1, 10)
    memo.keep("large", 2, 13)
    assert memo.get("large") is None
    assert memo.get("small") == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60))
def test_it_never_holds_more_than_its_weight_and_gives_nothing_but_the_last(rows: list[tuple[int, int]]) -> None:
    memo: Memo[int, int] = Memo(200)
    weights: dict[int, int] = {}
    for number, (key, weight) in enumerate(rows):
        memo.keep(key, number, weight)
        weights[key] = weight
        assert memo.get(key) == (number if weight * 8 <= 200 else None)
        assert sum(weights[kept] for kept in weights if memo.get(kept) is not None) <= 200
