"""A registration by URL: put, replaced, taken away, and never in place of one that was installed."""

import pytest

from tests.support.api import FakeApi
from webhook.core.registration import NotRegistered, Reached
from webhook.kube import Answer
from webhook.registrar import Registrar
from webhook.upkeep import PATH

HERE = Reached(url="https://127.0.0.1:8443", authority=b"PEM")


async def test_it_is_there_while_a_process_serves_and_gone_after() -> None:
    api = FakeApi()
    registrar = Registrar(api)
    await registrar.put(HERE)
    urls = [one["clientConfig"]["url"] for one in api.objects[PATH]["webhooks"]]
    assert urls == ["https://127.0.0.1:8443/mutate"] * 2
    assert await registrar.remove()
    assert PATH not in api.objects


async def test_what_a_crash_left_behind_is_replaced() -> None:
    api = FakeApi()
    await Registrar(api).put(Reached(url="https://127.0.0.1:1"))
    registrar = Registrar(api)
    await registrar.put(HERE)
    assert api.objects[PATH]["webhooks"][0]["clientConfig"]["url"] == "https://127.0.0.1:8443/mutate"
    await registrar.remove()
    assert PATH not in api.objects


async def test_one_that_was_installed_is_left_alone() -> None:
    api = FakeApi()
    installed = {"metadata": {"name": "moorage", "uid": "u", "resourceVersion": "1"}, "webhooks": []}
    api.objects[PATH] = installed
    registrar = Registrar(api)
    with pytest.raises(NotRegistered, match="Moorage is installed there"):
        await registrar.put(HERE)
    assert await registrar.remove()
    assert api.objects[PATH] == installed


async def test_what_another_has_put_meanwhile_is_not_taken_away() -> None:
    api = FakeApi()
    registrar = Registrar(api)
    await registrar.put(HERE)
    del api.objects[PATH]
    other = Registrar(api)
    await other.put(Reached(url="https://127.0.0.1:2"))
    assert await registrar.remove()
    assert api.objects[PATH]["webhooks"][0]["clientConfig"]["url"] == "https://127.0.0.1:2/mutate"


@pytest.mark.parametrize(
    ("answer", "why"),
    [(Answer(403), "the API server answers 403"), (Answer(0, trouble="no route"), "no route")],
)
async def test_trouble_is_told(answer: Answer, why: str) -> None:
    api = FakeApi()
    api.trouble = answer
    with pytest.raises(NotRegistered, match=why):
        await Registrar(api).put(HERE)
