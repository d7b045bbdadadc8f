"""The engine that a command asks: offline, or with registries and the user's logins; keeps what was sent."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from webhook import wiring
from webhook.cli import common
from webhook.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from webhook.cli.common import Choices
    from webhook.config import Loaded


class Sent(msgspec.Struct, frozen=True):
    """One request that left this machine. `code` is the status, or a reason where there was none."""

    registry: str
    method: str
    code: str
    milliseconds: float

    def __str__(self) -> str:
        return f"{self.method} {self.registry}: {self.code}, {self.milliseconds} ms"


class Asking(msgspec.Struct):
    """What a command works with, and what was sent so far."""

    laptop: wiring.Laptop
    sent: list[Sent] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with logins, in sentences without a secret."""
        return self.laptop.credentials.problems if self.laptop.credentials is not None else ()

    @property
    def unread(self) -> frozenset[str] | None:
        """Namespaces whose pull secrets could not be read; None where no cluster was asked for any."""
        return frozenset(self.laptop.pods.unread) if self.laptop.pods is not None else None


@asynccontextmanager
async def asking(
    loaded: "Loaded", chosen: "Choices", *, offline: bool, cluster: wiring.Cluster | None = None
) -> AsyncIterator[Asking]:
    """The engine for as long as the block lasts; with a cluster, whose pins and siblings count.

    Raises:
        Stop: the logins that the user named cannot be read.
    """
    if cluster is None and loaded.rules.needs_cluster:
        common.say(f"warning: {loaded.rules.needs_cluster}")
    if offline:
        yield Asking(wiring.offline(loaded, cluster=cluster))
        return
    from webhook.credentials.docker_config import NoDockerConfig

    sent: list[Sent] = []

    def observe(registry: str, method: str, code: str, seconds: float) -> None:
        sent.append(Sent(registry, method, code, round(seconds * 1000, 1)))

    try:
        async with wiring.laptop(
            loaded,
            environ=os.environ,
            docker_config=chosen.docker_config,
            observe=observe,
            warn=common.say_registry_warning,
            cluster=cluster,
        ) as laptop:
            yield Asking(laptop, sent)
    except NoDockerConfig as bad:
        raise Stop(Exit.USAGE, f"--docker-config {bad}") from None
