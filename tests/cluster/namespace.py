"""One test's namespace: what users do in it, with the API or kubectl, and what they then see."""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster.real.api import MERGE, Answer, Api
from tests.support.until import until

_KUBECTL: Final = Path(sys.executable).with_name("kubectl")


class KubectlFailed(RuntimeError):
    """kubectl ended with an error; the message holds what it said."""


class Namespace:
    """Objects of one namespace."""

    def __init__(self, api: Api, name: str, kubeconfig: Path, home: Path) -> None:
        self.api = api
        self.name = name
        self.kubeconfig = kubeconfig
        self._home = home

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Answer:
        """Create an object here."""
        metadata = {**manifest["metadata"], "namespace": self.name}
        return self.api.create({**manifest, "metadata": metadata}, dry_run=dry_run)

    def get(self, kind: str, name: str) -> Any:
        """An object."""
        return self.api.get(kind, name, self.name)

    def find(self, kind: str, name: str) -> Any | None:
        """An object; None where there is none of the name."""
        return self.api.find(kind, name, self.name)

    def objects(self, kind: str, *, app: str = "") -> list[Any]:
        """The objects of a kind that are not about to go; with `app` those of this workload."""
        found = self.api.objects(kind, self.name, labels=f"app={app}" if app else "")
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def patch(self, kind: str, name: str, patch: Any, *, subresource: str = "", content_type: str = MERGE) -> Answer:
        """Change an object: by a merge patch unless said otherwise."""
        return self.api.patch(kind, name, patch, self.name, subresource=subresource, content_type=content_type)

    def delete(self, kind: str, name: str, **options: Any) -> None:
        """Delete an object."""
        self.api.delete(kind, name, self.name, **options)

    def scale(self, kind: str, name: str, replicas: int) -> None:
        """What `kubectl scale` does."""
        self.patch(kind, name, {"spec": {"replicas": replicas}}, subresource="scale")

    def kubectl(self, *words: str, given: str = "", fine: Iterable[int] = (0,)) -> str:
        """What kubectl prints on both streams; `given` is its standard input.

        Raises:
            KubectlFailed: it ended with another code than those that are `fine`.
        """
        done = subprocess.run(
            self._command(*words),
            input=given,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environ,
            timeout=60,
            check=False,
        )
        if done.returncode not in fine:
            raise KubectlFailed(f"kubectl {' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    @contextmanager
    def forwarded(self, to: str, port: int) -> Iterator[int]:
        """A port of loopback that `kubectl port-forward` leads to a Pod's, until the end of the block."""
        command = self._command("port-forward", to, f":{port}")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environ
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                found = re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+\n", line)
                if found is None:
                    raise KubectlFailed(f"kubectl port-forward {to}: {line}")
                yield int(found[1])
            finally:
                process.terminate()

    def _command(self, *words: str) -> list[str | Path]:
        return [_KUBECTL, "--kubeconfig", self.kubeconfig, "--namespace", self.name, *words]

    @property
    def _environ(self) -> dict[str, str]:
        return {"HOME": str(self._home), "PATH": "/usr/bin:/bin"}

    def await_rollout(self, kind: str, name: str, *, seconds: float = 60) -> None:
        """Until a Deployment, StatefulSet or DaemonSet has exactly the Pods it wants, new and ready."""
        until(f"{kind} {name} is rolled out", lambda: _is_rolled_out(self.get(kind, name)), seconds=seconds)

    def await_pods(self, app: str, count: int, *, seconds: float = 60) -> list[Any]:
        """The Pods of a workload, once there are so many that are ready."""

        def ready() -> list[Any]:
            pods = [one for one in self.objects("Pod", app=app) if is_ready(one)]
            return pods if len(pods) == count else []

        return until(f"{app} has {count} ready Pods", ready, seconds=seconds)

    def await_job(self, name: str, *, seconds: float = 60) -> None:
        """Until a Job is complete."""

        def complete() -> bool:
            conditions = self.get("Job", name)["status"].get("conditions", ())
            return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)

        until(f"Job {name} is complete", complete, seconds=seconds)

    def images(self, app: str) -> list[str]:
        """What the containers of a workload's Pods are to run, each image once."""
        return sorted({image for one in self.objects("Pod", app=app) for image in images_of(one)})


def images_of(pod: Any) -> list[str]:
    """The images of a Pod's containers, in order."""
    return [container["image"] for container in pod["spec"]["containers"]]


def is_ready(pod: Any) -> bool:
    """Whether a Pod says that it is ready."""
    conditions = pod["status"].get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_rolled_out(workload: Any) -> bool:
    spec, status = workload["spec"], workload["status"]
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return False
    if workload["kind"] == "DaemonSet":
        wanted, counts = status["desiredNumberScheduled"], ["updatedNumberScheduled", "numberReady"]
    else:
        wanted, counts = spec["replicas"], ["replicas", "updatedReplicas", "readyReplicas"]
    return all(status.get(count, 0) == wanted for count in counts)
