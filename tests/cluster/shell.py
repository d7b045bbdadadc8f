"""A shell in a cluster of one's own, with a registry, a cache and Moorage at work: `make cluster`."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


class Thing(msgspec.Struct, frozen=True):
    """Something to try: what it shows, and the commands."""

    shows: str
    commands: tuple[str, ...]


THINGS: Final = (
    Thing(
        "A floating tag runs by its digest, from the node's own cache",
        ("kubectl create deployment app --image=$UPSTREAM/team/app:stable --replicas=2", "pods app"),
    ),
    Thing(
        "The template is as it was written; the digest stands on the ReplicaSet, for all Pods of this rollout",
        (
            "kubectl get replicasets -o jsonpath='{.items[*].spec.template.spec.containers[*].image}{\"\\n\"}'",
            "kubectl get replicasets -o jsonpath='{.items[*].metadata.annotations}{\"\\n\"}'",
        ),
    ),
    Thing(
        "The tag moves; Pods that are added run what the others run",
        (
            "crane tag --insecure $UPSTREAM/team/app:next stable",
            "kubectl scale deployment app --replicas=4",
            "pods app",
        ),
    ),
    Thing(
        "A restart is a new rollout: all Pods run the new build",
        ("kubectl rollout restart deployment app", "pods app"),
    ),
    Thing(
        "Undone, they run the old build again, though the tag names the new one",
        ("kubectl rollout undo deployment app", "pods app", "grep -h TagMoved $LOGS/webhook-*.log"),
    ),
    Thing(
        "The registry is lost, then every Moorage process restarted; Pods are added all the same",
        ("stop_upstream", "restart_moorage", "kubectl scale deployment app --replicas=6", "pods app", "start_upstream"),
    ),
    Thing(
        "What was decided and why, what the next Pods would get, and what the cluster itself says of them",
        (
            "kubectl get pods -l app=app -o jsonpath='{.items[0].metadata.annotations}{\"\\n\"}'",
            "moorage check deploy/app && moorage check deploy/app --server",
            "moorage explain $UPSTREAM/team/app:stable --owner deploy/app",
        ),
    ),
)

# kubectl's columns show Pods that are about to end as running.
_PODS: Final = """\
{{range .items}}{{if not .metadata.deletionTimestamp}}\
{{.metadata.name}}  {{.status.phase}}  {{(index .spec.containers 0).image}}
{{end}}{{end}}"""

# A stopped upstream refuses at once, as a machine does where the program does not run. What `restart_moorage` prints comes
# from the process that keeps Moorage, which opens the pipe when it has begun.
_PROFILE: Final = """\
PS1='(cluster) \\w\\$ '
pods() {{ kubectl rollout status deployment "$1" --timeout=60s > /dev/null && kubectl get pods -l app="$1" -o go-template-file={pods}; }}
stop_upstream() {{ iptables -I INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset; }}
start_upstream() {{ iptables -D INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset; }}
restart_moorage() {{ kill -USR1 {pid} && cat {pipe}; }}
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
        os.mkfifo(pipe := folder / "restarted")
        before = signal.signal(signal.SIGUSR1, lambda *_: _restart(started, pipe))
        (pods := folder / "pods.template").write_text(_PODS)
        port = upstream.host.rpartition(":")[2]
        (folder / "profile").write_text(_PROFILE.format(port=port, pid=os.getpid(), pipe=pipe, pods=pods))
        (folder / "bin").mkdir()
        (folder / "bin" / "crane").symlink_to(part("crane"))
        yield {
            "PATH": os.pathsep.join((str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])),
            "KUBECONFIG": str(plane.api.write_kubeconfig(folder / "kubeconfig", namespace=NAMESPACE)),
            "MOORAGE_CONFIG": str(folder / "moorage.yaml"),
            "UPSTREAM": upstream.host,
            "LOGS": str(folder / "logs"),
        }
        signal.signal(signal.SIGUSR1, before)


def shell(folder: Path) -> tuple[str, ...]:
    """The command that gives a shell with its helpers."""
    return ("bash", "--rcfile", str(folder / "profile"), "-i")


def greeting(upstream: str) -> str:
    """What is printed first."""
    lines = [
        f"Namespace {NAMESPACE}: images of {upstream} ($UPSTREAM) go through Moorage (3 processes) to {CACHE}.",
        "kubectl, crane and moorage are here; logs are in $LOGS; `exit` ends it all. Things to try, in this order:",
    ]
    for number, thing in enumerate(THINGS, 1):
        lines += ["", f"{number}. {thing.shows}:", *(f"     {command}" for command in thing.commands)]
    return "\n".join([*lines, ""])


def _restart(started: Webhooks, pipe: Path) -> None:
    # Whoever waits may go away.
    with suppress(BrokenPipeError), pipe.open("w", buffering=1) as out:
        for one in started:
            started.restart(one)
            out.write(f"{one.name} is back\n")


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
