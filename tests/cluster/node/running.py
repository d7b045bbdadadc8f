"""What Pods of the node really run, and the configuration under which they got it."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.upstream import Upstream


def plain(upstream: Upstream, *, resolving: Mapping[str, str] | None = None, **rule: Any) -> str:
    """A configuration for an upstream in the node's network."""
    registries = {upstream.host: {"plainHTTP": True, "credentials": ["anonymous"]}}
    return configuration(upstream.host, rule=rule, registries=registries, resolving=dict(resolving or {}))


def placed(repository: str, digest: str) -> str:
    """The name under which the node gets a build from its cache."""
    return f"{CACHE}/{repository}@{digest}"


def run_by(pods: Iterable[Any]) -> set[str]:
    """The images that the kubelet reports for Pods; their specifications must name the same."""
    found: set[str] = set()
    for pod in pods:
        reported = [one["imageID"] for one in pod["status"]["containerStatuses"]]
        assert reported == images_of(pod)
        found.update(reported)
    return found


def running(namespace: Namespace, app: str) -> dict[str, str]:
    """What each Pod of a workload runs, by its name; empty for one that does not run."""
    return {one["metadata"]["name"]: image_of(one) for one in namespace.objects("Pod", app=app)}


def image_of(pod: Any) -> str:
    """What the kubelet reports for a Pod's only container; empty if that does not run."""
    statuses = pod["status"].get("containerStatuses", ())
    return next((str(one["imageID"]) for one in statuses if "running" in one["state"]), "")
