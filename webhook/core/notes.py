"""How what was heard stands in a trace."""

from webhook.core.ask import Absent, Fact, Failed, Known, NotAsked
from webhook.core.reason import Note, Reason, Trace
from webhook.core.reference import Reference


def found_note(text: str, known: Known) -> Note:
    """A digest: for which name, from whom, with which kind of credential, in which time."""
    told = (known.source, known.host, known.credential, known.milliseconds)
    return (Reason.DIGEST_FOUND, text, known.digest, *told)


def trouble_of(image: Reference, fact: Fact) -> tuple[Reason, Note]:
    """Why a fact is no digest."""
    match fact:
        case Failed():
            return fact.reason, (fact.reason, fact.what or image.repository, fact.detail or "no usable answer")
        case Absent():
            return Reason.ABSENT, (Reason.ABSENT, fact.what or str(image))
        case NotAsked():
            return fact.reason, (fact.reason,)
        case _:
            return Reason.INTERNAL_ERROR, (Reason.INTERNAL_ERROR, type(fact).__name__)


def notes_of(fact: Fact) -> Trace:
    """What the one who answered wants to stand in the trace."""
    return fact.notes if isinstance(fact, Known | Absent | Failed) else ()
