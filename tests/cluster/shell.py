"""A shell in a cluster of one's own, with a registry, a cache and Moorage at work: `make cluster`."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trustme

from tests.cluster.account import make_account
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.node.cache import start_cache
from tests.cluster.real.node import ADDRESS, UPSTREAM, speaks_http
from tests.cluster.real.plane import Running
from tests.cluster.upstream import Upstream
from tests.cluster.webhook import Settings
from tests.cluster.webhooks import Webhooks, registered
from tests.parts import part

NAMESPACE: Final = "demo"
IMAGES: Final = "custom-columns=POD:.metadata.name,STATUS:.status.phase,IMAGE:.spec.containers[0].image"


class Thing(msgspec.Struct, frozen=True):
    """Something to try: what it shows, and the commands."""

    shows: str
    commands: tuple[str, ...]


THINGS: Final = (
    Thing(
        "A floating tag runs by its digest, from the node's own cache",
        (
            "kubectl create deployment app --image=$UPSTREAM/team/app:stable --replicas=3",
            "kubectl rollout status deployment app --timeout=60s && kubectl get pods -o $IMAGES",
        ),
    ),
    Thing(
        "The tag moves; a restart runs the new build",
        (
            "crane tag --insecure $UPSTREAM/team/app:next stable",
            "kubectl rollout restart deployment app",
            "kubectl rollout status deployment app --timeout=60s && kubectl get pods -o $IMAGES",
        ),
    ),
    Thing(
        "What was decided and why, what the next Pods would get, and what the cluster itself says of them",
        (
            "kubectl get pods -l app=app -o jsonpath='{.items[0].metadata.annotations}{\"\\n\"}'",
            "moorage check deploy/app && moorage check deploy/app --server",
            "moorage explain $UPSTREAM/team/app:stable --owner deploy/app",
        ),
    ),
    Thing(
        "The registry is lost; Pods start all the same",
        (
            "stop_upstream",
            "kubectl scale deployment app --replicas=6",
            "kubectl rollout status deployment app --timeout=60s && kubectl get pods -o $IMAGES",
            "start_upstream",
        ),
    ),
    Thing(
        "All three processes are restarted, one after the other, while Pods are created",
        (
            "restart_moorage",
            "kubectl scale deployment app --replicas=9",
            "kubectl rollout status deployment app --timeout=60s && kubectl get pods -o $IMAGES",
        ),
    ),
)

# A stopped upstream refuses at once, as a machine does where the program does not run.
_PROFILE: Final = """\
PS1='(cluster) \\w\\$ '
stop_upstream() {{ iptables -I INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset; }}
start_upstream() {{ iptables -D INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset; }}
restart_moorage() {{ kill -USR1 {pid}; }}
"""


@contextmanager
def at_work(plane: Running, upstream: Upstream, folder: Path) -> Iterator[Mapping[str, str]]:
    """Moorage for a namespace, and builds to pull; yields what a shell is told."""
    for tag in ("stable", "next"):
        upstream.push("team/app", tag)
    plane.api.create({"kind": "Namespace", "metadata": {"name": NAMESPACE}})
    registries = {upstream.host: {"plainHTTP": True, "credentials": ["anonymous"]}}
    account = make_account(plane, NAMESPACE, folder)
    settings = Settings(
        configuration(upstream.host, registries=registries), account.kubeconfig, failure_policy="Ignore"
    )
    authority = trustme.CA()
    with (
        Webhooks.running(3, folder, settings, authority) as started,
        registered(plane.api, NAMESPACE, started.url, settings, authority),
    ):
        signal.signal(signal.SIGUSR1, lambda *_: _restart(started))
        (folder / "profile").write_text(_PROFILE.format(port=upstream.host.rpartition(":")[2], pid=os.getpid()))
        (folder / "bin").mkdir()
        (folder / "bin" / "crane").symlink_to(part("crane"))
        yield {
            "PATH": os.pathsep.join((str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])),
            "KUBECONFIG": str(plane.api.write_kubeconfig(folder / "kubeconfig", namespace=NAMESPACE)),
            "MOORAGE_CONFIG": str(folder / "moorage.yaml"),
            "UPSTREAM": upstream.host,
            "IMAGES": IMAGES,
            "LOGS": str(folder / "logs"),
        }


def shell(folder: Path) -> tuple[str, ...]:
    """The command that gives a shell with its helpers."""
    return ("bash", "--rcfile", str(folder / "profile"), "-i")


def greeting(upstream: str) -> str:
    """What is printed first."""
    lines = [
        f"Namespace {NAMESPACE}: images of {upstream} ($UPSTREAM) go through Moorage (3 processes) to {CACHE}.",
        "kubectl, crane and moorage are here; logs are in $LOGS; `exit` ends it all. Things to try:",
    ]
    for number, thing in enumerate(THINGS, 1):
        lines += ["", f"{number}. {thing.shows}:", *(f"     {command}" for command in thing.commands)]
    return "\n".join([*lines, ""])


def _restart(started: Webhooks) -> None:
    for one in started:
        started.restart(one)
        sys.stderr.write(f"{one.name} is back\n")


def main() -> None:
    """Start all of it and hand over."""
    plane = Running.around(os.environ)
    with tempfile.TemporaryDirectory(prefix="moorage-cluster-") as name:
        folder = Path(name)
        program = part("pause").read_bytes()
        with Upstream.running(folder, address=ADDRESS, name=UPSTREAM, program=program) as upstream:
            speaks_http(plane.folder, upstream.host)
            start_cache(plane, upstream.proxy.host)
            with at_work(plane, upstream, folder) as told:
                sys.stdout.write(greeting(upstream.host))
                sys.stdout.flush()
                subprocess.run(shell(folder), env={**os.environ, **told}, check=False)


if __name__ == "__main__":
    main()
