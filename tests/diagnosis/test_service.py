"""The Service, those behind it, and what comes back through it."""

import pytest

from webhook.diagnosis.finding import Level, Unseen
from webhook.diagnosis.service import Echo, Place, asks_for_certificates, judge, judge_echo
from webhook.diagnosis.shapes import (
    Address,
    Conditions,
    Container,
    Endpoint,
    EndpointSlice,
    Metadata,
    PodSpec,
    Service,
    ServiceSpec,
    Template,
    Workload,
    WorkloadSpec,
)

SERVICE = Service(Metadata("moorage"), ServiceSpec(ports=[Address("webhook", 443)], selector={"app": "moorage"}))
READY = Endpoint(["10.0.0.1"], Conditions(ready=True))
UNSAID = Endpoint(["10.0.0.2"])
WAITS = Endpoint(["10.0.0.3"], Conditions(ready=False))


@pytest.mark.parametrize(
    ("found", "slices", "level", "said"),
    [
        (SERVICE, [EndpointSlice([READY, WAITS])], Level.OK, "1 of 2 endpoints are ready"),
        (SERVICE, [EndpointSlice([UNSAID])], Level.OK, "1 of 1 endpoints are ready"),  # discovery/v1: nil is ready
        (SERVICE, [EndpointSlice([WAITS])], Level.ERROR, "no Pod behind it is ready (1 are not)"),
        (SERVICE, [EndpointSlice(None)], Level.ERROR, "there is no Pod behind it"),
        (SERVICE, [], Level.ERROR, "there is no Pod behind it"),
        (SERVICE, Unseen("endpoints", "forbidden"), Level.WARNING, "cannot be looked at"),
        (Service(), [EndpointSlice([READY])], Level.ERROR, "it has no port 443"),
        (Unseen("service", "not found", is_missing=True), [], Level.ERROR, "it is not there"),
    ],
)
def test_somebody_is_behind_it(
    found: Service | Unseen, slices: list[EndpointSlice] | Unseen, level: Level, said: str
) -> None:
    (line,) = judge(found, slices, [Place()])
    assert (line.level, said in line.found) == (level, True), line


@pytest.mark.parametrize(
    ("echo", "level", "said"),
    [
        (Echo(405), Level.OK, "Moorage answers there"),
        (Echo(404), Level.ERROR, "not at the path that the registration names"),
        (
            Echo(502, "error trying to reach service: remote error: tls: certificate required"),
            Level.OK,
            "asks for a client certificate",
        ),
        (Echo(503, "error trying to reach service: dial tcp 10.0.0.1:8443: i/o timeout"), Level.ERROR, "i/o timeout"),
        (Echo(200), Level.WARNING, "it answers 200"),
        (Unseen("proxy", "services is forbidden", is_forbidden=True), Level.WARNING, "cannot be looked at"),
    ],
)
def test_what_the_api_servers_proxy_gets(echo: Echo | Unseen, level: Level, said: str) -> None:
    line = judge_echo(echo)
    assert (line.level, said in line.found) == (level, True), line


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("error trying to reach service: EOF", Level.OK),
        ("error trying to reach service: read tcp 10.0.0.9:1->10.0.0.1:8443: read: connection reset by peer", Level.OK),
        ("error trying to reach service: dial tcp 10.0.0.1:8443: connect: connection refused", Level.ERROR),
        ("error trying to reach service: dial tcp 10.0.0.1:8443: i/o timeout", Level.ERROR),
    ],
)
def test_one_who_asks_for_certificates_may_end_the_connection_of_the_proxy_and_must_be_there(
    said: str, level: Level
) -> None:
    assert judge_echo(Echo(502, said), is_guarded=True).level is level
    assert judge_echo(Echo(502, said)).level is Level.ERROR


@pytest.mark.parametrize(
    ("args", "asks"),
    [
        (["serve", "--client-ca=/etc/ca.crt"], True),
        (["serve", "--client-ca", "/etc/ca.crt"], True),
        (["serve", "--client-cap=1", "x--client-ca"], False),
        (None, False),
    ],
)
def test_the_deployment_says_whether_certificates_are_asked_for(args: list[str] | None, asks: bool) -> None:
    container = Container(args=args)
    assert asks_for_certificates(Workload(spec=WorkloadSpec(template=Template(spec=PodSpec([container]))))) is asks


def test_a_deployment_that_cannot_be_seen_says_nothing() -> None:
    assert not asks_for_certificates(Unseen("deployment", "forbidden"))


def test_where_no_registration_tells_the_path_another_one_than_ours_is_no_fault() -> None:
    assert judge_echo(Echo(404), is_told=False).level is Level.OK
