"""The work of `moorage explain`: one image on the way that a Pod's image takes, with everything said on the way."""

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from webhook.cli import common
from webhook.cli.exits import Exit
from webhook.core.decision import Action, Decision
from webhook.core.reason import Reason, sentence
from webhook.core.subject import Subject, subjects_of

if TYPE_CHECKING:
    from webhook.config import Loaded


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for, besides the options that every command has."""

    image: str
    container: str
    labels: dict[str, str]
    namespace: str
    offline: bool
    as_json: bool


class Sent(msgspec.Struct, frozen=True):
    """One request that left this machine. `code` is the status, or a reason where there was none."""

    registry: str
    method: str
    code: str
    milliseconds: float


class Explained(msgspec.Struct, frozen=True):
    """A decision, what was sent for it, and how long that took."""

    decision: Decision
    requests: list[Sent]
    milliseconds: float


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Explain, print, and give the exit code."""
    loaded = common.load(chosen)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "explained", "labels": wanted.labels},
        "spec": {"containers": [{"name": wanted.container, "image": wanted.image}]},
    }
    ((_, _, subject),) = subjects_of(pod, namespace=wanted.namespace)
    if not subject.slots:
        common.say(f"moorage: {wanted.image!r} names no image")
        return Exit.USAGE
    explained = asyncio.run(_explain(subject, loaded, chosen, offline=wanted.offline))
    told = _told(explained, subject, loaded)
    if wanted.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n")
    else:
        sys.stdout.write(_text(told))
    return {Action.REFUSED: Exit.REFUSED, Action.FAILED: Exit.UNASKED}.get(explained.decision.action, Exit.FINE)


async def _explain(subject: Subject, loaded: "Loaded", chosen: common.Choices, *, offline: bool) -> Explained:
    from webhook import wiring

    sent: list[Sent] = []

    def observe(registry: str, method: str, code: str, seconds: float) -> None:
        sent.append(Sent(registry, method, code, round(seconds * 1000, 1)))

    async def decide(laptop: wiring.Laptop) -> Explained:
        started = time.monotonic()
        deadline = asyncio.get_running_loop().time() + chosen.timeout
        (decision,) = await laptop.engine.decide(subject, deadline=deadline, since=laptop.started)
        return Explained(decision, sent, round((time.monotonic() - started) * 1000, 1))

    if offline:
        return await decide(wiring.offline(loaded))
    async with wiring.laptop(
        loaded,
        environ=os.environ,
        docker_config=chosen.docker_config,
        observe=observe,
        warn=common.say_registry_warning,
    ) as laptop:
        return await decide(laptop)


def _told(explained: Explained, subject: Subject, loaded: "Loaded") -> dict[str, Any]:
    decision = explained.decision
    slot = decision.slot
    matched = [note for note in decision.trace if note[0] in _RULES]
    rules = loaded.rules.explain(subject, slot, slot.image) if slot.image is not None else ()
    rest = decision.trace[len(matched) :]
    found: tuple[object, ...] = next((note for note in rest if note[0] is Reason.DIGEST_FOUND), ())
    credential = str(found[5]) if found else None
    return {
        "image": slot.text,
        "reference": str(slot.image) if slot.image is not None else None,
        "namespace": subject.namespace,
        "action": decision.action.value,
        "reason": decision.reason.value,
        "rule": decision.rule or None,
        "digest": decision.digest or None,
        "source": decision.source.value,
        "credential": credential,
        "target": decision.target or None,
        "to": decision.to or None,
        "arm": decision.arm or None,
        "milliseconds": explained.milliseconds,
        "requests": msgspec.to_builtins(explained.requests),
        "rules": [sentence(note) for note in rules],
        "trace": [sentence(note) for note in rest],
    }


_RULES = frozenset({Reason.RULE_MATCHED, Reason.RULE_PASSED_OVER})


def _text(told: dict[str, Any]) -> str:
    names = ("image", "reference", "namespace", "rule", "digest", "source", "credential", "target", "to")
    lines = [f"{name + ':':12}{told[name]}" for name in names if told[name]]
    lines.append(f"{'action:':12}{told['action']} ({told['reason']}), {told['milliseconds']} ms")
    requests = [
        f"{one['method']} {one['registry']}: {one['code']}, {one['milliseconds']} ms" for one in told["requests"]
    ]
    for title, said in (("rules", told["rules"]), ("requests", requests), ("trace", told["trace"])):
        if said:
            lines += [f"{title}:", *(f"  - {line}" for line in said)]
    return "\n".join(lines) + "\n"
