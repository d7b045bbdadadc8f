"""Live objects of a cluster: those that people name, or all that make Pods, each with the owner of its next Pods."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.core.current import Kept, is_within, kept_by
from webhook.core.live import (
    Live,
    Manifest,
    Unread,
    by_controller,
    is_shown,
    made_of,
    manifest_of,
    may_stand_alone,
    scope_of,
)
from webhook.core.revision import CONTROLLER_REVISION, REPLICA_SET, Kind
from webhook.core.subject import Subject, template_in
from webhook.core.workload import CONTROLLER_REVISION as CONTROLLER_REVISIONS
from webhook.core.workload import KINDS, POD, POD_TEMPLATE, Named, Resource, guessed, resource_of
from webhook.core.workload import REPLICA_SET as REPLICA_SETS
from webhook.kube import Answer, ListBroke, named, said

WITHIN: Final = 10.0
"""Seconds for one object."""
LISTS_WITHIN: Final = 60.0
"""Seconds for a list of them all."""
BAD_REQUEST: Final = 400
ODD: Final = "the API server answers something else than was asked for"

_KEPT_AT: Final[Mapping[Kind, Resource]] = {REPLICA_SET: REPLICA_SETS, CONTROLLER_REVISION: CONTROLLER_REVISIONS}


class BadSelector(ValueError):
    """A label selector that the API server does not understand; says why, in its words."""


class Api(Protocol):
    """Who asks the API server: `webhook.kube.Kube`."""

    async def get(self, path: str, *, deadline: float) -> Answer:
        """Read by the absolute loop time `deadline`."""

    def pages(
        self, path: str, *, deadline: float, query: Mapping[str, str] | None = ...
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """The items of a list, page by page."""


class _Version(msgspec.Struct):
    version: str = ""


class _Group(msgspec.Struct, rename="camel"):
    preferred_version: _Version = msgspec.field(default_factory=_Version)


class _Kind(msgspec.Struct, rename="camel"):
    name: str = ""
    kind: str = ""
    short_names: tuple[str, ...] = ()


class _Kinds(msgspec.Struct):
    resources: list[_Kind] = []


_group: Final = msgspec.json.Decoder(_Group)
_kinds: Final = msgspec.json.Decoder(_Kinds)

Scope = Callable[[Manifest], tuple[str, str]]
"""In which namespace (all where it is empty), and under which label selector, an object's revisions are listed."""


class Look:
    """Reads live objects. `templates` are the kinds and where their Pod templates are; `seen` is told how many objects
    were read so far; `within` are the seconds for an object by its name."""

    def __init__(
        self,
        api: Api,
        templates: Mapping[str, str],
        *,
        seen: Callable[[int], None] = lambda _: None,
        within: float = WITHIN,
    ) -> None:
        self._api = api
        self._templates = templates
        self._seen = seen
        self._within = within
        self._count = 0

    async def every(self, namespace: str, selector: str = "") -> list[Live | Unread]:
        """All that make Pods and have no controller that is known to make them, of one namespace or of all.

        Raises:
            BadSelector: the selector is none.
        """
        resources, troubles = await self._known()
        lists = await asyncio.gather(*(self._list(one, namespace, selector, top=True) for one in resources))
        found, broken = _sorted_out(zip(resources, lists, strict=True))
        known = {(one.group, one.kind) for one in resources}
        top = [(one, manifest) for one, manifest in found if is_shown(one, manifest, known)]
        return [*await self._completed(top, lambda _: (namespace, "")), *troubles, *broken]

    async def named(self, wanted: Iterable[Named], namespace: str, selector: str = "") -> list[Live | Unread]:
        """Objects of some kinds: by name, or all in the namespace (in all, where that is empty).

        Raises:
            BadSelector: the selector is none.
        """
        return [one for each in wanted for one in await self._named(each, namespace, selector)]

    async def twin(self, manifest: Mapping[str, Any], subject: Subject) -> Live | Unread | None:
        """The live object that a manifest would change nothing about: its Pods go on as they are. None where it is not
        live, or where something would change."""
        guess = resource_of(manifest, (*KINDS, *guessed(self._templates)))
        if guess is None or guess in {POD, POD_TEMPLATE} or not subject.name:
            return None
        (found,) = await self._named(Named(guess, (subject.name,)), subject.namespace, "")
        if isinstance(found, Unread):
            return None if found.is_missing else found
        wanted, there = (template_in(one, self._templates) for one in (manifest, found.manifest))
        return found if is_within(wanted, there) else None

    async def _named(self, wanted: Named, namespace: str, selector: str) -> list[Live | Unread]:
        resource = await self._resolved(wanted.resource)
        if isinstance(resource, Unread):
            return [resource]
        if not wanted.names:
            found, broken = _sorted_out([(resource, await self._list(resource, namespace, selector))])
            return [*await self._completed(found, lambda _: (namespace, "")), *broken]
        read = await asyncio.gather(*(self._one(resource, namespace, name) for name in wanted.names))
        good = [(resource, one) for one in read if not isinstance(one, Unread)]
        bad = [one for one in read if isinstance(one, Unread)]
        return [*await self._completed(good, scope_of), *bad]

    async def _known(self) -> tuple[list[Resource], list[Unread]]:
        """All kinds that the API server knows, and those of which it does not say."""
        others = await asyncio.gather(*(self._resolved(one) for one in guessed(self._templates)))
        own = [one for one in KINDS if one is not POD_TEMPLATE]
        known = [one for one in others if isinstance(one, Resource)]
        # What is not installed in this cluster makes no Pods there.
        return [*own, *known], [one for one in others if isinstance(one, Unread) and not one.is_missing]

    async def _resolved(self, guess: Resource) -> Resource | Unread:
        """A kind as the API server knows it."""
        if guess.version:
            return guess
        answer = await self._get(named("apis", guess.group))
        try:
            if answer.is_good:
                version = _group.decode(answer.body).preferred_version.version
                answer = await self._get(named("apis", guess.group, version))
            if answer.is_good:
                kinds = (one for one in _kinds.decode(answer.body).resources if "/" not in one.name)
                found = next((one for one in kinds if one.kind == guess.kind), None)
                if found is not None:
                    return Resource(guess.kind, guess.group, version, found.name, found.short_names)
        except UNREADABLE:
            return Unread(guess.word, "", ODD)
        if answer.is_good or answer.status == 404:
            return Unread(guess.word, "", f'the server doesn\'t have a resource type "{guess.name}"', is_missing=True)
        return Unread(guess.word, "", said(answer))

    async def _list(
        self, resource: Resource, namespace: str, selector: str, *, top: bool = False
    ) -> list[Manifest] | Unread:
        """All of a kind; with `top` no Pods that something else is known to make, of which there may be thousands."""
        query = {"labelSelector": selector} if selector else None
        deadline = asyncio.get_running_loop().time() + LISTS_WITHIN
        found: list[Manifest] = []
        try:
            async for page in self._api.pages(resource.folder(namespace), deadline=deadline, query=query):
                found += [
                    manifest_of(resource, item)
                    for item in page
                    if not top or resource is not POD or may_stand_alone(item)
                ]
                self._count += len(page)
                self._seen(self._count)
        except ListBroke as broke:
            if selector and broke.answer.status == BAD_REQUEST:
                raise BadSelector(said(broke.answer)) from None
            # There is no list of a kind that the API server does not have, or of what is no namespace's name.
            return Unread(resource.name, namespace, said(broke.answer), is_missing=broke.answer.status == 404)
        return found

    async def _one(self, resource: Resource, namespace: str, name: str) -> Manifest | Unread:
        answer = await self._get(f"{resource.folder(namespace)}{named(name)}")
        shown = f"{resource.word}/{name}"
        if not answer.is_good:
            return Unread(shown, namespace, said(answer), is_missing=answer.status == 404)
        try:
            return manifest_of(resource, answer.body)
        except UNREADABLE:
            return Unread(shown, namespace, ODD)

    async def _get(self, path: str) -> Answer:
        return await self._api.get(path, deadline=asyncio.get_running_loop().time() + self._within)

    async def _completed(self, found: Sequence[tuple[Resource, Manifest]], scope: Scope) -> list[Live | Unread]:
        """Objects with their revisions, listed as few times as the scope allows."""
        kinds = [kept_by(one.group, one.kind) for one, _ in found]
        scopes = [(kind, *scope(one)) for kind, (_, one) in zip(kinds, found, strict=True) if kind is not None]
        wanted = list(dict.fromkeys(scopes))
        lists = dict(zip(wanted, await asyncio.gather(*(self._revisions(*one) for one in wanted)), strict=True))
        done: list[Live | Unread] = []
        for kind, (resource, manifest) in zip(kinds, found, strict=True):
            own = lists[kind, *scope(manifest)] if kind is not None else {}
            done.append(made_of(resource, manifest, own, self._templates))
        return done

    async def _revisions(self, kind: Kind, namespace: str, selector: str) -> dict[str, list[Kept]] | Unread:
        """By the uid of their workload."""
        try:
            found = await self._list(_KEPT_AT[kind], namespace, selector)
        except BadSelector as bad:
            # It stands in an object of a kind that nobody knows.
            return Unread(kind.name, namespace, str(bad))
        if isinstance(found, Unread):
            return found
        return by_controller(kind, found)


def _sorted_out(
    lists: Iterable[tuple[Resource, list[Manifest] | Unread]],
) -> tuple[list[tuple[Resource, Manifest]], list[Unread]]:
    found: list[tuple[Resource, Manifest]] = []
    broken: list[Unread] = []
    for resource, one in lists:
        if isinstance(one, Unread):
            broken.append(one)
        else:
            found += [(resource, manifest) for manifest in one]
    return found, broken
