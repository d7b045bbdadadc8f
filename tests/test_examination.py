"""How doctor looks: each check ends in its time and by itself, whatever the API server does."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.api import FakeApi
from tests.support.canary import marked
from tests.support.until import STALL
from webhook.config import Loaded
from webhook.diagnosis.finding import Check, Finding, Level
from webhook.examination import Examination, Greeting
from webhook.kube import Answer

CONFIG = """\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
rules:
  - {name: private, images: [registry.example.com/**], targets: [localhost:30081]}
"""


async def nobody(loaded: Loaded) -> Sequence[Greeting]:
    return []


async def examined(api: FakeApi, *, within: float = 5.0, greet: Any = nobody) -> list[Finding]:
    made = Examination(api, host="https://10.0.0.1", version="0.1.0", within=within, greet=greet)
    return await made.run()


def of(findings: list[Finding], check: Check) -> list[Finding]:
    return [one for one in findings if one.check is check]


def configured(api: FakeApi) -> None:
    path = "/api/v1/namespaces/moorage-system/configmaps/moorage"
    api.objects[path] = {"metadata": {"name": "moorage"}, "data": {"moorage.yaml": CONFIG}}


async def test_an_api_server_that_hangs_costs_the_time_of_one_check() -> None:
    api = FakeApi()
    api.hold = asyncio.Event()
    loop = asyncio.get_running_loop()
    started = loop.time()
    findings = await examined(api, within=0.6)
    # One after the other they would take more.
    assert 0.6 * len(Check) > 0.6 + STALL
    assert loop.time() - started < 0.6 + STALL
    assert {one.check for one in findings} >= {Check.CLUSTER, Check.INSTALL, Check.REGISTRATION, Check.SERVICE}
    assert not [one for one in findings if one.level is Level.OK or "internal error" in one.found]


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(0, trouble="the API server refuses the connection"),
        Answer(401, b'{"kind":"Status","message":"Unauthorized"}'),
        Answer(403, b'{"kind":"Status","message":"it is forbidden"}'),
        Answer(500, b"<html>"),
        Answer(200, b"this is no JSON"),
        Answer(200, b'{"items":"none","metadata":7,"spec":[]}'),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:10]!r}",
)
async def test_whatever_it_answers_there_are_lines_and_no_fault(trouble: Answer) -> None:
    api = FakeApi()
    api.trouble = trouble
    findings = await examined(api)
    assert of(findings, Check.REGISTRATION)[0].level is Level.ERROR
    assert not [one for one in findings if "internal error" in one.found]


async def test_a_check_that_breaks_is_a_line_and_the_others_go_on() -> None:
    async def broken(loaded: Loaded) -> Sequence[Greeting]:
        raise RuntimeError(marked("canary-of-a-secret"))

    api = FakeApi()
    configured(api)
    findings = await examined(api, greet=broken)
    (line,) = of(findings, Check.REGISTRIES)
    assert line.found.startswith("internal error: RuntimeError at test_examination.py:")
    assert "canary" not in str(findings)
    assert of(findings, Check.CONFIGURATION)
    assert of(findings, Check.LOCALHOST)


async def test_each_thing_is_read_once() -> None:
    api = FakeApi()
    configured(api)
    await examined(api)
    asked = [one for one in api.asked if "accessreviews" not in one]
    # The configuration and its variables are read as `--from-cluster` reads them.
    twice = {one for one in asked if asked.count(one) > 1}
    assert twice <= {"/apis/apps/v1/namespaces/moorage-system/deployments/moorage"}
