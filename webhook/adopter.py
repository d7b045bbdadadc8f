"""Looks after the pins of living rollouts: writes those that are missing, and others where a digest is gone.

Everything happens off the admission path. What is decided is in `core/adoption.py`; here are the lists and the writing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from webhook.core.adoption import Adopted, Living, Seen, Verdict, adopt, plan_adoption, renewed
from webhook.core.annotation import key_of
from webhook.core.reason import sentence
from webhook.core.revision import CONTROLLER_REVISION, JOB, KINDS, REPLICA_SET, Kind, short_hash
from webhook.core.rollout import Stored, revision_of
from webhook.core.rules import RuleSet
from webhook.core.seal import Sealer
from webhook.core.subject import Metadata, PodSpec, pod_slots, revision_hash
from webhook.engine import Engine
from webhook.kube import MERGE_PATCH, Answer, named

AT_ONCE: Final = 16
"""Images that are asked for at once: nobody waits for them."""
WITHIN: Final = 10.0
"""Seconds for the questions about one image."""
LISTS_WITHIN: Final = 60.0
SAMPLE: Final = 20
"""Pods of one revision that are looked at."""


class Api(Protocol):
    """Who speaks to the API server: `webhook.kube.Kube`."""

    def pages(
        self, path: str, *, deadline: float, query: Mapping[str, str] | None = ...
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """The items of a list, page by page."""

    async def send(self, method: str, path: str, body: Any, *, deadline: float, content_type: str = ...) -> Answer:
        """Write."""


class Report(msgspec.Struct, frozen=True):
    """What was found about one revision. `written` is empty where nothing was to be written or it worked, else why not."""

    living: Living
    adopted: tuple[Adopted, ...]
    trouble: str = ""


class _Metadata(Metadata, rename="camel"):
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _Running(msgspec.Struct, rename="camel"):
    name: str = ""
    image_id: str = msgspec.field(default="", name="imageID")


class _PodStatus(msgspec.Struct, rename="camel"):
    conditions: list[_Condition] | None = None
    container_statuses: list[_Running] | None = None
    init_container_statuses: list[_Running] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: PodSpec
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


_pod: Final = msgspec.json.Decoder(_Pod)
_stored: Final = msgspec.json.Decoder(Stored)


class _Pods:
    """Pods by the uid of their controller and the hash of their revision, a sample of each."""

    def __init__(self) -> None:
        self._pods: defaultdict[tuple[str, str], list[Seen]] = defaultdict(list)

    def add(self, item: msgspec.Raw) -> None:
        try:
            pod = _pod.decode(item)
        except msgspec.MsgspecError:
            return
        metadata = pod.metadata
        owner = next((one for one in metadata.owner_references or () if one.controller), None)
        if owner is None or metadata.deletion_timestamp is not None:
            return
        found = self._pods[owner.uid, short_hash(revision_hash(metadata.labels or {}))]
        if len(found) < SAMPLE:
            found.append(_seen(pod))

    def of(self, uid: str, name: str) -> tuple[Seen, ...]:
        return tuple(sorted(self._pods.get((uid, name), ()), key=lambda one: (one.created, one.name)))


def _seen(pod: _Pod) -> Seen:
    slots = pod_slots(pod.spec)
    running = {"containers": pod.status.container_statuses, "initContainers": pod.status.init_container_statuses}
    conditions = pod.status.conditions or ()
    born = pod.metadata.creation_timestamp
    return Seen(
        pod.metadata.name or "",
        int(born.timestamp() * 1000) if born is not None else 0,
        any(one.type == "Ready" and one.status == "True" for one in conditions),
        pod.metadata.annotations or {},
        {key_of(slot): slot.text for slot in slots},
        {f"{field}/{one.name}": one.image_id for field, every in running.items() for one in every or ()},
    )


async def survey(api: Api, namespace: str = "") -> list[Living]:
    """All living revisions, of one namespace or of all.

    Raises:
        ListBroke: the API server does not list them.
    """
    pods = _Pods()
    async for item in _items(api, named("api", "v1"), "pods", namespace):
        pods.add(item)
    living: list[Living] = []
    for kind in KINDS.values():
        found = [one async for one in _revisions(api, kind, namespace)]
        living += _living(kind, found, pods)
    return living


async def _items(api: Api, group: str, resource: str, namespace: str) -> AsyncIterator[msgspec.Raw]:
    folder = f"{group}{named('namespaces', namespace)}" if namespace else group
    deadline = asyncio.get_running_loop().time() + LISTS_WITHIN
    async for page in api.pages(f"{folder}/{resource}", deadline=deadline):
        for item in page:
            yield item


async def _revisions(api: Api, kind: Kind, namespace: str) -> AsyncIterator[Stored]:
    async for item in _items(api, named("apis", kind.group, "v1"), kind.resource, namespace):
        try:
            yield _stored.decode(item)
        except msgspec.MsgspecError:
            continue


def _living(kind: Kind, stored: Iterable[Stored], pods: _Pods) -> Iterable[Living]:
    every: list[tuple[Stored, Living]] = []
    for one in stored:
        try:
            found = revision_of(kind, one, one.metadata.namespace or "")
        except msgspec.ValidationError:
            continue
        if found is None:
            continue
        revision, subject = found
        controller = revision.controller if kind is CONTROLLER_REVISION else revision.uid
        name = "" if kind is JOB else revision.hash
        every.append((one, Living(revision, subject, controller, pods.of(controller, name))))
    newest: dict[str, int] = {}
    for one, living in every:
        newest[living.controller] = max(newest.get(living.controller, 0), one.revision)
    return [living for one, living in every if _lives(kind, one, living, newest)]


def _lives(kind: Kind, stored: Stored, living: Living, newest: Mapping[str, int]) -> bool:
    if living.pods:
        return True
    if kind is REPLICA_SET:
        return stored.has_pods
    if kind is JOB:
        return not stored.has_ended and not (stored.spec is not None and stored.spec.suspend)
    return stored.revision == newest[living.controller]


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
        gone: Callable[[str], None] = lambda _rule: None,
    ) -> None:
        """`now` is monotonic, `wall` in unix milliseconds; `gone` is told the rule of each pin whose digest is gone."""
        self._api = api
        self._engine = engine
        self._rules = rules
        self._sealer = sealer
        self._now = now
        self._wall = wall
        self._gone = gone

    async def look(self, living: Sequence[Living], *, newest: bool = False) -> list[Report]:
        """What there is to do; nothing is written."""
        places = asyncio.Semaphore(AT_ONCE)
        since = self._now()

        async def one(each: Living) -> Report:
            async with places:
                deadline = asyncio.get_running_loop().time() + WITHIN
                subject = await self._engine.placed(each.subject, deadline=deadline)
                placed = msgspec.structs.replace(each, subject=subject)
                steps = plan_adoption(placed, self._rules, self._sealer, since, newest=newest)
                done = [await self._engine.conclude(adopt(step), deadline=deadline) for step in steps]
            for adopted in done:
                if adopted.verdict in {Verdict.GONE, Verdict.REPINNED}:
                    self._gone(adopted.rule)
            return Report(each, tuple(done))

        return [report for report in await asyncio.gather(*map(one, living)) if report.adopted]

    async def write(self, report: Report) -> Report:
        """Write what is to be written on a revision."""
        annotations = renewed(report.living, report.adopted, self._sealer, self._wall())
        if annotations is None:
            return report
        revision = report.living.revision
        path = _path(report.living)
        # The uid goes along: a name that came back is another object, and the API server then answers 409.
        body = {"metadata": {"uid": revision.uid, "annotations": annotations}}
        deadline = asyncio.get_running_loop().time() + WITHIN
        answer = await self._api.send("PATCH", path, body, deadline=deadline, content_type=MERGE_PATCH)
        trouble = "" if answer.is_good else answer.trouble or f"the API server answers {answer.status}"
        for adopted in report.adopted:
            if adopted.verdict is Verdict.REPINNED and not trouble:
                await self._tell(report.living, "PinRepinned", _said(adopted), deadline)
        return msgspec.structs.replace(report, trouble=trouble)

    async def tell(self, report: Report) -> None:
        """Leave an Event for what nobody may mend but a person."""
        deadline = asyncio.get_running_loop().time() + WITHIN
        for adopted in report.adopted:
            if adopted.verdict is Verdict.GONE:
                await self._tell(report.living, "PinGone", _said(adopted), deadline)

    async def _tell(self, living: Living, reason: str, message: str, deadline: float) -> None:
        revision = living.revision
        kind = next(kind for kind in KINDS.values() if kind.name == revision.kind)
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
            "reason": reason,
            "message": message,
            "type": "Warning",
            "source": {"component": "moorage-adopt"},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        await self._api.send(
            "POST", named("api", "v1", "namespaces", revision.namespace, "events"), event, deadline=deadline
        )


def _said(adopted: Adopted) -> str:
    now = f"; pinned to {adopted.digest} instead" if adopted.verdict is Verdict.REPINNED else ""
    return f"{adopted.name} was pinned to {adopted.before}, which the registry does not have any more{now}"


def _path(living: Living) -> str:
    revision = living.revision
    kind = next(kind for kind in KINDS.values() if kind.name == revision.kind)
    return named("apis", kind.group, "v1", "namespaces", revision.namespace, kind.resource, revision.name)


def told(adopted: Adopted) -> str:
    """Why, as people read it."""
    return "; ".join(sentence(note) for note in adopted.notes)
