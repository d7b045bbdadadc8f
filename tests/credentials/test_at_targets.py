"""Who may be sent to a target where the kubelet has the Pod's pull secrets and nothing else."""

import pytest

from tests.doors import Clock, digest_ask, soon
from tests.support.api import FakeApi
from tests.support.secrets import login, put_account, put_secret
from webhook.books import Books
from webhook.core.ask import Absent, AskLogin, Fact, NotAsked, Passed
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.credentials.at_targets import LoginsAtTargets
from webhook.credentials.pull_secrets import PullSecrets

PLACE = Reference.parse("mirror.example.com/team/app:stable")


class World:
    """An API server, and the oracle over it."""

    def __init__(self) -> None:
        self.api = FakeApi()
        clock = Clock()
        books = Books(clock)
        self.logins = LoginsAtTargets(PullSecrets(self.api, books.secrets, books.accounts, now=clock))

    async def ask(self, *secrets: str, namespace: str = "shop", seconds: float = 5.0) -> tuple[Fact | None, Fact]:
        """What memory says, and then the answer."""
        ask = AskLogin("mirror", PLACE, Audience(namespace, "", secrets))
        return self.logins.peek(ask), await self.logins.fetch(ask, deadline=soon(seconds))


@pytest.fixture
def world() -> World:
    return World()


async def test_one_whose_secret_logs_in_there_may_go(world: World) -> None:
    put_secret(world.api, "pull", {"mirror.example.com": login("a")})
    assert await world.ask("pull") == (None, Passed())
    assert await world.ask("pull") == (Passed(), Passed())


async def test_one_whose_secrets_are_for_other_hosts_or_paths_may_not(world: World) -> None:
    put_secret(world.api, "upstream", {"registry.example.com": login("a"), "mirror.example.com/other": login("b")})
    _, answer = await world.ask("upstream")
    assert answer == Absent("mirror.example.com", "mirror.example.com/team/app")


async def test_the_secrets_of_another_namespace_are_no_help(world: World) -> None:
    put_secret(world.api, "pull", {"mirror.example.com": login("a")})
    _, answer = await world.ask("pull", namespace="other")
    assert isinstance(answer, Absent)


async def test_those_of_the_service_account_count(world: World) -> None:
    put_secret(world.api, "pull", {"mirror.example.com": login("a")})
    put_account(world.api, "pull")
    assert (await world.ask())[1] == Passed()


async def test_where_secrets_may_not_be_read_nobody_is_kept_away(world: World) -> None:
    world.api.forbidden = {"secrets"}
    assert (await world.ask("pull"))[1] == NotAsked(Reason.PULL_SECRETS_NOT_READ)


async def test_where_they_are_not_read_in_time_neither(world: World) -> None:
    put_secret(world.api, "pull", {"registry.example.com": login("a")})
    assert (await world.ask("pull", seconds=0.0))[1] == NotAsked(Reason.PULL_SECRETS_NOT_READ)


def test_it_answers_no_other_questions(world: World) -> None:
    with pytest.raises(TypeError, match="AskDigest"):
        world.logins.peek(digest_ask())
