"""Matching: patterns, selectors, order, and what it costs to have many rules."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import PRIVATE, pod, subject
from webhook.core.globs import Globs
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.rules import Requirement, Rule, RuleSet
from webhook.core.targets import Place


@pytest.mark.parametrize(
    ("patterns", "matching", "other"),
    [
        (["r.io/**"], ["r.io/a", "r.io/a/b/c"], ["r.io", "x.io/a", "r.io.evil/a", "ar.io/a"]),
        (["r.io/*"], ["r.io/a"], ["r.io/a/b", "r.io/"[:-1]]),
        (["r.io/team/*-api"], ["r.io/team/shop-api"], ["r.io/team/shop", "r.io/team/x/shop-api"]),
        (["r.io/**/app"], ["r.io/app", "r.io/a/app", "r.io/a/b/app"], ["r.io/apps", "r.io/myapp"]),
        (["*/team/**"], ["r.io/team/a", "x.y.z/team/a"], ["r.io/other/a"]),
        (["**"], ["r.io/a"], []),
        (["r.io/**", "!r.io/infra/**"], ["r.io/a"], ["r.io/infra/a", "r.io/infra/b/c"]),
        (["!r.io/infra/**", "r.io/**"], ["r.io/a"], ["r.io/infra/a"]),
        (["!build-*"], ["default"], ["build-1"]),
        (["v?.*"], ["v1.2"], ["v12", "v1"]),
        (["a.b"], ["a.b"], ["axb"]),
        (["r.io/[x]"], [], ["r.io/x"]),
    ],
)
def test_globs(patterns: list[str], matching: list[str], other: list[str]) -> None:
    globs = Globs.of(patterns)
    assert [text for text in matching + other if globs.matches(text)] == matching


@given(st.lists(st.text("ab*?/!.", min_size=1, max_size=8), min_size=1, max_size=4), st.text("ab/.", max_size=10))
def test_an_exclusion_wins_wherever_it_stands(patterns: list[str], text: str) -> None:
    positive = [pattern for pattern in patterns if not pattern.startswith("!")] or ["**"]
    assert not Globs.of([f"!{text}", *positive]).matches(text) or not text
    assert not Globs.of([*positive, f"!{text}"]).matches(text) or not text


@pytest.mark.parametrize(
    ("requirement", "labels", "holds"),
    [
        (Requirement("tier", "In", ("web",)), {"tier": "web"}, True),
        (Requirement("tier", "In", ("web",)), {}, False),
        (Requirement("tier", "NotIn", ("web",)), {}, True),
        (Requirement("tier", "NotIn", ("web",)), {"tier": "web"}, False),
        (Requirement("tier", "Exists"), {"tier": ""}, True),
        (Requirement("tier", "DoesNotExist"), {"tier": ""}, False),
    ],
)
def test_label_requirements(requirement: Requirement, labels: dict[str, str], holds: bool) -> None:
    assert requirement.holds(labels) is holds


def first(rules: list[Rule], image: str, **metadata: Any) -> str | None:
    the_subject = subject(pod(image, **metadata))
    slot = the_subject.slots[0]
    assert slot.image is not None
    rule, _ = RuleSet(rules).first_match(the_subject, slot, slot.image)
    return rule.name if rule else None


def a_rule(name: str, *images: str, **change: Any) -> Rule:
    return Rule(name, Globs(images), **change)


def test_the_first_match_wins_also_between_literal_hosts_and_patterns() -> None:
    rules = [a_rule("team", "r.io/team/**"), a_rule("any", "*/**"), a_rule("late", "r.io/**")]
    assert first(rules, "r.io/team/a") == "team"
    assert first(rules, "r.io/a") == "any"
    assert first(list(reversed(rules)), "r.io/team/a") == "late"
    assert first(rules[:1], "x.io/a") is None
    assert first(rules, "x.io/a") == "any"


@pytest.mark.parametrize(
    "change",
    [
        {"tags": Globs(("v*",))},
        {"namespaces": Globs(("prod",))},
        {"containers": Globs(("!c0",))},
        {"pod_selector": (Requirement("tier", "In", ("web",)),)},
        {"namespace_selector": (Requirement("tier", "In", ("web",)),)},
    ],
)
def test_every_key_must_match(change: dict[str, Any]) -> None:
    assert first([a_rule("r", "r.io/**")], "r.io/a:stable") == "r"
    assert first([a_rule("r", "r.io/**", **change)], "r.io/a:stable") is None


def test_labels_decide_although_other_pods_were_matched_before() -> None:
    rules = RuleSet(
        [a_rule("web", "r.io/**", pod_selector=(Requirement("tier", "In", ("web",)),)), a_rule("rest", "r.io/**")]
    )
    names = []
    for labels in ({}, {"tier": "web"}, {"tier": "db"}, {"tier": "web"}):
        the_subject = subject(pod("r.io/a", labels=labels))
        slot = the_subject.slots[0]
        rule, _ = rules.first_match(the_subject, slot, Reference.parse("r.io/a"))
        names.append(rule.name if rule else None)
    assert names == ["rest", "web", "rest", "web"]


def test_an_untagged_image_matches_as_latest() -> None:
    assert first([a_rule("r", "r.io/**", tags=Globs(("latest",)))], "r.io/a") == "r"


def test_many_rules_of_other_hosts_are_not_even_looked_at() -> None:
    rules = RuleSet([*(a_rule(f"r{n}", f"h{n}.io/**") for n in range(1000)), PRIVATE])
    assert rules.candidates(Reference.parse("registry.example.com/a")) == (PRIVATE,)
    assert rules._by_host["registry.example.com"] == (PRIVATE,)


def test_explaining_names_every_rule_and_the_key_that_keeps_it_from_matching() -> None:
    the_subject = subject(pod("r.io/a"))
    rules = RuleSet(
        [a_rule("other", "x.io/**"), a_rule("tagged", "r.io/**", tags=Globs(("v*",))), a_rule("it", "r.io/**")]
    )
    assert rules.explain(the_subject, the_subject.slots[0], Reference.parse("r.io/a")) == (
        (Reason.RULE_PASSED_OVER, "other", "images"),
        (Reason.RULE_PASSED_OVER, "tagged", "tags"),
        (Reason.RULE_MATCHED, "it"),
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("localhost:30081/{path}", "localhost:30081/team/app:1"),
        ("m.io/{registry}/{path}", "m.io/r.io/team/app:1"),
        ("m.io/{repository}", "m.io/r.io/team/app:1"),
        ("{registry}/cache/{path}", "r.io/cache/team/app:1"),
        ("m.io/x-{path}", "m.io/x-team/app:1"),
    ],
)
def test_places(template: str, expected: str) -> None:
    assert str(Place(template).fill(Reference.parse("r.io/team/app:1"))) == expected


def test_locked_digests_are_found_by_the_full_name_only() -> None:
    rules = RuleSet([], locked={"r.io/a:latest": "sha256:" + "a" * 64})
    assert rules.locked_to(Reference.parse("r.io/a")) == "sha256:" + "a" * 64
    assert rules.locked_to(Reference.parse("r.io/a:v1")) == ""
    assert rules.locked_to(Reference.parse("r.io/a@sha256:" + "b" * 64)) == ""
