"""A whole cluster: the control plane and one node with containerd, kubelet and kube-proxy, in namespaces of its own."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.real.image import Image
from tests.cluster.real.kwok import ready_nodes
from tests.cluster.real.plane import NODE, SERVICES, Running, start_apiserver, start_controllers
from tests.cluster.real.processes import Processes
from tests.parts import part

FOLDER: Final = Path("/run/moorage-cluster")
ADDRESS: Final = "10.88.0.1"
"""The node's own: Pods and the node itself reach each other's ports there."""
UPSTREAM: Final = "registry.test"
"""A name of that address, so that images read like images."""

_HERE: Final = Path(__file__).parent
_PLACES: Final = (
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
"""Where the node's programs write, whatever they are told: mounted from the cluster's own folder."""

_KERNEL: Final[Mapping[str, int]] = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""The kubelet insists on these settings, which are the whole machine's: it is shown files that say so."""

_NETWORK: Final = f"""
link set lo up
link add node0 type veth peer name node0-peer
address add {ADDRESS}/24 dev node0
link set node0-peer up
link set node0 up
route add {SERVICES} dev node0
"""
"""Routes to the node and to Services, and no others: calls to anywhere else fail at once."""


@contextmanager
def cluster(cgroup: str, *, logs: Path | None = None) -> Iterator[Running]:
    """A cluster with a Ready node. Wants the namespaces of `namespaces.py`; the cgroup is the caller's to remove."""
    folder = FOLDER
    _make_places(folder)
    subprocess.run(["ip", "-batch", "-"], input=_NETWORK, text=True, check=True, timeout=10)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with Processes.ended_after(logs or folder / "logs") as processes:
        processes.run("containerd", "containerd", f"--config={folder}/settings/containerd.toml")
        processes.wait("containerd answers", _containerd_answers)
        Image.make(part("pause").read_bytes()).load("localhost/pause:1")
        api = start_apiserver(
            processes,
            folder,
            ADDRESS,
            (
                f"--kubelet-client-key={folder}/kubelet-client.key",
                f"--kubelet-client-certificate={folder}/kubelet-client.crt",
                "--kubelet-preferred-address-types=InternalIP",
            ),
        )
        try:
            _start_node(processes, folder, cgroup)
            start_controllers(processes, folder, api)
            processes.wait("the node is Ready", lambda: NODE in ready_nodes(api))
            yield Running(api, folder, processes.logs)
        finally:
            api.close()


def speaks_http(folder: Path, host: str) -> None:
    """Let containerd reach a registry without TLS, as it does localhost by itself; it looks at each pull."""
    place = folder / "settings" / "certs.d" / host
    place.mkdir(parents=True)
    (place / "hosts.toml").write_text(
        f'server = "http://{host}"\n[host."http://{host}"]\ncapabilities = ["pull", "resolve"]\n'
    )


def _start_node(processes: Processes, folder: Path, cgroup: str) -> None:
    processes.run(
        "kubelet",
        part("cluster"),
        "kubelet",
        f"--config={folder}/settings/kubelet.yaml",
        f"--kubeconfig={folder}/kubelet.kubeconfig",
        f"--hostname-override={NODE}",
        f"--node-ip={ADDRESS}",
        f"--cgroup-root=/{cgroup}",
    )
    processes.run("proxy", part("cluster"), "proxy", f"--config={folder}/settings/proxy.yaml")


def _make_places(folder: Path) -> None:
    """Mount memory at the folder, and parts of it where the node's programs write."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=0755", "moorage", folder)
    shutil.copytree(_HERE / "settings", folder / "settings")
    for place in map(Path, _PLACES):
        place.mkdir(parents=True, exist_ok=True)
        own = folder / "private" / place.relative_to("/")
        own.mkdir(parents=True)
        _mount("--bind", own, place)
    for name, value in _KERNEL.items():
        _show(folder, f"{value}\n", Path("/proc/sys", name))
    _show(folder, f"127.0.0.1 localhost\n{ADDRESS} {UPSTREAM}\n", Path("/etc/hosts"))


def _show(folder: Path, text: str, place: Path) -> None:
    """A text instead of what a file of the machine says."""
    own = folder / "private" / place.relative_to("/")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(text)
    _mount("--bind", own, place)


def _containerd_answers() -> bool:
    asked = subprocess.run(["ctr", "--connect-timeout=1s", "version"], capture_output=True, timeout=10, check=False)
    return asked.returncode == 0


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True, timeout=10)
