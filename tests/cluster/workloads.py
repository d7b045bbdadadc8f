"""Manifests of workloads with an image or more, and nothing else that a test would have to look at."""

from collections.abc import Mapping
from typing import Any

Manifest = dict[str, Any]


def pod(name: str, *images: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Manifest:
    """A Pod with a container an image, named c0, c1 and so on."""
    return {
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {"app": name})},
        "spec": _pod(images, spec),
    }


def deployment(name: str, *images: str, replicas: int = 1, **pod_spec: Any) -> Manifest:
    """A Deployment whose Pods are labelled `app: NAME`."""
    return _workload("Deployment", name, replicas=replicas, **_template(name, images, pod_spec))


def replica_set(name: str, *images: str, replicas: int = 1, **pod_spec: Any) -> Manifest:
    """A ReplicaSet that no Deployment owns."""
    return _workload("ReplicaSet", name, replicas=replicas, **_template(name, images, pod_spec))


def stateful_set(name: str, *images: str, replicas: int = 1, **pod_spec: Any) -> Manifest:
    """A StatefulSet that starts its Pods all at once."""
    more = {"replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel"}
    return _workload("StatefulSet", name, **more, **_template(name, images, pod_spec))


def daemon_set(name: str, *images: str, **pod_spec: Any) -> Manifest:
    """A DaemonSet: a Pod a node."""
    return _workload("DaemonSet", name, **_template(name, images, pod_spec))


def job(name: str, *images: str, **spec: Any) -> Manifest:
    """A Job; `spec` is its own, as parallelism, completions or suspend."""
    return _workload("Job", name, template={"spec": _pod(images, {"restartPolicy": "Never"})}, **spec)


def cron_job(name: str, *images: str, schedule: str = "0 0 1 1 *", **spec: Any) -> Manifest:
    """A CronJob, which by itself will not run within a test: `kubectl create job --from=cronjob/NAME` lets it."""
    return _workload("CronJob", name, schedule=schedule, jobTemplate={"spec": job(name, *images, **spec)["spec"]})


def _workload(kind: str, name: str, **spec: Any) -> Manifest:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def _template(name: str, images: tuple[str, ...], pod_spec: Mapping[str, Any]) -> Manifest:
    labels = {"app": name}
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": _pod(images, pod_spec)},
    }


def _pod(images: tuple[str, ...], spec: Mapping[str, Any]) -> Manifest:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {"containers": containers, "terminationGracePeriodSeconds": 1, **spec}
