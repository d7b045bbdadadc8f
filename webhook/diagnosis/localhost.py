"""Whether targets at localhost:PORT can be reached by nodes: who listens there, and what kube-proxy does with it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from webhook.core.targets import Target, is_loopback
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, fine, unseen, wrong
from webhook.diagnosis.shapes import Service, Workload

_FLAG: Final = re.compile(r"--proxy-mode[= ](\S+)")
_LOCALHOST_FLAG: Final = re.compile(r"--iptables-localhost-nodeports[= ](\S+)")
_CILIUM: Final = frozenset({"true", "strict"})


class Proxy(msgspec.Struct, frozen=True):
    """What serves Services on the nodes. `mode` as kube-proxy writes it, or `cilium`; empty where nothing says so.
    `localhost` whether NodePorts are served on localhost, in the mode iptables; `where` says who told."""

    mode: str = ""
    localhost: bool = True
    where: str = ""


class Port(msgspec.Struct, frozen=True):
    """A port of the node's loopback that a target names, and who listens there."""

    number: int
    target: str
    services: tuple[Service, ...] = ()
    on_host: tuple[Workload, ...] = ()


def ports_of(targets: Iterable[Target]) -> dict[int, str]:
    """Ports of the nodes' loopback that Pods are sent to, and the target that names each first."""
    found: dict[int, str] = {}
    for target in targets:
        _, colon, port = target.place.host.rpartition(":")
        if colon and port.isdigit() and is_loopback(target.place.host):
            found.setdefault(int(port), target.name)
    return found


def listening(ports: Mapping[int, str], services: Iterable[Service], daemon_sets: Iterable[Workload]) -> Iterator[Port]:
    """Who listens at each: Services with this NodePort, and DaemonSets with this port of the host."""
    services, daemon_sets = list(services), list(daemon_sets)
    for number, target in ports.items():
        yield Port(
            number,
            target,
            tuple(one for one in services if any(port.node_port == number for port in one.spec.ports or ())),
            tuple(one for one in daemon_sets if number in _host_ports(one)),
        )


def _host_ports(one: Workload) -> set[int]:
    spec = one.spec.template.spec
    ports = [port for container in spec.containers for port in container.ports or ()]
    own = {port.host_port for port in ports if port.host_port}
    return own | {port.container_port for port in ports if spec.host_network}


def of_configuration(document: Any, where: str) -> Proxy:
    """From kube-proxy's own configuration; it takes iptables for nothing (v1.36, cmd/kube-proxy)."""
    if not isinstance(document, Mapping):
        return Proxy()
    tables = document.get("iptables")
    localhost = tables.get("localhostNodePorts") if isinstance(tables, Mapping) else None
    return Proxy(str(document.get("mode") or "iptables"), str(localhost).lower() != "false", where)


def of_flags(workload: Workload) -> Proxy:
    """From the flags of its Pods, where they name a mode."""
    words = " ".join(workload.words)
    mode, localhost = _FLAG.search(words), _LOCALHOST_FLAG.search(words)
    if mode is None:
        return Proxy()
    return Proxy(
        mode[1].strip("\"'"), localhost is None or localhost[1].lower() != "false", f"daemonset {workload.shown}"
    )


def of_cilium(data: Mapping[str, str]) -> Proxy:
    """From Cilium's configuration, where it stands in for kube-proxy."""
    is_on = data.get("kube-proxy-replacement", "").lower() in _CILIUM
    return Proxy("cilium", where="configmap cilium-config in kube-system") if is_on else Proxy()


def judge(port: Port, proxy: Proxy) -> Finding:
    """Whether a node that pulls from localhost:PORT finds somebody there."""
    looked = f"localhost:{port.number} on nodes (target {port.target})"
    if port.on_host:
        return fine(Check.LOCALHOST, looked, f"daemonset {port.on_host[0].shown} listens on the host itself")
    if not port.services:
        return doubtful(
            Check.LOCALHOST,
            looked,
            "nothing in this cluster is known to listen there: no Service with this NodePort, no DaemonSet with this "
            "port of the host",
            "install the cache, or correct the port; where nodes run it outside of Kubernetes all is well",
        )
    service = f"NodePort of service {port.services[0].shown}"
    return _of_node_port(looked, service, proxy)


def _of_node_port(looked: str, service: str, proxy: Proxy) -> Finding:
    host_port = "give the cache a hostPort, which works in every mode, or use kube-proxy's mode iptables"
    match proxy.mode:
        case "cilium":
            return fine(Check.LOCALHOST, looked, f"{service}, which Cilium serves on localhost too")
        case "iptables" if proxy.localhost:
            return fine(Check.LOCALHOST, looked, f"{service}; kube-proxy's mode is iptables")
        case "iptables":
            return wrong(
                Check.LOCALHOST,
                looked,
                f"{service}, but kube-proxy does not serve NodePorts on localhost ({proxy.where})",
                f"set iptables.localhostNodePorts: true, or {host_port}",
            )
        case "":
            return doubtful(
                Check.LOCALHOST,
                looked,
                f"{service}, which localhost has in kube-proxy's mode iptables only; nothing says which mode it is in",
                "kubectl -n kube-system logs ds/kube-proxy | grep -i proxier",
            )
        case "kernelspace":
            return doubtful(Check.LOCALHOST, looked, f"{service}; nobody tried this on Windows", host_port)
        case mode:
            return wrong(
                Check.LOCALHOST,
                looked,
                f"{service}, but kube-proxy's mode is {mode} ({proxy.where}), in which localhost has no NodePorts",
                host_port,
            )


def unlooked(one: Unseen) -> Finding:
    """Who listens could not be seen."""
    return unseen(Check.LOCALHOST, one)


def behind(services: Sequence[Service], daemon_sets: Iterable[Workload]) -> Iterator[Workload]:
    """DaemonSets whose Pods a Service leads to."""
    for one in daemon_sets:
        labels = one.spec.template.metadata.labels or {}
        for service in services:
            wanted = service.spec.selector or {}
            if wanted and one.metadata.namespace == service.metadata.namespace and wanted.items() <= labels.items():
                yield one
                break
