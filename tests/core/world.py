"""A small world for the pure core: one rule set, and a ladder driven by hand instead of by doors."""

from collections.abc import Callable, Sequence
from typing import Any

from webhook.core.ask import (
    Ask,
    AskDigest,
    AskHeld,
    AskLogin,
    AskPin,
    AskSibling,
    AskStanding,
    Fact,
    Known,
    NotAsked,
    Passed,
)
from webhook.core.decision import Decision
from webhook.core.globs import Globs
from webhook.core.ladder import settle
from webhook.core.pinning import Pinning
from webhook.core.plan import Step, plan
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.core.subject import Subject, subjects_of
from webhook.core.targets import Place, Target

D = "sha256:" + "d" * 64
E = "sha256:" + "e" * 64
SEALER = Sealer((Secret("k" * 32),))
NOON = 1_800_000_000_000
KRAKEN = Target("kraken", Place("localhost:30081/{path}"), pull="anonymous", guard="warn")
REGIONAL = Target("regional", Place("eu.example.net/mirror/{path}"))
PRIVATE = Rule("private", Globs(("registry.example.com/**",)), targets=(KRAKEN,))

Answer = Fact | Callable[[Ask], Fact]


def pod(*images: str, **metadata: Any) -> dict[str, Any]:
    """A Pod with one container per image: c0, c1, …"""
    containers = [{"name": f"c{index}", "image": image} for index, image in enumerate(images)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", **metadata},
        "spec": {"containers": containers},
    }


def subject(document: dict[str, Any], namespace: str = "default") -> Subject:
    """The one subject of a manifest."""
    ((_, _, found),) = subjects_of(document, namespace=namespace)
    return found


def steps(document: dict[str, Any], *rules: Rule, namespace: str = "default") -> tuple[Step, ...]:
    """The plan for a manifest."""
    return plan(subject(document, namespace), RuleSet(rules), sealer=SEALER, milliseconds=NOON)


def decide(step: Step | Pinning, **answers: Answer) -> tuple[Decision, list[Ask]]:
    """Climb one ladder: `digest`, `pin`, `sibling`, `standing`, `held` and `login` answer; also what was asked, in order."""
    asked: list[Ask] = []
    ladder = settle(step)
    try:
        ask = next(ladder)
        while True:
            asked.append(ask)
            ask = ladder.send(_answer(ask, answers))
    except StopIteration as done:
        decision: Decision = done.value
        return decision, asked


def decisions(document: dict[str, Any], rules: Sequence[Rule], **answers: Answer) -> list[Decision]:
    """All decisions for a manifest."""
    return [decide(step, **answers)[0] for step in steps(document, *rules)]


def known(digest: str = D, source: str = "fresh", **more: Any) -> Known:
    """What the upstream says."""
    return Known(digest, source, "registry.example.com", "file", **more)


_NAMES = {
    AskDigest: "digest",
    AskPin: "pin",
    AskSibling: "sibling",
    AskStanding: "standing",
    AskHeld: "held",
    AskLogin: "login",
}
_DEFAULTS: dict[str, Answer] = {
    "digest": known(),
    "pin": NotAsked(Reason.NO_CLUSTER),
    "sibling": NotAsked(Reason.NO_CLUSTER),
    "standing": Passed(),
    "held": Passed(),
    "login": Passed(),
}


def _answer(ask: Ask, answers: dict[str, Answer]) -> Fact:
    name = _NAMES[type(ask)]
    answer = answers.get(name, _DEFAULTS[name])
    return answer(ask) if callable(answer) else answer
