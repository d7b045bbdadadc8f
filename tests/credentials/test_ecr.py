"""Logins at ECR with botocore itself, against services that check what Amazon's check."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from tests.core.world import PRIVATE
from tests.support.aws import Aws
from tests.support.cloud import Front, served
from tests.support.registry import PATH
from tests.support.stack import Stack
from webhook.core.credential import Credential
from webhook.core.globs import Globs
from webhook.core.hosts import Registries
from webhook.credentials.cloud import CloudLogins, Threads
from webhook.credentials.ecr import Ecr
from webhook.credentials.renewals import Renewals
from webhook.credentials.source import Provider
from webhook.outbound import Outbound

HOST: Final = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def front(aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with served(aws, monkeypatch, tmp_path, ambient=("AWS_EC2_METADATA_DISABLED",)) as front:
        yield front


@pytest.fixture
def keys(aws: Aws, front: Front, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keys in the environment, which last."""
    name = aws.key(is_temporary=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.keys[name].secret)
    return name


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.close()


class Logged(Stack):
    """A stack that logs in at ECR."""

    def __init__(self, threads: Threads, *hosts: str) -> None:
        self.troubles: list[str] = []
        rule = replace(PRIVATE, images=Globs(tuple(f"{host}/**" for host in hosts)))
        super().__init__(rule, providers=self._made)
        self.kept: Renewals[Credential] = Renewals(
            self.clock, jitter=lambda: 0.0, tell=lambda _place, trouble: self.troubles.append(trouble)
        )
        self._threads = threads

    def _made(self, outbound: Outbound, registries: Registries) -> Mapping[str, Provider]:
        return {"ecr": CloudLogins(Ecr(self._threads), self.kept)}


async def test_an_image_is_resolved_with_a_token_of_the_registrys_own_region(
    aws: Aws, front: Front, keys: str, threads: Threads
) -> None:
    stack = Logged(threads, HOST)
    await stack.open([front.registry(HOST, "ecr")], front)
    seen = await stack.admit(f"{HOST}/{PATH}:stable")
    assert seen.images == [f"localhost:30081/{PATH}@{aws.document.digest}"]
    assert [one.host for one in aws.of("api.ecr")] == ["api.ecr.eu-west-1.amazonaws.com"]
    await stack.close()
