"""Stands in for the API server where it must fail on demand: objects by path, selectors that select, versions that
conflict, and switches.

What it says of real objects is checked on a real control plane (tests/cluster).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from webhook.kube import Answer, ListBroke


class FakeApi:
    """Objects by path. `trouble` is said instead of any answer, `hold` keeps answers back until it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.trouble: Answer | None = None
        self.hold: asyncio.Event | None = None
        self._version = 0

    async def get(
        self, path: str, *, deadline: float, accept: str = "application/json", query: Mapping[str, str] | None = None
    ) -> Answer:
        self.asked.append(path)
        trouble = await self._trouble(deadline)
        if trouble is not None:
            return trouble
        if path in self.objects:
            return Answer(200, json.dumps(self.objects[path]).encode())
        if path.rpartition("/")[2] == "pods":
            return Answer(200, json.dumps({"items": self._selected(path, query or {})}).encode())
        return Answer(404, b'{"kind":"Status","code":404}')

    async def send(self, method: str, path: str, body: Any, *, deadline: float, **_more: Any) -> Answer:
        """POST into a folder, PUT of a version that is still there, merge patches, DELETE."""
        self.asked.append(f"{method} {path}")
        trouble = await self._trouble(deadline)
        if trouble is not None:
            return trouble
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
        """A list in pages of two."""
        self.asked.append(path)
        trouble = await self._trouble(deadline)
        if trouble is not None:
            raise ListBroke(path, trouble)
        kind = path.rpartition("/")[2]
        every = [one for place, one in sorted(self.objects.items()) if place.split("/")[-2] == kind]
        for start in range(0, len(every), 2):
            yield [msgspec.Raw(json.dumps(one).encode()) for one in every[start : start + 2]]

    async def _trouble(self, deadline: float) -> Answer | None:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(0)
                if self.hold is not None:
                    await self.hold.wait()
        except TimeoutError:
            return Answer(0, trouble="the API server did not answer in time")
        return self.trouble

    def _selected(self, folder: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        every = [one for path, one in sorted(self.objects.items()) if path.startswith(f"{folder}/")]
        fitting = [one for one in every if wanted.items() <= one["metadata"].get("labels", {}).items()]
        return fitting[: int(query.get("limit", "500"))]


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
