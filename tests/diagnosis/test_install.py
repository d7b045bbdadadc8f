"""Deployments, what their Pods say of themselves, and the configuration."""

import pytest

from webhook.diagnosis.finding import Check, Level, Unseen
from webhook.diagnosis.install import (
    OPS,
    Heard,
    Told,
    judge_deployment,
    judge_heard,
    judge_lease,
    judge_loaded,
    judge_missing,
    judge_no_configuration,
    judge_problems,
    judge_readiness,
    judge_version,
    ops_port,
)
from webhook.diagnosis.shapes import (
    Container,
    Lease,
    LeaseSpec,
    Metadata,
    Pod,
    PodSpec,
    Port,
    Template,
    Workload,
    WorkloadSpec,
    WorkloadStatus,
)

METRICS = """\
# TYPE moorage_breaker_open gauge
moorage_breaker_open{registry="a.example.com"} 1.0
moorage_breaker_open{registry="b.example.com"} 0.0
moorage_config_reload_success 1.0
moorage_config_info{hash="0123456789abcdef"} 1.0
moorage_build_info{version="1.2.3"} 1.0
# EOF
"""
D = "sha256:" + "0" * 64
GONE = Unseen("deployment moorage", "not found", is_missing=True)
FORBIDDEN = Unseen("deployment moorage", "deployments is forbidden", is_forbidden=True)


def workload(replicas: int, ready: int, image: str = "", labels: dict[str, str] | None = None) -> Workload:
    template = Template(Metadata(labels=labels), PodSpec([Container("moorage", image)]))
    return Workload(Metadata("moorage"), WorkloadSpec(replicas, template=template), WorkloadStatus(ready))


def test_what_a_pod_tells_is_read_out_of_its_metrics() -> None:
    told = Told(METRICS)
    assert (told.version, told.hash, told.is_loaded, told.open_breakers) == (
        "1.2.3", "0123456789abcdef", True, ("a.example.com",),
    )  # fmt: skip
    assert not Told(METRICS.replace("reload_success 1.0", "reload_success 0.0")).is_loaded
    assert (Told("").version, Told("").hash, Told("").is_loaded) == ("", "", True)


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (workload(3, 3), Level.OK, "3 of 3 Pods are ready"),
        (workload(3, 1), Level.WARNING, "1 of 3 Pods are ready"),
        (workload(3, 0), Level.ERROR, "0 of 3 Pods are ready: nobody answers"),
        (workload(0, 0), Level.ERROR, "it is scaled to nothing"),
        (GONE, Level.ERROR, "it is not there"),
        (FORBIDDEN, Level.WARNING, "cannot be looked at: deployments is forbidden"),
    ],
)
def test_the_server_has_the_pods_that_it_wants(found: Workload | Unseen, level: Level, said: str) -> None:
    judged = judge_deployment(found)
    assert (judged.level, said in judged.found) == (level, True), judged


def test_without_the_adopter_pods_start_all_the_same() -> None:
    assert judge_deployment(GONE, check=Check.ADOPT).level is Level.WARNING
    assert judge_deployment(workload(1, 0), check=Check.ADOPT).level is Level.WARNING
    assert judge_lease(Lease(LeaseSpec("pod-1"))).level is Level.OK
    assert judge_lease(Lease()).found == "nobody holds it: no pins are tended"
    assert judge_lease(Unseen("lease", "not found", is_missing=True)).level is Level.WARNING


@pytest.mark.parametrize(
    ("own", "deployment", "running", "level", "said"),
    [
        ("1.2.3", workload(1, 1), ["1.2.3"], Level.OK, "both are 1.2.3"),
        ("1.2.4", workload(1, 1), ["1.2.3"], Level.WARNING, "1.2.3 runs, this command is 1.2.4"),
        ("1.2.3", workload(2, 2), ["1.2.3", "1.2.4"], Level.WARNING, "several run at once: 1.2.3, 1.2.4"),
        ("1.2.3", workload(1, 0, f"r.example.com:5000/m/moorage:v1.2.3@{D}"), [], Level.OK, "both are 1.2.3"),
        ("1.2.3", workload(1, 0, labels={"app.kubernetes.io/version": "1.2.2"}), [], Level.WARNING, "1.2.2 runs"),
        ("1.2.3", workload(1, 0, f"r.example.com:5000/m/moorage@{D}"), [], Level.WARNING, "nothing says which"),
    ],
)
def test_what_runs_is_held_against_this_command(
    own: str, deployment: Workload, running: list[str], level: Level, said: str
) -> None:
    heard = {str(number): Told(METRICS.replace("1.2.3", version)) for number, version in enumerate(running)}
    judged = judge_version(own, deployment, heard)
    assert (judged.level, said in judged.found) == (level, True), judged


def test_each_pod_has_in_force_what_the_config_map_says() -> None:
    good = Told(METRICS)
    other = Told(METRICS.replace("0123456789abcdef", "f" * 16))
    broken = Told(METRICS.replace("reload_success 1.0", "reload_success 0.0"))

    def judged(**heard: Told | Unseen) -> list[tuple[Level, str]]:
        return [(one.level, one.found) for one in judge_loaded("0123456789abcdef", heard)]

    assert judged(a=good, b=good) == [(Level.OK, "all Pods that say so have it (0123456789abcdef)")]
    assert judged(a=good, b=other) == [(Level.WARNING, "b has another one in force")]
    assert judged(a=broken, b=good) == [(Level.ERROR, "a could not load it; what was in force before still is")]
    assert judged(a=FORBIDDEN) == []


def test_what_pods_do_not_say_is_one_line_for_each_reason() -> None:
    first, second, third = (f"moorage-865fd4f4c9-{number}" for number in "abc")
    heard: Heard = {name: Unseen("", f'pods "{name}" is forbidden', is_forbidden=True) for name in (first, second)} | {
        third: Unseen("", "hangs")
    }
    forbidden, hanging = judge_heard(heard)
    assert (forbidden.looked, forbidden.level) == (f"ops port of pods {first}, {second}", Level.WARNING)
    assert hanging.found == "cannot be looked at: hangs"
    (unready,) = judge_readiness({"a": Told(METRICS, ("tls the certificate has expired",))})
    assert (unready.level, unready.found) == (Level.ERROR, "it is not ready: tls the certificate has expired")


def test_the_ops_port_is_the_one_that_bears_its_name() -> None:
    def pod(*ports: Port) -> Pod:
        return Pod(spec=PodSpec([Container(ports=list(ports))]))

    assert ops_port(pod(Port("webhook", 8443), Port("ops", 9090))) == 9090
    assert ops_port(pod(Port("webhook", 8443))) == OPS


def test_a_configuration_is_fine_doubtful_broken_or_not_there() -> None:
    assert judge_problems((), ()).level is Level.OK
    assert judge_problems((), ("doubt", "more")).found == "doubt (and 1 more)"
    assert judge_problems(("m.yaml:1:1: wrong",), ()).found == "it cannot be used: m.yaml:1:1: wrong"
    missing = judge_missing("there is no configmap moorage in moorage-system")
    assert (missing.level, "use the example of the install" in missing.found) == (Level.ERROR, True)
    assert judge_no_configuration("no configmap moorage", was_asked=True).level is Level.ERROR
    unread = judge_no_configuration("configmaps is forbidden", was_asked=False)
    assert (unread.level, "as somebody who may" in unread.advice) == (Level.WARNING, True)
