"""The Secret of certificates and keys at the API server: one read, one write, and no word of what is in it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from webhook.certificates import Stored
from webhook.core.broken import UNREADABLE
from webhook.kube import Answer, named, said

WITHIN: Final = 5.0
"""Seconds for a request."""

_ABSENT: Final = 404
_CONFLICT: Final = 409
_FORBIDDEN: Final = frozenset({401, 403})


class Api(Protocol):
    """Who speaks to the API server: `webhook.kube.Kube`."""

    async def get(self, path: str, *, deadline: float) -> Answer:
        """Read."""

    async def send(self, method: str, path: str, body: Any, *, deadline: float, content_type: str = ...) -> Answer:
        """Write."""


class _Object(msgspec.Struct):
    metadata: dict[str, Any]
    data: dict[str, str] | None = None
    type: str = "Opaque"

    def __repr__(self) -> str:
        return f"_Object({self.type})"


_decoder: Final = msgspec.json.Decoder(_Object)


class Unread(RuntimeError):
    """The API server did not give the Secret; says why and what to do."""


class Unwritten(RuntimeError):
    """The API server did not take what was written; says why. `is_conflict` where somebody else has written since it was
    read: read it again, and see what is left to do."""

    def __init__(self, message: str, *, is_conflict: bool = False) -> None:
        super().__init__(message)
        self.is_conflict = is_conflict


class Found(msgspec.Struct, frozen=True):
    """A Secret at the API server."""

    stored: Stored
    metadata: Mapping[str, Any]
    kind: str

    @property
    def version(self) -> str:
        """Its resourceVersion: another one, another content."""
        return str(self.metadata.get("resourceVersion", ""))

    def __repr__(self) -> str:
        return f"Found({self.version}, {self.stored!r})"


class Vault:
    """One Secret of one namespace."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self.namespace = namespace
        self.name = name
        self._folder = named("api", "v1", "namespaces", namespace, "secrets")
        self._path = f"{self._folder}/{name}"

    @property
    def title(self) -> str:
        """How it is told of."""
        return f"secret {self.namespace}/{self.name}"

    async def read(self) -> Found | None:
        """The Secret; None where there is none.

        Raises:
            Unread: nobody knows.
        """
        answer = await self._api.get(self._path, deadline=_deadline())
        if answer.status == _ABSENT:
            return None
        if not answer.is_good:
            raise Unread(f"{self.title} cannot be read: {said(answer)}")
        try:
            found = _decoder.decode(answer.body)
        except UNREADABLE:
            raise Unread(f"{self.title} cannot be read: the API server answers something that is no Secret") from None
        labels, annotations = found.metadata.get("labels"), found.metadata.get("annotations")
        return Found(Stored.of_data(found.data, labels, annotations), found.metadata, found.type)

    async def write(self, stored: Stored, before: Found | None) -> None:
        """Put this in place of what was found, or where nothing was.

        Raises:
            Unwritten: somebody has written since, or the API server does not take it.
        """
        metadata = {
            **(before.metadata if before is not None else {"name": self.name, "namespace": self.namespace}),
            "labels": dict(stored.labels),
            "annotations": dict(stored.annotations),
        }
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": before.kind if before is not None else "Opaque",
            "data": stored.data(),
        }
        # The resourceVersion goes along with the rest of the metadata: what changed since it was read is not written over.
        method, path = ("PUT", self._path) if before is not None else ("POST", self._folder)
        answer = await self._api.send(method, path, body, deadline=_deadline())
        if not answer.is_good:
            why = _why(answer, "update" if before is not None else "create")
            is_conflict = answer.status == _CONFLICT or (before is not None and answer.status == _ABSENT)
            raise Unwritten(f"{self.title} cannot be written: {why}", is_conflict=is_conflict)


def _why(answer: Answer, verb: str) -> str:
    """Why a write was not taken, without a word of what was sent: the API server's own message may quote it."""
    if answer.status in _FORBIDDEN:
        return f"the account may not {verb} secrets there (the API server answers {answer.status})"
    return answer.trouble or f"the API server answers {answer.status}"


def _deadline() -> float:
    return asyncio.get_running_loop().time() + WITHIN
