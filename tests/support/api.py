"""Stands in for the API server where it must fail on demand: objects by path, selectors that select, versions that
conflict, and switches.

What it says of real objects is checked on a real control plane (tests/cluster).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import jsonpatch
import msgspec

from tests.support.canary import search
from webhook.kube import JSON_PATCH, Answer, ListBroke


class FakeApi:
    """Objects by path. `trouble` is said instead of any answer, `forbidden` are resources that this user may not read;
    `hold` keeps answers back until it is set, `hanging` are paths that get none; `admit` answers dry runs, as other webhooks and policies would have it."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.trouble: Answer | None = None
        self.forbidden: set[str] = set()
        self.hold: asyncio.Event | None = None
        self.hanging: set[str] = set()
        self.admit: Callable[[dict[str, Any]], Answer] = _admitted
        self._version = 0

    async def get(
        self, path: str, *, deadline: float, accept: str = "application/json", query: Mapping[str, str] | None = None
    ) -> Answer:
        self.asked.append(path)
        trouble = await self._trouble(deadline, path)
        if trouble is not None:
            return trouble
        if path in self.objects:
            return Answer(200, json.dumps(self.objects[path]).encode())
        if path.rpartition("/")[2] == "pods":
            found = self._selected(path, query or {})
            return Answer(200, json.dumps({"items": found[: int((query or {}).get("limit", "500"))]}).encode())
        return _status(404, f'{_resource(path)} "{path.rpartition("/")[2]}" not found')

    async def send(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """POST into a folder, PUT of a version that is still there, merge patches and JSON patches, DELETE."""
        self.asked.append(f"{method} {path}")
        if "/secrets" not in path:
            search("what is written to the API server", json.dumps(body))
        trouble = await self._trouble(deadline, path)
        if trouble is not None:
            return trouble
        if (query or {}).get("dryRun") == "All":
            return self.admit(json.loads(json.dumps(body)))
        place = path if method != "POST" else f"{path}/{_name(body['metadata'], self._version)}"
        there = self.objects.get(place)
        if (there is None) is not (method == "POST"):
            return Answer(409 if there is not None else 404)
        if method == "DELETE":
            wanted = body.get("preconditions", {}).get("uid")
            if wanted is not None and there is not None and wanted != there["metadata"]["uid"]:
                return Answer(409)
            del self.objects[place]
            return Answer(200, b"{}")
        if content_type == JSON_PATCH:
            new = body = jsonpatch.apply_patch(there, body)
        else:
            new = _merged(there, body) if method == "PATCH" else json.loads(json.dumps(body))
        given, uid = body["metadata"].get("resourceVersion"), body["metadata"].get("uid")
        if there is not None and uid is not None and uid != there["metadata"]["uid"]:
            return Answer(409)
        if there is not None and given is not None and given != there["metadata"]["resourceVersion"]:
            return Answer(409)
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        new["metadata"].setdefault("uid", f"uid-{self._version}" if there is None else there["metadata"].get("uid"))
        self.objects[place] = new
        return Answer(200, json.dumps(new).encode())

    async def pages(
        self, path: str, *, deadline: float, query: Mapping[str, str] | None = None, **_more: Any
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """A list in pages of two, whose items do not say what they are."""
        self.asked.append(path)
        trouble = await self._trouble(deadline, path)
        if trouble is not None:
            raise ListBroke(path, trouble)
        every = [
            {key: value for key, value in one.items() if key not in {"apiVersion", "kind"}}
            for one in self._selected(path, query or {})
        ]
        for start in range(0, len(every), 2):
            yield [msgspec.Raw(json.dumps(one).encode()) for one in every[start : start + 2]]

    async def _trouble(self, deadline: float, path: str) -> Answer | None:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(0)
                if self.hold is not None:
                    await self.hold.wait()
                if path in self.hanging:
                    await asyncio.Event().wait()
        except TimeoutError:
            return Answer(0, trouble="the API server did not answer in time")
        resource = _resource(path)
        if resource in self.forbidden:
            return _status(403, f'{resource} is forbidden: User "reader" cannot read resource "{resource}"')
        return self.trouble

    def _selected(self, folder: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """The objects of a folder: of one namespace, or of all."""
        group, _, kind = folder.rpartition("/")
        inside = "/namespaces/" in folder
        every = [
            one
            for path, one in sorted(self.objects.items())
            if (path.startswith(f"{folder}/") if inside else path.startswith(group) and path.split("/")[-2] == kind)
        ]
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        if not wanted:
            return every
        return [one for one in every if wanted.items() <= one["metadata"].get("labels", {}).items()]


def _admitted(pod: dict[str, Any]) -> Answer:
    """As it is."""
    name = {"name": f"{pod['metadata']['generateName']}x2x4z"}
    return Answer(201, json.dumps({**pod, "metadata": {**pod["metadata"], **name}}).encode())


def _status(code: int, message: str) -> Answer:
    return Answer(code, json.dumps({"kind": "Status", "apiVersion": "v1", "code": code, "message": message}).encode())


def _resource(path: str) -> str:
    """The resource of a path, as the API server names it: `deployments.apps`."""
    parts = path.split("/")[1:]
    group = parts[1] if parts[0] == "apis" and len(parts) > 1 else ""
    rest = parts[3:] if group else parts[2:]
    rest = rest[2:] if rest[:1] == ["namespaces"] and len(rest) > 2 else rest
    return ".".join(part for part in (*rest[:1], group) if part)


def _name(metadata: Mapping[str, Any], number: int) -> str:
    return str(metadata.get("name") or f"{metadata['generateName']}{number}")


def _merged(there: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(there) if isinstance(there, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
