"""What is read of a rollout, how often, and what is done when the API server does not answer."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.core.world import NOON, SEALER, D, E
from tests.doors import Clock, settled, soon
from tests.support.api import FakeApi
from webhook.books import Books
from webhook.core.annotation import Entry
from webhook.core.annotation import written as images_written
from webhook.core.ask import Absent, AskPin, AskSibling, Failed, Known
from webhook.core.pins import written
from webhook.core.reason import Reason
from webhook.core.revision import Revision
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.core.subject import Audience, Owner, Subject
from webhook.kube import Answer
from webhook.revisions import LOST, Pins, Siblings

NAME = "registry.example.com/team/app:stable"
HASH = "5d4f8c7b9"
OWNER = Owner("ReplicaSet", f"web-{HASH}", "uid-1", HASH, "apps")
PATH = f"/apis/apps/v1/namespaces/shop/replicasets/web-{HASH}"
PODS = "/api/v1/namespaces/shop/pods"
BORN = "2027-01-15T08:00:00Z"
REVISION = Revision("ReplicaSet", "shop", f"web-{HASH}", HASH, "uid-1", NOON)
MINUTE = 60.0


class World:
    """An API server, a clock and the two oracles."""

    def __init__(self, sealer: Sealer = SEALER) -> None:
        self.api = FakeApi()
        self.clock = Clock()
        self.books = Books(self.clock)
        self.pins = Pins(self.api, self.books.pins, sealer, remembered=MINUTE)
        self.siblings = Siblings(self.api, self.books.siblings, sealer, remembered=MINUTE)

    def replica_set(self, digest: str = D, uid: str = "uid-1", **annotations: str) -> None:
        pinned = dict([written({NAME: digest}, REVISION, SEALER, NOON)])
        self.api.objects[PATH] = {
            "metadata": {"name": OWNER.name, "uid": uid, "creationTimestamp": BORN, "annotations": pinned | annotations}
        }

    def pod(
        self,
        name: str,
        digest: str,
        born: str = BORN,
        *,
        uid: str = "uid-1",
        by: Sealer = SEALER,
        source: str = "fresh",
    ) -> None:
        subject = Subject(
            "Pod", "shop", name, "web", Audience("shop"), (), owner=msgspec.structs.replace(OWNER, uid=uid)
        )
        text = images_written({"containers/app": Entry(NAME, digest, source=source)}, subject, by, NOON)
        self.api.objects[f"{PODS}/{name}"] = {
            "metadata": {
                "name": name,
                "creationTimestamp": born,
                "labels": {"pod-template-hash": HASH},
                "annotations": {"moorage.dev/images": text},
                "ownerReferences": [{"uid": uid, "controller": True}],
            }
        }


def pinned(digest: str, source: str = "pin", at: int = NOON, **more: Any) -> Known:
    return Known(digest, source, OWNER.name, at=at, **more)


def pin_ask(**change: Any) -> AskPin:
    return msgspec.structs.replace(AskPin(OWNER, "shop", NAME), **change)


SIBLING = AskSibling(OWNER, "shop", NAME, f"pod-template-hash={HASH}")


async def test_the_pin_is_read_once_and_remembered() -> None:
    world = World()
    world.replica_set()
    assert world.pins.peek(pin_ask()) is None
    fact = await world.pins.fetch(pin_ask(), deadline=soon())
    assert fact == pinned(D)
    world.clock.forward(MINUTE - 1)
    assert world.pins.peek(pin_ask()) == fact
    assert world.api.asked == [PATH]


async def test_five_hundred_pods_at_once_take_one_reading() -> None:
    world = World()
    world.replica_set()
    facts = await asyncio.gather(*(world.pins.fetch(pin_ask(), deadline=soon()) for _ in range(500)))
    assert set(facts) == {pinned(D)}
    assert world.api.asked == [PATH]


async def test_a_pin_that_was_written_anew_is_seen_within_a_minute() -> None:
    world = World()
    world.replica_set(D)
    await world.pins.fetch(pin_ask(), deadline=soon())
    key, value = written({NAME: E}, REVISION, SEALER, NOON + 3_600_000, uid="uid-1")
    world.replica_set(D, **{key: value})
    world.clock.forward(MINUTE)
    assert world.pins.peek(pin_ask()) is None
    assert await world.pins.fetch(pin_ask(), deadline=soon()) == pinned(E, at=NOON + 3_600_000)


async def test_where_a_revision_may_be_pinned_anew_it_is_read_for_every_pod() -> None:
    world = World()
    world.replica_set(D)
    await world.pins.fetch(pin_ask(), deadline=soon())
    world.replica_set(E)
    assert world.pins.peek(pin_ask(anew=True)) is None
    assert await world.pins.fetch(pin_ask(anew=True), deadline=soon()) == pinned(E)
    assert world.pins.peek(pin_ask()) == pinned(E)


async def test_a_pin_that_is_read_anew_is_read_after_its_pod_came() -> None:
    """A reading that is under way may be of before the rollout came back."""
    world = World()
    world.replica_set(D)
    world.api.hold = asyncio.Event()
    early = asyncio.create_task(world.pins.fetch(pin_ask(anew=True), deadline=soon()))
    await settled()
    world.clock.forward(1)
    late = asyncio.create_task(world.pins.fetch(pin_ask(anew=True), deadline=soon()))
    await settled()
    world.api.hold.set()
    assert [await early, await late] == [pinned(D)] * 2
    assert world.api.asked == [PATH] * 2


async def test_a_name_that_came_back_with_another_uid_has_no_pin() -> None:
    world = World()
    world.replica_set(uid="uid-2")
    fact = await world.pins.fetch(pin_ask(), deadline=soon())
    assert fact == Absent(notes=((Reason.PIN_IGNORED, f"ReplicaSet {OWNER.name}", "it belongs to another rollout"),))


async def test_a_revision_that_is_gone_is_looked_for_again_after_a_moment() -> None:
    world = World()
    fact = await world.pins.fetch(pin_ask(), deadline=soon())
    assert fact == Absent(notes=((Reason.PIN_IGNORED, f"ReplicaSet {OWNER.name}", "it is not there"),))
    world.clock.forward(LOST)
    world.replica_set()
    assert world.pins.peek(pin_ask()) is None
    assert await world.pins.fetch(pin_ask(), deadline=soon()) == pinned(D)


async def test_an_image_that_is_not_in_the_template_has_no_pin() -> None:
    world = World()
    world.replica_set()
    assert await world.pins.fetch(pin_ask(name="registry.example.com/sidecar:1"), deadline=soon()) == Absent()


async def test_owners_without_revision_are_not_looked_up() -> None:
    world = World()
    ask = pin_ask(owner=Owner("ReplicationController", "web", "uid-1"))
    assert world.pins.peek(ask) == Absent()
    assert await world.pins.fetch(ask, deadline=soon()) == Absent()
    assert world.api.asked == []


async def test_a_pin_without_our_seal_is_a_hint() -> None:
    world = World(Sealer((Secret("n" * 32),)))
    world.replica_set()
    assert await world.pins.fetch(pin_ask(), deadline=soon()) == pinned(D, is_hint=True)


TROUBLES = [
    ("down", Answer(0, trouble="the API server refuses the connection"), "the API server refuses the connection"),
    ("forbidden", Answer(403), "this account may not read it"),
    ("no token", Answer(401), "this account may not read it"),
    ("broken", Answer(500), "the API server answers 500"),
    ("busy", Answer(429), "the API server answers 429"),
    ("no JSON", Answer(200, b"<html>"), "the API server answers something else than was asked for"),
    ("another shape", Answer(200, b'{"metadata":[]}'), "the API server answers something else than was asked for"),
]


async def test_what_the_account_may_not_read_is_told_in_the_api_servers_words() -> None:
    world = World()
    told: list[tuple[str, str]] = []
    pins = Pins(world.api, world.books.pins, SEALER, remembered=MINUTE, refused=lambda *what: told.append(what))
    siblings = Siblings(
        world.api, world.books.siblings, SEALER, remembered=MINUTE, refused=lambda *what: told.append(what)
    )
    world.api.forbidden = {"replicasets.apps", "pods"}
    await pins.fetch(pin_ask(), deadline=soon())
    await siblings.fetch(SIBLING, deadline=soon())
    assert [what for what, _ in told] == ["replicasets", "pods"]
    assert all("is forbidden: User" in words for _, words in told)
    told.clear()
    world.api.forbidden = set()
    world.api.trouble = Answer(500)
    await pins.fetch(pin_ask(), deadline=soon())
    assert told == []


@pytest.mark.parametrize(("answer", "detail"), [row[1:] for row in TROUBLES], ids=[row[0] for row in TROUBLES])
async def test_trouble_is_told(answer: Answer, detail: str) -> None:
    world = World()
    world.api.trouble = answer
    fact = await world.pins.fetch(pin_ask(), deadline=soon())
    assert fact == Failed(Reason.CLUSTER_NOT_ASKED, f"ReplicaSet {OWNER.name}", detail)
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == Failed(
        Reason.CLUSTER_NOT_ASKED, f"ReplicaSet {OWNER.name}", detail
    )


async def test_what_was_read_before_stands_in_while_the_api_server_is_down() -> None:
    world = World()
    world.replica_set()
    await world.pins.fetch(pin_ask(), deadline=soon())
    world.clock.forward(24 * 3600)
    world.api.trouble = Answer(0, trouble="down")
    assert await world.pins.fetch(pin_ask(), deadline=soon()) == pinned(D)


async def test_a_hanging_api_server_leaves_time_for_the_registry() -> None:
    world = World()
    world.api.hold = asyncio.Event()
    deadline = soon(2)
    fact = await world.pins.fetch(pin_ask(), deadline=deadline)
    assert isinstance(fact, Failed)
    # Three fifths of it, less what a busy machine takes.
    assert deadline - asyncio.get_running_loop().time() > 0.4


async def test_an_api_server_that_fails_again_and_again_is_let_be_for_a_while() -> None:
    world = World()
    world.api.trouble = Answer(0, trouble="down")
    for number in range(20):
        await world.pins.fetch(pin_ask(owner=msgspec.structs.replace(OWNER, uid=str(number))), deadline=soon())
    assert len(world.api.asked) == 5
    world.api.trouble = None
    world.replica_set()
    world.clock.forward(11)
    assert await world.pins.fetch(pin_ask(), deadline=soon()) == pinned(D)


async def test_one_that_waits_no_longer_does_not_end_the_reading_for_others() -> None:
    world = World()
    world.replica_set()
    world.api.hold = asyncio.Event()
    first = asyncio.create_task(world.pins.fetch(pin_ask(), deadline=soon()))
    await settled()
    second = asyncio.create_task(world.pins.fetch(pin_ask(), deadline=soon()))
    await settled()
    first.cancel()
    world.api.hold.set()
    assert await second == pinned(D)


async def test_the_oldest_sibling_decides() -> None:
    world = World()
    world.pod("a", E, "2027-01-15T08:00:02Z")
    world.pod("b", D, "2027-01-15T08:00:01Z")
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == pinned(D, source="sibling")
    assert world.siblings.peek(SIBLING) == pinned(D, source="sibling")
    world.clock.forward(MINUTE)
    assert world.siblings.peek(SIBLING) is None


async def test_a_sealed_sibling_goes_before_an_older_one_without() -> None:
    world = World()
    world.pod("a", E, "2027-01-15T08:00:01Z", by=Sealer((Secret("f" * 32),)))
    world.pod("b", D, "2027-01-15T08:00:02Z")
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == pinned(D, source="sibling")


@pytest.mark.parametrize("source", ["given", "locked", "", "nosuch"])
async def test_a_digest_that_no_upstream_has_named_is_a_hint_though_it_stands_under_our_seal(source: str) -> None:
    world = World()
    world.pod("a", D, source=source)
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == pinned(D, source="sibling", is_hint=True)


async def test_pods_of_another_controller_are_no_siblings() -> None:
    world = World()
    world.pod("a", E, uid="uid-2")
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == Absent()


async def test_pods_of_another_rollout_of_the_same_controller_are_no_siblings() -> None:
    """A StatefulSet and owners of kinds that nobody knows keep their uid from rollout to rollout."""
    world = World()
    world.pod("a", D)
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == pinned(D, source="sibling")
    owner = msgspec.structs.replace(OWNER, hash="77f9")
    next_one = msgspec.structs.replace(SIBLING, owner=owner, selector="pod-template-hash=77f9")
    assert world.siblings.peek(next_one) is None
    assert await world.siblings.fetch(next_one, deadline=soon()) == Absent()


async def test_that_there_is_no_sibling_is_not_remembered() -> None:
    world = World()
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == Absent()
    world.pod("a", D)
    assert world.siblings.peek(SIBLING) is None
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == pinned(D, source="sibling")


@pytest.mark.parametrize("text", ["{", "[]", '{"images":{"containers/app":{"from":"Not An Image","digest":"x"}}}'])
async def test_an_annotation_that_says_nothing_is_passed_over(text: str) -> None:
    world = World()
    world.pod("a", E)
    world.api.objects[f"{PODS}/a"]["metadata"]["annotations"]["moorage.dev/images"] = text
    assert await world.siblings.fetch(SIBLING, deadline=soon()) == Absent()


async def test_memory_is_bounded() -> None:
    world = World()
    world.books = Books(world.clock, entries=10)
    pins = Pins(world.api, world.books.pins, SEALER, remembered=MINUTE)
    world.replica_set()
    owners = [msgspec.structs.replace(OWNER, hash=f"{number}") for number in range(50)]
    for owner in owners:
        await pins.fetch(pin_ask(owner=owner), deadline=soon())
    assert sum(pins.peek(pin_ask(owner=owner)) is not None for owner in owners) == 10
