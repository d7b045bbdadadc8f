"""How an image stands in a live rollout: what `explain --owner` reads."""

import asyncio
from collections.abc import Mapping
from typing import Any

from webhook.cli.asking import Asking
from webhook.cli.cluster import Reach
from webhook.cli.exits import Exit, Stop
from webhook.cli.forms.rollout import Told, as_data
from webhook.cli.living import withheld
from webhook.core.ask import Failed, Known
from webhook.core.live import Live, Unread
from webhook.core.reference import Reference
from webhook.core.rules import Rule
from webhook.core.siblings import Sibling, selector_of
from webhook.core.standing import own_revision, runs_of, standing, undo
from webhook.core.upstream import ask_upstreams
from webhook.core.workload import KINDS, POD, BadWords, guessed, read
from webhook.live import Look
from webhook.revisions import siblings_of


def find(reach: Reach, word: str, namespace: str, templates: Mapping[str, str], within: float) -> Live:
    """The live workload that a word names.

    Raises:
        Stop: there is none, or the cluster does not give it.
    """
    try:
        named = read([word], (*KINDS, *guessed(templates)))
    except BadWords as bad:
        raise Stop(Exit.USAGE, f"--owner {word}: {bad}") from None
    if not all(one.names for one in named):
        raise Stop(Exit.USAGE, f"--owner {word}: write it as KIND/NAME")
    if any(one.resource is POD for one in named):
        raise Stop(Exit.USAGE, f"--owner {word}: a Pod owns none; name the workload that makes it")
    (found,) = asyncio.run(Look(reach.kube, templates, within=within).named(named, namespace))
    if isinstance(found, Unread):
        raise Stop(Exit.USAGE if found.is_missing else Exit.UNASKED, str(withheld(found)))
    return found


async def tell(
    live: Live, image: Reference, rule: Rule | None, asked: Asking, reach: Reach, within: float
) -> dict[str, Any]:
    """All of it, for the JSON form. `rule` is the one that decides on the image."""
    sealer, namespace = reach.cluster.sealer, live.subject.namespace
    siblings = await _siblings(live, reach, within)
    heard = siblings if isinstance(siblings, list) else []
    owner = live.subject.owner
    runs = runs_of(image.tagged, heard, owner, namespace, sealer) if owner is not None else ()
    current = live.next.revision if live.next is not None else ""
    revisions = live.revisions or own_revision(live.manifest, live.resource.group, live.resource.kind)
    found = standing(image.tagged, current, revisions, namespace, sealer, runs)
    now = ""
    if rule is not None and image.digest is None:
        ask = ask_upstreams(rule, image, live.subject.audience, since=asked.laptop.started)
        fact = await asked.laptop.engine.conclude(ask, deadline=asyncio.get_running_loop().time() + within)
        now = fact.digest if isinstance(fact, Known) and fact.trouble is None else ""
    undone = undo(image.tagged, found, rule, now, sealer, knows_seals=reach.knows_seals) if rule is not None else None
    trouble = f"siblings: {siblings.detail}" if isinstance(siblings, Failed) else ""
    told = Told(live, found, rule, now, undone, trouble, knows_seals=reach.knows_seals)
    return as_data(told)


async def _siblings(live: Live, reach: Reach, within: float) -> list[Sibling] | Failed:
    owner = live.subject.owner
    if owner is None:
        return []
    deadline = asyncio.get_running_loop().time() + within
    selector = selector_of(live.subject.labels, owner, "")
    return await siblings_of(reach.kube, owner, live.subject.namespace, selector, deadline)
