"""Rollouts older than their pins: which digest a living revision shall be pinned to, and what becomes of a pin whose
digest is gone.

Sources, in this order: what Moorage wrote on a Pod; a digest that stands in a Pod's image; the image that a Pod runs, and
that only if the tag names it still, because an imageID may name a child, or another index of the same content.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from webhook.core.annotation import is_ours, key_of, read, source_of
from webhook.core.ask import Absent, Ask, Fact, Known
from webhook.core.decision import RESOLVED
from webhook.core.living import Living, Seen
from webhook.core.manifest import INDEXES
from webhook.core.notes import trouble_of
from webhook.core.pins import PREFIX, Pinned, has_room, judge, needs_seal, written
from webhook.core.plan import outcomes
from webhook.core.reason import Note, Reason
from webhook.core.reference import BadReference, Reference, is_digest, parsed
from webhook.core.rules import Rule, RuleSet
from webhook.core.seal import Sealer
from webhook.core.subject import Slot
from webhook.core.upstream import ask_upstreams


class Verdict(StrEnum):
    """What is to be done about one image of a revision."""

    KEPT = "kept"
    ADOPTED = "adopted"
    RESEALED = "resealed"
    REPINNED = "repinned"
    GONE = "gone"
    DISAGREE = "disagree"
    UNKNOWN = "unknown"


WRITES: Final = frozenset({Verdict.ADOPTED, Verdict.RESEALED, Verdict.REPINNED})


class Adoption(msgspec.Struct, frozen=True):
    """One image of a living revision. `since` (monotonic) is when the survey began: older answers prove nothing about
    what is there now. `knows_seals` says whether the keys are those of the webhook: without them each of its pins looks
    like one that somebody wrote."""

    living: Living
    slot: Slot
    image: Reference
    rule: Rule
    standing: Pinned | None
    reseal: bool
    since: float
    sealer: Sealer
    newest: bool
    knows_seals: bool


class Adopted(msgspec.Struct, frozen=True):
    """What came of it. `before` is the digest of the pin that stands there, empty for none; `source` says where the
    digest was found: pin, annotation, image, running, upstream."""

    name: str
    rule: str
    verdict: Verdict
    digest: str = ""
    before: str = ""
    source: str = ""
    notes: tuple[Note, ...] = ()


def plan_adoption(
    living: Living, rules: RuleSet, sealer: Sealer, since: float, *, newest: bool = False, knows_seals: bool = True
) -> list[Adoption]:
    """One step for each image of the template that is to be pinned. `newest` lets the newest ready Pod decide where Pods
    disagree."""
    standing = judge(living.revision, sealer).images
    reseal = needs_seal(living.revision, sealer)
    steps: dict[str, Adoption] = {}
    for slot in living.subject.slots:
        image = slot.image
        if image is None or image.digest is not None or image.tagged in steps or living.subject.opted_out:
            continue
        rule, _ = rules.first_match(living.subject, slot, image)
        if rule is None or rule.pin != "rollout" or rule.write == "tag" or rules.locked_to(image):
            continue
        there = standing.get(image.tagged)
        steps[image.tagged] = Adoption(living, slot, image, rule, there, reseal, since, sealer, newest, knows_seals)
    return list(steps.values())


Asking = Generator[Ask, Fact, Adopted]


def adopt(step: Adoption) -> Asking:
    """What is to be done about an image."""
    if step.standing is not None:
        done = yield from _check(step, step.standing)
        if done is not None:
            return done
    now = yield from _ask(step, step.image)
    found: dict[str, list[tuple[Seen, str]]] = {}
    notes: list[Note] = []
    asked: dict[str, bool] = {}
    for pod in step.living.pods:
        for candidate, source, is_proven in _shown(step, pod, now):
            if not is_proven and candidate not in asked:
                asked[candidate] = yield from _may_adopt(step, candidate, now, notes)
            if is_proven or asked[candidate]:
                found.setdefault(candidate, []).append((pod, source))
                break
    if not found:
        return _done(step, Verdict.UNKNOWN, notes=notes or [_why_not(step, now)])
    chosen = _chosen(found, newest=step.newest)
    if chosen is None:
        notes += [(Reason.PODS_DISAGREE, digest, len(pods)) for digest, pods in found.items()]
        return _done(step, Verdict.DISAGREE, notes=notes)
    return _done(step, Verdict.ADOPTED, chosen, found[chosen][0][1], notes)


def _why_not(step: Adoption, now: Fact) -> Note:
    if not isinstance(now, Known):
        return trouble_of(step.image, now)[1]
    if now.trouble is not None:
        return (now.trouble, step.image.repository, "its last answer is too old to tell what runs")
    return (Reason.NO_POD_SHOWS, len(step.living.pods), now.digest)


def _check(step: Adoption, standing: Pinned) -> Generator[Ask, Fact, Adopted | None]:
    """Is the digest of a pin still there? None for a hint that the upstream does not confirm: then the Pods are looked at."""
    digest = standing.digest
    fact = yield from _ask(step, step.image.pinned(digest))
    if isinstance(fact, Known):
        if not standing.sealed and step.knows_seals:
            return _done(step, Verdict.ADOPTED, digest, "pin")
        return _done(step, Verdict.RESEALED if step.reseal else Verdict.KEPT, digest, "pin")
    note = trouble_of(step.image, fact)[1]
    if not (isinstance(fact, Absent) and not fact.denied):
        # Not definite: a registry that is down, or that does not let us in, has lost nothing.
        return _done(step, Verdict.KEPT, digest, "pin", (note,))
    if not standing.sealed:
        return None
    if step.rule.on_pin_gone == "keep":
        return _done(step, Verdict.GONE, digest, "pin", (note,))
    now = yield from _ask(step, step.image)
    # An old answer may be the very digest that is gone.
    if isinstance(now, Known) and now.trouble is None:
        return _done(step, Verdict.REPINNED, now.digest, "upstream", (note,))
    return _done(step, Verdict.GONE, digest, "pin", (note, _why_not(step, now)))


def _ask(step: Adoption, image: Reference) -> Generator[Ask, Fact, Fact]:
    return (yield from ask_upstreams(step.rule, image, step.living.subject.audience, since=step.since))


def _shown(step: Adoption, pod: Seen, now: Fact) -> Iterator[tuple[str, str, bool]]:
    """What a Pod shows of an image, the best first: a digest, where it stands, and whether it needs no confirmation."""
    key = key_of(step.slot)
    images = read(pod.annotations)
    entry = images.images.get(key)
    if entry is not None and is_digest(entry.digest) and _is_of(entry.from_, step.image):
        ours = is_ours(images, step.living.revision.namespace, step.living.controller, step.sealer)
        yield entry.digest, "annotation", ours and source_of(entry) in RESOLVED
    text = pod.images.get(key, "")
    image = parsed(text)
    digest = image.digest if isinstance(image, Reference) else None
    # At the upstream or at a target: whatever the rule can write for this digest.
    if digest is not None and text in outcomes(step.rule, step.image, digest):
        yield digest, "image", False
    running = pod.running.get(key, "").partition("@")[2]
    if isinstance(now, Known) and now.trouble is None and running == now.digest:
        yield running, "running", True


def _is_of(text: str, image: Reference) -> bool:
    asked = parsed(text)
    return not isinstance(asked, BadReference) and asked.digest is None and asked.tagged == image.tagged


def _may_adopt(step: Adoption, digest: str, now: Fact, notes: list[Note]) -> Generator[Ask, Fact, bool]:
    """Whether the upstream confirms a digest, and it is not one platform of an index: that would part the Pods of other
    nodes from it."""
    fact = yield from _ask(step, step.image.pinned(digest))
    if not isinstance(fact, Known):
        notes.append(trouble_of(step.image, fact)[1])
        return False
    if not isinstance(now, Known):
        notes.append(trouble_of(step.image, now)[1])
        return False
    if now.media_type in INDEXES and fact.media_type not in INDEXES:
        notes.append((Reason.CHILD_OF_INDEX, digest))
        return False
    return True


def _chosen(found: Mapping[str, list[tuple[Seen, str]]], *, newest: bool) -> str | None:
    if len(found) == 1:
        return next(iter(found))
    ready = [(pod.created, pod.name, digest) for digest, pods in found.items() for pod, _ in pods if pod.is_ready]
    return max(ready)[2] if newest and ready else None


def _done(step: Adoption, verdict: Verdict, digest: str = "", source: str = "", notes: Iterable[Note] = ()) -> Adopted:
    before = step.standing.digest if step.standing is not None else ""
    return Adopted(step.image.tagged, step.rule.name, verdict, digest, before, source, tuple(notes))


def renewed(
    living: Living, adopted: Iterable[Adopted], sealer: Sealer, milliseconds: int, *, knows_seals: bool = True
) -> Mapping[str, str | None] | None:
    """The annotations that change: one new pin that holds all that hold now, and none of ours besides it, unless their
    seals cannot be judged here. None where nothing is to be written, or there is no room."""
    every = list(adopted)
    if not any(one.verdict in WRITES for one in every):
        return None
    images = {one.name: one.digest for one in every if one.digest and one.verdict is not Verdict.GONE}
    kept = {name: one.digest for name, one in judge(living.revision, sealer).images.items() if one.sealed}
    annotations = living.revision.annotations
    own = [key for key in annotations if knows_seals and key.startswith(f"{PREFIX}{living.revision.hash}.")]
    left = {key: text for key, text in annotations.items() if key not in own}
    merged = {**kept, **images}
    if not has_room(left, merged):
        return None
    key, value = written(merged, living.revision, sealer, milliseconds, uid=living.revision.uid)
    return {**dict.fromkeys(own), key: value}
