"""Certificates and keys over the years: whoever keeps them dies wherever it likes, and no call is lost.

The rest of the world stands beside: API servers and replicas that hear of things late, and people who spoil the Secret.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.examples import many
from webhook.core.keeping import (
    ALL,
    AUTHORITY_LIFE,
    BACKDATED,
    DAY,
    DROP,
    LEAF,
    LEAF_LIFE,
    PATIENT,
    Authority,
    Begin,
    Complete,
    Forget,
    Issue,
    Kept,
    Leaf,
    Register,
    Registered,
    Rest,
    Step,
    begun,
    completed,
    forgotten,
    issued,
    next_step,
)
from webhook.core.secret import Secret

NAME: Final = "moorage.moorage-system.svc"
NAMES: Final = frozenset({NAME})
LATE: Final = 8.0
"""Seconds within which API servers and replicas hear of what was written."""
SETTLE: Final = 20.0
CUT_OFF: Final = PATIENT * SETTLE * 0.8
"""Seconds for which one replica hears of nothing: calls must not fail there, though what others seal is only a hint."""
START: Final = 1_800_000_000.0


class World:
    """What stands, and who has heard of what."""

    def __init__(self) -> None:
        self.now = START
        self.made = 0
        self.kept: Kept | None = None
        self.bundle: tuple[Authority, ...] = ()
        self.path: Secret | None = None
        self.is_path_lost = False
        self.is_there = True
        self.is_ours = True
        self.is_fixed = False
        self.apis = [Told(LATE), Told(LATE - 3)]
        self.replicas = [Replica(1), Replica(4), Replica(LATE), Replica(CUT_OFF)]
        self.steps: list[str] = []
        self.successor()

    @property
    def hearers(self) -> tuple["Told | Replica", ...]:
        return (*self.apis, *self.replicas)

    def successor(self) -> None:
        """Another one keeps things from now on: it remembers nothing."""
        self._seen: Any = None
        self._since = self.now

    def registered(self) -> Registered:
        answered = (self.kept.is_open, frozenset(self.kept.paths)) if self.kept is not None else None
        seen = (self.bundle, self.path, self.is_there, answered)
        if seen != self._seen:
            self._seen, self._since = seen, self.now
        return Registered(
            self.bundle if self.is_there else (),
            self.path,
            standing=self.now - self._since,
            is_there=self.is_there,
            is_ours=self.is_ours,
            is_fixed=self.is_fixed,
        )

    def step(self) -> Step:
        """One step of whoever keeps things."""
        step = next_step(self.kept, self.registered(), name=NAME, names=NAMES, now=self.now, settle=SETTLE)
        match step:
            case Register(bundle, path):
                self.bundle, self.path = bundle, path
            case Begin():
                new = {"seal": self.secret("seal"), "path": self.secret("path")}
                self.kept = begun(self.kept, step, authority=self.authority(), **new)
            case Complete():
                assert self.kept is not None
                self.kept = completed(self.kept, step, seal=self.secret("seal"), path=self.secret("path"))
            case Issue(authority):
                assert self.kept is not None
                self.kept = issued(self.kept, self.leaf(authority), now=self.now)
            case Forget():
                assert self.kept is not None
                self.kept = forgotten(self.kept, now=self.now)
            case Rest():
                return step
        self.is_path_lost = self.is_path_lost and isinstance(step, Register)
        self.steps.append(type(step).__name__)
        return step

    def spoil(self, how: str) -> None:
        """Somebody writes the Secret who should not."""
        assert self.kept is not None
        self.kept, self.is_path_lost = SPOILT[how](self.kept), how == NO_PATH

    def settle(self) -> None:
        """Until there is nothing to do, for those who look every 5 s; everybody hears of it late."""
        for _ in range(int(2 * PATIENT * SETTLE / 5)):
            while not isinstance(step := self.step(), Rest):
                self.check()
            self.wait(5)
            if self.is_well(step):
                break
        self.wait(LATE + 1)

    def is_well(self, step: Step) -> bool:
        """Whether there is nothing to do for a while."""
        is_told = self.kept is None or not self.kept.paths or self.path == self.kept.paths[0]
        return isinstance(step, Rest) and step.until > self.now and is_told

    def wait(self, seconds: float, *, hurry: Callable[[], bool] = lambda: False) -> None:
        """Time passes; who is late hears of what was written, and others may."""
        for _ in range(int(seconds)):
            self.now += 1
            for one in self.hearers:
                if self.now - one.heard >= one.late or hurry():
                    one.hear(self)
            self.check()

    def days(self, number: int) -> None:
        for _ in range(number):
            self.now += DAY
            for one in self.hearers:
                one.hear(self)
            if not self.is_well(self.step()):
                self.settle()
            self.check()

    def check(self) -> None:
        """Every API server that trusts anybody is answered by every replica."""
        for api in self.apis:
            for replica in self.replicas:
                if not api.bundle or replica.leaf is None:
                    continue
                assert replica.leaf.authority in {one.id for one in api.bundle}
                assert replica.leaf.ends > self.now
                assert api.path in replica.paths

    def authority(self) -> Authority:
        self.made += 1
        name = f"authority-{self.made}"
        return Authority(name, name, Secret(f"key of {name}"), self.now - BACKDATED, self.now + AUTHORITY_LIFE)

    def leaf(self, authority: Authority) -> Leaf:
        assert authority.key is not None
        ends = min(self.now + LEAF_LIFE, authority.ends)
        self.made += 1
        return Leaf(f"leaf-{self.made}", Secret("key of leaf"), authority.id, self.now - BACKDATED, ends, NAMES)

    def secret(self, what: str) -> Secret:
        self.made += 1
        return Secret(f"{what}-{self.made}")


class Told:
    """An API server: what it has heard of the registration."""

    def __init__(self, late: float) -> None:
        self.late = late
        self.heard = START
        self.bundle: tuple[Authority, ...] = ()
        self.path: Secret | None = None

    def hear(self, world: World) -> None:
        self.heard, self.bundle, self.path = world.now, world.bundle if world.is_there else (), world.path


class Replica:
    """One that serves: what it has heard of the Secret. What cannot be used leaves what it had; it begins when all can be."""

    def __init__(self, late: float) -> None:
        self.late = late
        self.heard = START
        self.leaf: Leaf | None = None
        self.paths: tuple[Secret | None, ...] = ()
        self.seals: tuple[Secret, ...] = ()

    def hear(self, world: World) -> None:
        self.heard = world.now
        kept = world.kept
        if kept is None:
            return
        serves = kept.leaf is not None and kept.leaf.serves(NAMES, kept.living(world.now), world.now)
        # A Secret that has lost its path is not one that says there is none.
        paths = () if world.is_path_lost else (*kept.paths, *((None,) if kept.is_open else ()))
        if self.leaf is None and not (serves and kept.seals and paths):
            return
        self.leaf = kept.leaf if serves else self.leaf
        self.seals = kept.seals or self.seals
        self.paths = paths or self.paths


def installed() -> World:
    world = World()
    world.settle()
    return world


def test_a_first_start_has_a_pair_at_once_and_registers_it() -> None:
    world = World()
    while not isinstance(world.step(), Rest):
        pass
    assert world.steps == ["Begin", "Register", "Issue"]
    assert world.now == START


def test_where_nothing_is_registered_there_is_a_pair_all_the_same() -> None:
    world = World()
    world.is_there = world.is_ours = False
    world.settle()
    assert world.steps == ["Begin", "Issue"]
    world.is_there = world.is_ours = True
    world.settle()
    assert world.steps == ["Begin", "Issue", "Register"]


def test_a_year_goes_by() -> None:
    world = installed()
    world.steps.clear()
    world.days(366)
    # A certificate lives 20 days; with another authority it begins anew.
    assert world.steps == [
        *["Issue"] * 12, "Begin", "Register", "Issue", "Register", "Issue", "Forget", "Register", *["Issue"] * 5,
    ]  # fmt: skip
    assert world.kept is not None
    assert [len(one) for one in (world.kept.authorities, world.kept.paths, world.kept.seals)] == [1, 1, 2]


def test_between_two_authorities_both_are_trusted_until_the_last_certificate_of_the_old_one_has_ended() -> None:
    world = installed()
    assert world.kept is not None
    old = world.kept
    world.kept = msgspec.structs.replace(world.kept, wish=ALL)
    world.settle()
    assert [one.id for one in world.bundle] == [one.id for one in world.kept.authorities]
    assert [one.key is None for one in world.kept.authorities] == [False, True]
    assert world.kept.paths[1:] == old.paths[:1]
    assert world.kept.seals[1:] == old.seals[:1]
    assert world.path == world.kept.paths[0]
    assert old.leaf is not None
    assert world.kept.until == old.leaf.ends
    world.days(29)
    assert len(world.kept.authorities) == 2
    world.days(2)
    assert len(world.kept.authorities) == 1
    assert [one.id for one in world.bundle] == [one.id for one in world.kept.authorities]


def test_an_operator_may_have_the_old_authority_dropped_once_the_new_one_serves() -> None:
    world = installed()
    world.kept = msgspec.structs.replace(world.kept or Kept(), wish=ALL)
    world.settle()
    world.kept = msgspec.structs.replace(world.kept, wish=DROP)
    world.settle()
    assert len(world.kept.authorities) == len(world.bundle) == 1
    assert world.kept.wish == ""


def test_where_the_registration_cannot_be_changed_certificates_are_renewed_and_no_other_authority_serves() -> None:
    world = installed()
    assert world.kept is not None
    first = world.kept.authorities[0].id
    world.is_fixed = True
    world.days(300)
    assert world.kept.leaf is not None
    assert world.kept.leaf.authority == first
    world.is_fixed = False
    world.settle()
    assert world.kept.leaf.authority != first


def test_somebody_elses_registration_is_waited_for_and_has_no_path_secret() -> None:
    world = World()
    world.is_ours = False
    world.settle()
    assert world.steps == ["Begin", "Issue"]
    assert world.kept is not None
    assert world.kept.paths == ()
    assert world.kept.is_open
    world.bundle = world.kept.authorities
    world.days(250)
    assert [world.kept.leaf.authority] == [world.kept.authorities[1].id] if world.kept.leaf else []
    world.bundle = world.kept.authorities
    world.settle()
    assert world.kept.leaf is not None
    assert world.kept.leaf.authority == world.kept.authorities[0].id


def test_somebody_elses_secret_is_left_alone_and_told_to_callers() -> None:
    world = installed()
    assert world.kept is not None
    world.kept = msgspec.structs.replace(world.kept, is_ours=False, wish=ALL, seals=())
    world.bundle = ()
    world.steps.clear()
    world.settle()
    assert world.steps == ["Register"]


@pytest.mark.parametrize("spoilt", ["half of it", "expired", "another name", "a foreign authority"])
def test_somebody_elses_secret_that_cannot_serve_leaves_those_trusted_who_signed_what_is_shown(spoilt: str) -> None:
    world = installed()
    before = world.kept
    assert before is not None
    theirs = world.authority()
    leaf = world.leaf(theirs)
    leaves = {
        "half of it": None,
        "expired": msgspec.structs.replace(leaf, ends=world.now - 1),
        "another name": msgspec.structs.replace(leaf, names=frozenset({"moorage.elsewhere.svc"})),
        "a foreign authority": before.leaf,
    }
    world.kept = msgspec.structs.replace(before, is_ours=False, authorities=(theirs,), leaf=leaves[spoilt])
    # Calls are checked on the way.
    world.wait(10 * SETTLE)
    world.step()
    world.wait(10 * SETTLE)
    assert {one.id for one in world.bundle} == {theirs.id, before.authorities[0].id}
    world.kept = before
    world.settle()
    assert world.bundle == before.authorities


def test_a_registration_that_was_applied_anew_is_mended_at_once() -> None:
    world = installed()
    world.bundle, world.path = (), None
    world.steps.clear()
    world.step()
    assert world.steps == ["Register"]
    assert world.kept is not None
    assert world.bundle == world.kept.authorities
    assert world.path == world.kept.paths[0]


def test_turning_path_upkeep_off_and_on_again_loses_no_call() -> None:
    """The annotation first, and the path when replicas have heard of it."""
    world = installed()
    assert world.kept is not None
    secret = world.path
    world.is_ours = False
    world.step()
    world.wait(CUT_OFF + 1)
    assert (world.kept.is_open, world.kept.paths) == (True, (secret,))
    world.path = None
    world.settle()
    assert (world.kept.is_open, world.kept.paths) == (True, ())
    world.days(31)
    assert (world.path, world.kept.paths) == (None, ())

    world.is_ours = True
    world.settle()
    world.wait(SETTLE)
    world.settle()
    assert world.path is not None
    assert world.path != secret
    assert (world.kept.is_open, world.kept.paths) == (False, (world.path,))


def test_who_annotates_and_leaves_the_path_as_it_is_is_called_there_on() -> None:
    world = installed()
    secret = world.path
    world.is_ours = False
    world.days(200)
    assert world.path == secret
    assert world.kept is not None
    assert world.kept.paths == (secret,)


NO_PATH: Final = "no path secret"
STRANGER: Final = Authority("stranger", "stranger", None, START - DAY, START + 3650 * DAY)

SPOILT: Final[dict[str, Callable[[Kept], Kept | None]]] = {
    "deleted": lambda _: None,
    "no authority": lambda kept: msgspec.structs.replace(kept, authorities=()),
    "no key": lambda kept: msgspec.structs.replace(
        kept, authorities=tuple(msgspec.structs.replace(one, key=None) for one in kept.authorities)
    ),
    "no certificate": lambda kept: msgspec.structs.replace(kept, leaf=None),
    "a stranger's certificate": lambda kept: msgspec.structs.replace(
        kept, leaf=kept.leaf and msgspec.structs.replace(kept.leaf, authority="")
    ),
    "a stranger's authority": lambda kept: msgspec.structs.replace(kept, authorities=(STRANGER,)),
    "other names": lambda kept: msgspec.structs.replace(
        kept, leaf=kept.leaf and msgspec.structs.replace(kept.leaf, names=frozenset({"other"}))
    ),
    NO_PATH: lambda kept: msgspec.structs.replace(kept, paths=()),
    "no seal key": lambda kept: msgspec.structs.replace(kept, seals=()),
    "no annotation": lambda kept: msgspec.structs.replace(kept, until=0.0),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_was_spoilt_is_mended_while_all_replicas_serve_on(name: str) -> None:
    world = installed()
    assert world.kept is not None
    world.spoil(name)
    world.settle()
    assert world.kept is not None
    assert world.kept.leaf is not None
    assert world.kept.leaf.serves(NAMES, world.bundle, world.now)
    world.days(31)
    assert STRANGER not in world.bundle
    assert (len(world.kept.authorities), len(world.kept.paths)) == (1, 1)


class Years(RuleBasedStateMachine):
    """Anything may happen at any time, but not two faults at once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.is_sealed = True

    @initialize()
    def install(self) -> None:
        self.world.settle()

    @rule()
    def a_step(self) -> None:
        self.world.step()

    @rule()
    def the_keeper_dies(self) -> None:
        self.world.successor()

    @rule(seconds=st.integers(1, 40), quick=st.integers(0, 3))
    def time_passes(self, seconds: int, quick: int) -> None:
        turns = iter(range(100_000))
        self.world.wait(seconds, hurry=lambda: bool(quick) and next(turns) % (quick + 1) == 0)

    @rule(days=st.integers(1, 90))
    def days_pass(self, days: int) -> None:
        self.world.days(days)
        self.is_sealed = True

    @rule(wish=st.sampled_from([LEAF, ALL, DROP]))
    def somebody_wishes(self, wish: str) -> None:
        if self.world.kept is not None:
            self.world.kept = msgspec.structs.replace(self.world.kept, wish=wish)

    @precondition(lambda self: self.world.kept is not None)
    @rule()
    def somebody_else_keeps_the_registration_for_a_while(self) -> None:
        """As the page tells: the annotation first, the path once replicas have heard, and the authorities as they come."""
        world = self.world
        assert world.kept is not None
        world.settle()
        world.is_ours = False
        world.step()
        world.wait(CUT_OFF + 1)
        world.path = None
        world.settle()
        world.is_ours = True
        world.settle()

    @rule(number=st.integers(0, 3))
    def a_replica_starts_anew(self, number: int) -> None:
        self.world.replicas[number] = Replica(self.world.replicas[number].late)
        self.world.replicas[number].hear(self.world)

    @precondition(lambda self: self.world.kept is not None and self.is_sealed)
    @rule(how=st.sampled_from(sorted(SPOILT)))
    def somebody_spoils_it(self, how: str) -> None:
        # What was written before is heard of everywhere: one fault at a time.
        self.world.wait(LATE + 1)
        assert self.world.kept is not None
        self.world.spoil(how)
        self.is_sealed = False

    @invariant()
    def no_call_is_lost(self) -> None:
        self.world.check()

    @invariant()
    def every_replica_believes_what_another_seals(self) -> None:
        sealing = [one for one in self.world.replicas if one.seals and one.late <= LATE]
        if self.is_sealed:
            assert all(one.seals[0] in other.seals for one in sealing for other in sealing)

    @invariant()
    def nobody_is_asked_for_more_than_there_is_room_for(self) -> None:
        assert len(self.world.bundle) <= 8

    def teardown(self) -> None:
        """Left alone it comes to the same end, whatever happened."""
        world = self.world
        if world.kept is not None:
            world.kept = msgspec.structs.replace(world.kept, wish="")
        world.days(32)
        assert world.kept is not None
        if len(world.kept.authorities) > 1:
            # It was time for the next one just now.
            world.days(32)
        assert (len(world.kept.authorities), len(world.kept.paths)) == (1, 1)
        assert world.bundle == world.kept.authorities
        assert world.kept.leaf is not None
        assert world.kept.leaf.authority == world.kept.authorities[0].id


TestYears = Years.TestCase
TestYears.settings = settings(many(30), stateful_step_count=20)
