"""The ladder: from a step to its decision, top to bottom as the docs tell it. It asks and is told; it never looks itself."""

from collections.abc import Generator, Sequence
from typing import assert_never

import msgspec

from webhook.core.annotation import source_of
from webhook.core.ask import (
    Absent,
    Ask,
    AskHeld,
    AskLogin,
    AskPin,
    AskSibling,
    AskStanding,
    Fact,
    Failed,
    Known,
    NotAsked,
)
from webhook.core.decision import RESOLVED, Action, Decision, Source
from webhook.core.guard import Guarded, judge
from webhook.core.notes import found_note, notes_of, trouble_of
from webhook.core.pinning import Pinning, pin
from webhook.core.plan import Keep, Settle, Step
from webhook.core.reason import Note, Reason, Trace
from webhook.core.reference import BadReference, Reference
from webhook.core.siblings import selector_of
from webhook.core.subject import Owner
from webhook.core.targets import Target
from webhook.core.upstream import ask_upstreams

Asking = Generator[Ask, Fact, Decision]

_REASON_OF = {Source.STALE: Reason.STALE, Source.GIVEN: Reason.GIVEN, Source.LOCKED: Reason.LOCKED}


class Found(msgspec.Struct, frozen=True):
    """A digest, where it came from, whether the upstream gave it to credentials that answer for this Pod, and how it was
    found."""

    digest: str
    source: Source
    proven: bool
    notes: Trace
    at: int = 0


def settle(step: Step | Pinning) -> Asking:
    """The decision for one slot; what it needs to know it yields as an Ask and is sent a Fact."""
    match step:
        case Keep():
            return step.decision
        case Guarded():
            return (yield from judge(step))
        case Pinning():
            return (yield from pin(step))
        case Settle():
            decision = yield from _settle(step)
            # A slot that already names a target and does not come out of its rule is a name written by hand.
            if step.guarded is not None and not decision.to:
                return (yield from judge(step.guarded))
            return decision
        case _ as never:
            assert_never(never)


def _settle(step: Settle) -> Asking:
    if step.rule.write == "tag" and step.image.digest is None:
        return (yield from _place(step, step.image, None))
    found = yield from _find(step)
    if isinstance(found, Decision):
        return found
    if step.rule.write == "record":
        reason = Reason.STALE if found.source is Source.STALE else Reason.RECORDED
        return _decide(step, Action.RECORDED, reason, found, found.notes)
    pinned = step.image.pinned(found.digest, keep_tag=step.rule.write == "tagAndDigest")
    return (yield from _place(step, pinned, found))


def _find(step: Settle) -> Generator[Ask, Fact, Found | Decision]:
    """The digest: in the image, locked, ours from a moment ago, the rollout's, or the upstream's."""
    image = step.image
    if image.digest is not None:
        return Found(image.digest, Source.GIVEN, False, ((Reason.GIVEN,),))
    if step.locked:
        return Found(step.locked, Source.LOCKED, False, ((Reason.LOCKED, step.slot.text, step.locked),))
    if step.prior is not None and (source := source_of(step.prior)) in RESOLVED:
        note = _found_note(step.slot.text, step.prior.digest, source, "our seal")
        return Found(step.prior.digest, source, True, (note,), step.prior.at)
    notes: list[Note] = []
    owner = step.subject.owner
    if step.rule.pin == "rollout" and owner is not None and owner.uid:
        found = yield from _of_rollout(step, owner, notes)
        if found is not None:
            return found
    fact = yield from ask_upstreams(step.rule, image, step.subject.audience, since=step.since)
    if isinstance(fact, Known):
        return _from_upstream(step, fact, notes)
    return _unresolved(step, fact, notes)


def _of_rollout(step: Settle, owner: Owner, notes: list[Note]) -> Generator[Ask, Fact, Found | None]:
    """What the rollout's pin says, else what its Pods run; None when neither says anything that holds."""
    subject, name = step.subject, step.image.tagged
    pin = yield AskPin(owner, subject.namespace, name, anew=step.rule.on_reuse == "fresh")
    found = yield from _believed(step, pin, notes)
    if found is None:
        selector = selector_of(subject.labels, owner, subject.name)
        sibling = yield AskSibling(owner, subject.namespace, name, selector)
        found = yield from _believed(step, sibling, notes)
    return found


def _believed(step: Settle, fact: Fact, notes: list[Note]) -> Generator[Ask, Fact, Found | None]:
    """A digest of the rollout, if Moorage vouches for it or the upstream confirms it to this Pod's own credentials."""
    match fact:
        case Failed():
            notes.append((Reason.CLUSTER_NOT_ASKED, fact.what, fact.detail))
            return None
        case Absent():
            notes.extend(fact.notes)
            return None
        case Known():
            notes.extend(fact.notes)
        case _:
            return None
    if fact.is_hint:
        refusal = yield from _prove(step, step.image.pinned(fact.digest), notes)
        if refusal is not None:
            notes.append((Reason.HINT_NOT_CONFIRMED, fact.digest, fact.host, refusal))
            return None
    source = Source(fact.source)
    note = _found_note(step.slot.text, fact.digest, source, fact.host)
    return Found(fact.digest, source, True, (*notes, note), fact.at)


def _from_upstream(step: Settle, known: Known, notes: list[Note]) -> Found:
    # What is known without a credential was not told by an upstream.
    proven = known.credential != ""
    notes.extend(_unsaid(known.notes, notes))
    if known.trouble is not None:
        note: Note = (Reason.STALE, known.host, known.trouble.value, known.age)
        return Found(known.digest, Source.STALE, proven, (*notes, note))
    return Found(known.digest, Source(known.source), proven, (*notes, found_note(step.slot.text, known)))


def _found_note(text: str, digest: str, source: Source, by: str) -> Note:
    return (Reason.DIGEST_FOUND, text, digest, source.value, by, "none", 0.0)


def _unsaid(more: Trace, notes: Sequence[Note]) -> list[Note]:
    """What is said of credentials comes with every answer, and stands in a trace once."""
    return [note for note in more if note not in notes]


def _unresolved(step: Settle, fact: Fact, notes: list[Note]) -> Decision:
    """No digest: the rule says whether the Pod may start on its tag."""
    reason, note = trouble_of(step.image, fact)
    notes.extend(_unsaid(notes_of(fact), notes))
    if reason is Reason.OFFLINE:
        # Nobody was asked, so nothing failed: show where it would go.
        target = step.rule.targets[0].name if step.rule.targets and step.arm != "pin" else ""
        return _decide(step, Action.UNCHANGED, reason, None, (*notes, note), target=target)
    action = Action.REFUSED if step.rule.on_failure == "refuse" else Action.FAILED
    return _decide(step, action, reason, None, (*notes, note))


def _place(step: Settle, image: Reference, found: Found | None) -> Asking:
    """The nearest target that can serve the image, the upstream itself when none can. `found` is None for tags."""
    notes: list[Note] = list(found.notes) if found is not None else [(Reason.TAG_KEPT,)]
    proof = found is None or found.proven
    passed_over: Reason | None = None
    if step.arm == "pin":
        passed_over = Reason.OUTSIDE_PERCENT
        notes.append((Reason.OUTSIDE_PERCENT, step.subject.workload, step.rule.percent))
    targets = step.rule.targets if step.arm != "pin" else ()
    for number, target in enumerate(targets, 1):
        proven = proof or _is_sealed(step, target, image)
        if target.asks_no_password and not proven and target.paths.matches(step.image.path):
            refusal = yield from _prove(step, image, notes)
            proof = refusal is None
            if refusal is not None:
                passed_over = Reason.ACCESS_NOT_PROVEN
                notes.append((Reason.ACCESS_NOT_PROVEN, target.name, refusal))
                continue
        outcome = _at(step, target, image)
        if isinstance(outcome, Reference) and target.is_asked_first:
            outcome = (yield from _doubts(step, target, outcome, image, has_next=number < len(targets))) or outcome
        if isinstance(outcome, Reference):
            notes.append((Reason.TARGET_TAKEN, target.name))
            to = str(outcome)
            return _decide(step, Action.REWRITTEN, _reason(found), found, tuple(notes), target=target.name, to=to)
        passed_over = outcome[0]
        notes.append(outcome)
    return _stay(step, image, found, passed_over, tuple(notes))


def _is_sealed(step: Settle, target: Target, image: Reference) -> bool:
    """Whether our own seal of a moment ago shows that this digest was sent there already: a second round of the same
    admission must not come out otherwise because the upstream fell silent in between."""
    prior = step.prior
    return prior is not None and prior.target == target.name and prior.digest == image.digest


def _stay(
    step: Settle, image: Reference, found: Found | None, passed_over: Reason | None, notes: tuple[Note, ...]
) -> Decision:
    """No target: the upstream by digest, or nothing at all where that is what stands there."""
    # That the digest is an old one matters more than why it stays at the upstream; the trace tells both.
    is_stale = found is not None and found.source is Source.STALE
    reason = _reason(found) if is_stale or passed_over is None else passed_over
    if found is None or found.source is Source.GIVEN:
        # What we moved in the round before goes back to what its author wrote.
        return _decide(
            step, Action.UNCHANGED, reason, found, notes, to=step.slot.text if step.prior is not None else ""
        )
    return _decide(step, Action.PINNED, reason, found, notes, to=str(image))


def _prove(step: Settle, image: Reference, notes: list[Note]) -> Generator[Ask, Fact, str | None]:
    """Ask the upstream to confirm a digest that it did not name itself; None when it does, else why not."""
    fact = yield from ask_upstreams(step.rule, image, step.subject.audience)
    notes.extend(_unsaid(notes_of(fact), notes))
    match fact:
        case Known():
            return None
        case NotAsked(reason=Reason.OFFLINE):
            # Only a dry run is offline: it shows what admission does once the upstream confirms.
            return None
        case _:
            return trouble_of(image, fact)[0].value


def _at(step: Settle, target: Target, image: Reference) -> Reference | Note:
    """The image's name at this target, or why it cannot have one."""
    if not target.paths.matches(step.image.path):
        return (Reason.PATH_NOT_SERVED, target.name, step.image.path)
    try:
        return target.place.fill(image)
    except BadReference as bad:
        return (Reason.PATH_NOT_SERVED, target.name, bad.why)


def _doubts(
    step: Settle, target: Target, place: Reference, image: Reference, *, has_next: bool
) -> Generator[Ask, Fact, Note | None]:
    """Why this target cannot serve the image now, None when it can."""
    if target.gated:
        fact = yield AskStanding(target.name)
        if isinstance(fact, Failed | Absent):
            return (Reason.TARGET_UNHEALTHY, target.name)
    if target.pull == "secret":
        login = yield AskLogin(target.name, place, step.subject.audience)
        if isinstance(login, Absent):
            return (Reason.NO_PULL_SECRET, target.name)
    if target.verify is not None and image.digest is not None:
        try:
            asked = target.verify.at.fill(image) if target.verify.at is not None else place
        except BadReference as bad:
            return (Reason.PATH_NOT_SERVED, target.name, bad.why)
        verify, audience = target.verify, step.subject.audience
        held = yield AskHeld(target.name, asked, audience, verify.platforms, verify.scheme, has_next)
        match held:
            case Absent():
                return (Reason.TARGET_LACKS_DIGEST, target.name)
            case Failed():
                return (Reason.TARGET_NOT_ASKED, target.name, held.reason.value)
            case NotAsked(reason=reason) if reason is not Reason.OFFLINE:
                return (Reason.TARGET_NOT_ASKED, target.name, reason.value)
            case _:
                return None
    return None


def _reason(found: Found | None) -> Reason:
    return Reason.TAG_KEPT if found is None else _REASON_OF.get(found.source, Reason.RESOLVED)


def _decide(
    step: Settle,
    action: Action,
    reason: Reason,
    found: Found | None,
    notes: tuple[Note, ...],
    *,
    target: str = "",
    to: str = "",
) -> Decision:
    return Decision(
        step.slot,
        action,
        reason,
        step.rule.name,
        target,
        to,
        found.digest if found is not None else "",
        found.source if found is not None else Source.NONE,
        step.arm,
        step.trace + notes,
        found.at if found is not None else 0,
    )
