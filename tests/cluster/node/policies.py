"""What the node's CNI lacks: an agent that enforces network policies, and something beyond the node to be kept from."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.cluster.account import made_account
from tests.cluster.namespace import Namespace
from tests.cluster.real.plane import NODE, Running
from tests.cluster.real.processes import Processes
from tests.parts import part
from webhook.access import SERVICE_ACCOUNT

_READS: Final[Sequence[dict[str, Any]]] = (
    {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
)
_AS_IN_A_POD: Final = (
    f'set -e; mount -t tmpfs tmpfs /run; mkdir -p {SERVICE_ACCOUNT}; cp "$1"/* {SERVICE_ACCOUNT}; shift; exec "$@"'
)

LISTEN: Final = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for port in sys.argv[1:]:
    chosen.register(socket.create_server(("0.0.0.0", int(port)), backlog=64), selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in chosen.select():
        key.fileobj.accept()[0].close()
"""
"""A program that takes connections at the ports that it is given."""
_DIAL: Final = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def reached(text):
    host, _, port = text.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True
with ThreadPoolExecutor(32) as threads:
    for text, is_reached in zip(sys.argv[1:], threads.map(reached, sys.argv[1:])):
        if is_reached:
            print(text)
"""

BEYOND: Final = "beyond"
_PODS: Final = "10.89.0.0/16"
_QUEUE: Final = "100"
# The agent hands connections to itself by nftables, whose `queue` not every kernel has: iptables can do the same.
_ASKED: Final = f"""\
*mangle
-A POSTROUTING -m owner --uid-owner 0 -j RETURN
-A POSTROUTING -s {_PODS} -m conntrack --ctstate NEW -j NFQUEUE --queue-num {_QUEUE}
-A POSTROUTING -d {_PODS} -m conntrack --ctstate NEW -j NFQUEUE --queue-num {_QUEUE}
COMMIT
"""


@contextmanager
def enforced(plane: Running, folder: Path) -> Iterator[None]:
    """Network policies are enforced between Pods, and between them and what is beyond the node; what comes from the node
    itself, or goes to its own addresses, this agent lets be."""
    account = made_account(plane, "network-policies", folder, _READS)
    server = urlsplit(plane.api.url)
    environ = (f"KUBERNETES_SERVICE_HOST={server.hostname}", f"KUBERNETES_SERVICE_PORT={server.port}")
    own_mounts = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _AS_IN_A_POD, "sh", account.mounted)
    with Processes.ended_after(plane.logs) as processes:
        processes.run(
            *("network-policies", "env", *environ, *own_mounts, part("network-policies")),
            *(f"--hostname-override={NODE}", f"--nfqueue-id={_QUEUE}", "--metrics-bind-address=127.0.0.1:0", "--v=2"),
        )
        _iptables(_ASKED)
        try:
            yield
        finally:
            _iptables(_ASKED.replace("-A ", "-D "))


@contextmanager
def beyond(plane: Running, addresses: Sequence[str], ports: Sequence[int]) -> Iterator[None]:
    """A machine beyond the node that listens at these ports of these addresses."""
    routes = "".join(f"route add {address}/32 dev beyond0\n" for address in addresses)
    batch = (
        f"netns add {BEYOND}\nlink add beyond0 type veth peer name beyond1\nlink set beyond1 netns {BEYOND}\n"
        f"address add 10.90.0.1/24 dev beyond0\nlink set beyond0 up\n{routes}"
    )
    inside = "".join(f"address add {address}/32 dev beyond1\n" for address in addresses)
    _ip(batch)
    try:
        _ip(
            f"link set lo up\naddress add 10.90.0.2/24 dev beyond1\nlink set beyond1 up\n{inside}"
            "route add default via 10.90.0.1\n",
            "-n",
            BEYOND,
        )
        with Processes.ended_after(plane.logs) as processes:
            listen = (sys.executable, "-c", LISTEN, *map(str, ports))
            processes.run("beyond", "ip", "netns", "exec", BEYOND, *listen)
            log = plane.logs / "beyond.log"
            processes.wait("it listens", lambda: "listening" in log.read_text())
            yield
    finally:
        _ip(f"netns delete {BEYOND}\n")


def reached(namespace: Namespace, pod: str, *places: str) -> set[str]:
    """Which of these HOST:PORT a Pod of Moorage's image gets a connection to."""
    return {*namespace.kubectl("exec", pod, "--", "python3", "-c", _DIAL, *places).split()}


def _iptables(rules: str) -> None:
    subprocess.run(["iptables-restore", "--noflush", "--wait"], input=rules, text=True, check=True, timeout=10)


def _ip(batch: str, *options: str) -> None:
    subprocess.run(["ip", *options, "-batch", "-"], input=batch, text=True, check=True, timeout=10)
