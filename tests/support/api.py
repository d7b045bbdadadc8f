"""Stands in for the API server where it must fail on demand: objects by path, selectors that select, and switches.

What it says of real objects is checked on a real control plane (tests/cluster).
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from webhook.kube import Answer


class FakeApi:
    """Objects by path. `trouble` is said instead of any answer, `hold` keeps answers back until it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.trouble: Answer | None = None
        self.hold: asyncio.Event | None = None

    async def get(
        self, path: str, *, deadline: float, accept: str = "application/json", query: Mapping[str, str] | None = None
    ) -> Answer:
        self.asked.append(path)
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.sleep(0)
                if self.hold is not None:
                    await self.hold.wait()
        except TimeoutError:
            return Answer(0, trouble="the API server did not answer in time")
        if self.trouble is not None:
            return self.trouble
        if path in self.objects:
            return Answer(200, json.dumps(self.objects[path]).encode())
        if path.rpartition("/")[2] == "pods":
            return Answer(200, json.dumps({"items": self._selected(path, query or {})}).encode())
        return Answer(404, b'{"kind":"Status","code":404}')

    def _selected(self, folder: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        every = [one for path, one in sorted(self.objects.items()) if path.startswith(f"{folder}/")]
        fitting = [one for one in every if wanted.items() <= one["metadata"].get("labels", {}).items()]
        return fitting[: int(query.get("limit", "500"))]
