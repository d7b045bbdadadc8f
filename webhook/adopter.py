"""Looks after the pins of living rollouts: writes those that are missing, and others where a digest is gone.

Everything happens off the admission path. What is decided is in `core/adoption.py`; here are the lists and the writing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from webhook.core.adoption import Adopted, Verdict, adopt, plan_adoption, renewed
from webhook.core.living import Living, Pods, living_of
from webhook.core.reason import sentence
from webhook.core.revision import KINDS, NAMED
from webhook.core.rules import RuleSet
from webhook.core.seal import Sealer
from webhook.engine import Engine
from webhook.kube import MERGE_PATCH, Answer, named, said

AT_ONCE: Final = 16
"""Images that are asked for at once: nobody waits for them."""
WITHIN: Final = 10.0
"""Seconds for the questions about one image."""
LISTS_WITHIN: Final = 60.0
EVENTS: Final[Mapping[Verdict, str]] = {Verdict.GONE: "PinGone", Verdict.REPINNED: "PinRepinned"}
"""What an Event at a revision tells, and its reason."""


class Api(Protocol):
    """Who speaks to the API server: `webhook.kube.Kube`."""

    def pages(
        self, path: str, *, deadline: float, query: Mapping[str, str] | None = ...
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """The items of a list, page by page."""

    async def send(self, method: str, path: str, body: Any, *, deadline: float, content_type: str = ...) -> Answer:
        """Write."""


class Report(msgspec.Struct, frozen=True):
    """What was found about one revision. `trouble` is empty where nothing was to be written or it worked, else why not."""

    living: Living
    adopted: tuple[Adopted, ...]
    trouble: str = ""

    @property
    def gone(self) -> tuple[Adopted, ...]:
        """Pins whose digest the upstream does not have any more; those that are to be replaced, once they are."""
        return tuple(
            one
            for one in self.adopted
            if one.verdict is Verdict.GONE or (one.verdict is Verdict.REPINNED and not self.trouble)
        )


async def survey(api: Api, namespace: str = "") -> list[Living]:
    """All living revisions, of one namespace or of all.

    Raises:
        ListBroke: the API server does not list them.
    """
    pods = Pods()
    async for item in _items(api, named("api", "v1"), "pods", namespace):
        pods.add(item)
    living: list[Living] = []
    for kind in KINDS.values():
        folder = named("apis", kind.group, "v1")
        living += living_of(kind, [item async for item in _items(api, folder, kind.resource, namespace)], pods)
    return living


async def _items(api: Api, group: str, resource: str, namespace: str) -> AsyncIterator[msgspec.Raw]:
    folder = f"{group}{named('namespaces', namespace)}" if namespace else group
    deadline = asyncio.get_running_loop().time() + LISTS_WITHIN
    async for page in api.pages(f"{folder}/{resource}", deadline=deadline):
        for item in page:
            yield item


class Adopter:
    """One cluster's pins, under one configuration."""

    def __init__(
        self,
        api: Api,
        engine: Engine,
        rules: RuleSet,
        sealer: Sealer,
        *,
        now: Callable[[], float],
        wall: Callable[[], int],
        knows_seals: bool = True,
    ) -> None:
        """`now` is monotonic, `wall` in unix milliseconds. Without `knows_seals` the key is another one than the webhook's:
        what it wrote is left as it is."""
        self._api = api
        self._engine = engine
        self._rules = rules
        self._sealer = sealer
        self._now = now
        self._wall = wall
        self._knows_seals = knows_seals

    async def look(self, living: Sequence[Living], *, newest: bool = False) -> list[Report]:
        """What there is to do; nothing is written."""
        places = asyncio.Semaphore(AT_ONCE)
        since = self._now()

        async def one(each: Living) -> Report:
            async with places:
                deadline = asyncio.get_running_loop().time() + WITHIN
                subject = await self._engine.placed(each.subject, deadline=deadline)
                placed = msgspec.structs.replace(each, subject=subject)
                steps = plan_adoption(
                    placed, self._rules, self._sealer, since, newest=newest, knows_seals=self._knows_seals
                )
                done = [await self._engine.conclude(adopt(step), deadline=deadline) for step in steps]
            return Report(each, tuple(done))

        return [report for report in await asyncio.gather(*map(one, living)) if report.adopted]

    async def write(self, report: Report) -> Report:
        """Write what is to be written on a revision."""
        annotations = renewed(report.living, report.adopted, self._sealer, self._wall(), knows_seals=self._knows_seals)
        if annotations is None:
            return report
        revision = report.living.revision
        path = _path(report.living)
        # The uid goes along: a name that came back is another object, and the API server then answers 409.
        body = {"metadata": {"uid": revision.uid, "annotations": annotations}}
        deadline = asyncio.get_running_loop().time() + WITHIN
        answer = await self._api.send("PATCH", path, body, deadline=deadline, content_type=MERGE_PATCH)
        trouble = "" if answer.is_good else said(answer)
        return msgspec.structs.replace(report, trouble=trouble)

    async def tell(self, living: Living, adopted: Adopted) -> str:
        """Leave an Event at a revision, about a pin whose digest is gone; why that could not be, empty where it could."""
        deadline = asyncio.get_running_loop().time() + WITHIN
        revision = living.revision
        kind = NAMED[revision.kind]
        moment = datetime.fromtimestamp(self._wall() / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        event = {
            "metadata": {"generateName": "moorage-", "namespace": revision.namespace},
            "involvedObject": {
                "apiVersion": f"{kind.group}/v1",
                "kind": revision.kind,
                "namespace": revision.namespace,
                "name": revision.name,
                "uid": revision.uid,
            },
            "reason": EVENTS[adopted.verdict],
            "message": _said(adopted),
            "type": "Warning",
            "source": {"component": "moorage-adopt"},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        answer = await self._api.send(
            "POST", named("api", "v1", "namespaces", revision.namespace, "events"), event, deadline=deadline
        )
        return "" if answer.is_good else said(answer)


def _said(adopted: Adopted) -> str:
    now = f"; pinned to {adopted.digest} instead" if adopted.verdict is Verdict.REPINNED else ""
    return f"{adopted.name} was pinned to {adopted.before}, which the registry does not have any more{now}"


def _path(living: Living) -> str:
    revision = living.revision
    kind = NAMED[revision.kind]
    return named("apis", kind.group, "v1", "namespaces", revision.namespace, kind.resource, revision.name)


def told(adopted: Adopted) -> str:
    """Why, as people read it."""
    return "; ".join(sentence(note) for note in adopted.notes)
