"""Which credentials come from pull secrets, what is asked of the API server for them, and what is said of those that
give none."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from tests.doors import Clock, settled, soon
from tests.support.api import FakeApi
from tests.support.canary import marked
from tests.support.secrets import NEW, OLD, account_path, login, pull_secret, put_account, put_secret, secret_path
from webhook.books import Books
from webhook.core.reason import sentence
from webhook.core.reference import Reference
from webhook.core.subject import MOST_SECRETS, Audience
from webhook.credentials.pull_secrets import AGAIN, DOUBTED, LARGEST, LOST, REMEMBERED, PullSecrets
from webhook.credentials.source import Given
from webhook.kube import Answer

HOST = "registry.example.com"
APP = Reference.parse(f"{HOST}/team/app:stable")
CANARY = marked("canary-4c1d")


class World:
    """An API server, a clock and the provider."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = Clock()
        self.books = Books(self.clock)
        self.counted: list[str] = []
        self.warned: list[str] = []
        self.pods = PullSecrets(
            self.api,
            self.books.secrets,
            self.books.accounts,
            now=self.clock,
            count=self.counted.append,
            warn=self.warned.append,
        )

    async def give(self, *secrets: str, namespace: str = "shop", account: str = "", image: Reference = APP) -> Given:
        return await self.pods.give_by(image, Audience(namespace, account, secrets), deadline=soon())

    async def users(self, *secrets: str, account: str = "", image: Reference = APP) -> list[str]:
        return [one.username for one in (await self.give(*secrets, account=account, image=image)).credentials]

    async def said(self, *secrets: str, account: str = "") -> list[str]:
        return [sentence(note) for note in (await self.give(*secrets, account=account)).notes]

    def peek(self, *secrets: str, account: str = "") -> list[str] | None:
        given = self.pods.give(APP, Audience("shop", account, secrets))
        return [one.username for one in given.credentials] if given is not None else None


@pytest.fixture
def world() -> World:
    return World()


async def test_the_pods_own_secrets_count_and_not_those_of_its_account(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("pod")})
    put_secret(world.api, "other", {HOST: login("account")})
    put_account(world.api, "other", name="builder")
    assert await world.users("pull", account="builder") == ["pod"]
    assert world.api.asked == [secret_path("pull")]


async def test_without_any_the_secrets_of_its_service_account_count(world: World) -> None:
    put_secret(world.api, "one", {HOST: login("a")})
    put_secret(world.api, "two", {HOST: login("b")})
    put_account(world.api, "one", "two", name="builder")
    assert await world.users(account="builder") == ["a", "b"]
    assert world.api.asked == [account_path("builder"), secret_path("one"), secret_path("two")]


async def test_one_that_names_no_account_has_the_default_one(world: World) -> None:
    put_secret(world.api, "one", {HOST: login("a")})
    put_account(world.api, "one")
    assert await world.users() == ["a"]


@pytest.mark.parametrize("kind", [NEW, OLD])
async def test_both_types_of_pull_secrets_are_read(world: World, kind: str) -> None:
    put_secret(world.api, "pull", {f"https://{HOST}/v1/": login("a")}, kind=kind)
    assert await world.users("pull") == ["a"]


# pkg/credentialprovider/keyring.go: one index over all secrets, sorted in reverse; equal keys in the order of the secrets.
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({HOST: "a"}, {HOST: "b"}, ["a", "b"]),
        ({HOST: "a"}, {f"{HOST}/team": "b"}, ["b", "a"]),
        ({f"{HOST}/team": "a", "*.example.com": "c"}, {HOST: "b"}, ["a", "b", "c"]),
        ({"elsewhere.example.com": "a"}, {HOST: "b"}, ["b"]),
        ({"elsewhere.example.com": "a"}, {f"{HOST}:443": "b"}, []),
    ],
)
async def test_several_secrets_are_tried_in_the_order_of_the_kubelet(
    world: World, first: dict[str, str], second: dict[str, str], expected: list[str]
) -> None:
    put_secret(world.api, "one", {place: login(user) for place, user in first.items()})
    put_secret(world.api, "two", {place: login(user) for place, user in second.items()})
    assert await world.users("one", "two") == expected


async def test_docker_hub_is_found_under_its_own_name_in_any_of_them(world: World) -> None:
    put_secret(world.api, "one", {HOST: login("a")})
    put_secret(world.api, "two", {"https://index.docker.io/v1/": login("hub")})
    assert await world.users("one", "two", image=Reference.parse("nginx")) == ["hub"]


async def test_three_secrets_cost_one_round_cold_and_nothing_warm(world: World) -> None:
    for name in ("one", "two", "three"):
        put_secret(world.api, name, {HOST: login(name)})
    world.api.hold = asyncio.Event()
    asked = asyncio.ensure_future(world.users("one", "two", "three"))
    await settled()
    assert len(world.api.asked) == 3
    assert not asked.done()
    world.api.hold.set()
    assert await asked == ["one", "two", "three"]
    world.api.asked.clear()
    assert world.peek("one", "two", "three") == ["one", "two", "three"]
    assert await world.users("one", "two", "three") == ["one", "two", "three"]
    assert world.api.asked == []


async def test_an_account_with_three_secrets_costs_two_rounds(world: World) -> None:
    for name in ("one", "two", "three"):
        put_secret(world.api, name, {HOST: login(name)})
    put_account(world.api, "one", "two", "three")
    world.api.hold = asyncio.Event()
    asked = asyncio.ensure_future(world.users())
    await settled()
    assert world.api.asked == [account_path()]
    world.api.hold.set()
    assert await asked == ["one", "two", "three"]
    assert len(world.api.asked) == 4


async def test_those_who_ask_at_once_share_the_requests(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    found = await asyncio.gather(*[world.users("pull") for _ in range(20)])
    assert found == [["a"]] * 20
    assert world.api.asked == [secret_path("pull")]


async def test_a_secret_that_was_replaced_counts_within_a_minute_and_nobody_waits_for_it(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("old")})
    assert await world.users("pull") == ["old"]
    put_secret(world.api, "pull", {HOST: login("new")})
    world.clock.forward(REMEMBERED - 10)
    assert world.peek("pull") == ["old"]
    await settled()
    assert world.peek("pull") == ["new"]
    assert world.api.asked == [secret_path("pull")] * 2


async def test_a_secret_that_was_refused_is_read_again_by_who_asks_next_and_not_all_the_time(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("old")})
    put_secret(world.api, "other", {HOST: login("other")})
    old, _ = (await world.give("pull", "other")).credentials
    world.pods.doubt(old)
    # It has just been read.
    assert world.peek("pull", "other") == ["old", "other"]
    world.clock.forward(AGAIN)
    put_secret(world.api, "pull", {HOST: login("new")})
    assert world.peek("pull", "other") is None
    assert await world.users("pull", "other") == ["new", "other"]
    assert world.api.asked == [secret_path("pull"), secret_path("other"), secret_path("pull")]
    world.clock.forward(AGAIN)
    assert world.peek("pull", "other") == ["new", "other"]


async def test_a_refused_secret_is_used_on_where_it_cannot_be_read_again(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    (given,) = (await world.give("pull")).credentials
    world.clock.forward(AGAIN)
    world.pods.doubt(given)
    world.api.trouble = Answer(500)
    assert await world.users("pull") == ["a"]
    world.api.asked.clear()
    for _ in range(5):
        assert world.peek("pull") == ["a"]
        assert await world.users("pull") == ["a"]
    assert world.api.asked == []


async def test_only_so_many_refusals_are_remembered(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    (given,) = (await world.give("pull")).credentials
    world.clock.forward(AGAIN)
    world.pods.doubt(given)
    for number in range(DOUBTED):
        world.pods.doubt(replace(given, username=str(number)))
    assert not world.pods.doubts([given])
    assert world.peek("pull") == ["a"]


async def test_a_secret_that_nobody_asked_for_in_between_is_read_again_after_a_minute(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("old")})
    assert await world.users("pull") == ["old"]
    put_secret(world.api, "pull", {HOST: login("new")})
    world.clock.forward(REMEMBERED + 1)
    assert world.peek("pull") is None
    assert await world.users("pull") == ["new"]


async def test_what_is_unchanged_is_not_put_together_anew(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    first = await world.give("pull")
    world.clock.forward(REMEMBERED + 1)
    again = await world.give("pull")
    assert [one is other for one, other in zip(first.credentials, again.credentials, strict=True)] == [True]


async def test_what_is_given_is_said_to_last_no_longer_than_it_does(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    given = await world.give("pull", "missing")
    assert world.clock.now < given.until <= world.clock.now + LOST


async def test_a_deleted_secret_takes_its_logins_along(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    assert await world.users("pull") == ["a"]
    del world.api.objects[secret_path("pull")]
    world.clock.forward(REMEMBERED + 1)
    assert await world.users("pull") == []


async def test_a_secret_that_comes_late_counts_soon(world: World) -> None:
    assert await world.users("pull") == []
    put_secret(world.api, "pull", {HOST: login("a")})
    world.clock.forward(LOST + 1)
    assert await world.users("pull") == ["a"]


BROKEN: dict[str, tuple[Any, str]] = {
    "of another type": (
        {**pull_secret("bad", {}), "type": "Opaque"},
        "pull secret bad: skipped: its type is that of no pull secret",
    ),
    "without data": (
        {**pull_secret("bad", {}), "data": None},
        "pull secret bad: skipped: it holds nothing of its type",
    ),
    "with the other type's data": (
        {**pull_secret("bad", {}, kind=OLD), "type": NEW},
        "pull secret bad: skipped: it holds nothing of its type",
    ),
    "no JSON": (pull_secret("bad", f'{{"auths": {CANARY}'), "pull secret bad: skipped: it holds no docker config"),
    "no mapping": (pull_secret("bad", "[]"), "pull secret bad: skipped: it holds no docker config"),
    "auths that are none": (
        pull_secret("bad", {"auths": CANARY}["auths"]),
        "pull secret bad: skipped: it holds no docker config",
    ),
    "the old form in the new type": (
        pull_secret("bad", json.dumps({HOST: login(CANARY)})),
        "pull secret bad: it holds no login",
    ),
    "empty": (pull_secret("bad", {}), "pull secret bad: it holds no login"),
    "a login that cannot be read": (
        pull_secret("bad", {HOST: {"auth": CANARY}, f"{HOST}/x": login("x")}),
        "pull secret bad: 1 of its logins cannot be read",
    ),
    "endless": (
        pull_secret("bad", {HOST: login("x", CANARY * (LARGEST // 12))}),
        "pull secret bad: skipped: it is larger than 256 KiB",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_secret_is_skipped_with_a_reason_and_the_others_count(world: World, what: str) -> None:
    document, reason = BROKEN[what]
    world.api.objects[secret_path("bad")] = document
    put_secret(world.api, "good", {HOST: login("a")})
    assert await world.users("bad", "good") == ["a"]
    assert await world.said("bad", "good") == [reason]
    assert CANARY not in f"{await world.give('bad', 'good')}"


async def test_a_missing_secret_is_skipped_with_a_reason(world: World) -> None:
    put_secret(world.api, "good", {HOST: login("a")})
    assert await world.users("missing", "good") == ["a"]
    assert await world.said("missing", "good") == ["pull secret missing: it is not there"]


async def test_a_missing_account_has_no_secrets(world: World) -> None:
    assert await world.users(account="gone") == []
    assert await world.said(account="gone") == ["pull secret of service account gone: the account is not there"]


async def test_a_large_secret_is_read_all_the_same(world: World) -> None:
    put_secret(world.api, "pull", {f"h{number}.example.com": login("x") for number in range(500)} | {HOST: login("a")})
    assert await world.users("pull") == ["a"]


# Nothing in the object may name what stands outside its namespace: `.` alone would ask for the list of all secrets.
HOSTILE = ("", ".", "..", "../../kube-system/secrets/token", "a/b", "a?watch=1", "%2e%2e", "A", "-a", "a" * 254, "é")


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_that_no_secret_can_have_is_asked_for_by_nobody(world: World, name: str) -> None:
    assert await world.users(name) == []
    assert world.api.asked == []
    (said,) = await world.said(name)
    assert said.endswith("skipped: that is no name of a secret")
    put_account(world.api, name, name="builder")
    assert await world.users(account="builder") == []
    assert world.api.asked == [account_path("builder")]


@pytest.mark.parametrize("namespace", ["", ".", "..", "a.b", "../kube-system", "a/b", "A"])
async def test_a_namespace_that_none_can_be_is_asked_about_by_nobody(world: World, namespace: str) -> None:
    given = await world.give("pull", namespace=namespace)
    assert given.credentials == ()
    assert world.api.asked == []


async def test_an_account_that_none_can_be_is_not_asked_for(world: World) -> None:
    put_account(world.api)
    await world.give(account="../../kube-system/serviceaccounts/x")
    assert world.api.asked == [account_path()]


async def test_only_so_many_secrets_of_a_pod_are_looked_at(world: World) -> None:
    names = [f"s{number}" for number in range(MOST_SECRETS + 10)]
    said = await world.said(*names)
    assert len(world.api.asked) == MOST_SECRETS
    assert f"pull secret s{MOST_SECRETS}: skipped, with those after it: {MOST_SECRETS} are looked at" in said


async def test_who_may_not_read_secrets_is_told_so_once(world: World) -> None:
    world.api.forbidden = {"secrets"}
    put_secret(world.api, "one", {HOST: login("a")})
    reason = "pull secrets in namespace shop are not read: no right to get secrets there"
    for _ in range(3):
        assert await world.said("one", "two", "three") == [reason]
        world.clock.forward(REMEMBERED + 1)
    await world.give("one", namespace="elsewhere")
    assert world.warned == [reason]
    assert world.pods.problems[0] == reason
    assert set(world.counted) == {"forbidden"}


async def test_a_refusal_is_remembered_as_long_as_a_secret(world: World) -> None:
    world.api.forbidden = {"secrets", "serviceaccounts"}
    await world.give("one")
    await world.give()
    world.api.asked.clear()
    assert world.peek("one") == []
    assert world.peek() == []
    assert world.api.asked == []


async def test_where_some_namespaces_may_be_read_each_that_may_not_is_told_of(world: World) -> None:
    put_secret(world.api, "one", {HOST: login("a")}, namespace="open")
    await world.give("one", namespace="open")
    world.api.forbidden = {"secrets"}
    for number in range(20):
        await world.give("one", namespace=f"closed-{number}")
    assert len(world.warned) == 16


async def test_a_right_that_is_taken_away_takes_the_logins_along(world: World) -> None:
    put_secret(world.api, "one", {HOST: login("a")})
    assert await world.users("one") == ["a"]
    world.api.forbidden = {"secrets"}
    world.clock.forward(REMEMBERED + 1)
    assert await world.users("one") == []
    world.api.forbidden = set()
    world.clock.forward(REMEMBERED + 1)
    assert await world.users("one") == ["a"]
    assert world.pods.problems == ()


async def test_an_api_server_that_does_not_answer_costs_a_part_of_the_time_and_gives_nothing(world: World) -> None:
    world.api.hold = asyncio.Event()
    started = asyncio.get_running_loop().time()
    given = await world.pods.give_by(APP, Audience("shop", "", ("one", "two")), deadline=started + 2)
    assert asyncio.get_running_loop().time() - started < 1.6
    assert given.credentials == ()
    assert given.until == 0
    assert [sentence(note) for note in given.notes] == [
        "pull secrets in namespace shop are not read: the API server did not answer in time"
    ]


async def test_what_was_read_before_is_used_on_while_the_api_server_fails(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    assert await world.users("pull") == ["a"]
    world.clock.forward(REMEMBERED * 10)
    world.api.trouble = Answer(0, trouble="the API server refuses the connection")
    assert await world.users("pull") == ["a"]
    world.api.trouble = Answer(500)
    assert await world.users("pull") == ["a"]


async def test_an_api_server_that_fails_is_left_alone(world: World) -> None:
    world.api.trouble = Answer(503)
    for number in range(5):
        await world.give(f"s{number}")
    world.api.asked.clear()
    assert (await world.give("pull")).credentials == ()
    assert world.api.asked == []


async def test_reading_ahead_that_fails_is_not_tried_at_every_use(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("a")})
    assert await world.users("pull") == ["a"]
    world.api.trouble = Answer(500)
    world.clock.forward(REMEMBERED - 10)
    for _ in range(5):
        assert world.peek("pull") == ["a"]
        await settled()
    assert len(world.api.asked) == 2


async def test_an_answer_that_is_no_secret_is_trouble_of_the_api_server(world: World) -> None:
    world.api.objects[secret_path("pull")] = {"metadata": [], "data": {".dockerconfigjson": CANARY}}
    given = await world.give("pull")
    assert given.credentials == ()
    assert CANARY not in f"{given}"


async def test_nothing_that_was_read_shows_a_secret(world: World) -> None:
    put_secret(world.api, "pull", {HOST: login("user", CANARY)})
    await world.give("pull", "missing")
    pages = [world.books.secrets.last(("shop", name)) for name in ("pull", "missing")]
    assert CANARY not in f"{pages!r}{pages}{world.pods!r}{world.counted}{world.warned}{world.pods.problems}"


async def test_what_is_remembered_is_bounded_by_its_weight(world: World) -> None:
    large = {f"h{number}.example.com": login("x" * 40, "y") for number in range(1500)}
    for number in range(25):
        put_secret(world.api, f"s{number}", large)
        await world.give(f"s{number}")
    kept = [number for number in range(25) if world.books.secrets.last(("shop", f"s{number}")) is not None]
    assert 0 < len(kept) < 25
    assert kept[-1] == 24
