"""How an image stands in a live rollout: what `explain --owner` reads, and how it tells it."""

import asyncio
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import Any

from webhook.cli.asking import Asking
from webhook.cli.cluster import Reach
from webhook.cli.exits import Exit, Stop
from webhook.cli.living import withheld
from webhook.core.ask import Ask, Fact, Failed, Known
from webhook.core.pins import Pinned
from webhook.core.reason import sentence
from webhook.core.reference import Reference
from webhook.core.rules import Rule
from webhook.core.siblings import Sibling, selector_of
from webhook.core.standing import Standing, Undo, own_revision, runs_of, standing, undo
from webhook.core.subject import Subject
from webhook.core.upstream import ask_upstreams
from webhook.core.workload import KINDS, POD, BadWords, guessed, read
from webhook.live import Live, Look, Unread
from webhook.revisions import siblings_of


def find(reach: Reach, word: str, namespace: str, templates: Mapping[str, str]) -> Live:
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
    (found,) = asyncio.run(Look(reach.kube, templates).named(named, namespace))
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
        ask = _now(rule, image, live.subject, asked.laptop.started)
        fact = await asked.laptop.engine.conclude(ask, deadline=asyncio.get_running_loop().time() + within)
        now = fact.digest if isinstance(fact, Known) and fact.trouble is None else ""
    undone = undo(image.tagged, found, rule, now, sealer, knows_seals=reach.knows_seals) if rule is not None else None
    return {
        "object": f"{live.resource.word}/{live.subject.name}",
        "namespace": namespace,
        "revision": _revision(found),
        "pin": _pinned(found.pinned, reach) if found.pinned is not None else None,
        "ignored": [sentence(note) for note in found.judged.ignored],
        "siblings": [{"name": one.name, **_pinned(one.pinned, reach)} for one in found.runs],
        "unknown": f"siblings: {siblings.detail}" if isinstance(siblings, Failed) else None,
        "now": now or None,
        "undo": _undo(undone, rule) if undone is not None and rule is not None else None,
    }


def lines(told: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    revision, pin, undone = told["revision"], told["pin"], told["undo"]
    shown = [f"{'rollout:':12}{told['object']} in {told['namespace']}"]
    if revision is None:
        shown.append(f"{'revision:':12}none yet: the next Pods are of a new rollout")
    else:
        number = f", number {revision['number']}" if revision["number"] else ""
        shown.append(f"{'revision:':12}{revision['kind']} {revision['name']}{number}, since {revision['created']}")
    shown.append(f"{'pin:':12}{_said(pin) if pin is not None else 'none that holds'}")
    shown.append(f"{'tag now:':12}{told['now'] or 'not known'}")
    if undone is not None:
        digest = f"{undone['digest']}, " if undone["digest"] else ""
        shown.append(f"{'undo:':12}to {undone['revision']}: {digest}{undone['message']} (onReuse: {undone['onReuse']})")
    for title, said in (
        ("siblings", [f"{one['name']}: {_said(one)}" for one in told["siblings"]]),
        ("ignored", told["ignored"]),
        ("unknown", [told["unknown"]] if told["unknown"] else []),
    ):
        if said:
            shown += [f"{title}:", *(f"  - {line}" for line in said)]
    return shown


def _now(rule: Rule, image: Reference, subject: Subject, since: float) -> Generator[Ask, Fact, Fact]:
    return (yield from ask_upstreams(rule, image, subject.audience, since=since))


async def _siblings(live: Live, reach: Reach, within: float) -> list[Sibling] | Failed:
    owner = live.subject.owner
    if owner is None:
        return []
    deadline = asyncio.get_running_loop().time() + within
    selector = selector_of(live.subject.labels, owner)
    return await siblings_of(reach.kube, owner, live.subject.namespace, selector, deadline)


def _revision(found: Standing) -> dict[str, Any] | None:
    one = found.revision
    if one is None:
        return None
    return {"kind": one.kind, "name": one.name, "number": found.number or None, "created": _moment(one.created)}


def _pinned(pinned: Pinned, reach: Reach) -> dict[str, Any]:
    """`sealed` is null where no key is here to tell."""
    return {
        "digest": pinned.digest,
        "since": _moment(pinned.at),
        "sealed": pinned.sealed if reach.knows_seals else None,
    }


def _undo(undone: Undo, rule: Rule) -> dict[str, Any]:
    return {
        "revision": undone.revision,
        "onReuse": rule.on_reuse,
        "digest": undone.digest or None,
        "message": undone.why,
    }


def _said(pinned: Mapping[str, Any]) -> str:
    seal = {True: "sealed", False: "not sealed by Moorage", None: "seal not checked"}[pinned["sealed"]]
    return f"{pinned['digest']}, since {pinned['since'] or 'an unknown time'}, {seal}"


def _moment(milliseconds: int) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
