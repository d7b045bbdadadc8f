"""The registration kept right: gaps are told once, what is missing is added at once, and nobody is fought."""

import asyncio
import json
from typing import Any

import pytest

from tests.core.world import PRIVATE
from tests.support.api import FakeApi
from tests.support.until import STALL
from webhook.core.conditions import EVERYTHING, Coverage, needed
from webhook.core.globs import Globs
from webhook.core.registered import Home, decoded, standing
from webhook.core.registration import Reached, registration
from webhook.core.rules import Rule, RuleSet
from webhook.covering import EVERY, Covering
from webhook.kube import Answer
from webhook.upkeep import FOLDER, PATH, others

FEW = RuleSet([PRIVATE])
MORE = RuleSet([PRIVATE, Rule("hub", Globs(("ghcr.io/**",)))])
HOME = Home("moorage-system")


class World:
    """A cluster with a registration, and processes that keep an eye on it."""

    def __init__(self, **options: Any) -> None:
        self.api = FakeApi()
        self.time = 0.0
        self.register(**{"managed": True, "coverage": needed(FEW), **options})

    def register(self, **options: Any) -> None:
        document = registration(Reached(), **options)
        document["metadata"] |= {"uid": "u", "resourceVersion": "1"}
        self.api.objects[PATH] = document

    def replica(self, rules: RuleSet) -> "Replica":
        return Replica(self, rules)

    @property
    def patches(self) -> int:
        return sum(one.startswith("PATCH") for one in self.api.asked)

    @property
    def passing(self) -> set[Coverage]:
        return {*(standing(decoded(json.dumps(self.api.objects[PATH]).encode())) or ())}


class Replica:
    """One process: what it logged, and what its metric says."""

    def __init__(self, world: World, rules: RuleSet) -> None:
        self.world = world
        self.rules = rules
        self.lines: list[dict[str, Any]] = []
        self.covers: float | None = None
        self.covering = Covering(world.api, lambda: self.rules, HOME, self, self._changed, now=lambda: world.time)

    def write(self, level: str, event: str, **more: Any) -> None:
        self.lines.append({"level": level, "event": event, **more})

    def _changed(self, value: float) -> None:
        self.covers = value

    async def look(self, *, after: float = 0.0) -> None:
        self.world.time += after
        await self.covering.look()

    @property
    def events(self) -> list[str]:
        return [one["event"] for one in self.lines]


async def test_a_registration_that_covers_is_said_in_the_metric_and_nowhere_else() -> None:
    replica = World().replica(FEW)
    await replica.look()
    assert (replica.covers, replica.lines) == (1, [])


async def test_a_gap_is_told_once_with_what_to_do_and_its_end_too() -> None:
    world = World(managed=False)
    replica = world.replica(MORE)
    for _ in range(3):
        await replica.look(after=60)
    assert replica.covers == 0
    assert replica.lines == [
        {
            "level": "error",
            "event": "registration gap",
            "missing": [f"webhook {name}.moorage.dev does not see images of ghcr.io" for name in ("pods", "revisions")],
            "do": [
                "apply what `moorage config registration` prints, or label it moorage.dev/managed=true",
            ],
        }
    ]
    assert world.patches == 0
    world.register(coverage=needed(MORE))
    await replica.look(after=60)
    assert replica.covers == 1
    assert replica.events[-1] == "registration covers the rules again"


class Meddled(FakeApi):
    """Somebody else writes between the read and the write, as who keeps `caBundle` does at the first start."""

    async def send(self, method: str, path: str, body: Any, **more: Any) -> Answer:
        if not any(one.startswith("PATCH") for one in self.asked):
            self.objects[path]["metadata"]["resourceVersion"] = "meddled"
        return await super().send(method, path, body, **more)


async def test_a_gap_is_closed_at_once_though_somebody_else_writes_at_the_same_time() -> None:
    world = World()
    world.api = Meddled()
    world.register(managed=True, coverage=needed(FEW))
    replica = world.replica(MORE)
    await replica.look()
    assert world.patches == 2
    assert (replica.covers, replica.events) == (1, ["registration mended"])
    assert world.passing == {needed(FEW).joined(needed(MORE))}


async def test_one_that_was_deleted_is_a_gap() -> None:
    world = World()
    del world.api.objects[PATH]
    replica = world.replica(FEW)
    await replica.look()
    assert replica.covers == 0
    assert replica.lines[0]["missing"] == [
        "there is no mutatingwebhookconfiguration moorage: the API server asks nobody"
    ]


async def test_what_becomes_of_it_is_seen_without_a_nudge_and_within_a_minute() -> None:
    world, seen = World(), asyncio.Event()

    def changed(covers: float) -> None:
        if covers:
            del world.api.objects[PATH]
        else:
            seen.set()

    covering = Covering(world.api, lambda: FEW, HOME, world.replica(FEW), changed, now=lambda: world.time, every=0.01)
    watching = asyncio.create_task(covering.run(lambda look: look()))
    covering.nudge()
    await asyncio.wait_for(seen.wait(), STALL)
    watching.cancel()
    assert EVERY <= 60


async def test_what_cannot_be_read_leaves_the_metric_and_is_told_once() -> None:
    world = World()
    replica = world.replica(FEW)
    await replica.look()
    world.api.trouble = Answer(403)
    await replica.look()
    await replica.look()
    assert (replica.covers, replica.events) == (1, ["registration not read"])
    world.api.trouble = None
    world.api.objects[PATH]["webhooks"] = "broken"
    await replica.look()
    assert replica.covers == 1


async def test_a_registry_that_a_reload_adds_is_let_through_before_it_counts_as_covered() -> None:
    world = World()
    replica = world.replica(FEW)
    await replica.look()
    replica.rules = MORE
    replica.covering.nudge()
    assert replica.covers == 0
    await replica.look()
    assert world.passing == {needed(MORE)}
    assert replica.covers == 1
    assert replica.events == ["registration mended"]


async def test_only_conditions_are_changed() -> None:
    world = World()
    before = json.loads(json.dumps(world.api.objects[PATH]))
    await world.replica(MORE).look()
    after = world.api.objects[PATH]
    for one in (*before["webhooks"], *after["webhooks"]):
        del one["matchConditions"]
    before["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"]
    assert after == before


async def test_what_nobody_needs_any_more_goes_after_minutes() -> None:
    world = World(coverage=needed(MORE))
    replica = world.replica(FEW)
    for _ in range(10):
        await replica.look(after=60)
    assert world.passing == {needed(MORE)}
    await replica.look(after=60)
    assert world.passing == {needed(FEW)}


async def test_conditions_that_were_not_made_yet_are_made_at_once() -> None:
    world = World(coverage=EVERYTHING)
    replica = world.replica(FEW)
    await replica.look()
    assert (world.passing, replica.covers) == ({needed(FEW)}, 1)


async def test_where_a_rule_is_about_any_host_all_comes_and_an_older_replica_lets_it_be() -> None:
    world = World()
    new, old = world.replica(RuleSet([Rule("any", Globs(("**",)))])), world.replica(FEW)
    await new.look()
    for _ in range(5):
        await old.look(after=60)
        await new.look()
    assert (world.passing, world.patches) == ({EVERYTHING}, 1)


async def test_replicas_that_reload_one_after_the_other_do_not_part() -> None:
    world = World()
    old, new = world.replica(FEW), world.replica(MORE)
    await new.look()
    for _ in range(5):
        await old.look(after=30)
        await new.look(after=30)
    assert (world.passing, world.patches) == ({needed(MORE)}, 1)
    assert (old.covers, new.covers) == (1, 1)


async def test_a_writer_that_undoes_it_is_not_fought_but_told_of() -> None:
    world = World()
    replica = world.replica(MORE)
    await replica.look()
    for _ in range(6 * 60):
        kept = world.api.objects[PATH]["metadata"]
        world.register(managed=True, coverage=needed(FEW))
        world.api.objects[PATH]["metadata"] = kept
        await replica.look(after=60)
    assert world.patches <= 13
    told = [one for one in replica.lines if one["event"] == "registration mended"]
    assert [one["again"] for one in told][:2] == [False, True]
    assert told[1]["level"] == "warning"


class Old(FakeApi):
    """Knows no matchConditions, as an API server before 1.28: it answers well, and does not keep them."""

    async def send(self, method: str, path: str, body: Any, **more: Any) -> Answer:
        answer = await super().send(method, path, body, **more)
        for webhook in self.objects[path]["webhooks"]:
            webhook.pop("matchConditions", None)
        return Answer(answer.status, json.dumps(self.objects[path]).encode())


async def test_an_api_server_that_is_too_old_for_conditions_is_told_of_once_and_asks_about_everything() -> None:
    world = World()
    world.api = Old()
    world.register(managed=True)
    replica = world.replica(FEW)
    for _ in range(6 * 60):
        await replica.look(after=60)
    (line,) = replica.lines
    assert (line["level"], line["event"]) == ("warning", "registration not written")
    assert "drops matchConditions, as one before 1.28 does: it asks about every Pod" in line["problem"]
    assert replica.covers == 1
    assert world.patches <= 13
    # It was upgraded.
    world.api.send = FakeApi.send.__get__(world.api)  # type: ignore[method-assign]
    await replica.look(after=3600)
    assert (world.passing, replica.events[1:]) == ({needed(FEW)}, ["registration mended"])


async def test_a_new_need_waits_for_no_fight() -> None:
    world = World()
    replica = world.replica(MORE)
    for _ in range(10):
        world.register(managed=True, coverage=needed(FEW))
        await replica.look(after=60)
    replica.rules = RuleSet([*MORE.rules, Rule("quay", Globs(("quay.io/**",)))])
    await replica.look()
    assert world.passing == {needed(replica.rules)}


async def test_whoever_writes_in_between_each_time_wins_and_is_seen_at_the_next_look() -> None:
    world = World()
    replica = world.replica(MORE)
    send = world.api.send

    async def too_late(method: str, path: str, body: Any, **more: Any) -> Answer:
        world.api.objects[PATH]["metadata"]["resourceVersion"] += "7"
        return await send(method, path, body, **more)

    world.api.send = too_late  # type: ignore[method-assign]
    await replica.look()
    assert (replica.covers, world.passing) == (0, {needed(FEW)})
    assert replica.events == ["registration gap"]
    world.api.send = send  # type: ignore[method-assign]
    await replica.look()
    assert (replica.covers, world.passing) == (1, {needed(MORE)})


async def test_what_may_not_be_written_is_told_once() -> None:
    world = World()
    replica = world.replica(MORE)
    send = world.api.send

    async def forbidden(*_arguments: Any, **_more: Any) -> Answer:
        return Answer(403, b'{"message":"may not"}')

    world.api.send = forbidden  # type: ignore[method-assign]
    await replica.look()
    await replica.look(after=60)
    assert replica.events == ["registration not written", "registration gap"]
    world.api.send = send  # type: ignore[method-assign]
    await replica.look(after=60)
    assert replica.covers == 1


@pytest.mark.parametrize("change", ["namespace", "newer", "unmanaged"])
async def test_what_is_not_ours_to_keep_is_left_alone(change: str) -> None:
    world = World(managed=change != "unmanaged")
    for webhook in world.api.objects[PATH]["webhooks"]:
        if change == "namespace":
            webhook["clientConfig"]["service"]["namespace"] = "other"
        if change == "newer":
            webhook["matchConditions"].append({"name": "moorage.dev/images-v2", "expression": "true"})
    await world.replica(MORE).look()
    assert world.patches == 0


async def test_a_condition_that_somebody_edited_is_made_anew() -> None:
    world = World()
    world.api.objects[PATH]["webhooks"][0]["matchConditions"][1]["expression"] = "false"
    replica = world.replica(FEW)
    await replica.look()
    assert (replica.covers, world.passing) == (1, {needed(FEW)})


async def test_of_a_thousand_missing_hosts_a_line_names_some() -> None:
    world = World(managed=False)
    rules = RuleSet([Rule(f"r{number}", Globs((f"r{number}.example.com/**",))) for number in range(1000)])
    replica = world.replica(rules)
    await replica.look()
    (line,) = replica.lines
    assert (len(line["missing"]), line["missing"][-1]) == (21, "and 1980 more")


async def test_other_registrations_are_found_for_whoever_may_list_them() -> None:
    world = World()
    for name in ("istio", "moorage-old"):
        document = registration(Reached())
        document["metadata"]["name"] = name
        world.api.objects[f"{FOLDER}/{name}"] = document
    assert [one.metadata.name for one in await others(world.api)] == ["istio", "moorage-old"]
