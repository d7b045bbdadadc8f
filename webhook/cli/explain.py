"""`moorage explain`: every rule that was tried for one image and why, and all that followed."""

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from webhook.cli import common
from webhook.cli.exits import Exit
from webhook.core.decision import Action, Decision
from webhook.core.reason import Reason, sentence
from webhook.core.subject import Subject, subjects_of

if TYPE_CHECKING:
    from webhook.config import Loaded


def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image as a Pod would name it.")],
    container: Annotated[str, typer.Option("--container", "-c", metavar="NAME", help="Name of the container.")] = "app",
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="A label of the Pod. Repeatable.")
    ] = None,
    form: Annotated[str, typer.Option("--output", "-o", metavar="text|json", help="How to print it.")] = "text",
    namespace: common.Namespace = "default",
    config: common.Config = None,
    rule: common.Rules = None,
    variable: common.Variables = None,
    offline: common.Offline = False,
    timeout: common.Timeout = "4s",
    docker_config: common.DockerConfig = None,
) -> None:
    """Show every rule that is tried for an image and why, the digest and where it came from, and every target."""
    chosen = common.choices(config, rule, variable, timeout, docker_config)
    loaded = common.load(chosen)
    labels = dict(text.partition("=")[::2] for text in label or ())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "explained", "labels": labels},
        "spec": {"containers": [{"name": container, "image": image}]},
    }
    ((_, _, subject),) = subjects_of(pod, namespace=namespace)
    started = time.monotonic()
    (decision,) = asyncio.run(_decide(subject, loaded, chosen, offline=offline))
    told = _told(decision, subject, loaded, (time.monotonic() - started) * 1000)
    if form == "json":
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n")
    else:
        sys.stdout.write(_text(told))
    raise typer.Exit({Action.REFUSED: Exit.REFUSED, Action.FAILED: Exit.UNASKED}.get(decision.action, Exit.FINE))


async def _decide(subject: Subject, loaded: "Loaded", chosen: common.Choices, *, offline: bool) -> tuple[Decision, ...]:
    from webhook import wiring

    if offline:
        one = wiring.offline(loaded)
        return await one.engine.decide(subject, deadline=_deadline(chosen), since=one.started)
    async with wiring.laptop(loaded, environ=os.environ, docker_config=chosen.docker_config) as one:
        return await one.engine.decide(subject, deadline=_deadline(chosen), since=one.started)


def _deadline(chosen: common.Choices) -> float:
    return asyncio.get_running_loop().time() + chosen.timeout


def _told(decision: Decision, subject: Subject, loaded: "Loaded", milliseconds: float) -> dict[str, Any]:
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
        "milliseconds": round(milliseconds, 1),
        "rules": [sentence(note) for note in rules],
        "trace": [sentence(note) for note in rest],
    }


_RULES = frozenset({Reason.RULE_MATCHED, Reason.RULE_PASSED_OVER})


def _text(told: dict[str, Any]) -> str:
    names = ("image", "reference", "namespace", "rule", "digest", "source", "credential", "target", "to")
    lines = [f"{name + ':':12}{told[name]}" for name in names if told[name]]
    lines.append(f"{'action:':12}{told['action']} ({told['reason']}), {told['milliseconds']} ms")
    for title in ("rules", "trace"):
        if told[title]:
            lines += [f"{title}:", *(f"  - {line}" for line in told[title])]
    return "\n".join(lines) + "\n"
