"""The live registration judged: each way in which it can be wrong is a finding that says what to do."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.world import KRAKEN, PRIVATE, REGIONAL
from webhook.core.conditions import EVERYTHING, Coverage, needed
from webhook.core.globs import Globs
from webhook.core.registered import MEANING, REMEDY, Finding, Home, Live, Trouble, decoded, judge, mended
from webhook.core.registration import Reached, registration
from webhook.core.rules import Rule, RuleSet

RULES = RuleSet([PRIVATE, Rule("hub", Globs(("ghcr.io/acme/**",)), targets=(REGIONAL,))])
HOME = Home("moorage-system")
OTHER = Coverage(frozenset({"other.example.com"}))
Change = Callable[[dict[str, Any]], Any]


def live(change: Change = lambda document: None, **options: Any) -> Live:
    # Through JSON, so that no part of it stands in two places.
    document = json.loads(json.dumps(registration(Reached(), **{"coverage": needed(RULES), **options})))
    change(document)
    return decoded(json.dumps(document).encode())


def each(change: Change) -> Change:
    def all_of_them(document: dict[str, Any]) -> None:
        for webhook in document["webhooks"]:
            change(webhook)

    return all_of_them


def found(change: Change = lambda document: None, rules: RuleSet = RULES, **options: Any) -> list[str]:
    return [str(one) for one in judge(live(change, **options), rules, HOME)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coverage": EVERYTHING},
        {"managed": True},
        {"excluded": ["moorage-system", "build"]},
        {"coverage": needed(RULES).joined(Coverage(frozenset({"quay.io"})))},
    ],
)
def test_what_moorage_prints_is_right(options: dict[str, Any]) -> None:
    assert found(**options) == []


def condition(webhook: dict[str, Any], old: str, new: str) -> None:
    for one in webhook.get("matchConditions", ()):
        one["expression"] = one["expression"].replace(old, new)


def condition_names(document: dict[str, Any], old: str, new: str) -> None:
    for webhook in document["webhooks"]:
        for one in webhook["matchConditions"]:
            one["name"] = one["name"].replace(old, new)


GAPS: list[tuple[Change, list[str]]] = [
    (lambda document: document.update(webhooks=[]), ["mutatingwebhookconfiguration moorage holds no webhook of Moorage"]),
    (
        lambda document: document["webhooks"].pop(1),
        [
            f"webhook revisions.moorage.dev is not asked about {operation} of {resource}"
            for resource in ("replicasets", "controllerrevisions", "jobs")
            for operation in ("CREATE", "UPDATE")
        ],
    ),
    (
        lambda document: document["webhooks"][0]["rules"][0].update(operations=["CREATE"]),
        ["webhook pods.moorage.dev is not asked about UPDATE of pods"],
    ),
    (
        each(lambda webhook: condition(webhook, "'ghcr.io'", "'quay.io'")),
        [f"webhook {name}.moorage.dev does not see images of ghcr.io" for name in ("pods", "revisions")],
    ),
    (
        lambda document: condition(document["webhooks"][0], "'localhost4'", "'localhost4', 'x'"),
        [],
    ),
    (
        lambda document: condition(document["webhooks"][0], "> 32", "> 999999"),
        [
            "webhook pods.moorage.dev: condition moorage.dev/images-v1 is not as Moorage makes it: nobody knows what it hides"
        ],
    ),
    (
        each(lambda webhook: webhook["clientConfig"]["service"].update(namespace="other")),
        [
            f"webhook {name}.moorage.dev leads to service other/moorage, which is not this Moorage"
            for name in ("pods", "revisions")
        ],
    ),
    (
        lambda document: document["webhooks"][0].update(objectSelector={"matchLabels": {"app": "web"}}),
        ["webhook pods.moorage.dev: objectSelector hides what does not bear app"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), GAPS)
def test_what_keeps_images_away_is_a_gap(change: Change, expected: list[str]) -> None:
    every = judge(live(change), RULES, HOME)
    assert [str(one) for one in every] == expected
    assert all(one.is_gap and one.level == "error" for one in every)


def test_one_that_is_not_there_is_a_gap() -> None:
    (one,) = judge(None, RULES, HOME)
    assert str(one) == "there is no mutatingwebhookconfiguration moorage: the API server asks nobody"
    assert one.is_gap


def test_a_namespace_that_a_rule_names_must_not_be_hidden() -> None:
    rules = RuleSet(
        [Rule("shop", Globs(("ghcr.io/**",)), namespaces=Globs(("shop", "team-*", "!build", "kube-system")))]
    )
    assert found(rules=rules, only=["other", "shop"], coverage=EVERYTHING)[0].startswith(
        "webhook pods.moorage.dev sees only"
    )
    gaps = [one for one in judge(live(excluded=["shop", "moorage-system"]), rules, HOME) if one.is_gap]
    assert {one.what for one in gaps} == {"shop"}


WARNINGS: list[tuple[Change, list[str]]] = [
    (
        lambda document: document["webhooks"][0]["matchConditions"].append({"name": "no-argo", "expression": "true"}),
        ["webhook pods.moorage.dev: condition no-argo is not Moorage's own and may hide Pods"],
    ),
    (
        lambda document: document["webhooks"][0]["namespaceSelector"]["matchExpressions"].clear(),
        [
            f"webhook pods.moorage.dev is asked about namespace {name}, which must work without it"
            for name in ("kube-system", "kube-public", "kube-node-lease", "moorage-system")
        ],
    ),
    (
        lambda document: document["webhooks"][0].update(sideEffects="Some", reinvocationPolicy="Never", timeoutSeconds=30),
        [
            "webhook pods.moorage.dev: sideEffects Some: server-side dry runs are refused",
            "webhook pods.moorage.dev: reinvocationPolicy Never: containers that others inject later stay as they are",
            "webhook pods.moorage.dev: timeoutSeconds 30: all webhooks of a request have about 30 s together",
        ],
    ),
    (
        lambda document: document["webhooks"][1].update(failurePolicy="Fail"),
        [
            "webhook moorage: failurePolicy is not the same for all: Fail and Ignore",
            "webhook revisions.moorage.dev: failurePolicy Fail everywhere: while Moorage is down no Pod starts",
        ],
    ),
    (
        lambda document: document["metadata"].update(
            labels={"moorage.dev/managed": "true", "argocd.argoproj.io/instance": "moorage"}
        ),
        ["Argo CD keeps the registration, and Moorage keeps its conditions right: one undoes the other"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), WARNINGS)
def test_what_is_doubtful_is_a_warning(change: Change, expected: list[str]) -> None:
    every = judge(live(change), RULES, HOME)
    assert [str(one) for one in every] == expected
    assert {one.level for one in every} == {"warning"}


def required(document: dict[str, Any]) -> None:
    """As `deploy/components/fail-closed` has it: without conditions, and for namespaces that ask for it."""
    pods = document["webhooks"][0]
    key = {"key": "moorage.dev/fail-closed", "values": ["true"]}
    names = pods["namespaceSelector"]["matchExpressions"]
    closed = {**pods, "name": "required-pods.moorage.dev", "failurePolicy": "Fail"}
    closed["namespaceSelector"] = {"matchExpressions": [*names, {**key, "operator": "In"}]}
    closed.pop("matchConditions", None)
    pods["namespaceSelector"] = {"matchExpressions": [*names, {**key, "operator": "NotIn"}]}
    document["webhooks"].append(closed)


def test_a_webhook_that_fails_closed_where_that_is_wanted_is_in_order_and_gets_conditions() -> None:
    every = judge(live(required), RULES, HOME)
    assert [str(one) for one in every if one.level != "info"] == []
    (operation,) = mended(live(required), needed(RULES))
    assert operation["path"] == "/webhooks/2/matchConditions"
    assert operation["value"] == json.loads(json.dumps(mended(live(coverage=OTHER), needed(RULES))[0]["value"]))


def test_a_webhook_of_some_namespaces_does_not_hide_a_gap_in_the_others() -> None:
    gaps = [str(one) for one in judge(live(required, coverage=OTHER), RULES, HOME) if one.is_gap]
    assert "webhook pods.moorage.dev does not see images of ghcr.io" in gaps
    assert not [one for one in gaps if "required" in one]

    def without_the_usual_one(document: dict[str, Any]) -> None:
        required(document)
        del document["webhooks"][0]

    gaps = [str(one) for one in judge(live(without_the_usual_one), RULES, HOME) if one.is_gap]
    assert "webhook pods.moorage.dev is not asked about CREATE of pods" in gaps


def test_two_installs_are_told_apart_by_their_webhooks() -> None:
    twin = live(lambda document: document["metadata"].update(name="moorage-old"))
    stranger = live(lambda document: (document["metadata"].update(name="istio"), document.update(webhooks=[])))
    (one,) = judge(live(), RULES, HOME, [twin, stranger, live()])
    assert str(one) == "mutatingwebhookconfiguration moorage-old is Moorage's too: each Pod is asked about twice"


@pytest.mark.parametrize(
    ("options", "level"), [({"opt_in": True}, "info"), ({"opt_in": True, "failure_policy": "Fail"}, "info")]
)
def test_namespaces_that_opt_in_are_meant(options: dict[str, Any], level: str) -> None:
    assert {one.level for one in judge(live(**options), RULES, HOME)} == {level}


def test_only_what_the_rules_need_is_missed() -> None:
    rules = RuleSet([Rule("a", Globs(("ghcr.io/**",)), targets=(REGIONAL,), pin="pod")])
    narrow = live(
        lambda document: (
            document["webhooks"].pop(1),
            document["webhooks"][0]["rules"][0].update(operations=["CREATE"]),
        )
    )
    assert judge(narrow, rules, HOME) == ()
    assert judge(narrow, RuleSet([PRIVATE], targets=[KRAKEN]), HOME) != ()


def test_a_registration_with_wildcards_asks_about_everything() -> None:
    def widen(webhook: dict[str, Any]) -> None:
        webhook["rules"] = [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"]}]

    assert found(each(widen)) == []


@pytest.mark.parametrize("trouble", list(Trouble))
def test_every_finding_says_what_it_is_and_what_to_do(trouble: Trouble) -> None:
    one = Finding(trouble, "WHAT", "WEBHOOK")
    assert MEANING[trouble]
    assert REMEDY[trouble] == one.remedy
    assert "{" not in str(one)


def test_mending_changes_our_conditions_and_leaves_those_of_others() -> None:
    other = {"name": "no-argo", "expression": "true"}
    narrow = live(
        lambda document: document["webhooks"][0]["matchConditions"].append(other), coverage=needed(RuleSet([PRIVATE]))
    )
    operations = mended(narrow, needed(RULES))
    assert [one["path"] for one in operations] == ["/webhooks/0/matchConditions", "/webhooks/1/matchConditions"]
    assert operations[0]["value"][-1] == other
    assert mended(live(), needed(RULES)) == []
    older = live(lambda document: condition_names(document, "-v1", "-v0"), coverage=needed(RULES))
    assert {one.trouble for one in judge(older, RULES, HOME)} == {Trouble.EDITED_CONDITION}
    assert [[one["name"][-2:] for one in each["value"]] for each in mended(older, needed(RULES))] == [["v1", "v1"]] * 2
    all_of_them = {"name": "moorage.dev/images-v1", "expression": "true"}
    assert [one["value"] for one in mended(narrow, EVERYTHING)] == [[all_of_them, other], [all_of_them]]
