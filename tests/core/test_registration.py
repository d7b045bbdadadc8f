"""The registration, as the API server gets it. Its effect is tested on a real API server (tests/cluster)."""

import pytest

from webhook.core.registration import NEVER, Reached, registration

SERVED = {
    ("", "pods", "CREATE"),
    ("", "pods", "UPDATE"),
    ("", "pods/ephemeralcontainers", "UPDATE"),
    ("apps", "replicasets", "CREATE"),
    ("apps", "replicasets", "UPDATE"),
    ("apps", "controllerrevisions", "CREATE"),
    ("apps", "controllerrevisions", "UPDATE"),
    ("batch", "jobs", "CREATE"),
    ("batch", "jobs", "UPDATE"),
}


def test_exactly_what_is_needed_is_asked_about() -> None:
    asked = {
        (group, resource, operation)
        for webhook in registration(Reached())["webhooks"]
        for rule in webhook["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for operation in rule["operations"]
    }
    assert asked == SERVED


def test_a_broken_webhook_stops_nobody_and_dry_runs_are_served() -> None:
    for webhook in registration(Reached())["webhooks"]:
        assert {key: webhook[key] for key in ("failurePolicy", "timeoutSeconds", "sideEffects")} == {
            "failurePolicy": "Ignore",
            "timeoutSeconds": 5,
            "sideEffects": "None",
        }
        assert (webhook["matchPolicy"], webhook["reinvocationPolicy"]) == ("Equivalent", "IfNeeded")


def test_the_clusters_own_namespaces_and_ours_are_left_out() -> None:
    for webhook in registration(Reached(), excluded=("moorage-system",), only=("shop",))["webhooks"]:
        assert webhook["namespaceSelector"]["matchExpressions"] == [
            {
                "key": "kubernetes.io/metadata.name",
                "operator": "NotIn",
                "values": sorted({*NEVER, "moorage-system"}),
            },
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop"]},
        ]


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        (
            Reached(),
            {"service": {"namespace": "moorage-system", "name": "moorage", "path": "/mutate", "port": 443}},
        ),
        (Reached(""), {"service": {"namespace": "moorage-system", "name": "moorage", "port": 443}}),
        (Reached(url="https://127.0.0.1:8443/"), {"url": "https://127.0.0.1:8443/mutate"}),
        (
            Reached(url="https://h", path="/mutate/s", authority=b"PEM"),
            {"url": "https://h/mutate/s", "caBundle": "UEVN"},
        ),
    ],
)
def test_where_the_api_server_finds_us(reached: Reached, expected: dict[str, object]) -> None:
    assert registration(reached)["webhooks"][0]["clientConfig"] == expected


def test_aks_adds_no_selectors_of_its_own() -> None:
    assert registration(Reached())["metadata"]["annotations"] == {"admissions.enforcer/disabled": "true"}
