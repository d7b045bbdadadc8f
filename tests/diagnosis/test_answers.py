"""What the API server's answer to a Pod in a dry run says about us."""

import pytest

from tests.diagnosis.test_registration import live, namespace
from webhook.core.conditions import conditions, needed
from webhook.core.globs import Globs
from webhook.core.reference import BadReference, parsed
from webhook.core.registered import Live
from webhook.core.rules import Rule, RuleSet
from webhook.core.targets import Target
from webhook.diagnosis.answers import choose, judge, probe
from webhook.diagnosis.finding import Level, Unseen

SIGN = "moorage: moorage-doctor: registry.example.com/Moorage-Doctor kept as is (NotAReference)"
CALL = 'Internal error occurred: failed calling webhook "pods.moorage.dev": failed to call webhook: Post '
X509 = '"https://moorage.moorage-system.svc:443/mutate/0123456789abcdef?timeout=5s": tls: failed to verify certificate'
"""As kube-apiserver 1.36 writes it."""


@pytest.mark.parametrize(
    ("status", "message", "warnings", "annotations", "level", "said"),
    [
        (201, "", (SIGN,), {}, Level.OK, "Moorage was asked and answered"),
        (201, "", (), {"moorage.dev/images": "{}"}, Level.OK, "Moorage was asked and answered"),
        (403, 'pods "x" is forbidden: violates PodSecurity', (SIGN,), {}, Level.OK, "Moorage was asked and answered"),
        (201, "", ("of another",), {}, Level.ERROR, "it was admitted without Moorage (failurePolicy Ignore)"),
        (500, CALL + X509, (), {}, Level.ERROR, "failed to verify certificate"),
        (403, "pods is forbidden: User x cannot create", (), {}, Level.WARNING, "cannot be looked at"),
        (403, "denied the request: no such registry", (), {}, Level.WARNING, "somebody else refused it"),
        (404, 'namespaces "x" not found', (), {}, Level.WARNING, "not found"),
        (0, "the API server did not answer in time", (), {}, Level.WARNING, "did not answer in time"),
    ],
)
def test_whether_moorage_was_asked(
    status: int, message: str, warnings: tuple[str, ...], annotations: dict[str, str], level: Level, said: str
) -> None:
    found = judge(status, message, warnings, annotations, "shop", "Ignore")
    assert (found.level, said in found.found) == (level, True), found
    assert "0123456789abcdef" not in str(found)


@pytest.mark.parametrize(
    ("registered", "wanted", "chosen"),
    [
        (live(), "", "default"),
        (live(), "shop", "shop"),
        (live(namespaceSelector={"matchLabels": {"team": "a"}}), "", "shop"),
        (live(namespaceSelector={"matchLabels": {"team": "b"}}), "", ""),
        (live(namespaceSelector={"matchLabels": {"team": "b"}}), "default", "default"),
    ],
)
def test_the_pod_goes_where_moorage_is_asked(registered: Live, wanted: str, chosen: str) -> None:
    every = [namespace("kube-system", team="b"), namespace("default"), namespace("shop", team="a")]
    assert choose(registered, every, wanted) == chosen


def test_where_namespaces_cannot_be_listed_the_usual_one_is_tried() -> None:
    assert choose(live(), Unseen("namespaces", "forbidden"), "") == "default"


def test_the_pod_names_an_image_that_is_let_through_and_that_no_registry_would_be_asked_for() -> None:
    rules = [Rule("private", Globs(("registry.example.com/team/**",)), targets=(Target.of_host("localhost:30081"),))]
    glob = [Rule("any", Globs(("*.example.com/**",)))]
    for registered, host in (
        (live(), "registry.invalid"),
        (live(matchConditions=conditions(needed(RuleSet(rules)), "pods")), "registry.example.com"),
        (live(matchConditions=conditions(needed(RuleSet(glob)), "pods")), "x.example.com"),
    ):
        (container,) = probe(registered)["spec"]["containers"]
        assert container["image"] == f"{host}/Moorage-Doctor"
        assert isinstance(parsed(container["image"]), BadReference)
