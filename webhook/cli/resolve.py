"""`moorage resolve`: the digest that a name stands for now."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from webhook.cli import common
from webhook.cli.exits import Exit
from webhook.cli.forms.plain import aligned
from webhook.core.ask import Absent, Failed
from webhook.core.reason import Reason
from webhook.core.reference import BadReference, Reference
from webhook.core.subject import Audience

if TYPE_CHECKING:
    from webhook.config import Loaded
    from webhook.wiring import Laptop


def resolve(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Names to resolve.")],
    platforms: Annotated[bool, typer.Option("--platforms", help="Tell the platforms too (one more request).")] = False,
    form: Annotated[str, typer.Option("--output", "-o", metavar="table|json", help="How to print it.")] = "table",
    namespace: common.Namespace = "default",
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    timeout: common.Timeout = "4s",
    docker_config: common.DockerConfig = None,
) -> None:
    """Show the digest, media type and platforms that images stand for at their own registries."""
    chosen = common.choices(config, rule, variable, timeout, docker_config)
    loaded = common.load(chosen)
    items = asyncio.run(_resolve(images, loaded, chosen, namespace, platforms=platforms))
    if form == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode({"items": items}), indent=2).decode() + "\n")
    else:
        rows = [["IMAGE", "DIGEST", "PLATFORMS"]]
        rows += [
            [
                item["image"],
                item.get("digest") or f"{item['reason']}: {item['message']}",
                ",".join(item.get("platforms", ())),
            ]
            for item in items
        ]
        sys.stdout.write(aligned(rows))
    bad = {item["reason"] for item in items if "reason" in item}
    unread = Exit.USAGE if Reason.NOT_A_REFERENCE.value in bad else Exit.FINE
    unasked = Exit.UNASKED if bad - {Reason.NOT_A_REFERENCE.value} else Exit.FINE
    raise typer.Exit(max(unread, unasked))


async def _resolve(
    images: Sequence[str], loaded: "Loaded", chosen: common.Choices, namespace: str, *, platforms: bool
) -> list[dict[str, Any]]:
    from webhook import wiring

    async with wiring.laptop(loaded, environ=os.environ, docker_config=chosen.docker_config) as laptop:
        within = chosen.timeout
        return list(
            await asyncio.gather(*[_one(image, laptop, namespace, within, platforms=platforms) for image in images])
        )


async def _one(text: str, laptop: "Laptop", namespace: str, within: float, *, platforms: bool) -> dict[str, Any]:
    try:
        image = Reference.parse(text)
    except BadReference as bad:
        return {"image": text, "reason": Reason.NOT_A_REFERENCE.value, "message": bad.why}
    if laptop.client is None or laptop.credentials is None:
        return {"image": text, "reason": Reason.OFFLINE.value, "message": "no registry was asked"}
    deadline = asyncio.get_running_loop().time() + within
    candidates = await laptop.credentials.fetch(image, Audience(namespace), deadline=deadline)
    fact = await laptop.client.digest_of(image, candidates, deadline=deadline)
    if isinstance(fact, Failed | Absent):
        return {"image": text, **_why(fact)}
    item: dict[str, Any] = {
        "image": text,
        "reference": str(image.pinned(fact.digest)),
        "digest": fact.digest,
        "mediaType": fact.media_type,
        "requests": fact.requests,
        "milliseconds": round(fact.milliseconds, 1),
    }
    if platforms:
        found = await laptop.client.platforms_of(image.pinned(fact.digest), candidates, deadline=deadline)
        if isinstance(found, Failed | Absent):
            return {"image": text, **_why(found)}
        item["platforms"] = list(found)
    return item


def _why(fact: Failed | Absent) -> dict[str, str]:
    if isinstance(fact, Absent):
        return {"reason": Reason.ABSENT.value, "message": f"{fact.what}: not found, or not for these credentials"}
    return {"reason": fact.reason.value, "message": f"{fact.what}: {fact.detail}"}
