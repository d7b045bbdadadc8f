"""A decision told whole: what `explain` and the page show of it, in the same words."""

from typing import Final

import msgspec

from webhook.core.decision import Decision
from webhook.core.reason import Note, Reason, Trace, sentence

_RULES: Final = frozenset({Reason.RULE_MATCHED, Reason.RULE_PASSED_OVER})
_TARGETS: Final = frozenset(
    {
        Reason.TARGET_TAKEN,
        Reason.PATH_NOT_SERVED,
        Reason.ACCESS_NOT_PROVEN,
        Reason.NO_PULL_SECRET,
        Reason.TARGET_UNHEALTHY,
        Reason.TARGET_LACKS_DIGEST,
        Reason.TARGET_NOT_ASKED,
    }
)
"""Notes about a target, whose name is their first argument."""


class Tried(msgspec.Struct, frozen=True):
    """A target that was looked at: taken, or why not."""

    name: str
    taken: bool
    reason: str
    message: str


class Explanation(msgspec.Struct, frozen=True):
    """What became of one image, and why: the rules that were tried, the targets, and the whole trace, in sentences."""

    image: str
    reference: str | None
    action: str
    reason: str
    rule: str | None
    digest: str | None
    source: str
    credential: str | None
    target: str | None
    to: str | None
    arm: str | None
    rules: list[str]
    targets: list[Tried]
    trace: list[str]


def explained(decision: Decision, rules: Trace | None = None) -> Explanation:
    """`rules` are those of the whole configuration, where that is at hand; else those that the decision tried itself."""
    slot = decision.slot
    tried = [note for note in decision.trace if note[0] in _RULES]
    rest = decision.trace[len(tried) :]
    found: tuple[object, ...] = next((note for note in rest if note[0] is Reason.DIGEST_FOUND), ())
    return Explanation(
        image=slot.text,
        reference=str(slot.image) if slot.image is not None else None,
        action=decision.action.value,
        reason=decision.reason.value,
        rule=decision.rule or None,
        digest=decision.digest or None,
        source=decision.source.value,
        credential=str(found[5]) if found else None,
        target=decision.target or None,
        to=decision.to or None,
        arm=decision.arm or None,
        rules=[sentence(note) for note in (tried if rules is None else rules)],
        targets=[_tried(note) for note in rest if note[0] in _TARGETS],
        trace=[sentence(note) for note in rest],
    )


def _tried(note: Note) -> Tried:
    reason = note[0]
    return Tried(str(next(iter(note[1:]), "")), reason is Reason.TARGET_TAKEN, str(reason), sentence(note))
