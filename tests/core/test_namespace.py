"""What the labels of a namespace change: rules that ask for them, and namespaces that ask to be left alone."""

from collections.abc import Mapping

import pytest

from tests.core.world import KRAKEN, NOON, PRIVATE, SEALER, D, known, pod, subject
from webhook.core.ask import Ask, AskDigest, AskNamespace, Fact, Failed, Labels, NotAsked
from webhook.core.decision import Decision
from webhook.core.globs import Globs
from webhook.core.namespace import in_namespace
from webhook.core.plan import plan
from webhook.core.reason import Reason
from webhook.core.rules import Requirement, Rule, RuleSet

TAG = "registry.example.com/team/app:stable"
PINNED = f"localhost:30081/team/app@{D}"
WEB = Rule("web", Globs(("registry.example.com/**",)), namespace_selector=(Requirement("tier", "In", ("web",)),))
NOT_WEB = Rule(
    "rest", Globs(("registry.example.com/**",)), namespace_selector=(Requirement("tier", "NotIn", ("web",)),)
)
ANY = Rule("any", Globs(("registry.example.com/**",)), namespace_selector=())
UNREAD = Failed(Reason.CLUSTER_NOT_ASKED, "Namespace default", "the API server did not answer in time")


def decide(fact: Fact, *rules: Rule, images: tuple[str, ...] = (TAG,)) -> tuple[list[Decision], list[Ask]]:
    """All decisions for a Pod of a namespace of which this is said, and every question, in order."""
    asked: list[Ask] = []
    done: list[Decision] = []
    made = RuleSet(rules)
    for ladder in in_namespace(
        subject(pod(*images)), lambda placed: plan(placed, made, sealer=SEALER, milliseconds=NOON)
    ):
        try:
            ask = next(ladder)
            while True:
                asked.append(ask)
                ask = ladder.send(fact if isinstance(ask, AskNamespace) else known())
        except StopIteration as end:
            done.append(end.value)
    return done, asked


@pytest.mark.parametrize(
    ("labels", "rule"),
    [({"tier": "web"}, "web"), ({"tier": "db"}, "rest"), ({}, "rest")],
    ids=["has it", "has another", "has none"],
)
def test_the_first_rule_whose_selector_holds_decides(labels: Mapping[str, str], rule: str) -> None:
    (decision,), _ = decide(Labels(labels), WEB, NOT_WEB)
    assert decision.rule == rule


def test_an_empty_selector_holds_for_every_namespace_that_is_known() -> None:
    assert decide(Labels({}), ANY)[0][0].rule == "any"
    assert decide(NotAsked(Reason.NO_CLUSTER), ANY)[0][0].rule == ""


@pytest.mark.parametrize("rule", [WEB, NOT_WEB], ids=["In", "NotIn"])
def test_a_rule_that_asks_for_labels_never_matches_where_nobody_knows_them(rule: Rule) -> None:
    (decision,), _ = decide(UNREAD, rule, PRIVATE)
    assert (decision.rule, decision.to) == ("private", PINNED)
    assert decision.trace[:2] == (
        (Reason.CLUSTER_NOT_ASKED, "Namespace default", "the API server did not answer in time"),
        (Reason.RULE_PASSED_OVER, rule.name, "namespaceSelector"),
    )


def test_a_namespace_that_asks_to_be_left_alone_is_and_its_caches_are_guarded_all_the_same() -> None:
    by_hand = f"localhost:30081/team/app@{D}"
    (left, guarded), asked = decide(
        Labels({"moorage.dev/skip": "true"}), Rule("private", PRIVATE.images, targets=(KRAKEN,)), images=(TAG, by_hand)
    )
    assert (left.to, left.reason) == ("", Reason.OPTED_OUT)
    assert guarded.reason is not Reason.OPTED_OUT
    assert [type(ask) for ask in asked] == [AskNamespace, AskNamespace, AskDigest]


def test_any_other_value_opts_out_of_nothing() -> None:
    assert decide(Labels({"moorage.dev/skip": "false"}), PRIVATE)[0][0].to == PINNED
