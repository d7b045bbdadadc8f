"""The live registration: read, and patched only where it still is what was read.

Whoever keeps a part of it right (its conditions, its caBundle) makes the operations, and writes them through here.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.core.registered import Live, Operation, decoded, precondition
from webhook.core.registration import NAME
from webhook.kube import JSON_PATCH, Answer, named, said

FOLDER: Final = named("apis", "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
PATH: Final = f"{FOLDER}/{NAME}"
WITHIN: Final = 10.0
"""Seconds for one request."""


class Api(Protocol):
    """Who speaks to the API server: `webhook.kube.Kube`."""

    async def get(self, path: str, *, deadline: float) -> Answer:
        """Read."""

    async def send(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        deadline: float,
        content_type: str = ...,
        query: Mapping[str, str] | None = ...,
    ) -> Answer:
        """Write."""


class Lister(Protocol):
    """Who lists objects: `webhook.kube.Kube`."""

    def pages(self, path: str, *, deadline: float) -> AsyncIterator[list[msgspec.Raw]]:
        """The items of a list, page by page."""


class NotRead(RuntimeError):
    """The API server did not show the registration; says why."""


class NotWritten(RuntimeError):
    """The API server did not take a patch; says why. `is_conflict` where somebody has written since it was read: read it
    again, and see what is left to do."""

    def __init__(self, message: str, *, is_conflict: bool = False) -> None:
        super().__init__(message)
        self.is_conflict = is_conflict


async def find(api: Api, path: str = PATH) -> Live | None:
    """The registration as it stands; None where there is none.

    Raises:
        NotRead: it could not be read.
    """
    answer = await api.get(path, deadline=asyncio.get_running_loop().time() + WITHIN)
    if answer.status == 404:
        return None
    if not answer.is_good:
        raise NotRead(f"mutatingwebhookconfiguration {NAME}: {said(answer)}")
    try:
        return decoded(answer.body)
    except UNREADABLE:
        raise NotRead(f"mutatingwebhookconfiguration {NAME}: the API server answers something else") from None


async def others(api: Lister) -> list[Live]:
    """All registrations of the cluster but ours.

    Raises:
        ListBroke: they could not be listed.
    """
    deadline = asyncio.get_running_loop().time() + WITHIN
    every = [decoded(bytes(one)) async for page in api.pages(FOLDER, deadline=deadline) for one in page]
    return [one for one in every if one.metadata.name != NAME]


async def patch(api: Api, live: Live, operations: Sequence[Operation], path: str = PATH) -> Live:
    """Write these operations of a JSON patch, if the registration still is as it was read; what it is then.

    Raises:
        NotWritten: somebody has written since, or the API server refuses.
    """
    answer = await api.send(
        "PATCH",
        path,
        [precondition(live), *operations],
        deadline=asyncio.get_running_loop().time() + WITHIN,
        content_type=JSON_PATCH,
    )
    if not answer.is_good:
        message = f"mutatingwebhookconfiguration {NAME} could not be written: {said(answer)}"
        raise NotWritten(message, is_conflict=answer.status == 409)
    return decoded(answer.body)
