"""Greetings of registries, and what Pods of ours say of them."""

import pytest

from webhook.core.ask import Absent, Failed, Passed
from webhook.core.globs import Globs
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.diagnosis.finding import Level, Unseen
from webhook.diagnosis.install import Told
from webhook.diagnosis.registries import example, judge, judge_breakers, judge_logins

RULES = RuleSet([Rule("private", Globs(("registry.example.com/team/**",)))])
HOST = "registry.example.com"
DOWN = Failed(Reason.UNAVAILABLE, HOST, "its name cannot be resolved")


@pytest.mark.parametrize(
    ("outcome", "login", "inside", "level", "said"),
    [
        (Passed(), "anonymous", False, Level.OK, "it answers without a login"),
        (Passed(), "docker-config", False, Level.OK, "it takes the login (docker-config)"),
        (Absent(HOST, denied=True), "docker-config", False, Level.WARNING, "it refuses the login (docker-config)"),
        (Absent(HOST, denied=True), "file", True, Level.ERROR, "it refuses the login (file)"),
        (Absent(HOST, denied=True), "", False, Level.WARNING, "wants a login that is not known here"),
        (Absent(HOST, denied=False), "", True, Level.ERROR, "it answers 404 at /v2/"),
        (DOWN, "", False, Level.WARNING, "its name cannot be resolved"),
        (DOWN, "", True, Level.ERROR, "its name cannot be resolved"),
    ],
)
def test_what_a_greeting_says(
    outcome: Passed | Absent | Failed, login: str, inside: bool, level: Level, said: str
) -> None:
    found = judge(HOST, outcome, login, inside=inside)
    assert (found.level, said in found.found) == (level, True), found
    assert ("this Pod" in found.looked) is inside


def test_the_login_is_looked_up_for_a_path_that_rules_are_about() -> None:
    assert str(example(RULES.rules, HOST)).startswith(f"{HOST}/")
    assert example((), HOST).path == "doctor"


def test_a_registry_that_pods_leave_alone_is_an_error_once() -> None:
    shut = Told('moorage_breaker_open{registry="a.example.com"} 1.0\n')
    (found,) = judge_breakers({"one": shut, "two": shut, "three": Unseen("", "")})
    assert (found.level, found.looked) == (Level.ERROR, "registry a.example.com, as Moorage sees it")
    assert "(by one, two)" in found.found


def logins(kind: str, **outcomes: float) -> Told:
    lines = [
        f'moorage_cloud_logins_total{{provider="{kind}",outcome="{outcome}"}} {number}\n'
        for outcome, number in outcomes.items()
    ]
    return Told("".join(lines))


@pytest.mark.parametrize(
    ("one", "two", "level", "said"),
    [
        (logins("ecr", renewed=2.0), logins("ecr", renewed=1.0), Level.OK, "they are had (by one, two)"),
        (logins("ecr", renewed=2.0, failed=0.0), Told(), Level.OK, "they are had (by one)"),
        (logins("ecr", renewed=2.0), logins("ecr", renewed=1.0, failed=1.0), Level.WARNING, "some failed (for two)"),
        (logins("ecr", renewed=2.0), logins("ecr", failed=3.0), Level.ERROR, "none was had since the start (by two)"),
        (logins("ecr", failed=3.0), Unseen("", ""), Level.ERROR, "none was had since the start (by one)"),
    ],
)
def test_how_pods_fare_that_log_in_at_a_cloud(one: Told, two: Told | Unseen, level: Level, said: str) -> None:
    (found,) = judge_logins({"one": one, "two": two})
    assert (found.level, found.found, found.looked) == (level, said, "logins by ecr, as Moorage sees them")


def test_each_cloud_has_a_line_and_who_logs_in_at_none_has_none() -> None:
    two = Told(logins("gar", failed=1.0).metrics + logins("acr", renewed=1.0).metrics)
    assert [(one.looked.split()[2], one.level) for one in judge_logins({"one": two})] == [
        ("acr,", Level.OK),
        ("gar,", Level.ERROR),
    ]
    assert list(judge_logins({"one": Told()})) == []
