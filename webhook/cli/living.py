"""Live objects as inputs of a command: the words that name them, what is read of them, and what manifests have in the
cluster already."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from webhook.cli.exits import Exit, Stop
from webhook.cli.manifests import Found, Input, Source, Withheld
from webhook.cli.progress import Bar, done_with_bar
from webhook.core.live import Live, Unread
from webhook.core.workload import KINDS, BadWords, Named, guessed, read
from webhook.kube import Kube
from webhook.live import BadSelector, Look


def wanted(words: Sequence[str], templates: Mapping[str, str], *, selector: str, everywhere: bool) -> tuple[Named, ...]:
    """What is named, and nothing for everything.

    Raises:
        Stop: the words name nothing, or contradict each other.
    """
    try:
        found = read(words, (*KINDS, *guessed(templates))) if words else ()
    except BadWords as bad:
        raise Stop(Exit.USAGE, str(bad)) from None
    if any(one.names for one in found) and selector:
        raise Stop(Exit.USAGE, "name cannot be provided when a selector is specified")
    if any(one.names for one in found) and everywhere:
        raise Stop(Exit.USAGE, "a resource cannot be retrieved by name across all namespaces")
    return found


def look(
    kube: Kube,
    named: Sequence[Named],
    templates: Mapping[str, str],
    namespace: str,
    selector: str,
    within: float,
) -> list[Live | Unread]:
    """Live objects in the order of their namespaces; without names all that make Pods. `within` are the seconds for one
    by its name.

    Raises:
        Stop: the selector is none.
    """
    with Bar("reading the cluster") as bar:
        reader = Look(kube, templates, seen=bar.show, within=within)
        try:
            found = asyncio.run(
                reader.named(named, namespace, selector) if named else reader.every(namespace, selector),
            )
        except BadSelector as bad:
            raise Stop(Exit.USAGE, f"-l {selector}: {bad}") from None
    return found if any(one.names for one in named) else sorted(found, key=_order)


def _order(one: Live | Unread) -> tuple[str, int, str]:
    if isinstance(one, Unread):
        return one.namespace, len(KINDS), one.name
    number = next((number for number, kind in enumerate(KINDS) if kind == one.resource), len(KINDS))
    return one.subject.namespace, number, one.subject.name


def inputs(found: Sequence[Live | Unread]) -> list[Input]:
    """Each object as an input of its own."""
    made: list[Input] = []
    for one in found:
        if isinstance(one, Unread):
            made.append(Input(Source(one.name), [], [withheld(one)], []))
        else:
            shown = found_of(one)
            made.append(Input(Source(f"{one.subject.namespace}/{shown.source}"), [shown], [], []))
    return made


def withheld(one: Unread) -> Withheld:
    """What the API server did not give, as it is told."""
    place = f"{one.name} in {one.namespace}" if one.namespace else one.name
    return Withheld(place, one.message, was_asked=one.is_missing)


def found_of(live: Live) -> Found:
    """A live object to decide on."""
    source = f"{live.resource.word}/{live.subject.name}"
    return Found(
        source,
        0,
        None,
        "",
        live.resource.api_version,
        live.subject,
        manifest=live.manifest,
        owners=owners_of(live),
        unseen=live.unseen,
    )


def owners_of(live: Live) -> tuple[Mapping[str, Any], ...]:
    """The ownerReferences of its next Pods."""
    if live.next is not None:
        owner = live.next.owner
        reference = {"apiVersion": live.next.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
        return ({**reference, "controller": True},)
    return tuple(live.manifest["metadata"].get("ownerReferences") or ()) if live.resource.kind == "Pod" else ()


def with_twins(kube: Kube, read: Sequence[Input], templates: Mapping[str, str], within: float) -> None:
    """Let manifests that change nothing about a live object be decided as that: its Pods go on as they are."""
    reader = Look(kube, templates, within=within)

    async def one(each: Input, found: Found) -> None:
        twin = await reader.twin(found.manifest, found.subject)
        if isinstance(twin, Unread):
            each.broken.append(withheld(twin))
        elif twin is not None and twin.next is not None:
            found.subject = twin.next.given_to(found.subject)
            found.owners = owners_of(twin)

    work = (one(each, found) for each in read for found in each.found)
    asyncio.run(done_with_bar("reading the cluster", work))
