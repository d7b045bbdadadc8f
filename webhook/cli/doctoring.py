"""The work of `moorage doctor`: examine, print, and give the exit code."""

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from webhook import __version__, wiring
from webhook.cli import common
from webhook.cli.cluster import connect, is_inside
from webhook.cli.exits import Exit, Stop
from webhook.cli.forms.findings import as_data, text
from webhook.core.subject import Audience
from webhook.diagnosis.finding import Check, Finding, Level, summary, wrong
from webhook.diagnosis.registries import example
from webhook.examination import SHARE, Examination, Greeting

if TYPE_CHECKING:
    from webhook.config import Loaded


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for. `namespace` is empty to choose one."""

    namespace: str
    as_json: bool
    place: common.Place


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Examine, print, and give the exit code."""
    _check_logins(chosen)
    findings = _examined(wanted, chosen)
    common.put(common.pretty(as_data(findings, __version__)) if wanted.as_json else text(findings))
    counts = summary(findings)
    common.say(", ".join(f"{count} {level}" for level, count in counts.items()))
    return Exit.UNASKED if counts[Level.ERROR] else Exit.FINE


def _examined(wanted: Wanted, chosen: common.Choices) -> Sequence[Finding]:
    place = wanted.place
    try:
        kube = connect(place.kubeconfig, place.context)
    except Stop as none:
        looked = str(place.kubeconfig or "kubeconfig")
        why = str(none).removeprefix("moorage: ")
        advice = "see that kubectl gets there: kubectl version"
        return [wrong(Check.CLUSTER, looked, why, advice)]
    try:
        return asyncio.run(
            Examination(
                kube,
                host=kube.host,
                version=__version__,
                within=chosen.timeout,
                greet=lambda loaded: _greet(loaded, chosen),
                inside=is_inside(place.kubeconfig, place.context),
                namespace=wanted.namespace,
            ).run()
        )
    finally:
        kube.close()


async def _greet(loaded: "Loaded", chosen: common.Choices) -> Sequence[Greeting]:
    """How each registry of the configuration answers to the logins of this machine."""
    deadline = asyncio.get_running_loop().time() + chosen.timeout * SHARE
    async with wiring.laptop(loaded, environ=os.environ, docker_config=chosen.docker_config) as laptop:
        client, credentials = laptop.client, laptop.credentials
        assert client is not None
        assert credentials is not None

        async def greet(host: str) -> Greeting:
            image = example(loaded.rules.rules, host)
            candidates = await credentials.fetch(image, Audience("default"), deadline=deadline)
            return (host, *await client.greet(image, candidates, deadline=deadline))

        return await asyncio.gather(*map(greet, sorted(loaded.registries.literal)))


def _check_logins(chosen: common.Choices) -> None:
    """The logins that were named, read once before anything is asked.

    Raises:
        Stop: they cannot be read.
    """
    from webhook.credentials.docker_config import NoDockerConfig, find

    try:
        find(os.environ, chosen=chosen.docker_config)
    except NoDockerConfig as bad:
        raise Stop(Exit.USAGE, f"--docker-config {bad}") from None
