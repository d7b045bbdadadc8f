"""The work of `moorage explain`: one image on the way that a Pod's image takes, with everything said on the way."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from webhook.cli import common
from webhook.cli.asking import Sent, asking
from webhook.cli.cluster import Reach, configured
from webhook.cli.exits import Exit
from webhook.core import explanation
from webhook.core.decision import Action, Decision
from webhook.core.namespace import place
from webhook.core.printable import printable
from webhook.core.reason import Reason
from webhook.core.subject import Subject, subjects_of

if TYPE_CHECKING:
    from webhook.config import Loaded
    from webhook.core.live import Live


class Wanted(msgspec.Struct, frozen=True):
    """What was asked for, besides the options that every command has."""

    image: str
    container: str
    labels: dict[str, str]
    namespace: str | None
    owner: str
    offline: bool
    verbose: bool
    as_json: bool
    from_cluster: bool
    place: common.Place


class Explained(msgspec.Struct, frozen=True):
    """A decision and what it is about, what was sent for it, how long that took, and what is wrong with logins, and whose
    pull secrets could not be read; how the image stands in a live rollout, where one was named."""

    decision: Decision
    subject: Subject
    sent: list[Sent]
    milliseconds: float
    problems: tuple[str, ...]
    unread: frozenset[str] | None
    rollout: dict[str, Any] | None = None


def run(wanted: Wanted, chosen: common.Choices) -> Exit:
    """Explain, print, and give the exit code."""
    with Reach(wanted.place) as reach, configured(reach, chosen, from_cluster=wanted.from_cluster) as loaded:
        return _run(wanted, chosen, reach, loaded)


def _run(wanted: Wanted, chosen: common.Choices, reach: Reach, loaded: "Loaded") -> Exit:
    needs_cluster = wanted.from_cluster or bool(wanted.owner)
    namespace = wanted.namespace or (reach.namespace if needs_cluster else "default")
    live = _owner(wanted, reach, namespace, loaded, chosen.timeout)
    subject = _subject(wanted, namespace, live)
    if not subject.slots:
        common.say(f"moorage: {wanted.image!r} names no image")
        return Exit.USAGE
    explained = asyncio.run(
        _explain(subject, live, loaded, chosen, reach, in_cluster=needs_cluster, offline=wanted.offline)
    )
    told = _told(explained, loaded)
    common.put(common.pretty(told) if wanted.as_json else _text(told))
    action = explained.decision.action
    if wanted.verbose or action in {Action.REFUSED, Action.FAILED}:
        for problem in explained.problems:
            common.say(f"warning: {problem}")
    if explained.unread:
        common.say(f"not known here: {common.logins_for(explained.unread)}")
    if live is not None and not reach.knows_seals:
        common.say(common.HINTS)
    if wanted.verbose:
        common.say(f"configuration: {loaded.path or '--rule'}")
    return _code(explained)


def _owner(wanted: Wanted, reach: Reach, namespace: str, loaded: "Loaded", within: float) -> "Live | None":
    if not wanted.owner:
        return None
    from webhook.cli.rollout import find

    return find(reach, wanted.owner, namespace, loaded.rules.templates, within)


def _subject(wanted: Wanted, namespace: str, live: "Live | None") -> Subject:
    """A Pod with this image; one of the next Pods of a workload, where that is named."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "explained", "labels": wanted.labels},
        "spec": {"containers": [{"name": wanted.container or "app", "image": wanted.image}]},
    }
    ((_, _, subject),) = subjects_of(pod, namespace=namespace)
    if live is None:
        return subject
    slots = subject.slots
    same = next((one for one in live.subject.slots if slots and one.image == slots[0].image), None)
    if same is not None and not wanted.container:
        slots = (msgspec.structs.replace(slots[0], container=same.container, field=same.field),)
    labels = {**live.subject.labels, **wanted.labels}
    return msgspec.structs.replace(live.subject, slots=slots, labels=labels, annotations=subject.annotations)


async def _explain(
    subject: Subject,
    live: "Live | None",
    loaded: "Loaded",
    chosen: common.Choices,
    reach: Reach,
    *,
    in_cluster: bool,
    offline: bool,
) -> Explained:
    cluster = reach.cluster if in_cluster else None
    async with asking(loaded, chosen, offline=offline, cluster=cluster) as asked:
        started = time.monotonic()
        deadline = asyncio.get_running_loop().time() + chosen.timeout
        (decision,) = await asked.laptop.engine.decide(subject, deadline=deadline, since=asked.laptop.started)
        milliseconds = round((time.monotonic() - started) * 1000, 1)
        rollout = None
        if live is not None and subject.slots[0].image is not None:
            from webhook.cli.rollout import tell

            rule = next((one for one in loaded.rules.rules if one.name == decision.rule), None)
            rollout = await tell(live, subject.slots[0].image, rule, asked, reach, chosen.timeout)
        if cluster is not None:
            subject, _ = await asked.laptop.engine.conclude(place(subject), deadline=deadline)
        return Explained(decision, subject, asked.sent, milliseconds, asked.problems, asked.unread, rollout)


def _code(explained: Explained) -> Exit:
    decision = explained.decision
    if decision.action is not Action.REFUSED and any(note[0] is Reason.CLUSTER_NOT_ASKED for note in decision.trace):
        return Exit.UNASKED
    return {Action.REFUSED: Exit.REFUSED, Action.FAILED: Exit.UNASKED}.get(decision.action, Exit.FINE)


def _told(explained: Explained, loaded: "Loaded") -> dict[str, Any]:
    subject, slot = explained.subject, explained.decision.slot
    rules = loaded.rules.explain(subject, slot, slot.image) if slot.image is not None else ()
    told = msgspec.to_builtins(explanation.explained(explained.decision, rules))
    said = {name: told.pop(name) for name in ("rules", "targets", "trace")}
    return {
        "image": told.pop("image"),
        "reference": told.pop("reference"),
        "namespace": subject.namespace,
        **told,
        "milliseconds": explained.milliseconds,
        "requests": msgspec.to_builtins(explained.sent),
        **said,
        **({"rollout": explained.rollout} if explained.rollout is not None else {}),
    }


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
    if "rollout" in told:
        from webhook.cli.forms.rollout import lines as lines_of

        lines += lines_of(told["rollout"])
    return "".join(f"{printable(line)}\n" for line in lines)
