"""Greetings of registries, and what Pods of ours say of them."""

import pytest

from webhook.core.ask import Absent, Failed, Passed
from webhook.core.globs import Globs
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.diagnosis.finding import Level, Unseen
from webhook.diagnosis.install import Told
from webhook.diagnosis.registries import example, judge, judge_breakers

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
