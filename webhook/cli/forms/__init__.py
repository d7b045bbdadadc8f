"""How decisions are printed: one file a family of forms, each form a function from what was checked to text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from webhook.cli.manifests import Found, Source
from webhook.core.admission import warning_of
from webhook.core.decision import Action, Decision
from webhook.core.reason import Reason, sentence
from webhook.document import BadDocument


class Result(msgspec.Struct):
    """One object with its decisions, one for each slot of its subject. `said` is what the API server itself warns of, None
    where it was not asked."""

    found: Found
    decisions: tuple[Decision, ...]
    said: list[str] | None = None

    @property
    def allowed(self) -> bool:
        """Whether admission would let it in."""
        return all(one.allows for one in self.decisions)

    @property
    def kind(self) -> str:
        """Kind and name, for people."""
        return f"{self.found.subject.kind}/{self.found.subject.name}"

    @property
    def warnings(self) -> list[str]:
        """What its author would read at admission, each once."""
        if self.said is not None:
            return list(dict.fromkeys(self.said))
        return list(dict.fromkeys(filter(None, map(warning_of, self.decisions))))

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Where, in the object, another text is to stand, and which. What admission itself wrote before is no change."""
        slots = zip(self.found.subject.slots, self.decisions, strict=True)
        return [(slot.pointer, one.to) for slot, one in slots if one.to and one.to != slot.text]

    def place(self, decision: Decision) -> str:
        """File and line of an image, as people and editors write it; of a live object its name."""
        return f"{self.found.source}:{self.line_of(decision)}" if self.found.line else self.found.place

    def line_of(self, decision: Decision) -> int:
        """The line of the file on which the image stands; 0 where it stands in none."""
        if self.found.document is None:
            return 0
        return self.found.document.spot(self.found.at + decision.slot.pointer).line


class Checked(msgspec.Struct):
    """One input with what came of it."""

    source: Source
    results: list[Result]
    broken: list[BadDocument]


def results_of(checked: Sequence[Checked]) -> list[Result]:
    """All objects, in the order of the inputs."""
    return [result for one in checked for result in one.results]


def summary(results: Sequence[Result]) -> dict[str, int]:
    """How many of what."""
    actions = [one.action for result in results for one in result.decisions]
    kinds = (Action.REWRITTEN, Action.PINNED, Action.RECORDED, Action.UNCHANGED, Action.REFUSED, Action.FAILED)
    return {
        "objects": len(results),
        "images": len(actions),
        **{action.value: actions.count(action) for action in kinds},
    }


def warnings(results: Sequence[Result]) -> Iterator[str]:
    """What did not go well, each once, where it was met first and how often again."""
    places: dict[str, list[str]] = {}
    for result in results:
        for said in result.said or ():
            places.setdefault(said, []).append(result.found.place)
        for one in result.decisions if result.said is None else ():
            if said := warning_of(one).removeprefix(f"moorage: {one.slot.container}: "):
                places.setdefault(said, []).append(result.place(one))
            for note in one.trace:
                if note[0] is Reason.CLUSTER_NOT_ASKED:
                    places.setdefault(sentence(note), []).append(result.place(one))
    for said, (first, *more) in places.items():
        yield f"{first}: {said}" + (f" (and {len(more)} more)" if more else "")


def traces(results: Sequence[Result]) -> Iterator[str]:
    """Why each image goes where it goes: the first of those that are decided alike."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for result in results:
        for one in result.decisions:
            lines = tuple(sentence(note) for note in one.trace)
            if (one.slot.text, lines) not in seen:
                seen.add((one.slot.text, lines))
                yield f"{result.place(one)}: {one.slot.text}"
                yield from (f"  - {line}" for line in lines)


def as_data(checked: Sequence[Checked]) -> Mapping[str, Any]:
    """The CheckResult of the contract."""
    results = results_of(checked)
    return {
        "apiVersion": "moorage.dev/v1alpha1",
        "kind": "CheckResult",
        "objects": [_object(result) for result in results],
        "errors": [
            {
                "source": f"{bad.file}:{bad.line}" if bad.line else bad.file,
                "line": bad.line,
                "column": bad.column,
                "message": bad.message,
            }
            for one in checked
            for bad in one.broken
        ],
        "summary": summary(results),
    }


def source_of(found: Found) -> str:
    """Where an object is, for programs: a live one has a namespace of its own beside it."""
    return f"{found.source}:{found.line}" if found.line else found.source


def _object(result: Result) -> dict[str, Any]:
    found = result.found
    return {
        "source": source_of(found),
        "apiVersion": found.api_version,
        "kind": found.subject.kind,
        "namespace": found.subject.namespace,
        "name": found.subject.name,
        "allowed": result.allowed,
        "warnings": result.warnings,
        "images": [_image(result, one) for one in result.decisions],
    }


def _image(result: Result, one: Decision) -> dict[str, Any]:
    return {
        "pointer": one.slot.pointer,
        "line": result.line_of(one),
        "container": one.slot.container,
        "from": one.slot.text,
        "to": one.to or None,
        "action": one.action.value,
        "reason": one.reason.value,
        "rule": one.rule or None,
        "target": one.target or None,
        "digest": one.digest or None,
        "source": one.source.value,
        "arm": one.arm or None,
        "trace": [sentence(note) for note in one.trace],
    }
