"""Pull secrets through the whole engine: each namespace hears what its own credentials may hear, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from tests.core.test_admission import checked, review
from tests.core.world import PRIVATE, pod
from tests.doors import Clock, soon
from tests.support.api import FakeApi
from tests.support.canary import marked
from tests.support.door import Names
from tests.support.faults import with_status
from tests.support.registry import PATH, FakeRegistry, fake_registry
from tests.support.secrets import login, put_account, put_secret, secret_path
from tests.support.stack import Answered, Stack
from webhook.books import Books
from webhook.core.globs import Globs
from webhook.core.hosts import CredentialSource, Registry
from webhook.core.targets import Target
from webhook.credentials.pull_secrets import REMEMBERED, PullSecrets
from webhook.engine import Waiting
from webhook.flights import TRIPS_AFTER

RIGHT, WRONG = marked("password-of-reader"), marked("canary-of-the-password")
CANARIES = (RIGHT, WRONG, marked("password-of-writer"), "token-", "canary")


class World:
    """A registry with passwords, an API server with secrets, and everything between them."""

    def __init__(self, fake: FakeRegistry) -> None:
        self.fake = fake
        self.api = FakeApi()
        self.image = f"{fake.host}/{PATH}:stable"
        clock = Clock()
        self.books = Books(clock)
        rule = replace(PRIVATE, images=Globs((f"{fake.host}/**",)), targets=(Target.of_host("localhost:30081"),))
        self.stack = Stack(rule, clock=clock)
        telemetry = self.stack.telemetry
        pods = PullSecrets(
            self.api,
            self.books.secrets,
            self.books.accounts,
            now=clock,
            count=telemetry.pull_secret_read,
            warn=telemetry.pull_secrets_unread,
        )
        self.stack._providers = {"pod": pods}

    async def open_to_pull_secrets_alone(self) -> None:
        """From now on nobody asks without a login."""
        pod = CredentialSource("pod")
        await self.stack.open([Registry(self.fake.host, (pod,), plain_http=True, allow_loopback=True)], Names({}))

    def secret(self, namespace: str, user: str, password: str, name: str = "pull") -> None:
        put_secret(self.api, name, {self.fake.host: login(user, password)}, namespace=namespace)

    async def admit(self, namespace: str, *secrets: str, image: str = "", **metadata: Any) -> Answered:
        spec = {"imagePullSecrets": [{"name": one} for one in secrets]} if secrets else {}
        return await self.stack.admit(image or self.image, namespace=namespace, spec=spec, **metadata)

    def placed(self, digest: str) -> list[str]:
        return [f"localhost:30081/{PATH}@{digest}"]

    @property
    def users(self) -> list[str]:
        """Who asked the registry."""
        return [(one.header("Authorization") or "nobody").partition(" ")[2] for one in self.fake.of("manifest")]


@pytest.fixture(params=["basic", "bearer"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with fake_registry() as fake:
        fake.login = request.param
        made = World(fake)
        await made.stack.open([Registry(fake.host, plain_http=True, allow_loopback=True)], Names({}))
        try:
            yield made
        finally:
            await made.stack.close()
            await made.books.aclose()


async def test_two_tenants_with_one_image_name_hear_what_their_own_rights_say(world: World) -> None:
    digest = world.fake.push()
    world.fake.rights["writer"] = {"another/app"}
    world.secret("one", "reader", RIGHT)
    world.secret("two", "writer", marked("password-of-writer"))
    for _ in range(2):
        assert (await world.admit("one", "pull")).images == world.placed(digest)
        assert (await world.admit("two", "pull")).images == [world.image]
        assert (await world.admit("three")).images == [world.image]
    # By its digest either: whoever guesses it has no proof.
    named = f"{world.fake.host}/{PATH}@{digest}"
    assert (await world.admit("one", "pull", image=named)).images == world.placed(digest)
    assert (await world.admit("two", "pull", image=named)).images == [named]


async def test_two_tenants_with_the_same_login_share_an_answer(world: World) -> None:
    digest = world.fake.push()
    for name in ("one", "two"):
        world.secret(name, "reader", RIGHT)
        assert (await world.admit(name, "pull")).images == world.placed(digest)
    assert len([one for one in world.fake.of("manifest") if one.header("Authorization")]) == 1


async def test_a_namespace_that_the_object_names_is_not_looked_into(world: World) -> None:
    world.fake.push()
    world.secret("rich", "reader", RIGHT)
    names = [{"name": "pull", "namespace": "rich"}, {"name": "../../rich/secrets/pull"}]
    spec = {"imagePullSecrets": names, "namespace": "rich"}
    document = pod(world.image) | {"metadata": {"name": "web", "namespace": "rich"}}
    document["spec"] |= spec
    engine = world.stack.engine
    assert engine is not None
    outcome = engine.answer_now(review(document, namespace="poor"))
    assert isinstance(outcome, Waiting)
    response = checked(json.loads(await engine.answer(outcome, deadline=soon())))
    assert "patch" not in response
    assert [path for path in world.api.asked if "rich" in path] == []


async def test_several_secrets_are_tried_until_one_is_accepted(world: World) -> None:
    digest = world.fake.push()
    world.secret("shop", "reader", WRONG, "old")
    world.secret("shop", "reader", RIGHT, "new")
    seen = await world.admit("shop", "old", "new")
    assert seen.images == world.placed(digest)
    assert seen.sources == ["fresh"]


async def test_anonymous_is_not_tried_after_a_login_was_refused(world: World) -> None:
    world.fake.push()
    world.fake.is_public = True
    world.secret("shop", "reader", WRONG)
    assert (await world.admit("shop", "pull")).images == [world.image]
    assert "nobody" not in world.users[1:]


async def test_who_has_no_login_sends_nothing_and_is_told_so(world: World) -> None:
    world.fake.push()
    await world.open_to_pull_secrets_alone()
    seen = await world.admit("poor")
    assert seen.images == [world.image]
    assert [warning.partition(" (")[2].partition(")")[0] for warning in seen.warnings] == ["NoLogin"]
    assert "`anonymous`" in seen.warnings[0]
    assert world.fake.asked == []


async def test_who_has_no_login_is_no_sign_that_the_registry_is_well(world: World) -> None:
    world.fake.push()
    await world.open_to_pull_secrets_alone()
    world.secret("one", "reader", RIGHT)
    world.fake.faults["manifest"] = with_status(503)
    for _ in range(TRIPS_AFTER):
        await world.admit("one", "pull")
        await world.admit("poor")
    asked = len(world.fake.asked)
    assert "it is let be" in (await world.admit("one", "pull")).warnings[0]
    assert len(world.fake.asked) == asked


async def test_a_secret_that_was_refused_and_replaced_counts_at_the_next_asking(world: World) -> None:
    digest = world.fake.push()
    world.secret("shop", "reader", WRONG)
    world.secret("other", "reader", WRONG)
    for namespace in ("shop", "other"):
        assert (await world.admit(namespace, "pull")).images == [world.image]
    world.secret("shop", "reader", RIGHT)
    # As long as the refusal itself is believed.
    world.stack.clock.forward(6)
    assert (await world.admit("shop", "pull")).images == world.placed(digest)
    assert (await world.admit("other", "pull")).images == [world.image]
    assert world.api.asked == [secret_path("pull", name) for name in ("shop", "other", "shop", "other")]
    # What is right costs nothing from now on.
    world.stack.clock.forward(6)
    for _ in range(3):
        assert (await world.admit("shop", "pull")).images == world.placed(digest)
    assert len(world.api.asked) == 4


async def test_a_secret_that_stays_wrong_is_read_once_in_some_seconds_however_many_pods_come(world: World) -> None:
    world.fake.push()
    world.secret("shop", "reader", WRONG)
    for number in range(4):
        seen = await asyncio.gather(*(world.admit("shop", "pull") for _ in range(20)))
        assert {one.images[0] for one in seen} == {world.image}
        assert len(world.api.asked) == number + 1
        world.stack.clock.forward(6)


async def test_a_secret_that_was_replaced_counts_within_a_minute_without_a_restart(world: World) -> None:
    digest = world.fake.push()
    world.secret("shop", "reader", WRONG)
    assert (await world.admit("shop", "pull")).images == [world.image]
    world.secret("shop", "reader", RIGHT)
    world.stack.clock.forward(REMEMBERED + 1)
    assert (await world.admit("shop", "pull")).images == world.placed(digest)


async def test_the_secrets_of_the_service_account_are_used_where_the_pod_has_none(world: World) -> None:
    digest = world.fake.push()
    world.secret("shop", "reader", RIGHT)
    put_account(world.api, "pull", name="builder", namespace="shop")
    seen = await world.stack.admit(world.image, namespace="shop", spec={"serviceAccountName": "builder"})
    assert seen.images == world.placed(digest)


async def test_a_warm_review_asks_nobody(world: World) -> None:
    digest = world.fake.push()
    for number in range(3):
        world.secret("shop", "reader", RIGHT, f"s{number}")
    await world.admit("shop", "s0", "s1", "s2")
    assert len(world.api.asked) == 3
    world.api.asked.clear()
    world.fake.asked.clear()
    for number in range(5):
        assert (await world.admit("shop", "s0", "s1", "s2", labels={"n": str(number)})).images == world.placed(digest)
    assert world.api.asked == []
    assert world.fake.asked == []


async def test_where_secrets_may_not_be_read_admission_goes_on_and_one_reason_is_given(world: World) -> None:
    digest = world.fake.push()
    world.secret("shop", "reader", RIGHT)
    world.api.forbidden = {"secrets"}
    for _ in range(3):
        seen = await world.admit("shop", "pull", "other", "third")
        assert seen.allowed
        assert seen.images == [world.image]
    world.stack.telemetry.log.flush()
    lines = [json.loads(line) for line in world.stack.log.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "pull secrets not read"]
    assert [line["problem"] for line in told] == [
        "pull secrets in namespace shop are not read: no right to get secrets there"
    ]
    trace = next(line for line in lines if line["event"] == "review")["decisions"][0]["trace"]
    assert trace.count(told[0]["problem"]) == 1
    world.fake.login, world.fake.is_public = "", True
    world.stack.clock.forward(60)
    assert (await world.admit("shop", "pull")).images == world.placed(digest)


async def test_a_missing_secret_stands_in_the_trace_and_in_the_warning(world: World) -> None:
    world.fake.push()
    seen = await world.admit("shop", "gone")
    (warning,) = seen.warnings
    assert warning.endswith("(AbsentOrDenied): not found, or not yours; pull secret gone: it is not there")


async def test_no_secret_comes_out_whatever_the_secrets_hold(world: World) -> None:
    world.fake.push()
    broken = ["{", json.dumps({"auths": {world.fake.host: {"auth": "canary!"}}}), json.dumps({"auths": "canary"})]
    for number, text in enumerate(broken):
        put_secret(world.api, f"b{number}", text)
    world.secret("shop", "reader", WRONG, "wrong")
    world.secret("shop", "reader", RIGHT, "right")
    world.api.objects[secret_path("html")] = {"metadata": {}, "data": "canary"}
    names = ("b0", "b1", "b2", "html", "wrong", "missing", "right")
    seen = [await world.admit("shop", *names), await world.admit("shop", *names[:-1])]
    told = world.stack.shown() + "".join(f"{one.warnings}{one.refusal}{one.pod}" for one in seen)
    told += repr(vars(world.books)) + repr(world.stack._providers)
    assert [canary for canary in CANARIES if canary in told] == []
