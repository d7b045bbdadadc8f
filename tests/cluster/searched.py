"""What a cluster keeps of a run and shows to many, searched for the run's secrets: Events, and the logs of containers."""

import json

from tests.cluster.real.api import Api, ApiError, path_of
from tests.support.canary import search


def search_events(api: Api, namespace: str = "") -> None:
    """Search the Events of a namespace, or of all of them, as `kubectl get events` shows them."""
    for event in api.objects("Event", namespace):
        search(f"an Event in {event['metadata']['namespace']}", json.dumps(event, ensure_ascii=False))


def search_logs(api: Api, namespace: str) -> None:
    """Search what each container of a namespace has printed, and what it did before its last restart."""
    for pod in api.objects("Pod", namespace):
        name, status = pod["metadata"]["name"], pod["status"]
        for one in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            for previous in ("false", "true") if one["restartCount"] else ("false",):
                search(f"the log of {name}", _log(api, namespace, name, container=one["name"], previous=previous))


def _log(api: Api, namespace: str, pod: str, **which: str) -> str:
    try:
        return str(api.ask("GET", path_of("Pod", namespace, pod, "log"), **which).body)
    except ApiError as error:
        # One that has not started has said nothing, and what was there before may have been cleared away.
        if error.status not in {400, 404}:
            raise
        return ""
