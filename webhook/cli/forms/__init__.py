"""How decisions are printed: one file a form, each a function from results to text."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from webhook.cli.manifests import Found
from webhook.core.admission import warning_of
from webhook.core.decision import Action, Decision
from webhook.core.reason import sentence

CHANGES = frozenset({Action.REWRITTEN, Action.PINNED})


class Result(msgspec.Struct):
    """One object with its decisions."""

    found: Found
    decisions: tuple[Decision, ...]

    @property
    def allowed(self) -> bool:
        """Whether admission would let it in."""
        return all(one.allows for one in self.decisions)

    @property
    def kind(self) -> str:
        """Kind and name, for people."""
        return f"{self.found.subject.kind}/{self.found.subject.name}"

    def line_of(self, decision: Decision) -> int:
        """The line of the file on which the image stands."""
        return self.found.document.spot(self.found.at + decision.slot.pointer).line


def summary(results: Sequence[Result]) -> dict[str, int]:
    """How many of what."""
    actions = [one.action for result in results for one in result.decisions]
    return {
        "objects": len(results),
        "images": len(actions),
        **{
            action.value: actions.count(action)
            for action in (
                Action.REWRITTEN,
                Action.PINNED,
                Action.RECORDED,
                Action.UNCHANGED,
                Action.REFUSED,
                Action.FAILED,
            )
        },
    }


def as_data(results: Sequence[Result]) -> Mapping[str, Any]:
    """The CheckResult of the contract."""
    return {
        "apiVersion": "moorage.dev/v1alpha1",
        "kind": "CheckResult",
        "objects": [_object(result) for result in results],
        "summary": summary(results),
    }


def _object(result: Result) -> dict[str, Any]:
    found = result.found
    return {
        "source": f"{found.source}:{found.line}",
        "apiVersion": found.manifest.get("apiVersion", ""),
        "kind": found.subject.kind,
        "namespace": found.subject.namespace,
        "name": found.subject.name,
        "allowed": result.allowed,
        "warnings": list(dict.fromkeys(filter(None, map(warning_of, result.decisions)))),
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
