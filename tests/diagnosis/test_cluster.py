"""What the version of an API server means, with the release in which each thing came."""

import pytest

from webhook.diagnosis.cluster import TESTED, Version, judge
from webhook.diagnosis.finding import Level

HOST = "https://10.0.0.1"


@pytest.mark.parametrize(
    ("minor", "level", "said"),
    [
        (str(TESTED), Level.OK, "v1.36.2"),
        ("37+", Level.OK, "v1.37.2"),  # GKE and EKS write a plus
        ("30", Level.OK, "v1.30.2"),
        ("29", Level.WARNING, "ValidatingAdmissionPolicy v1 is not there"),  # stable in 1.30
        ("28", Level.WARNING, "flowcontrol.apiserver.k8s.io/v1 is not there"),  # stable in 1.29
        ("27", Level.WARNING, "matchConditions are dropped"),  # on by default in 1.28
        ("24", Level.WARNING, "kubectl debug are not decided on"),  # ephemeral containers, stable in 1.25
        ("15", Level.ERROR, "does not speak admission.k8s.io/v1"),  # v1 came with 1.16
        ("", Level.WARNING, "it calls itself"),
    ],
)
def test_an_older_minor_says_what_it_lacks(minor: str, level: Level, said: str) -> None:
    found = judge(Version("1", minor, f"v1.{minor.rstrip('+')}.2"), HOST)
    assert (found.level, said in found.found) == (level, True), found
    assert bool(found.advice) == (level is not Level.OK)


def test_another_major_is_told_and_not_guessed_at() -> None:
    assert judge(Version("2", "0", "v2.0.0"), HOST).level is Level.WARNING
