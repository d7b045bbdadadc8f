"""What an entry is worth at which moment: the rows of RFC 8767 and of CoreDNS's cache, for tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import D
from webhook.core.ask import Absent, Known
from webhook.core.freshness import RECHECK, Age, Entry, Resolving, keep, keep_stale, refuse
from webhook.core.reason import Reason

KNOWN = Known(D, "fresh", "registry.example.com", "file", requests=2, milliseconds=7.0, media_type="m")
SECONDS = st.floats(0.0, 1e6)


def kept(spread: float = 0.5, *, began: float = 100.0, now: float = 100.0, fixed: bool = False) -> Entry:
    return keep(KNOWN, began=began, now=now, resolving=Resolving(stale=3600), spread=spread, fixed=fixed)


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (0.0, Age.FRESH),
        (25.4, Age.FRESH),
        (25.6, Age.DUE),
        (29.9, Age.DUE),
        (30.0, Age.STALE),
        (3599.9, Age.STALE),
        (3600.0, Age.GONE),
    ],
)
def test_an_answer_grows_old(seconds: float, age: Age) -> None:
    assert kept().age(100.0 + seconds) is age


@pytest.mark.parametrize(("spread", "due"), [(0.0, 27.0), (0.5, 25.5), (1.0, 24.0)])
def test_it_is_due_in_the_last_10_to_20_percent_of_its_time(spread: float, due: float) -> None:
    assert kept(spread).due == pytest.approx(100.0 + due)


@pytest.mark.parametrize(("seconds", "age"), [(3000.0, Age.FRESH), (3500.0, Age.DUE), (3600.0, Age.GONE)])
def test_a_confirmed_digest_cannot_change_and_is_believed_for_long(seconds: float, age: Age) -> None:
    assert kept(fixed=True).age(100.0 + seconds) is age


def test_a_confirmed_digest_is_believed_no_shorter_than_a_tag() -> None:
    entry = keep(KNOWN, began=0.0, now=0.0, resolving=Resolving(fresh=30, stale=0), spread=0.5, fixed=True)
    assert entry.age(29.0) is not Age.GONE


def test_a_failed_refresh_leaves_the_entry_and_waits_before_the_next() -> None:
    entry = keep(KNOWN, began=0.0, now=0.0, resolving=Resolving(fresh=300), spread=0.5)
    assert entry.age(256.0) is Age.DUE
    entry.put_off(256.0)
    assert entry.age(256.0 + RECHECK - 0.1) is Age.FRESH
    assert entry.age(256.0 + RECHECK) is Age.DUE


def test_a_failed_refresh_makes_nothing_fresher_than_it_is() -> None:
    entry = kept()
    entry.put_off(129.0)
    assert entry.age(130.0) is Age.STALE


@pytest.mark.parametrize(("since", "answers"), [(99.0, True), (100.0, True), (100.1, False), (103.0, False)])
def test_what_counts_is_when_the_request_was_sent_not_when_the_answer_came(since: float, answers: bool) -> None:
    assert kept(began=100.0, now=103.0).answers(since) is answers


def test_an_answer_from_memory_says_so_and_how_old_it_is() -> None:
    assert kept().cached() == Known(D, "cached", "registry.example.com", "file", media_type="m")
    assert kept().stale(160.0, Reason.UNAVAILABLE) == Known(
        D, "stale", "registry.example.com", "file", age=60.0, media_type="m", trouble=Reason.UNAVAILABLE
    )


@pytest.mark.parametrize(("denied", "seconds"), [(False, 10.0), (True, 5.0)])
def test_a_no_is_believed_for_a_while(denied: bool, seconds: float) -> None:
    refusal = refuse(Absent(denied=denied), began=99.0, now=100.0, resolving=Resolving())
    assert refusal.holds(100.0 + seconds - 0.1, None)
    assert not refusal.holds(100.0 + seconds, None)
    assert refusal.holds(101.0, 99.0)
    assert not refusal.holds(101.0, 99.5)


def test_what_a_pod_shows_never_counts_as_fresh_and_ends_with_its_own_age() -> None:
    entry = keep_stale(KNOWN, began=40.0, resolving=Resolving(stale=3600))
    assert [entry.age(now) for now in (40.0, 3639.0, 3640.0)] == [Age.STALE, Age.STALE, Age.GONE]
    assert not entry.answers(0.0)
    assert not entry.outdates(0.0)


@given(fresh=SECONDS, stale=SECONDS, spread=st.floats(0.0, 1.0), at=SECONDS, later=SECONDS, fixed=st.booleans())
def test_an_entry_never_grows_younger(
    fresh: float,
    stale: float,
    spread: float,
    at: float,
    later: float,
    fixed: bool,
) -> None:
    entry = keep(KNOWN, began=0.0, now=0.0, resolving=Resolving(fresh, stale), spread=spread, fixed=fixed)
    order = list(Age)
    assert order.index(entry.age(at)) <= order.index(entry.age(at + later))
    assert entry.age(max(fresh, stale) + 1) is Age.GONE


@given(fresh=SECONDS, stale=SECONDS, spread=st.floats(0.0, 1.0), failed=SECONDS, later=SECONDS)
def test_putting_off_a_refresh_changes_nothing_but_the_refresh(
    fresh: float, stale: float, spread: float, failed: float, later: float
) -> None:
    one, other = (keep(KNOWN, began=0.0, now=0.0, resolving=Resolving(fresh, stale), spread=spread) for _ in range(2))
    other.put_off(failed)
    ages = {one.age(failed + later), other.age(failed + later)}
    assert len(ages) == 1 or ages == {Age.FRESH, Age.DUE}
