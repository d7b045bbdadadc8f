"""Looking after pins: which revisions are looked at, what is written on them, and what is told."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.revisions import BORN, HASH, NAME, controller_revision, job, replica_set
from tests.core.test_adoption import GONE, pin, upstream
from tests.core.world import NOON, PRIVATE, SEALER, D, E
from tests.support.api import FakeApi
from webhook.adopter import Adopter, Report, survey
from webhook.core.adoption import Verdict
from webhook.core.annotation import Entry, written
from webhook.core.ask import Ask, AskDigest, Fact, Oracle
from webhook.core.pins import judge
from webhook.core.revision import Revision
from webhook.core.rules import RuleSet
from webhook.core.subject import Audience, Owner, Subject
from webhook.engine import Clocks, Engine
from webhook.kube import Answer, ListBroke

LATER = NOON + 86_400_000


class Upstream(Oracle):
    """The oracle for digests: what the upstream says."""

    def __init__(self, answer: Callable[[Ask], Fact]) -> None:
        self.answer = answer

    def peek(self, ask: Ask) -> Fact | None:
        return None

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        return self.answer(ask)


class World:
    """A cluster's API server and an adopter."""

    def __init__(self, answer: Callable[[Ask], Fact]) -> None:
        self.api = FakeApi()
        rules = RuleSet([PRIVATE])
        clocks = Clocks(lambda: 7.0, lambda: LATER)
        engine = Engine(rules, {AskDigest: Upstream(answer)}, sealer=SEALER, clocks=clocks, new_id=lambda: "id")
        self.adopter = Adopter(self.api, engine, rules, SEALER, now=lambda: 7.0, wall=lambda: LATER)

    def put(self, folder: str, made: dict[str, Any], uid: str = "uid-1", **metadata: Any) -> str:
        stored = copy.deepcopy(made)
        stored["metadata"] |= {"uid": uid, "creationTimestamp": BORN, "resourceVersion": "1"} | metadata
        path = f"{folder}/{stored['metadata']['name']}"
        self.api.objects[path] = stored
        return path

    def replica_set(self, *, replicas: int = 3, **metadata: Any) -> str:
        made = replica_set()
        made["spec"]["replicas"] = replicas
        return self.put("/apis/apps/v1/namespaces/shop/replicasets", made, **metadata)

    def pod(
        self, name: str, digest: str, *, uid: str = "uid-1", labels: dict[str, str] | None = None, **more: Any
    ) -> None:
        subject = Subject("Pod", "shop", name, "web", Audience("shop"), (), owner=Owner("ReplicaSet", "web", uid))
        metadata = {
            "name": name,
            "labels": labels or {"pod-template-hash": HASH},
            "annotations": {
                "moorage.dev/images": written(
                    {"containers/c0": Entry(NAME, digest, source="fresh")}, subject, SEALER, NOON
                )
            },
            "ownerReferences": [{"uid": uid, "controller": True}],
        }
        spec = {"containers": [{"name": "c0", "image": f"localhost:30081/team/app@{digest}"}]}
        self.put(
            "/api/v1/namespaces/shop/pods", {"metadata": metadata, "spec": spec, "status": {}}, f"pod-{name}", **more
        )

    async def run(self) -> list[Report]:
        reports = await self.adopter.look(await survey(self.api))
        return [await self.adopter.write(report) for report in reports]

    def held(self, path: str) -> dict[str, str]:
        metadata = self.api.objects[path]["metadata"]
        revision = Revision("ReplicaSet", "shop", "x", HASH, metadata["uid"], NOON, metadata.get("annotations", {}))
        return {name: one.digest for name, one in judge(revision, SEALER).images.items() if one.sealed}


async def test_a_rollout_without_pin_gets_the_digest_that_its_pods_run() -> None:
    world = World(upstream(D))
    path = world.replica_set()
    world.pod("a", E)
    (report,) = await world.run()
    assert [one.verdict for one in report.adopted] == [Verdict.ADOPTED]
    assert world.held(path) == {NAME: E}
    template = copy.deepcopy(world.api.objects[path]["spec"])
    assert template == replica_set()["spec"]


async def test_a_second_run_changes_nothing() -> None:
    world = World(upstream(D, E))
    path = world.replica_set()
    world.pod("a", E)
    await world.run()
    before = copy.deepcopy(world.api.objects[path])
    (report,) = await world.run()
    assert [one.verdict for one in report.adopted] == [Verdict.KEPT]
    assert world.api.objects[path] == before


async def test_looking_writes_nothing() -> None:
    world = World(upstream(E))
    path = world.replica_set(annotations=pin())
    before = copy.deepcopy(world.api.objects[path])
    await world.adopter.look(await survey(world.api))
    assert world.api.objects[path] == before
    assert [line for line in world.api.asked if " " in line] == []


async def test_a_gone_digest_is_replaced_and_an_event_tells_it() -> None:
    world = World(upstream(E))
    path = world.replica_set(annotations=pin(D))
    (report,) = await world.run()
    assert world.held(path) == {NAME: E}
    assert [one.rule for one in report.gone] == ["private"]
    await world.adopter.tell(report.living, report.gone[0])
    (event,) = [one for place, one in world.api.objects.items() if "/events/" in place]
    assert (event["reason"], event["involvedObject"]["name"]) == ("PinRepinned", f"web-{HASH}")
    assert D in event["message"]
    assert E in event["message"]


async def test_why_an_event_could_not_be_written_is_said() -> None:
    world = World(upstream(GONE))
    world.replica_set(annotations=pin(D))
    (report,) = await world.run()
    world.api.forbidden = {"events"}
    assert "events is forbidden" in await world.adopter.tell(report.living, report.gone[0])
    world.api.forbidden = set()
    assert await world.adopter.tell(report.living, report.gone[0]) == ""


async def test_what_only_a_person_can_mend_is_told() -> None:
    world = World(upstream(GONE))
    path = world.replica_set(annotations=pin(D))
    (report,) = await world.run()
    await world.adopter.tell(report.living, report.gone[0])
    assert world.held(path) == {NAME: D}
    (event,) = [one for place, one in world.api.objects.items() if "/events/" in place]
    assert event["reason"] == "PinGone"


LIVES = [
    ("a ReplicaSet that wants Pods", lambda world: world.replica_set(replicas=1), 1),
    ("a ReplicaSet scaled to nothing", lambda world: world.replica_set(replicas=0), 0),
    (
        "one scaled to nothing that has Pods left",
        lambda world: (world.replica_set(replicas=0), world.pod("a", D)),
        1,
    ),
    (
        "one whose last Pod is going",
        lambda world: (world.replica_set(replicas=0), world.pod("a", D, deletionTimestamp=BORN)),
        0,
    ),
    ("a Job", lambda world: world.put("/apis/batch/v1/namespaces/shop/jobs", job()), 1),
    ("a suspended Job", lambda world: world.put("/apis/batch/v1/namespaces/shop/jobs", job(suspend=True)), 0),
    (
        "a Job that has ended",
        lambda world: world.put(
            "/apis/batch/v1/namespaces/shop/jobs",
            job() | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}},
        ),
        0,
    ),
    (
        "the newest of a StatefulSet's revisions",
        lambda world: [
            world.put(
                "/apis/apps/v1/namespaces/shop/controllerrevisions",
                controller_revision() | {"revision": number},
                name=f"db-{number}",
            )
            for number in (1, 2, 3)
        ],
        1,
    ),
    (
        "an older one that has Pods",
        lambda world: (
            [
                world.put(
                    "/apis/apps/v1/namespaces/shop/controllerrevisions",
                    controller_revision() | {"revision": number},
                    name=f"db-{number}",
                )
                for number in (1, 2)
            ],
            world.pod("db-0", D, uid="owner-1", labels={"controller-revision-hash": "db-1"}),
        ),
        2,
    ),
    ("what cannot be read", lambda world: world.replica_set(labels=[]), 0),
]


@pytest.mark.parametrize(("put", "number"), [row[1:] for row in LIVES], ids=[row[0] for row in LIVES])
async def test_which_revisions_live(put: Callable[[World], Any], number: int) -> None:
    world = World(upstream(D))
    put(world)
    assert len(await survey(world.api)) == number


async def test_pods_are_their_own_revisions() -> None:
    world = World(upstream(D))
    folder = "/apis/apps/v1/namespaces/shop/controllerrevisions"
    world.put(folder, controller_revision() | {"revision": 1}, "cr-1", name="db-1")
    world.put(folder, controller_revision() | {"revision": 2}, "cr-2", name="db-2")
    world.pod("db-0", D, uid="owner-1", labels={"controller-revision-hash": "db-2"})
    world.pod("db-1", E, uid="owner-1", labels={"controller-revision-hash": "db-1"})
    seen = {one.revision.name: [pod.name for pod in one.pods] for one in await survey(world.api)}
    assert seen == {"db-1": ["db-1"], "db-2": ["db-0"]}


@pytest.mark.parametrize("answer", [Answer(403), Answer(0, trouble="down")])
async def test_a_list_that_breaks_is_told(answer: Answer) -> None:
    world = World(upstream(D))
    world.api.trouble = answer
    with pytest.raises(ListBroke):
        await survey(world.api)


async def test_a_revision_that_came_back_meanwhile_is_not_written_on() -> None:
    world = World(upstream(D))
    path = world.replica_set()
    world.pod("a", E)
    (report,) = await world.adopter.look(await survey(world.api))
    world.replica_set(uid="uid-2")
    written_report = await world.adopter.write(report)
    assert written_report.trouble == "the API server answers 409"
    assert "pins.moorage.dev" not in json.dumps(world.api.objects[path])
