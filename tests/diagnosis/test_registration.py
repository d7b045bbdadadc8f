"""The live registration as doctor tells it; how it is judged is tested where it is judged (tests/core)."""

import msgspec
import pytest

from webhook.core.bundle import BY_URL
from webhook.core.registered import Live, decoded
from webhook.core.registration import Reached, registration
from webhook.diagnosis.finding import Check, Level, Unseen
from webhook.diagnosis.registration import judge, judge_namespaces
from webhook.diagnosis.shapes import Metadata, Namespace

AUTHORITY = b"-----BEGIN CERTIFICATE-----"


def live(**more: object) -> Live:
    """What an install registers."""
    made = registration(Reached(authority=AUTHORITY))
    made["webhooks"] = [{**one, **more} for one in made["webhooks"]]
    return decoded(msgspec.json.encode(made))


def namespace(name: str, **labels: str) -> Namespace:
    return Namespace(Metadata(name, labels=labels))


def test_one_that_is_as_it_was_made_is_fine() -> None:
    found = list(judge(live(), None, []))
    assert [(one.check, one.level) for one in found] == [(Check.REGISTRATION, Level.OK)]
    assert found[0].found == "ours, 2 webhooks, failurePolicy Ignore"


@pytest.mark.parametrize(
    ("found", "check", "level", "said"),
    [
        (None, Check.REGISTRATION, Level.ERROR, "there is no mutatingwebhookconfiguration moorage"),
        (Unseen("it", "forbidden", is_forbidden=True), Check.REGISTRATION, Level.ERROR, "cannot be looked at"),
        (live(rules=[]), Check.REGISTRATION, Level.ERROR, "is not asked about CREATE of pods"),
        (live(timeoutSeconds=30), Check.REGISTRATION, Level.WARNING, "timeoutSeconds 30"),
        (
            live(namespaceSelector={"matchLabels": {"moorage.dev/enabled": "true"}}),
            Check.NAMESPACES,
            Level.OK,
            "sees only namespaces that bear moorage.dev/enabled=true",
        ),
        (live(namespaceSelector={}), Check.NAMESPACES, Level.WARNING, "is asked about namespace kube-system"),
        (
            live(matchConditions=[{"name": "others", "expression": "false"}]),
            Check.COVERAGE,
            Level.WARNING,
            "condition others is not Moorage's own",
        ),
        (
            live(clientConfig={"service": {"namespace": "moorage-system", "name": "moorage"}}),
            Check.REGISTRATION,
            Level.ERROR,
            "webhooks pods.moorage.dev, revisions.moorage.dev have no caBundle",
        ),
    ],
)
def test_what_is_wrong_is_told_under_its_check(
    found: Live | Unseen | None, check: Check, level: Level, said: str
) -> None:
    (line, *_) = [one for one in judge(found, None, []) if said in one.found]
    assert (line.check, line.level) == (check, level)
    assert bool(line.advice) == (level is not Level.OK)


def test_one_that_a_laptop_made_is_told_as_such() -> None:
    made = registration(Reached(url="https://192.0.2.7:8443", path="/mutate/0123456789abcdef"))
    made["metadata"]["annotations"] = {BY_URL: "https://192.0.2.7:8443"}
    (line,) = judge(decoded(msgspec.json.encode(made)), None, [])
    assert (line.level, "a process on somebody's machine" in line.found) == (Level.WARNING, True)
    assert "0123456789abcdef" not in str(line)


def test_how_many_namespaces_are_asked_about() -> None:
    opt_in = {"matchLabels": {"moorage.dev/enabled": "true"}}
    every = [namespace("kube-system"), namespace("default"), namespace("shop", **{"moorage.dev/enabled": "true"})]
    (line,) = judge_namespaces(live(), every)
    assert line.found == "it takes 2 of 2 namespaces that it may take"
    (line,) = judge_namespaces(live(namespaceSelector=opt_in), every)
    assert (line.level, line.found) == (Level.OK, "it takes 1 of 2 namespaces that it may take")
    (line,) = judge_namespaces(live(namespaceSelector=opt_in), every[:2])
    assert (line.level, "it takes none of 1 namespaces" in line.found) == (Level.WARNING, True)
