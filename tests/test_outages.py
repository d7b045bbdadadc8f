"""The ladder as a user meets it: what each state of a registry comes to, with nothing, fresh, due, stale and gone in
memory; the image that is written, and why, in warning, annotation and metrics."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest
from msgspec.structs import replace

from tests.core.world import PRIVATE
from tests.support import wire
from tests.support.asking import READER
from tests.support.door import Names
from tests.support.faults import first, sent_as, with_header, with_status
from tests.support.registry import PATH, FakeRegistry, Fault, fake_registry, image_document
from tests.support.stack import Answered, Stack
from webhook.core.credential import Credential
from webhook.core.globs import Globs
from webhook.core.hosts import Registry
from webhook.core.reference import Reference
from webhook.core.rules import Rule
from webhook.core.subject import Audience
from webhook.core.targets import Place

NAME: Final = "registry.example.com"
HANG: Final = 0.3
"""Seconds that a review has where nobody answers it."""
AGES: Final = {"nothing": None, "fresh": 1.0, "due": 26.0, "stale": 60.0, "gone": 90_000.0}
"""What memory holds, as seconds since the registry said it."""

WAITS: Final = "it asks to wait (429)"
LONG_AGO: Final = "Wed, 21 Oct 2015 07:28:00 GMT"
FAR_AWAY: Final = "Fri, 31 Dec 9999 23:59:59 GMT"


class Town:
    """A registry, the name that leads to it, and the whole stack in front of it."""

    def __init__(self, fake: FakeRegistry, rule: Rule) -> None:
        self.fake = fake
        self.host = f"{NAME}:{fake.host.rpartition(':')[2]}"
        self.rule = replace(rule, images=Globs((f"{self.host}/**",)))
        self.stack = Stack(self.rule)
        self.names = Names({NAME: ["127.0.0.1"]})
        self.registry = Registry(self.host, plain_http=True, allow_loopback=True)
        self.image = f"{self.host}/{PATH}:stable"

    async def admit(self, seconds: float = 5.0) -> Answered:
        return await self.stack.admit(self.image, seconds=seconds)

    def written(self, digest: str) -> str:
        return f"localhost:30081/{PATH}@{digest}"

    async def reopen(self) -> None:
        """Nothing of the connections and names from before is left."""
        await self.stack.open([self.registry], self.names)


@asynccontextmanager
async def town(rule: Rule = PRIVATE) -> AsyncIterator[Town]:
    async with fake_registry() as fake:
        here = Town(fake, rule)
        await here.reopen()
        try:
            yield here
        finally:
            await here.stack.close()


def answers(fault: Fault) -> Callable[[Town], None]:
    return lambda here: here.fake.faults.update(manifest=fault)


def leads_nowhere(here: Town) -> None:
    here.names.addresses = {}


def leads_to_nobody(here: Town) -> None:
    here.names.addresses = {NAME: ["127.0.0.2"]}


def wants_tls_of_one_that_has_none(here: Town) -> None:
    here.registry = replace(here.registry, plain_http=False)


# What happens to the registry, the word for it, and what the warning says of it.
ABSENT: Final = {
    "404": answers(with_status(404)),
    "401": answers(with_status(401)),
    "403": answers(with_status(403)),
}
TROUBLE: Final[dict[str, tuple[Callable[[Town], None], str, str]]] = {
    "429, seconds": (answers(with_status(429, ("Retry-After", "30"))), "Throttled", WAITS),
    "429, past date": (answers(with_status(429, ("Retry-After", LONG_AGO))), "Throttled", WAITS),
    "429, silent": (answers(with_status(429)), "Throttled", WAITS),
    "429, huge": (answers(with_status(429, ("Retry-After", "9" * 300))), "Throttled", WAITS),
    "429, far date": (answers(with_status(429, ("Retry-After", FAR_AWAY))), "Throttled", WAITS),
    "500": (answers(with_status(500)), "Unavailable", "it answers 500"),
    "503, asks to wait": (answers(with_status(503, ("Retry-After", "30"))), "Unavailable", "it answers 503"),
    "hang": (answers(sent_as(wire.silence)), "OutOfTime", "no answer in time"),
    "reset": (answers(sent_as(wire.reset)), "Unavailable", "the connection broke"),
    "TLS broken": (wants_tls_of_one_that_has_none, "Unavailable", "the TLS handshake failed"),
    "DNS dead": (leads_nowhere, "Unavailable", "its name cannot be resolved"),
    "refused": (leads_to_nobody, "Unavailable", "the connection is refused or the host cannot be reached"),
    "a page": (
        answers(with_status(200, ("Content-Type", "text/html"))),
        "BadRegistry",
        "it answers with something that is no manifest",
    ),
}


async def remembered(here: Town, seconds: float | None) -> str:
    """Let memory hold an answer of that age, and the tag move on; the old digest."""
    old = here.fake.push()
    if seconds is not None:
        await here.admit()
        here.stack.clock.forward(seconds)
    here.fake.push(document=image_document("moved"))
    here.fake.asked.clear()
    return old


@pytest.mark.parametrize("held", AGES)
async def test_a_registry_that_is_well(held: str) -> None:
    async with town() as here:
        old = await remembered(here, AGES[held])
        new = here.fake.documents[PATH, "stable"].digest
        seen = await here.admit()
        is_held = held in {"fresh", "due"}
        assert seen.images == [here.written(old if is_held else new)]
        assert (seen.warnings, seen.sources) == ([], ["cached" if is_held else "fresh"])
        await here.stack.rest()
        assert len(here.fake.asked) == (0 if held == "fresh" else 1)
        # What was due was refreshed meanwhile.
        assert (await here.admit()).images == [here.written(old if held == "fresh" else new)]


@pytest.mark.parametrize("held", AGES)
@pytest.mark.parametrize("state", ABSENT)
async def test_an_image_that_is_gone_or_not_for_us(state: str, held: str) -> None:
    async with town() as here:
        old = await remembered(here, AGES[held])
        ABSENT[state](here)
        seen = await here.admit()
        gone = f"moorage: c0: {here.image} kept as is, not resolved (AbsentOrDenied): not found, or not yours"
        if held in {"fresh", "due"}:
            assert (seen.images, seen.warnings, seen.sources) == ([here.written(old)], [], ["cached"])
        else:
            # Definite: an old answer never stands in for it.
            assert (seen.images, seen.warnings, seen.sources) == ([here.image], [gone], [])
            assert here.stack.count("moorage_images_total", reason="AbsentOrDenied", action="failed") == 1
        await here.stack.rest()
        assert (await here.admit()).images == [here.written(old) if held == "fresh" else here.image]


@pytest.mark.parametrize("held", AGES)
@pytest.mark.parametrize("state", TROUBLE)
async def test_a_registry_in_trouble(state: str, held: str) -> None:
    async with town() as here:
        old = await remembered(here, AGES[held])
        breaks, reason, detail = TROUBLE[state]
        breaks(here)
        await here.reopen()
        seen = await here.admit(HANG if state == "hang" else 5.0)
        assert seen.allowed
        stale = (
            f"moorage: c0: {here.image} written by its last known digest (StaleDigest): digest resolution: {here.host} "
            f"could not be asked ({reason}); its answer of 60 s ago is used"
        )
        failed = f"moorage: c0: {here.image} kept as is, not resolved ({reason}): {detail}"
        expected = {
            "fresh": ([here.written(old)], [], ["cached"]),
            "due": ([here.written(old)], [], ["cached"]),
            "stale": ([here.written(old)], [stale[:240]], ["stale"]),
        }.get(held, ([here.image], [failed[:240]], []))
        assert (seen.images, seen.warnings, seen.sources) == expected
        word = {"fresh": "Resolved", "due": "Resolved", "stale": "StaleDigest"}.get(held, reason)
        before = 0 if held == "nothing" else 1
        assert here.stack.count("moorage_images_total", reason=word) == 1 + (before if word == "Resolved" else 0)
        source = {"fresh": "cached", "due": "cached", "stale": "stale"}.get(held, "none")
        if state != "hang":  # where the resolver itself may be too late to count
            assert here.stack.count("moorage_resolutions_total", source=source, registry=here.host) == 1
        if held == "due":
            here.fake.release.set()
            await here.stack.rest()
            assert (await here.admit()).sources == ["cached"]


@pytest.mark.parametrize("state", TROUBLE)
async def test_where_the_rule_says_so_trouble_refuses_but_for_what_memory_holds(state: str) -> None:
    async with town(replace(PRIVATE, on_failure="refuse")) as here:
        old = await remembered(here, AGES["stale"])
        breaks, reason, detail = TROUBLE[state]
        breaks(here)
        await here.reopen()
        seconds = HANG if state == "hang" else 5.0
        stale = await here.admit(seconds)
        assert (stale.allowed, stale.images) == (True, [here.written(old)])
        here.stack.clock.forward(AGES["gone"] or 0.0)
        refused = await here.admit(seconds)
        assert not refused.allowed
        assert refused.refusal == (
            f"c0: {here.image} refused ({reason}): digest resolution at {here.host}/{PATH}: {detail}"
        )
        assert here.stack.count("moorage_images_total", reason=reason, action="refused") == 1


async def test_an_image_that_is_gone_is_refused_too_where_the_rule_says_so() -> None:
    async with town(replace(PRIVATE, on_failure="refuse")) as here:
        ABSENT["404"](here)
        refused = await here.admit()
        assert not refused.allowed
        assert "refused (AbsentOrDenied)" in refused.refusal


async def test_retry_after_holds_for_the_whole_registry_and_is_shown_as_an_open_breaker() -> None:
    async with town() as here:
        here.fake.push(path="team/other")
        await remembered(here, AGES["nothing"])
        here.fake.faults["manifest"] = first(1, with_status(429, ("Retry-After", "30")))
        await here.admit()
        other = f"{here.host}/team/other:stable"
        seen = await here.stack.admit(other)
        assert "let be for 30 s more" in seen.warnings[0]
        assert (seen.images, len(here.fake.asked)) == ([other], 1)
        assert here.stack.count("moorage_breaker_open", registry=here.host) == 1
        here.stack.clock.forward(30.0)
        assert (await here.stack.admit(other)).sources == ["fresh"]
        assert here.stack.count("moorage_breaker_open", registry=here.host) == 0


SPARE: Final = "spare.example.com"


@pytest.mark.parametrize("state", [*TROUBLE, *ABSENT])
async def test_another_upstream_is_asked_in_an_outage_and_never_because_the_first_says_no(state: str) -> None:
    async with fake_registry() as spare, town() as here:
        at_spare = f"{SPARE}:{spare.host.rpartition(':')[2]}"
        both = replace(here.rule, upstream=(Place(f"{here.host}/{{path}}"), Place(f"{at_spare}/{{path}}")))
        here.stack = Stack(both)
        here.names.addresses = {NAME: ["127.0.0.1"], SPARE: ["127.0.0.1"]}
        here.fake.push()
        digest = spare.push(document=image_document("of the spare"))
        breaks = ABSENT[state] if state in ABSENT else TROUBLE[state][0]
        breaks(here)
        here.names.addresses = {**here.names.addresses, SPARE: ["127.0.0.1"]}  # whatever became of the first
        await here.stack.open([here.registry, Registry(at_spare, plain_http=True, allow_loopback=True)], here.names)
        seen = await here.admit(1.0 if state == "hang" else 5.0)
        if state in ABSENT:
            assert (seen.images, spare.asked) == ([here.image], [])
        else:
            assert (seen.images, seen.warnings) == ([here.written(digest)], [])


async def test_a_registry_that_hangs_delays_no_answer_of_another_and_none_that_memory_has() -> None:
    async with fake_registry() as other, town() as here:
        at_other = f"127.0.0.1:{other.host.rpartition(':')[2]}"
        digest = other.push()
        here.stack = Stack(here.rule, replace(PRIVATE, name="other", images=Globs((f"{at_other}/**",))))
        fine = Registry(at_other, plain_http=True, allow_loopback=True)
        await here.stack.open([replace(here.registry, max_in_flight=4), fine], here.names)
        old = await remembered(here, AGES["fresh"])
        here.fake.faults["manifest"] = sent_as(wire.silence)
        stuck = [
            asyncio.create_task(here.stack.admit(f"{here.host}/stuck/{number}:x", f"{at_other}/{PATH}:stable"))
            for number in range(20)
        ]
        while len(here.fake.asked) < 4:
            here.fake.arrived.clear()
            await here.fake.arrived.wait()
        assert (await here.stack.admit(f"{at_other}/{PATH}:stable")).images == [here.written(digest)]
        assert (await here.admit()).images == [here.written(old)]
        assert len(here.fake.asked) == 4
        assert not any(one.done() for one in stuck)
        here.fake.faults.clear()
        here.fake.release.set()
        seen = await asyncio.gather(*stuck)
        assert {one.images[1] for one in seen} == {here.written(digest)}


class Pulls:
    """Pull secrets by the namespace of the request: the same for every image."""

    problems = ()

    def __init__(self, **holds: Credential) -> None:
        self._holds = holds

    def peek(self, image: Reference, audience: Audience) -> tuple[Credential, ...]:
        return (self._holds[audience.namespace],) if audience.namespace in self._holds else ()

    async def fetch(self, image: Reference, audience: Audience, *, deadline: float) -> tuple[Credential, ...]:
        return self.peek(image, audience)


async def test_credentials_are_those_of_the_requests_namespace_whatever_the_pod_says_of_itself() -> None:
    async with town() as here:
        here.fake.push()
        here.fake.login = "basic"
        here.stack = Stack(here.rule, providers={"pod": Pulls(rich=READER)})
        await here.reopen()
        seen = await here.stack.admit(here.image, says="rich")
        assert seen.images == [here.image]
        assert "AbsentOrDenied" in seen.warnings[0]
        assert [asked.header("Authorization") for asked in here.fake.asked] == [None]


async def test_a_digest_that_was_confirmed_is_moved_to_an_open_cache_without_asking_again() -> None:
    async with town() as here:
        digest = here.fake.push()
        image = f"{here.host}/{PATH}@{digest}"
        assert (await here.stack.admit(image)).images == [here.written(digest)]
        here.fake.faults["manifest"] = with_status(503)
        here.stack.clock.forward(3600.0)
        assert (await here.stack.admit(image)).images == [here.written(digest)]
        assert len(here.fake.asked) == 1
        # A digest is proven for itself, and not because the repository was read.
        other = f"{here.host}/{PATH}@sha256:{'0' * 64}"
        here.fake.faults.clear()
        assert (await here.stack.admit(other)).images == [other]


async def test_no_cookie_of_one_tenant_comes_back_with_anothers_request() -> None:
    async with town() as here:
        here.fake.push()
        here.fake.login = "bearer"
        here.fake.realm = f"http://{here.host}/token"
        here.fake.faults["manifest"] = here.fake.faults["token"] = with_header(
            "Set-Cookie", "session=of-reader; Path=/"
        )
        here.stack = Stack(here.rule, providers={"pod": Pulls(default=READER)})
        await here.reopen()
        assert (await here.admit()).sources == ["fresh"]
        here.stack.clock.forward(31.0)
        assert (await here.admit()).sources == ["fresh"]
        assert len(here.fake.asked) == 4
        assert {one.header("Cookie") for one in here.fake.asked} == {None}
