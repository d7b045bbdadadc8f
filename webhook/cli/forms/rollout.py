"""How an image stands in a live rollout, for programs and for people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from webhook.core.live import Live
from webhook.core.pins import Pinned
from webhook.core.reason import sentence
from webhook.core.rules import Rule
from webhook.core.standing import Standing, Undo


class Told(msgspec.Struct, frozen=True):
    """What was found. `now` is the digest that the tag names, `unread` what could not be read; both empty for nothing."""

    live: Live
    standing: Standing
    rule: Rule | None
    now: str
    undo: Undo | None
    unread: str
    knows_seals: bool


def as_data(told: Told) -> dict[str, Any]:
    """All of it, as JSON has it."""
    found, rule = told.standing, told.rule
    return {
        "object": f"{told.live.resource.word}/{told.live.subject.name}",
        "namespace": told.live.subject.namespace,
        "revision": _revision(found),
        "pin": _pinned(found.pinned, told) if found.pinned is not None else None,
        "ignored": [sentence(note) for note in found.judged.ignored],
        "siblings": [{"name": one.name, **_pinned(one.pinned, told)} for one in found.runs],
        "unknown": told.unread or None,
        "now": told.now or None,
        "undo": _undo(told.undo, rule) if told.undo is not None and rule is not None else None,
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


def _revision(found: Standing) -> dict[str, Any] | None:
    one = found.revision
    if one is None:
        return None
    return {"kind": one.kind, "name": one.name, "number": found.number or None, "created": _moment(one.created)}


def _pinned(pinned: Pinned, told: Told) -> dict[str, Any]:
    """`sealed` is null where no key is here to tell."""
    return {
        "digest": pinned.digest,
        "since": _moment(pinned.at),
        "sealed": pinned.sealed if told.knows_seals else None,
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
