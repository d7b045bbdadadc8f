"""When the labels of a namespace are read, and what is used while the API server does not answer."""

import pytest

from tests.doors import Clock, soon
from tests.support.api import FakeApi
from webhook.books import Books
from webhook.core.ask import AskNamespace, Failed, Labels
from webhook.core.reason import Reason
from webhook.kube import Answer
from webhook.namespaces import LOST, REMEMBERED, Namespaces

ASK = AskNamespace("shop")
PATH = "/api/v1/namespaces/shop"


class World:
    """An API server, a clock and the oracle."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.clock = Clock()
        self.oracle = Namespaces(self.api, Books(self.clock).namespaces)

    def label(self, **labels: str) -> None:
        self.api.objects[PATH] = {"metadata": {"name": "shop", "labels": labels}}


@pytest.fixture
def world() -> World:
    return World()


async def test_labels_are_read_once_and_again_after_a_minute(world: World) -> None:
    world.label(tier="web")
    assert world.oracle.peek(ASK) is None
    assert await world.oracle.fetch(ASK, deadline=soon()) == Labels({"tier": "web"})
    world.label(tier="db")
    world.clock.forward(REMEMBERED - 1)
    assert world.oracle.peek(ASK) == Labels({"tier": "web"})
    world.clock.forward(2)
    assert world.oracle.peek(ASK) is None
    assert await world.oracle.fetch(ASK, deadline=soon()) == Labels({"tier": "db"})
    assert world.api.asked == [PATH, PATH]


async def test_a_namespace_without_labels_is_known_to_have_none(world: World) -> None:
    world.api.objects[PATH] = {"metadata": {"name": "shop"}}
    assert await world.oracle.fetch(ASK, deadline=soon()) == Labels({})


async def test_a_namespace_that_is_not_there_is_looked_for_again_soon(world: World) -> None:
    assert await world.oracle.fetch(ASK, deadline=soon()) == Labels({})
    world.label(tier="web")
    world.clock.forward(LOST + 1)
    assert world.oracle.peek(ASK) is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(0, trouble="the API server refuses the connection"), "the API server refuses the connection"),
        (Answer(403), "this account may not read it"),
        (Answer(200, b"[]"), "the API server answers something else than was asked for"),
    ],
    ids=["no answer", "forbidden", "nonsense"],
)
async def test_what_was_read_before_stands_in_where_nothing_is_told(world: World, answer: Answer, why: str) -> None:
    world.api.trouble = answer
    assert await world.oracle.fetch(ASK, deadline=soon()) == Failed(Reason.CLUSTER_NOT_ASKED, "Namespace shop", why)
    world.api.trouble = None
    world.label(tier="web")
    await world.oracle.fetch(ASK, deadline=soon())
    world.api.trouble = answer
    world.clock.forward(10 * REMEMBERED)
    assert await world.oracle.fetch(ASK, deadline=soon()) == Labels({"tier": "web"})
