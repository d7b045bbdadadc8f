"""A cluster as doctor reads it: each thing once, within its time, and what cannot be seen told as such."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.diagnosis.finding import Unseen
from webhook.kube import Answer, ListBroke, named, said

TEXT: Final = "*/*"
"""What is asked for where it is not the API server that answers."""
_ODD: Final = "the API server answers something else than was asked for"

Shape = TypeVar("Shape")
Found = TypeVar("Found")


class Api(Protocol):
    """Who asks the API server: `webhook.kube.Kube`."""

    async def get(
        self, path: str, *, deadline: float, accept: str = ..., query: Mapping[str, str] | None = ...
    ) -> Answer:
        """Read by the absolute loop time `deadline`."""

    async def send(
        self, method: str, path: str, body: Any, *, deadline: float, query: Mapping[str, str] | None = ...
    ) -> Answer:
        """Write."""

    def pages(
        self, path: str, *, deadline: float, query: Mapping[str, str] | None = ...
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """The items of a list, page by page."""


class _Status(msgspec.Struct):
    kind: str = ""


class Reader:
    """Reads each thing once, however many judgements want it."""

    def __init__(self, api: Api, within: float) -> None:
        self._api = api
        self._within = within
        self._reading: dict[str, asyncio.Task[Any]] = {}

    async def one(self, what: str, shape: type[Shape], *path: str) -> Shape | Unseen:
        """One object."""
        place = named(*path)

        async def ask() -> Shape | Unseen:
            return decoded(what, shape, await self._api.get(place, deadline=self.deadline))

        return await self.once(place, ask)

    async def every(self, what: str, shape: type[Shape], *path: str, labels: str = "") -> list[Shape] | Unseen:
        """All objects of a list."""
        place = named(*path)
        query = {"labelSelector": labels} if labels else None

        async def ask() -> list[Shape] | Unseen:
            found: list[Shape] = []
            try:
                async for page in self._api.pages(place, deadline=self.deadline, query=query):
                    found += [msgspec.json.decode(item, type=shape) for item in page]
            except ListBroke as broke:
                return not_read(what, broke.answer)
            except UNREADABLE:
                return Unseen(what, _ODD)
            return found

        return await self.once(f"{place}?{labels}", ask)

    async def text(self, what: str, path: str) -> tuple[int, str] | Unseen:
        """What somebody behind a proxy of the API server says; its status, and its text."""
        answer = await self._api.get(path, deadline=self.deadline, accept=TEXT)
        if not answer.status or is_of_api_server(answer):
            return not_read(what, answer)
        return answer.status, answer.body.decode(errors="replace")

    async def send(self, path: str, body: Any, query: Mapping[str, str] | None = None) -> Answer:
        """Ask by a POST that changes nothing."""
        return await self._api.send("POST", path, body, deadline=self.deadline, query=query)

    @property
    def deadline(self) -> float:
        """Of what is asked now."""
        return asyncio.get_running_loop().time() + self._within

    async def once(self, key: str, ask: Callable[[], Awaitable[Found]]) -> Found:
        """What `ask` gives, asked once."""
        # Shared: one judgement that runs out of time must not take it from the others.
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.ensure_future(ask())
        found: Found = await asyncio.shield(task)
        return found


def decoded(what: str, shape: type[Shape], answer: Answer) -> Shape | Unseen:
    """What an answer holds."""
    if not answer.is_good:
        return not_read(what, answer)
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except UNREADABLE:
        return Unseen(what, _ODD)


def not_read(what: str, answer: Answer) -> Unseen:
    """What an answer says that holds nothing."""
    return Unseen(what, said(answer), is_missing=answer.status == 404, is_forbidden=answer.status in {401, 403})


def is_of_api_server(answer: Answer) -> bool:
    """Whether the API server itself speaks, and not whoever is behind its proxy."""
    try:
        return msgspec.json.decode(answer.body, type=_Status).kind == "Status"
    except UNREADABLE:
        return False
