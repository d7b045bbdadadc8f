"""The work of `moorage resolve`: each image at its own registry, side by side."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from webhook.cli import common
from webhook.cli.asking import Asking, asking
from webhook.cli.exits import Exit
from webhook.cli.forms.plain import aligned
from webhook.core.ask import Absent, Failed
from webhook.core.reason import Reason
from webhook.core.reference import BadReference, Reference
from webhook.core.subject import Audience

if TYPE_CHECKING:
    from webhook.config import Loaded

AT_ONCE: Final = 64


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for, besides the options that every command has."""

    images: tuple[str, ...]
    namespace: str
    platforms: bool
    offline: bool
    verbose: bool
    as_json: bool


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Resolve all, print all, and give the exit code: one that fails does not hide the others."""
    loaded = common.load(chosen)
    items = asyncio.run(_resolve(wanted, loaded, chosen))
    common.put(common.pretty({"items": items}) if wanted.as_json else _table(items, platforms=wanted.platforms))
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
    places = asyncio.Semaphore(AT_ONCE)
    async with asking(loaded, chosen, offline=wanted.offline) as asked:

        async def resolve(image: str) -> dict[str, Any]:
            async with places:
                return await _one(image, asked, wanted, chosen.timeout)

        items = list(await asyncio.gather(*map(resolve, wanted.images)))
        if wanted.verbose or any("reason" in item for item in items):
            for problem in asked.problems:
                common.say(f"warning: {problem}")
        for sent in asked.sent if wanted.verbose else ():
            common.say(f"sent: {sent}")
        return items


async def _one(text: str, asked: Asking, wanted: Wanted, within: float) -> dict[str, Any]:
    try:
        image = Reference.parse(text)
    except BadReference as bad:
        return {"image": text, "reason": Reason.NOT_A_REFERENCE.value, "message": bad.why}
    client, credentials = asked.laptop.client, asked.laptop.credentials
    if client is None or credentials is None:
        return {"image": text, "reason": Reason.OFFLINE.value, "message": "no registry was asked"}
    deadline = asyncio.get_running_loop().time() + within
    candidates = await credentials.fetch(image, Audience(wanted.namespace), deadline=deadline)
    fact = await client.digest_of(image, candidates, deadline=deadline)
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
        found = await client.platforms_of(image.pinned(fact.digest), candidates, deadline=deadline)
        if isinstance(found, Failed | Absent):
            return {"image": text, **_why(found)}
        item["platforms"] = list(found)
    return item


def _why(fact: Failed | Absent) -> dict[str, str]:
    if isinstance(fact, Absent):
        return {"reason": Reason.ABSENT.value, "message": f"{fact.what}: not found, or not for these credentials"}
    return {"reason": fact.reason.value, "message": f"{fact.what}: {fact.detail}"}
