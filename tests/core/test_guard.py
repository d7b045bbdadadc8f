"""Names of targets written by hand: what is let be, warned about, refused."""

from typing import Any

import msgspec
import pytest

from tests.core.world import KRAKEN, NOON, PRIVATE, SEALER, Answer, D, decide, known, pod, subject
from webhook.core.ask import Absent, AskDigest, Failed, NotAsked
from webhook.core.decision import Action, Decision
from webhook.core.globs import Globs
from webhook.core.guard import MAX_ORIGINS
from webhook.core.plan import guard_only, plan
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.rules import Rule, RuleSet
from webhook.core.targets import Place, Target

OURS = f"localhost:30081/team/app@{D}"


def guarded(guard: str, **change: Any) -> Rule:
    target = msgspec.structs.replace(KRAKEN, guard=guard)
    return msgspec.structs.replace(PRIVATE, targets=(target,), **change)


def judged(image: str, rule: Rule, *, skip: str = "false", **answers: Answer) -> Decision:
    document = pod(image, annotations={"moorage.dev/skip": skip})
    (step,) = plan(subject(document), RuleSet((rule,)), sealer=SEALER, milliseconds=NOON)
    return decide(step, **answers)[0]


@pytest.mark.parametrize(
    ("image", "guard", "answers", "action", "reason"),
    [
        (OURS, "warn", {}, Action.UNCHANGED, Reason.PLACED),
        (OURS, "refuse", {}, Action.UNCHANGED, Reason.PLACED),
        (OURS, "warn", {"digest": Absent()}, Action.UNCHANGED, Reason.NAMED_BY_HAND),
        (OURS, "refuse", {"digest": Absent()}, Action.REFUSED, Reason.NAMED_BY_HAND),
        (OURS, "refuse", {"digest": Failed(Reason.UNAVAILABLE)}, Action.REFUSED, Reason.NAMED_BY_HAND),
        (OURS, "warn", {"digest": NotAsked(Reason.OFFLINE)}, Action.UNCHANGED, Reason.NAMED_BY_HAND),
        (OURS, "off", {"digest": Absent()}, Action.UNCHANGED, Reason.PLACED),
        ("localhost:30081/team/app:stable", "refuse", {}, Action.REFUSED, Reason.NAMED_BY_HAND),
        # Loopback has several names and one cache behind them all.
        (f"127.0.0.1:30081/team/app@{D}", "refuse", {"digest": Absent()}, Action.REFUSED, Reason.NAMED_BY_HAND),
        (f"127.9.9.9:30081/team/app@{D}", "refuse", {"digest": Absent()}, Action.REFUSED, Reason.NAMED_BY_HAND),
        *[
            (f"{host}:30081/team/app@{D}", "refuse", {"digest": Absent()}, Action.REFUSED, Reason.NAMED_BY_HAND)
            for host in (
                "[::1]",
                "[0:0:0:0:0:0:0:1]",
                "[::ffff:7f00:1]",
                "LOCALHOST",
                "127.1",
                "2130706433",
                "0.0.0.0",
                "[::]",
            )
        ],
        (f"127.0.0.1:30081/team/app@{D}", "refuse", {}, Action.UNCHANGED, Reason.PLACED),
        # Another port is another service.
        (f"localhost:5000/team/app@{D}", "refuse", {}, Action.UNCHANGED, Reason.NO_RULE),
    ],
)
def test_verdict(image: str, guard: str, answers: dict[str, Any], action: Action, reason: Reason) -> None:
    decision = judged(image, guarded(guard), **answers)
    assert (decision.action, decision.reason, decision.to) == (action, reason, "")
    if reason is Reason.NAMED_BY_HAND or (reason is Reason.PLACED and guard != "off"):
        assert decision.digest == image.partition("@")[2]


def test_the_upstream_is_asked_for_the_digest_that_the_pod_names() -> None:
    (step,) = plan(subject(pod(OURS)), RuleSet((guarded("warn"),)), sealer=SEALER, milliseconds=NOON)
    (ask,) = decide(step)[1]
    assert isinstance(ask, AskDigest)
    assert [str(image) for image in ask.images] == [f"registry.example.com/team/app@{D}"]


def test_opting_out_of_rewriting_does_not_opt_out_of_the_guard() -> None:
    decision = judged(OURS, guarded("refuse"), skip="true", digest=Absent())
    assert decision.action is Action.REFUSED


def test_an_update_is_judged_too() -> None:
    (step,) = guard_only(subject(pod(OURS)), RuleSet((guarded("refuse"),)))
    assert decide(step, digest=Absent())[0].action is Action.REFUSED


def test_a_path_that_no_rule_sends_there_is_by_hand_whatever_the_upstream_says() -> None:
    narrow = guarded("refuse", images=Globs(("registry.example.com/team/**",)))
    assert judged(f"localhost:30081/infra/app@{D}", narrow, digest=known()).action is Action.REFUSED


def test_a_tag_is_ours_where_the_rule_writes_tags() -> None:
    assert judged("localhost:30081/team/app:stable", guarded("refuse", write="tag")).reason is Reason.PLACED


def test_two_upstreams_may_have_filled_one_cache_and_one_confirmation_is_enough() -> None:
    both = guarded("refuse", images=Globs(("registry.example.com/**", "other.example.com/**")))

    def answer(ask: Any) -> Any:
        return known() if ask.images[0].registry == "other.example.com" else Absent()

    assert judged(OURS, both, digest=answer).reason is Reason.PLACED


def test_one_pod_makes_us_ask_few_upstreams_however_many_may_have_filled_the_cache() -> None:
    rules = [
        msgspec.structs.replace(guarded("refuse"), name=f"r{number}", images=Globs((f"h{number}.example.com/**",)))
        for number in range(1000)
    ]
    (step,) = plan(subject(pod(OURS)), RuleSet(rules), sealer=SEALER, milliseconds=NOON)
    decision, asked = decide(step, digest=Absent())
    assert decision.action is Action.REFUSED
    assert len(asked) == MAX_ORIGINS


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Absent(), "the upstream did not confirm it"),
        (Failed(Reason.THROTTLED), "the upstream was not asked: Throttled"),
        (NotAsked(Reason.OFFLINE), "the upstream was not asked: Offline"),
    ],
)
def test_the_author_hears_why_a_name_was_taken_for_one_by_hand(answer: Any, why: str) -> None:
    (note,) = judged(OURS, guarded("refuse"), digest=answer).trace
    assert note == (Reason.NAMED_BY_HAND, "kraken", why)


def test_an_upstream_that_cannot_have_the_name_confirms_nothing() -> None:
    far = guarded("refuse", upstream=(Place("up.example.com/mirror/{path}"),))
    (step,) = plan(subject(pod(f"localhost:30081/{'a' * 250}@{D}")), RuleSet((far,)), sealer=SEALER, milliseconds=NOON)
    decision, asked = decide(step)
    assert (decision.action, asked) == (Action.REFUSED, [])


@pytest.mark.parametrize(
    ("template", "image", "origins"),
    [
        ("localhost:30081/{path}", "localhost:30081/a/b", ["h.io/a/b"]),
        ("localhost:30081/x/{path}", "localhost:30081/x/a/b", ["h.io/a/b"]),
        ("localhost:30081/x/{path}", "localhost:30081/a/b", []),
        ("m.io/{registry}/{path}", "m.io/g.io/a/b", ["g.io/a/b"]),
        ("m.io/{repository}", "m.io/g.io/a/b", ["g.io/a/b"]),
        ("m.io/{path}/{path}", "m.io/a/a", ["h.io/a"]),
        ("m.io/{path}/{path}", "m.io/a/b", []),
    ],
)
def test_a_place_knows_which_images_lead_to_a_name(template: str, image: str, origins: list[str]) -> None:
    assert [str(one) for one in Place(template).origins(Reference.parse(image), ("h.io",))] == origins


def test_a_bare_loopback_host_is_a_cache_that_asks_no_password_and_warns() -> None:
    assert Target.of_host("localhost:30081") == Target(
        "localhost:30081", Place("localhost:30081/{path}"), pull="anonymous", guard="warn"
    )
    assert Target.of_host("eu.example.net") == Target("eu.example.net", Place("eu.example.net/{path}"))
