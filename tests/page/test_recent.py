"""What is kept of the reviews of the last minutes, and what is not."""

from typing import Any

import pytest

from tests.core.test_admission import review
from tests.core.world import PRIVATE, decisions, pod
from webhook.core.admission import Review, decode
from webhook.page.recent import Recent, Wanted


class Notebook:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def review(self, review: Review, decisions: Any, outcome: str, seconds: float) -> None:
        self.told.append((review.namespace, outcome))

    def foreign(self, namespace: str) -> None:
        self.told.append(namespace)

    def bug(self, identity: str, uid: str, error: BaseException) -> None:
        self.told.append((identity, uid, error))


def tell(recent: Recent, *images: str, namespace: str = "default", outcome: str = "changed") -> None:
    document = pod(*images)
    decided = decisions(document, [PRIVATE]) if images else []
    recent.review(decode(review(document, namespace=namespace)), decided, outcome, 0.001)


def numbers(recent: Recent, wanted: Wanted | None = None, most: int = 100) -> list[int]:
    return [one.number for one in recent.find(wanted or Wanted(), most)[0]]


ONE = "registry.example.com/team/app:stable"


def test_the_newest_comes_first_with_what_was_decided() -> None:
    recent = Recent(Notebook(), wall=iter([10.0, 20.0]).__next__)
    tell(recent, ONE, namespace="shop")
    tell(recent, ONE, "nginx")
    newest, oldest = recent.find(Wanted(), 100)[0]
    assert (newest.at, newest.namespace, [one.slot.text for one in newest.decisions]) == (
        20.0,
        "default",
        [ONE, "nginx"],
    )
    assert (oldest.at, oldest.namespace, oldest.kind, oldest.workload) == (10.0, "shop", "Pod", "web")


def test_who_counts_and_logs_hears_of_all_that_is_told() -> None:
    notebook, error = Notebook(), RuntimeError()
    recent = Recent(notebook)
    tell(recent, ONE)
    tell(recent, outcome="untouched")
    recent.bug("id-7", "0b4a", error)
    assert notebook.told == [("default", "changed"), ("default", "untouched"), ("id-7", "0b4a", error)]


def test_what_holds_no_image_is_kept_only_if_it_went_wrong() -> None:
    recent = Recent(Notebook())
    for outcome in ("untouched", "error", "abandoned"):
        tell(recent, outcome=outcome)
    assert [one.outcome for one in recent.find(Wanted(), 100)[0]] == ["abandoned", "error"]


def test_the_oldest_go_when_there_are_too_many() -> None:
    recent = Recent(Notebook(), most=3)
    for _ in range(5):
        tell(recent, ONE)
    assert numbers(recent) == [5, 4, 3]


def test_the_oldest_go_when_they_weigh_too_much() -> None:
    recent = Recent(Notebook(), weight=100_000)
    tell(recent, ONE)
    for _ in range(50):
        tell(recent, "x" * 2000)
    kept = recent.find(Wanted(), 100)[0]
    assert 5 <= len(kept) < 15
    assert kept[0].number == 51
    assert sum(3 * len(one.slot.text) for each in kept for one in each.decisions) < 100_000


def test_one_that_is_too_large_is_counted_and_pushes_nothing_out() -> None:
    recent = Recent(Notebook(), weight=100_000)
    tell(recent, ONE)
    tell(recent, "x" * 50_000)
    assert numbers(recent) == [1]
    assert recent.too_large == 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), [4, 3, 2, 1]),
        (Wanted(namespace="shop"), [3, 1]),
        (Wanted(namespace="sho"), []),
        (Wanted(rule="private"), [4, 3, 1]),
        (Wanted(rule="other"), []),
        (Wanted(outcome="failed"), [3]),
        (Wanted(before=3), [2, 1]),
        (Wanted(namespace="shop", rule="private", outcome="changed", before=3), [1]),
    ],
)
def test_only_what_is_wanted_is_found(wanted: Wanted, expected: list[int]) -> None:
    recent = Recent(Notebook())
    tell(recent, ONE, namespace="shop")
    tell(recent, "nginx", outcome="untouched")
    tell(recent, ONE, namespace="shop", outcome="failed")
    tell(recent, "nginx", ONE)
    assert numbers(recent, wanted) == expected


def test_it_is_told_whether_there_are_more() -> None:
    recent = Recent(Notebook())
    for _ in range(3):
        tell(recent, ONE)
    assert numbers(recent, most=2) == [3, 2]
    assert [recent.find(Wanted(), most)[1] for most in (2, 3)] == [True, False]
