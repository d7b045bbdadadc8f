"""What was decided a moment ago is used again only where nothing that it rests on has changed."""

import copy
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_admission import patched, review
from tests.core.world import NOON, PRIVATE, SEALER, D, E, known, pod
from tests.support.examples import many
from webhook.core.admission import MAX_KNOWN
from webhook.core.annotation import IMAGES
from webhook.core.ask import (
    Absent,
    Ask,
    AskDigest,
    AskHeld,
    AskPin,
    AskSibling,
    AskStanding,
    Fact,
    Failed,
    NotAsked,
    Oracle,
)
from webhook.core.globs import Globs
from webhook.core.reason import Reason
from webhook.core.rules import Requirement, Rule, RuleSet
from webhook.engine import Clocks, Engine, Unasked

IMAGE = "registry.example.com/team/app:stable"


class World(Oracle):
    """A memory whose answer can be changed, a wall clock that can be moved, and how often memory was asked."""

    def __init__(self) -> None:
        self.fact: Fact = known(source="cached")
        self.now = NOON
        self.asked = 0

    def peek(self, ask: Ask) -> Fact | None:
        self.asked += 1
        return self.fact

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        raise AssertionError("memory knows")

    def engine(self, *rules: Rule) -> Engine:
        oracles: dict[type, Oracle] = {
            AskDigest: self,
            AskPin: Unasked(Reason.NO_CLUSTER),
            AskSibling: Unasked(Reason.NO_CLUSTER),
            AskStanding: Unasked(Reason.NO_CLUSTER),
            AskHeld: Unasked(Reason.OFFLINE),
        }
        clocks = Clocks(lambda: 0.0, lambda: self.now)
        return Engine(RuleSet(rules or [PRIVATE]), oracles, sealer=SEALER, clocks=clocks, new_id=lambda: "id")


def answer(engine: Engine, body: bytes) -> dict[str, Any]:
    given = engine.answer_now(body)
    assert isinstance(given, bytes)
    told: dict[str, Any] = json.loads(given)["response"]
    return told


def sent(document: dict[str, Any], *, uid: str = "one", namespace: str = "default") -> bytes:
    whole = json.loads(review(document))
    whole["request"] |= {"uid": uid, "namespace": namespace}
    return json.dumps(whole).encode()


def images(document: dict[str, Any], told: dict[str, Any]) -> list[str]:
    return [one["image"] for one in patched(document, told)["spec"]["containers"]]


def test_the_second_pod_of_a_rollout_gets_the_same_answer_under_its_own_uid() -> None:
    world = World()
    engine = world.engine()
    first = answer(engine, sent(pod(IMAGE), uid="one"))
    second = answer(engine, sent(pod(IMAGE), uid="two"))
    assert second == {**first, "uid": "two"}
    assert world.asked == 2


@pytest.mark.parametrize(
    "fact", [known(E, source="cached"), Absent("registry.example.com", IMAGE)], ids=["moved", "gone"]
)
def test_another_answer_of_memory_is_another_decision(fact: Fact) -> None:
    world = World()
    engine = world.engine()
    before = answer(engine, sent(pod(IMAGE)))
    world.fact = fact
    fresh = world.engine()
    assert answer(engine, sent(pod(IMAGE))) == answer(fresh, sent(pod(IMAGE)))
    assert answer(engine, sent(pod(IMAGE))) != before


@pytest.mark.parametrize(
    "changed",
    [
        pod(IMAGE, annotations={"moorage.dev/skip": "true"}),
        pod(IMAGE, labels={"moorage.dev/skip": "true"}),
        pod("registry.example.com/team/other:stable"),
        pod(IMAGE, IMAGE),
        {**pod(IMAGE), "metadata": None},
    ],
    ids=["opted out by annotation", "opted out by label", "another image", "another container", "without metadata"],
)
def test_another_pod_is_decided_by_itself(changed: dict[str, Any]) -> None:
    engine = World().engine()
    answer(engine, sent(pod(IMAGE)))
    assert answer(engine, sent(changed)) == answer(World().engine(), sent(changed))


def test_another_namespace_is_decided_by_itself() -> None:
    engine = World().engine()
    answer(engine, sent(pod(IMAGE), namespace="one"))
    assert answer(engine, sent(pod(IMAGE), namespace="two")) == answer(
        World().engine(), sent(pod(IMAGE), namespace="two")
    )


def test_a_pod_that_shows_our_annotation_is_judged_by_its_age_each_time() -> None:
    world = World()
    engine = world.engine()
    document = patched(pod(IMAGE), answer(engine, sent(pod(IMAGE))))
    world.fact = known(E, source="cached")
    world.now = NOON + 59_900
    assert "patch" not in answer(engine, sent(document))
    world.now = NOON + 60_100
    assert images(document, answer(engine, sent(document))) == [f"localhost:30081/team/app@{E}"]


def fresh_at(world: World) -> Engine:
    """One that remembers nothing, in the same world."""
    other = World()
    other.fact, other.now = world.fact, world.now
    return other.engine()


def test_a_seal_is_not_older_than_a_second() -> None:
    world = World()
    engine = world.engine()
    first = answer(engine, sent(pod(IMAGE)))
    world.now = NOON + 1_000
    assert answer(engine, sent(pod(IMAGE))) == first
    world.now = NOON + 1_001
    later = answer(engine, sent(pod(IMAGE)))
    assert later == answer(fresh_at(world), sent(pod(IMAGE))) != first
    assert images(pod(IMAGE), later) == images(pod(IMAGE), first) == [f"localhost:30081/team/app@{D}"]
    world.now = NOON + 2_001
    assert answer(engine, sent(pod(IMAGE))) == later


@pytest.mark.parametrize("now", [NOON + 1_001, NOON - 5], ids=["later", "set back"])
def test_a_new_seal_is_put_on_no_old_decision(now: int) -> None:
    world = World()
    engine = world.engine()
    answer(engine, sent(pod(IMAGE)))
    world.now, world.fact = now, known(E, source="cached")
    assert answer(engine, sent(pod(IMAGE))) == answer(fresh_at(world), sent(pod(IMAGE)))


def test_a_clock_that_is_set_back_uses_nothing_again() -> None:
    world = World()
    engine = world.engine()
    first = answer(engine, sent(pod(IMAGE)))
    world.now = NOON - 5
    assert answer(engine, sent(pod(IMAGE))) != first


def test_outcomes_of_pods_with_many_images_do_not_fill_memory() -> None:
    engine = World().engine()
    bodies = [
        sent(pod(*[f"registry.example.com/{number}:{index}" for index in range(200)]), uid="one")
        for number in range(60)
    ]
    tracemalloc.start()
    try:
        for body in bodies:
            engine.answer_now(body)
        _, held = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20_000_000


TIERED = msgspec.structs.replace(PRIVATE, name="tiered", pod_selector=(Requirement("tier", "In", ("web",)),))
HALF = msgspec.structs.replace(PRIVATE, name="half", namespaces=Globs(("half",)), percent=50)
STRICT = msgspec.structs.replace(PRIVATE, name="strict", namespaces=Globs(("strict",)), on_failure="refuse")

FACTS: list[Fact] = [
    known(source="cached"),
    known(E, source="cached"),
    known(source="cached", media_type="other"),
    known(source="stale", age=30.0, trouble=Reason.UNAVAILABLE),
    known(source="stale", age=31.0, trouble=Reason.UNAVAILABLE),
    Absent("registry.example.com", IMAGE),
    Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "it answers 503; it is let be for 9 s more", 9.0),
    Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "it answers 503; it is let be for 8 s more", 8.0),
    NotAsked(Reason.NO_CLUSTER),
]

PODS: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda images, metadata, spec: {**(made := pod(*images, **metadata)), "spec": {**made["spec"], **spec}},
    st.lists(st.sampled_from([IMAGE, "registry.example.com/team/other:1", f"registry.example.com/a@{D}", "nginx"]), min_size=1, max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "labels": st.sampled_from([{"tier": "web"}, {"tier": "db"}, {"pod-template-hash": "7d9c5b8f6"}]),
            "annotations": st.sampled_from([{"a": "b"}, {"moorage.dev/skip": "true"}, {IMAGES: "{}"}]),
            "name": st.sampled_from([None, *"abcdefgh"]),
            "generateName": st.sampled_from([f"{name}-" for name in "abcdefgh"]),
            "ownerReferences": st.sampled_from(
                [[{"kind": "Job", "name": name, "uid": "u", "controller": True}] for name in "abcdefgh"]
            ),
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "serviceAccountName": st.sampled_from(["default", "robot"]),
            "imagePullSecrets": st.sampled_from([[{"name": "pull"}], []]),
        },
    ),
)  # fmt: skip


def without_time(told: dict[str, Any], document: dict[str, Any]) -> tuple[Any, ...]:
    """What an answer comes to, but for the time of its seal."""
    result = patched(copy.deepcopy(document), told)
    annotation = (result["metadata"].get("annotations") or {}).pop(IMAGES, "{}")
    rest = {key: value for key, value in told.items() if key != "patch"}
    return result, json.loads(annotation).get("images"), rest


@given(
    st.lists(
        st.tuples(
            PODS,
            st.sampled_from(["default", "half", "strict"]),
            st.sampled_from(FACTS),
            st.sampled_from([0, 1, 900, 61_000, -5]),
        ),
        min_size=2,
        max_size=12,
    )
)
@many(60)
def test_whatever_came_before_the_answer_is_that_of_one_who_remembers_nothing(
    rows: list[tuple[dict[str, Any], str, Fact, int]],
) -> None:
    world = World()
    rules = (TIERED, HALF, STRICT, PRIVATE)
    engine = world.engine(*rules)
    for document, namespace, fact, passed in [row for row in rows for _ in range(2)]:
        world.fact = fact
        world.now += passed
        body = sent(document, namespace=namespace)
        # A review that is too large to be remembered anywhere.
        large = sent({**document, "strange": "x" * MAX_KNOWN}, namespace=namespace)
        told, anew = answer(engine, body), answer(world.engine(*rules), large)
        assert without_time(told, document) == without_time(anew, document)
        text = (patched(copy.deepcopy(document), told)["metadata"].get("annotations") or {}).get(IMAGES, "{}")
        assert 0 <= world.now - json.loads(text).get("time", world.now) <= 1000


@pytest.mark.parametrize(
    "named",
    [
        lambda name: {"name": name},
        lambda name: {"name": None, "generateName": f"{name}-"},
        lambda name: {"ownerReferences": [{"kind": "Job", "name": name, "uid": "u", "controller": True}]},
    ],
    ids=["name", "generated name", "owner"],
)
def test_each_workload_falls_on_its_own_side_of_a_percentage(named: Callable[[str], dict[str, Any]]) -> None:
    engine = World().engine(HALF)
    sides = set()
    for name in "abcdefgh":
        document = pod(IMAGE, **named(name))
        told = answer(engine, sent(document, namespace="half"))
        large = sent({**document, "strange": "x" * MAX_KNOWN}, namespace="half")
        assert without_time(told, document) == without_time(answer(World().engine(HALF), large), document)
        sides |= set(images(document, told))
    assert len(sides) == 2
