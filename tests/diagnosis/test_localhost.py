"""Targets at localhost:PORT: who listens there, and what kube-proxy makes of it."""

from typing import Any

import pytest

from webhook.core.targets import Target
from webhook.diagnosis.finding import Level
from webhook.diagnosis.localhost import (
    Port,
    Proxy,
    behind,
    judge,
    listening,
    of_cilium,
    of_configuration,
    of_flags,
    ports_of,
)
from webhook.diagnosis.shapes import (
    Address,
    Container,
    Metadata,
    PodSpec,
    Service,
    ServiceSpec,
    Template,
    Workload,
    WorkloadSpec,
)
from webhook.diagnosis.shapes import Port as OfContainer


def daemon_set(*ports: OfContainer, host: bool = False, words: tuple[str, ...] = (), **labels: str) -> Workload:
    container = Container("agent", ports=list(ports), command=list(words))
    template = Template(Metadata(labels=labels), PodSpec([container], host_network=host))
    return Workload(Metadata("agent", "kraken"), WorkloadSpec(template=template))


SERVICE = Service(
    Metadata("agent", "kraken"), ServiceSpec("NodePort", ports=[Address("", 80, 30081)], selector={"app": "agent"})
)


def test_ports_are_those_of_targets_on_loopback_under_each_of_its_names() -> None:
    hosts = ("localhost:30081", "127.0.0.1:30082", "localhost:30081", "registry.example.com:5000", "localhost")
    assert ports_of(map(Target.of_host, hosts)) == {30081: "localhost:30081", 30082: "127.0.0.1:30082"}


def test_who_listens_there() -> None:
    on_host, in_network = daemon_set(OfContainer("", 8081, 30082)), daemon_set(OfContainer("", 30083), host=True)
    found = list(listening({30081: "a", 30082: "b", 30083: "c", 30084: "d"}, [SERVICE], [on_host, in_network]))
    assert [(one.number, one.services, one.on_host) for one in found] == [
        (30081, (SERVICE,), ()),
        (30082, (), (on_host,)),
        (30083, (), (in_network,)),
        (30084, (), ()),
    ]


def test_daemon_sets_behind_a_service_are_those_that_it_selects() -> None:
    agent, other = daemon_set(app="agent", tier="x"), daemon_set(app="other")
    assert list(behind([SERVICE], [agent, other])) == [agent]
    assert list(behind([Service(Metadata("s", "kraken"))], [agent])) == []


@pytest.mark.parametrize(
    ("document", "proxy"),
    [
        ({"mode": "iptables"}, Proxy("iptables", where="it")),
        ({"mode": ""}, Proxy("iptables", where="it")),  # kubeadm's default file; v1.36, cmd/kube-proxy
        ({"mode": None}, Proxy("iptables", where="it")),
        ({"mode": "ipvs"}, Proxy("ipvs", where="it")),
        (
            {"mode": "iptables", "iptables": {"localhostNodePorts": False}},
            Proxy("iptables", localhost=False, where="it"),
        ),
        ({"iptables": {"localhostNodePorts": None}}, Proxy("iptables", where="it")),
        ([], Proxy()),
    ],
)
def test_the_mode_is_read_out_of_kube_proxys_configuration(document: Any, proxy: Proxy) -> None:
    assert of_configuration(document, "it") == proxy


@pytest.mark.parametrize(
    ("words", "mode", "localhost"),
    [
        (("kube-proxy", "--proxy-mode=ipvs"), "ipvs", True),
        (("/bin/sh", "-c", "kube-proxy --proxy-mode=iptables --iptables-localhost-nodeports=false"), "iptables", False),
        (("kube-proxy", "--config=/x"), "", True),
    ],
)
def test_or_out_of_its_flags(words: tuple[str, ...], mode: str, localhost: bool) -> None:
    found = of_flags(daemon_set(words=words))
    assert (found.mode, found.localhost) == (mode, localhost)


@pytest.mark.parametrize(("value", "mode"), [("true", "cilium"), ("strict", "cilium"), ("false", ""), ("probe", "")])
def test_cilium_stands_in_for_it_where_it_says_so(value: str, mode: str) -> None:
    assert of_cilium({"kube-proxy-replacement": value}).mode == mode


@pytest.mark.parametrize(
    ("port", "proxy", "level"),
    [
        (Port(1, "t", (SERVICE,)), Proxy("iptables"), Level.OK),
        (Port(1, "t", (SERVICE,)), Proxy("iptables", localhost=False), Level.ERROR),
        (Port(1, "t", (SERVICE,)), Proxy("ipvs"), Level.ERROR),
        (Port(1, "t", (SERVICE,)), Proxy("nftables"), Level.ERROR),
        (Port(1, "t", (SERVICE,)), Proxy("cilium"), Level.OK),
        (Port(1, "t", (SERVICE,)), Proxy("kernelspace"), Level.WARNING),
        (Port(1, "t", (SERVICE,)), Proxy(), Level.WARNING),
        (Port(1, "t", (), (daemon_set(),)), Proxy("ipvs"), Level.OK),
        (Port(1, "t", (SERVICE,), (daemon_set(),)), Proxy("ipvs"), Level.OK),
        (Port(1, "t"), Proxy("iptables"), Level.WARNING),
    ],
)
def test_localhost_has_node_ports_in_the_mode_iptables_only(port: Port, proxy: Proxy, level: Level) -> None:
    found = judge(port, proxy)
    assert found.level is level, found
    assert bool(found.advice) == (level is not Level.OK)
