"""Other webhooks that are asked about Pods."""

import msgspec
import pytest

from webhook.core.registered import Live, decoded
from webhook.core.registration import Reached, registration
from webhook.diagnosis.finding import Level, Unseen
from webhook.diagnosis.neighbours import judge


def other(name: str, webhook: str = "", resource: str = "pods", group: str = "", operation: str = "CREATE") -> Live:
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": [operation]}
    made = {"metadata": {"name": name}, "webhooks": [{"name": webhook or f"{name}.example.com", "rules": [rule]}]}
    return decoded(msgspec.json.encode(made))


OURS = decoded(msgspec.json.encode(registration(Reached())))


@pytest.mark.parametrize(
    ("name", "webhook", "said"),
    [
        ("digester-mutating-webhook-configuration", "", "k8s-digester is asked before us"),
        ("imageswap-webhook", "imageswap.webhook.k8s.twr.io", "imageswap is asked before us, and swaps registries"),
        ("policy.sigstore.dev", "policy.sigstore.dev", "policy-controller is asked after us"),
        ("kyverno-resource-mutating-webhook-cfg", "mutate.kyverno.svc-fail", "Kyverno is asked before us"),
    ],
)
def test_those_that_change_images_are_told_with_their_order(name: str, webhook: str, said: str) -> None:
    (found,) = judge([OURS, other(name, webhook)])
    assert (found.level, said in found.found) == (Level.WARNING, True), found


def test_others_are_named_and_no_more() -> None:
    (found,) = judge([OURS, other("istio-sidecar-injector"), other("vault-agent-injector-cfg")])
    assert found.level is Level.OK
    assert found.found.endswith("istio-sidecar-injector (before us), vault-agent-injector-cfg (after us)")


def test_those_that_are_asked_about_other_things_do_not_count() -> None:
    beside = [other("a", resource="deployments", group="apps"), other("b", operation="DELETE")]
    (found,) = judge([OURS, *beside])
    assert found.found == "there are none"
    (found,) = judge([other("everything", resource="*", group="*", operation="*")])
    assert "everything (before us)" in found.found


def test_what_cannot_be_listed_is_said() -> None:
    (found,) = judge(Unseen("mutatingwebhookconfigurations", "forbidden", is_forbidden=True))
    assert found.level is Level.WARNING
