"""The labels of namespaces, which a review does not show: rules may ask for them, and a namespace may ask to be left alone."""

from collections.abc import Mapping
from typing import Final

import msgspec

from webhook.books import Api, Book, Page, Refused, decoded, unheard
from webhook.core.ask import Ask, AskNamespace, Fact, Failed, Labels, Oracle
from webhook.kube import METADATA, named

REMEMBERED: Final = 60.0
"""Seconds for which labels are used before they are read again."""
LOST: Final = 5.0
"""Seconds for which it is believed that a namespace is not there."""


class _Metadata(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Namespace(msgspec.Struct):
    metadata: _Metadata


class _Read(Page, gc=False):
    fact: Labels


_namespace: Final = msgspec.json.Decoder(_Namespace)
_NONE: Final[Mapping[str, str]] = {}


class Namespaces(Oracle):
    """The oracle for AskNamespace."""

    def __init__(self, api: Api, book: Book[_Read], *, refused: Refused = unheard) -> None:
        self._api = api
        self._book = book
        self._refused = refused

    def peek(self, ask: Ask) -> Fact | None:
        """What was read a moment ago."""
        read = self._book.peek(_name(ask))
        return read.fact if read is not None else None

    async def fetch(self, ask: Ask, *, deadline: float) -> Fact:
        """Read the namespace."""
        name = _name(ask)
        found = await self._book.look_up(
            name, lambda within: self._read(name, within), f"Namespace {name}", deadline=deadline, anew=False
        )
        return found if isinstance(found, Failed) else found.fact

    async def _read(self, name: str, within: float) -> _Read | Failed:
        answer = await self._api.get(named("api", "v1", "namespaces", name), deadline=within, accept=METADATA)
        if answer.status == 404:
            return _Read(Labels(_NONE), life=LOST)
        found = decoded(_namespace, answer, "namespaces", self._refused)
        return found if isinstance(found, Failed) else _Read(Labels(found.metadata.labels or _NONE), life=REMEMBERED)


def _name(ask: Ask) -> str:
    if not isinstance(ask, AskNamespace):
        raise TypeError(f"{type(ask).__name__} is no question about a namespace")
    return ask.name
