"""The pins of a revision that is being admitted: the upstream is asked anew for each tag, and what it says holds for all
Pods of the rollout. A revision is never refused, and its template never changed."""

from collections.abc import Generator, Iterable, Mapping

import msgspec

from webhook.core.ask import Ask, Fact, Failed, Known
from webhook.core.decision import Action, Decision, Source
from webhook.core.notes import found_note, notes_of, trouble_of
from webhook.core.pins import Pinned, has_room, judge
from webhook.core.plan import Keep
from webhook.core.reason import Note, Reason, Trace
from webhook.core.reference import Reference, is_digest
from webhook.core.rollout import Event, Rollout
from webhook.core.rules import Rule, RuleSet
from webhook.core.seal import Sealer
from webhook.core.subject import Slot, Subject
from webhook.core.upstream import ask_upstreams


class Pinning(msgspec.Struct, frozen=True, gc=False):
    """A slot of a revision whose tag has to be pinned.

    `standing` is the digest of a pin that is there already, empty for none; `keeps` says that it stays whatever the tag
    names now. `keel` is the digest that Keel rolled out last, empty where Keel says none.
    """

    slot: Slot
    image: Reference
    rule: Rule
    subject: Subject
    trace: Trace
    since: float | None
    standing: str = ""
    keeps: bool = False
    keel: str = ""


def plan_pins(rollout: Rollout, subject: Subject, rules: RuleSet, sealer: Sealer, since: float) -> list[Keep | Pinning]:
    """One step a slot, in the order of the slots. Answers count that were asked for after `since` (monotonic)."""
    standing = judge(rollout.revision, sealer).images
    names = {slot.image.tagged for slot in subject.slots if slot.image is not None}
    has_place = has_room(rollout.revision.annotations, names)
    steps = [_step(rollout, subject, slot, rules, standing, since) for slot in subject.slots]
    return steps if has_place else [_no_room(step) for step in steps]


def _step(
    rollout: Rollout, subject: Subject, slot: Slot, rules: RuleSet, standing: Mapping[str, Pinned], since: float
) -> Keep | Pinning:
    image = slot.image
    if image is None:
        return _keep(slot, Reason.NOT_A_REFERENCE, ((Reason.NOT_A_REFERENCE, slot.problem),))
    if subject.opted_out:
        return _keep(slot, Reason.OPTED_OUT)
    rule, trace = rules.first_match(subject, slot, image)
    if rule is None:
        return _keep(slot, Reason.NO_RULE, trace)
    if image.digest is not None:
        return _keep(slot, Reason.GIVEN, trace)
    if rules.locked_to(image):
        return _keep(slot, Reason.LOCKED, trace)
    if rule.write == "tag" or rule.pin != "rollout":
        return _keep(slot, Reason.NOT_SERVED, trace)
    found = standing.get(image.tagged)
    digest = found.digest if found is not None and found.sealed else ""
    if rollout.event is Event.CAME_BACK and rule.on_reuse == "keep" and not digest:
        # Its Pods may live: to pin what the tag names now would part them. `adopt` looks at what they run.
        return _keep(slot, Reason.NOT_SERVED, trace)
    keeps = bool(digest) and (
        rollout.event is Event.RESUMED or (rollout.event is Event.CAME_BACK and rule.on_reuse == "keep")
    )
    keel = rollout.keel if rollout.event is Event.CREATED and is_digest(rollout.keel) else ""
    return Pinning(slot, image, rule, subject, trace, since, digest, keeps, keel)


def _no_room(step: Keep | Pinning) -> Keep | Pinning:
    if isinstance(step, Keep) or step.keeps:
        return step
    note: Note = (Reason.ANNOTATIONS_FULL, "a pin")
    return Keep(
        Decision(step.slot, Action.FAILED, Reason.ANNOTATIONS_FULL, rule=step.rule.name, trace=(*step.trace, note))
    )


def _keep(slot: Slot, reason: Reason, trace: Trace = ()) -> Keep:
    return Keep(Decision(slot, Action.UNCHANGED, reason, trace=trace or ((reason,),)))


def pin(step: Pinning) -> Generator[Ask, Fact, Decision]:
    """Ask for the digest now; what stands there already is kept where it is the same, or where the rule says so."""
    notes: list[Note] = []
    fact = yield from _ask(step, notes)
    name, standing = step.image.tagged, step.standing
    if not isinstance(fact, Known):
        if step.keeps:
            return _decide(step, Action.UNCHANGED, standing, notes, (Reason.PIN_KEPT, name, standing))
        return _decide(step, Action.FAILED, "", notes, trouble_of(step.image, fact)[1])
    if fact.digest == standing:
        return _decide(step, Action.UNCHANGED, standing, notes, (Reason.PIN_KEPT, name, standing))
    if step.keeps:
        return _decide(step, Action.UNCHANGED, standing, notes, (Reason.TAG_MOVED, name, standing, fact.digest))
    return _decide(step, Action.RECORDED, fact.digest, notes, (Reason.PIN_WRITTEN, name, fact.digest))


def _ask(step: Pinning, notes: list[Note]) -> Generator[Ask, Fact, Fact]:
    """What the upstream says now. Where Keel has seen another digest it is asked once more: an answer may have been on
    its way before the push, and the replicas of a registry may differ."""
    rule, image, audience = step.rule, step.image, step.subject.audience
    said = yield from ask_upstreams(rule, image, audience, since=step.since)
    notes.extend(notes_of(said))
    fact = _fresh(image, said)
    if step.keel and isinstance(fact, Known) and fact.digest != step.keel:
        again = _fresh(image, (yield from ask_upstreams(rule, image, audience, anew=True)))
        fact = again if isinstance(again, Known) else fact
        if fact.digest != step.keel:
            notes.append((Reason.KEEL_DIFFERS, step.keel, fact.digest))
    if isinstance(fact, Known):
        notes.append(found_note(step.slot.text, fact))
    return fact


def _fresh(image: Reference, fact: Fact) -> Fact:
    """An old answer does not pin: a rollout comes because something newer was seen."""
    if isinstance(fact, Known) and fact.trouble is not None:
        return Failed(fact.trouble, image.repository, "its last answer is too old for a rollout")
    return fact


def _decide(step: Pinning, action: Action, digest: str, notes: Iterable[Note], last: Note) -> Decision:
    source = Source.FRESH if action is Action.RECORDED else Source.PIN if digest else Source.NONE
    trace = (*step.trace, *notes, last)
    return Decision(step.slot, action, last[0], rule=step.rule.name, digest=digest, source=source, trace=trace)
