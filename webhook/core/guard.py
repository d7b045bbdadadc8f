"""Pods that name a target by hand: let be when it is what Moorage would have written, else warned about or refused.

A cache that asks no password serves every digest that it ever held, under any name. Who names it directly must show
that the upstream would have given the image to the Pod's own credentials.
"""

from collections.abc import Generator
from typing import Final

import msgspec

from webhook.core.ask import Ask, Fact, Failed, Known, NotAsked
from webhook.core.decision import Action, Decision
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.rules import Rule
from webhook.core.subject import Slot, Subject
from webhook.core.targets import Target
from webhook.core.upstream import ask_upstreams

MAX_ORIGINS: Final = 16
"""Upstream images that are asked for before a name counts as written by hand: many rules may fill one cache, and one Pod
must not make Moorage ask all their registries."""


class Guarded(msgspec.Struct, frozen=True, gc=False):
    """A slot that names a guarded target. `origins` are the upstream images that lead to exactly this name."""

    slot: Slot
    image: Reference
    target: Target
    subject: Subject
    origins: tuple[tuple[Rule, Reference], ...]


def judge(step: Guarded) -> Generator[Ask, Fact, Decision]:
    """Ask the upstreams for each image that would have ended here; one confirmation is enough."""
    why = "no rule leads there" if not step.origins else "the upstream did not confirm it"
    for rule, origin in step.origins:
        if step.image.digest is None:
            # A name with a tag is ours only where the rule writes tags, and then no digest has to be proven.
            if rule.write == "tag":
                return _let_be(step, rule)
            why = "it carries no digest"
            continue
        fact = yield from ask_upstreams(rule, origin, step.subject.audience)
        if isinstance(fact, Known):
            return _let_be(step, rule)
        if isinstance(fact, NotAsked | Failed):
            why = f"the upstream was not asked: {fact.reason.value}"
    action = Action.REFUSED if step.target.guard == "refuse" else Action.UNCHANGED
    return Decision(
        step.slot,
        action,
        Reason.NAMED_BY_HAND,
        target=step.target.name,
        digest=step.image.digest or "",
        trace=((Reason.NAMED_BY_HAND, step.target.name, why),),
    )


def _let_be(step: Guarded, rule: Rule) -> Decision:
    return Decision(
        step.slot,
        Action.UNCHANGED,
        Reason.PLACED,
        rule=rule.name,
        target=step.target.name,
        digest=step.image.digest or "",
        trace=((Reason.PLACED, step.target.name),),
    )
