"""What has to be settled about each slot, before anything is asked."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice

import msgspec

from webhook.core.annotation import FRESH_FOR, NOTHING, Entry, Images, is_ours, key_of, owner_of, read
from webhook.core.decision import Action, Decision
from webhook.core.guard import MAX_ORIGINS, Guarded
from webhook.core.reason import Reason, Trace
from webhook.core.reference import BadReference, Reference, parsed
from webhook.core.rules import Rule, RuleSet
from webhook.core.seal import Sealer
from webhook.core.subject import Slot, Subject
from webhook.core.targets import find_target


class Keep(msgspec.Struct, frozen=True, gc=False):
    """Decided already: nothing to ask."""

    decision: Decision


class Settle(msgspec.Struct, frozen=True, gc=False):
    """A rule decides. `image` is what the author asked for, `prior` an entry of ours that already answers for the
    digest, `guarded` the judgement to fall back on when the slot names a target that this does not lead to."""

    slot: Slot
    image: Reference
    rule: Rule
    subject: Subject
    arm: str
    trace: Trace
    locked: str = ""
    since: float | None = None
    prior: Entry | None = None
    guarded: Guarded | None = None


Step = Keep | Settle | Guarded


def plan(
    subject: Subject, rules: RuleSet, *, sealer: Sealer, milliseconds: int, since: float | None = None
) -> tuple[Step, ...]:
    """One step a slot, in the order of the slots. `milliseconds` is the wall clock, for the age of our own seal."""
    images = read(subject.annotations) if subject.annotations else NOTHING
    proven = bool(images.images) and _proves(images, subject, sealer, milliseconds)
    return tuple([_step(subject, slot, rules, images, proven=proven, since=since) for slot in subject.slots])


def guard_only(subject: Subject, rules: RuleSet) -> tuple[Step, ...]:
    """The steps where nothing may be changed any more and only names of targets are judged."""
    return tuple([_guard_or(slot, subject, rules, Reason.NOT_SERVED) for slot in subject.slots])


def left_alone(subject: Subject, why: str) -> tuple[Decision, ...]:
    """The decisions for what admission never sees."""
    note = (Reason.NOT_SERVED, why)
    return tuple([Decision(slot, Action.UNCHANGED, Reason.NOT_SERVED, trace=(note,)) for slot in subject.slots])


def arm_of(rule: Rule, subject: Subject) -> str:
    """`rewrite` or `pin`: which share of the workloads this one belongs to; empty where the rule has no share.

    A hash of rule, namespace and workload, so that it is the same before admission and over all rollouts.
    """
    if rule.percent >= 100:
        return ""
    text = f"{rule.name}\0{subject.namespace}\0{subject.workload}"
    share = int.from_bytes(sha256(text.encode()).digest()[:4], "big") % 100
    return "rewrite" if share < rule.percent else "pin"


def _proves(images: Images, subject: Subject, sealer: Sealer, milliseconds: int) -> bool:
    return abs(milliseconds - images.time) <= FRESH_FOR and is_ours(
        images, subject.namespace, owner_of(subject), sealer
    )


def _step(subject: Subject, slot: Slot, rules: RuleSet, images: Images, *, proven: bool, since: float | None) -> Step:
    if slot.image is None:
        return Keep(
            Decision(slot, Action.UNCHANGED, Reason.NOT_A_REFERENCE, trace=((Reason.NOT_A_REFERENCE, slot.problem),))
        )
    if subject.opted_out:
        return _guard_or(slot, subject, rules, Reason.OPTED_OUT)
    entry = images.images.get(key_of(slot)) if images.images else None
    if entry is not None:
        again = _settle_again(subject, slot, entry, rules, proven=proven, since=since)
        if again is not None:
            return again
    if find_target(rules.targets, slot.image) is not None:
        return _guard_or(slot, subject, rules, Reason.PLACED)
    rule, trace = rules.first_match(subject, slot, slot.image)
    if rule is None:
        return Keep(Decision(slot, Action.UNCHANGED, Reason.NO_RULE, trace=trace))
    return Settle(slot, slot.image, rule, subject, arm_of(rule, subject), trace, rules.locked_to(slot.image), since)


def _settle_again(
    subject: Subject, slot: Slot, entry: Entry, rules: RuleSet, *, proven: bool, since: float | None
) -> Settle | None:
    """The step for a slot that our own annotation explains; None when it does not, because an author can write anything."""
    asked = parsed(entry.from_)
    if isinstance(asked, BadReference):
        return None
    original = msgspec.structs.replace(slot, text=entry.from_, image=asked)
    rule, trace = rules.first_match(subject, original, asked)
    if rule is None or slot.text not in outcomes(rule, asked, entry.digest):
        return None
    step = _guard_or(slot, subject, rules, Reason.PLACED)
    return Settle(
        original,
        asked,
        rule,
        subject,
        arm_of(rule, subject),
        trace,
        rules.locked_to(asked),
        since,
        entry if proven else None,
        step if isinstance(step, Guarded) else None,
    )


def outcomes(rule: Rule, image: Reference, digest: str) -> Iterator[str]:
    """All texts that this rule can write for an image with this digest."""
    yield str(image)
    for keep_tag in (False, True):
        pinned = image.pinned(digest, keep_tag=keep_tag) if digest else image
        yield str(pinned)
        for target in rule.targets:
            try:
                yield str(target.place.fill(pinned))
            except BadReference:
                continue


def _guard_or(slot: Slot, subject: Subject, rules: RuleSet, otherwise: Reason) -> Step:
    """The guard's step where the slot names a guarded target; else it stays as it is, for the reason given."""
    target = find_target(rules.targets, slot.image) if slot.image is not None else None
    if slot.image is None or target is None or target.guard == "off":
        trace: Trace = ((Reason.PLACED, target.name),) if target is not None else ((otherwise,),)
        name = target.name if target is not None else ""
        return Keep(Decision(slot, Action.UNCHANGED, otherwise, target=name, trace=trace))
    origins = tuple(islice(_origins(slot, slot.image, subject, rules), MAX_ORIGINS))
    return Guarded(slot, slot.image, target, subject, origins)


def _origins(slot: Slot, image: Reference, subject: Subject, rules: RuleSet) -> Iterator[tuple[Rule, Reference]]:
    """The upstream images that the rules would have sent to exactly this name, with the rule."""
    for rule in rules.rules:
        for target in rule.targets:
            for origin in target.place.origins(image, rule.hosts or ()):
                if rules.first_match(subject, slot, origin)[0] is rule:
                    yield rule, origin
