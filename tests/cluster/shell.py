"""A shell in a cluster of one's own, with a registry, a cache and Moorage installed: `make cluster`."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.node.cache import start_cache
from tests.cluster.node.installing import Moorage
from tests.cluster.process import SCRIPTS
from tests.cluster.real.node import ADDRESS, UPSTREAM, speaks_http
from tests.cluster.real.plane import Running
from tests.cluster.upstream import Upstream
from tests.deploy.manifests import KUBECTL
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
        ("kubectl rollout undo deployment app", "pods app", "moorage_said | grep TagMoved"),
    ),
    Thing(
        "The registry is lost, then every Moorage process restarted; Pods are added all the same",
        (
            "stop_upstream",
            "kubectl -n moorage-system rollout restart deployment moorage",
            "kubectl -n moorage-system rollout status deployment moorage --timeout=2m",
            "kubectl scale deployment app --replicas=6",
            "pods app",
            "start_upstream",
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
        "Moorage is uninstalled; Pods run on, and the next ones get what their template says",
        (
            "kubectl delete --ignore-not-found -k $INSTALL",
            "pods app",
            "kubectl create deployment plain --image=$UPSTREAM/team/app:stable",
            "pods plain",
        ),
    ),
)

# kubectl's columns show Pods that are about to end as running.
_PODS: Final = """\
{{range .items}}{{if not .metadata.deletionTimestamp}}\
{{.metadata.name}}  {{.status.phase}}  {{(index .spec.containers 0).image}}
{{end}}{{end}}"""

# A stopped upstream refuses at once, as a machine does where the program does not run.
_PROFILE: Final = """\
PS1='(cluster) \\w\\$ '
pods() {{ kubectl rollout status deployment "$1" --timeout=60s > /dev/null && kubectl get pods -l app="$1" -o go-template-file={pods}; }}
moorage_said() {{ kubectl -n moorage-system logs -l app.kubernetes.io/component=server --tail=-1; }}
stop_upstream() {{ iptables -I INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset; }}
start_upstream() {{ iptables -D INPUT -p tcp --dport {port} -j REJECT --reject-with tcp-reset; }}
"""


@contextmanager
def at_work(plane: Running, upstream: Upstream, folder: Path) -> Iterator[Mapping[str, str]]:
    """Moorage for a namespace, and builds to pull; yields what a shell is told."""
    for tag in ("stable", "next"):
        upstream.push("team/app", tag)
    plane.api.create({"kind": "Namespace", "metadata": {"name": NAMESPACE}})
    registries = {upstream.host: {"plainHTTP": True, "credentials": ["anonymous"]}}
    install = folder / "install"
    with Moorage.installed(plane, upstream, install, configuration(upstream.host, registries=registries)):
        (pods := folder / "pods.template").write_text(_PODS)
        port = upstream.host.rpartition(":")[2]
        (folder / "profile").write_text(_PROFILE.format(port=port, pods=pods))
        (folder / "bin").mkdir()
        for name, program in (("crane", part("crane")), ("kubectl", KUBECTL), ("moorage", SCRIPTS / "moorage")):
            (folder / "bin" / name).symlink_to(program)
        yield {
            "PATH": os.pathsep.join((str(folder / "bin"), os.environ["PATH"])),
            "KUBECONFIG": str(plane.api.write_kubeconfig(folder / "kubeconfig", namespace=NAMESPACE)),
            "MOORAGE_CONFIG": str(install / "moorage.yaml"),
            "UPSTREAM": upstream.host,
            "INSTALL": str(install),
        }


def shell(folder: Path) -> tuple[str, ...]:
    """The command that gives a shell with its helpers."""
    return ("bash", "--rcfile", str(folder / "profile"), "-i")


def greeting(upstream: str) -> str:
    """What is printed first."""
    lines = [
        f"Moorage is installed by `kubectl apply -k $INSTALL`: 3 Pods in moorage-system, which move images of {upstream}",
        f"($UPSTREAM) to {CACHE}. You are in namespace {NAMESPACE}; kubectl, crane and moorage are here; `exit` ends it all.",
        "Things to try, in this order:",
    ]
    for number, thing in enumerate(THINGS, 1):
        lines += ["", f"{number}. {thing.shows}:", *(f"     {command}" for command in thing.commands)]
    return "\n".join([*lines, ""])


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
