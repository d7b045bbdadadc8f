"""The work of `moorage resolve`: each image at its own registry, side by side."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from webhook import wiring
from webhook.cli import common
from webhook.cli.exits import Exit
from webhook.cli.forms.plain import aligned
from webhook.core.ask import Absent, Failed
from webhook.core.reason import Reason
from webhook.core.reference import BadReference, Reference
from webhook.core.subject import Audience

if TYPE_CHECKING:
    from webhook.config import Loaded


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for, besides the options that every command has."""

    images: tuple[str, ...]
    namespace: str
    platforms: bool
    as_json: bool


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Resolve all, print all, and give the exit code: one that fails does not hide the others."""
    loaded = common.load(chosen)
    items = asyncio.run(_resolve(wanted, loaded, chosen))
    if wanted.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode({"items": items}), indent=2).decode() + "\n")
    else:
        sys.stdout.write(_table(items, platforms=wanted.platforms))
    bad = {item["reason"] for item in items if "reason" in item}
    unread = Exit.USAGE if Reason.NOT_A_REFERENCE.value in bad else Exit.FINE
    unasked = Exit.UNASKED if bad - {Reason.NOT_A_REFERENCE.value} else Exit.FINE
    return max(unread, unasked)


def _table(items: list[dict[str, Any]], *, platforms: bool) -> str:
    rows = [["IMAGE", "DIGEST", *(["PLATFORMS"] if platforms else [])]]
    for item in items:
        row = [item["image"], item.get("digest") or f"{item['reason']}: {item['message']}"]
        rows.append([*row, *([",".join(item.get("platforms", ()))] if platforms else [])])
    return aligned(rows)


async def _resolve(wanted: Wanted, loaded: "Loaded", chosen: common.Choices) -> list[dict[str, Any]]:
    async with wiring.laptop(
        loaded, environ=os.environ, docker_config=chosen.docker_config, warn=common.say_registry_warning
    ) as laptop:
        asked = [_one(image, laptop, wanted, chosen.timeout) for image in wanted.images]
        return list(await asyncio.gather(*asked))


async def _one(text: str, laptop: wiring.Laptop, wanted: Wanted, within: float) -> dict[str, Any]:
    try:
        image = Reference.parse(text)
    except BadReference as bad:
        return {"image": text, "reason": Reason.NOT_A_REFERENCE.value, "message": bad.why}
    if laptop.client is None or laptop.credentials is None:
        return {"image": text, "reason": Reason.OFFLINE.value, "message": "no registry was asked"}
    deadline = asyncio.get_running_loop().time() + within
    candidates = await laptop.credentials.fetch(image, Audience(wanted.namespace), deadline=deadline)
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
    if wanted.platforms:
        found = await laptop.client.platforms_of(image.pinned(fact.digest), candidates, deadline=deadline)
        if isinstance(found, Failed | Absent):
            return {"image": text, **_why(found)}
        item["platforms"] = list(found)
    return item


def _why(fact: Failed | Absent) -> dict[str, str]:
    if isinstance(fact, Absent):
        return {"reason": Reason.ABSENT.value, "message": f"{fact.what}: not found, or not for these credentials"}
    return {"reason": fact.reason.value, "message": f"{fact.what}: {fact.detail}"}
