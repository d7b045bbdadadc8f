"""Puts a registration by URL at the API server for as long as a process serves, and takes it away again."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from webhook.core.bundle import BY_URL
from webhook.core.registration import NAME, NotRegistered, Reached, registration
from webhook.kube import Answer
from webhook.upkeep import FOLDER, PATH, WITHIN


class Api(Protocol):
    """Who speaks to the API server: `webhook.kube.Kube`."""

    async def get(self, path: str, *, deadline: float) -> Answer:
        """Read."""

    async def send(
        self, method: str, path: str, body: Any, *, deadline: float, query: Mapping[str, str] | None = ...
    ) -> Answer:
        """Write."""


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata


_object: Final = msgspec.json.Decoder(_Object)


class Registrar:
    """One registration, made by this process."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._uid = ""

    @property
    def is_put(self) -> bool:
        """Whether it is registered."""
        return bool(self._uid)

    async def put(self, reached: Reached) -> None:
        """Register.

        Raises:
            NotRegistered: there is one that was installed, or the API server takes none.
        """
        document = registration(reached)
        document["metadata"]["annotations"][BY_URL] = reached.url
        deadline = asyncio.get_running_loop().time() + WITHIN
        there = await self._api.get(PATH, deadline=deadline)
        if there.status == 404:
            answer = await self._api.send("POST", FOLDER, document, deadline=deadline)
        elif there.is_good:
            found = _object.decode(there.body).metadata
            if BY_URL not in (found.annotations or {}):
                raise NotRegistered(
                    f"the cluster has a registration of its own already (mutatingwebhookconfiguration {NAME}): "
                    "Moorage is installed there; use another cluster, or delete it first"
                )
            document["metadata"]["resourceVersion"] = found.resource_version
            answer = await self._api.send("PUT", PATH, document, deadline=deadline)
        else:
            answer = there
        if not answer.is_good:
            why = answer.trouble or f"the API server answers {answer.status}"
            raise NotRegistered(f"mutatingwebhookconfiguration {NAME} could not be written: {why}")
        self._uid = _object.decode(answer.body).metadata.uid

    async def remove(self) -> bool:
        """Take it away, if it is still the one that was put; whether nothing of it is left."""
        if not self._uid:
            return True
        deadline = asyncio.get_running_loop().time() + WITHIN
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": self._uid}}
        answer = await self._api.send("DELETE", PATH, body, deadline=deadline)
        return answer.is_good or answer.status in {404, 409}
