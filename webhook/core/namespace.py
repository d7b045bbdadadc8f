"""The namespace of a subject: what its labels change is settled before its slots are looked at."""

from collections.abc import Callable, Generator, Sequence

import msgspec

from webhook.core.ask import Ask, AskNamespace, Fact, Failed, Labels
from webhook.core.decision import Decision
from webhook.core.ladder import Asking, settle
from webhook.core.pinning import Pinning
from webhook.core.plan import Step
from webhook.core.reason import Note, Reason
from webhook.core.subject import Subject

Plan = Callable[[Subject], Sequence[Step | Pinning]]


def in_namespace(subject: Subject, plan: Plan) -> list[Asking]:
    """One ladder a slot, each of which first wants to know the namespace's labels. They are planned together, by what the
    first of them hears."""
    steps: list[Step | Pinning] = []

    def climb(number: int) -> Asking:
        placed, note = yield from place(subject)
        if not steps:
            steps.extend(plan(placed))
        decision = yield from settle(steps[number])
        return _with(decision, note) if note is not None else decision

    return [climb(number) for number in range(len(subject.slots))]


def place(subject: Subject) -> Generator[Ask, Fact, tuple[Subject, Note | None]]:
    """The subject with its namespace's labels, and why they are not known where the cluster does not tell."""
    fact = yield AskNamespace(subject.namespace)
    match fact:
        case Labels():
            return msgspec.structs.replace(subject, namespace_labels=fact.labels), None
        case Failed():
            return subject, (Reason.CLUSTER_NOT_ASKED, fact.what, fact.detail)
        case _:
            return subject, None


def _with(decision: Decision, note: Note) -> Decision:
    return msgspec.structs.replace(decision, trace=(note, *decision.trace))
