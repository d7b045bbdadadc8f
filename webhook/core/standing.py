"""How an image of a live workload stands: the pin of its current revision, what its Pods run, and what undo would do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from webhook.core.current import Kept, kept
from webhook.core.pins import Judged, Pinned, judge
from webhook.core.revision import JOB, REPLICA_SET, Revision
from webhook.core.rollout import revision_of
from webhook.core.rules import Rule
from webhook.core.seal import Sealer
from webhook.core.siblings import Sibling, decide
from webhook.core.subject import Owner

_THEMSELVES: Final = {("batch", "Job"): JOB, ("apps", "ReplicaSet"): REPLICA_SET}
"""Workloads that are a revision."""


class Run(msgspec.Struct, frozen=True):
    """What a Pod of the same controller runs of the image."""

    name: str
    pinned: Pinned


class Undo(msgspec.Struct, frozen=True):
    """What Pods get after `kubectl rollout undo`: the revision that comes back, the digest (empty where it is only known
    then), and why, in a sentence."""

    revision: str
    digest: str
    why: str


class Standing(msgspec.Struct, frozen=True):
    """Of one image. `revision` is None where none stands for the rollout; `number` says which one it is, 0 for unknown;
    `pinned` is None without a pin that holds for this image."""

    revision: Revision | None
    number: int
    pinned: Pinned | None
    judged: Judged
    runs: tuple[Run, ...] = ()
    before: Revision | None = None
    names_it: bool = False
    """Whether the template of the revision before names the same image."""


def own_revision(manifest: Mapping[str, Any], group: str, kind: str) -> tuple[Kept, ...]:
    """The object itself, where it is its own revision."""
    found = _THEMSELVES.get((group, kind))
    return (kept(found, manifest),) if found is not None else ()


def standing(
    name: str, current: str, revisions: Sequence[Kept], namespace: str, sealer: Sealer, runs: Iterable[Run] = ()
) -> Standing:
    """How an image (`host/path:tag`) stands under the revision of the name `current`.

    Raises:
        msgspec.ValidationError: a template has an unexpected shape.
    """
    every = sorted(revisions, key=lambda one: one.number)
    place = next((number for number, one in enumerate(every) if one.name == current), None)
    found = revision_of(every[place].kind, every[place].stored, namespace) if place is not None else None
    if place is None or found is None:
        return Standing(None, 0, None, Judged({}), tuple(runs))
    judged = judge(found[0], sealer)
    before = revision_of(every[place - 1].kind, every[place - 1].stored, namespace) if place else None
    slots = before[1].slots if before is not None else ()
    return Standing(
        found[0],
        every[place].number,
        judged.images.get(name),
        judged,
        tuple(runs),
        before[0] if before is not None else None,
        any(slot.image is not None and slot.image.tagged == name for slot in slots),
    )


def runs_of(name: str, siblings: Iterable[Sibling], owner: Owner, namespace: str, sealer: Sealer) -> tuple[Run, ...]:
    """What each sibling runs of an image, the oldest first; those that do not say are left out."""
    every = sorted(siblings, key=lambda one: (one.created, one.name))
    found = [(one.name, decide([one], owner, namespace, sealer).get(name)) for one in every]
    return tuple(Run(sibling, pinned) for sibling, pinned in found if pinned is not None)


def undo(name: str, one: Standing, rule: Rule, now: str, sealer: Sealer, *, knows_seals: bool) -> Undo | None:
    """What `onReuse` does when the revision before comes back; None where there is none. `now` is the digest that the tag
    names, empty for unknown."""
    before = one.before
    if before is None:
        return None
    shown = f"{before.kind} {before.name}"
    if not one.names_it:
        return Undo(shown, "", "its template names other images")
    if rule.on_reuse == "fresh":
        return Undo(shown, now, "it is pinned to what the tag names then")
    pinned = judge(before, sealer).images.get(name)
    if pinned is None or (knows_seals and not pinned.sealed):
        return Undo(shown, "", "it has no pin of ours, and gets none: its Pods decide, else the registry")
    moved = "; the tag names another, which is warned about" if now and now != pinned.digest else ""
    return Undo(shown, pinned.digest, f"it keeps its pin{moved}")
