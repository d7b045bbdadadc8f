"""What running Pods show: before it is ready, a server learns the last digest of each tag, so that a restart during an
outage of the registry loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec

from webhook.core.annotation import is_ours, owner_of, read, source_of
from webhook.core.ask import AskDigest
from webhook.core.broken import UNREADABLE
from webhook.core.decision import RESOLVED
from webhook.core.reference import BadReference, is_digest, parsed
from webhook.core.rules import RuleSet
from webhook.core.seal import Sealer
from webhook.core.subject import Metadata, PodSpec, Slot, Subject, subject_of_pod
from webhook.core.subject import Pod as PodParts

WITHIN: Final = 10.0
"""Seconds: what is not learnt by then is left."""
AT_ONCE: Final = 32
PODS: Final = "/api/v1/pods"
NAMESPACES: Final = "/api/v1/namespaces"


class Api(Protocol):
    """Who lists: `webhook.kube.Kube`."""

    def pages(
        self, path: str, *, deadline: float, query: Mapping[str, str] | None = ...
    ) -> AsyncIterator[list[msgspec.Raw]]:
        """The items of a list, page by page."""


class Memory(Protocol):
    """Who remembers: `webhook.resolver.Resolver`."""

    async def prepare(self, ask: AskDigest, *, deadline: float) -> None:
        """Have the credentials at hand by which an answer is remembered."""

    def remember(self, ask: AskDigest, digest: str, *, age: float = ...) -> bool:
        """Take in a digest that was true so many seconds ago."""


class Learnt(msgspec.Struct, frozen=True):
    """How many Pods were looked at, and how many tags were learnt."""

    pods: int
    tags: int


class _Pod(msgspec.Struct):
    metadata: Metadata
    spec: PodSpec


class _Namespace(msgspec.Struct):
    metadata: Metadata


_namespace: Final = msgspec.json.Decoder(_Namespace)
_pod: Final = msgspec.json.Decoder(_Pod)


async def warm(
    api: Api, rules: RuleSet, sealer: Sealer, memory: Memory, *, milliseconds: int, within: float = WITHIN
) -> Learnt:
    """Look at all Pods. `milliseconds` is the wall clock.

    Raises:
        ListBroke: the API server does not give them; what came before counts.
    """
    newest: dict[AskDigest, tuple[int, str]] = {}
    pods = 0
    deadline = asyncio.get_running_loop().time() + within
    namespaces = await _labels(api, deadline) if rules.reads_namespaces else {}
    try:
        async for page in api.pages(PODS, deadline=deadline):
            pods += len(page)
            for item in page:
                for ask, moment, digest in _shown(item, rules, sealer, namespaces):
                    newest[ask] = max(newest.get(ask, (0, "")), (moment, digest))
    finally:
        await _prepare(memory, newest, deadline)
        tags = sum(
            memory.remember(ask, digest, age=max(0.0, (milliseconds - moment) / 1000))
            for ask, (moment, digest) in newest.items()
        )
    return Learnt(pods, tags)


async def _prepare(memory: Memory, asks: Iterable[AskDigest], deadline: float) -> None:
    """Pull secrets have to be read first."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(ask: AskDigest) -> None:
        async with places:
            await memory.prepare(ask, deadline=deadline)

    await asyncio.gather(*map(one, asks))


async def _labels(api: Api, deadline: float) -> dict[str, Mapping[str, str]]:
    """What all namespaces carry."""
    found: dict[str, Mapping[str, str]] = {}
    async for page in api.pages(NAMESPACES, deadline=deadline):
        every = [_namespace.decode(item).metadata for item in page]
        found |= {one.name or "": one.labels or {} for one in every}
    return found


def _shown(
    item: msgspec.Raw, rules: RuleSet, sealer: Sealer, namespaces: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[AskDigest, int, str]]:
    """Of a Pod that Moorage changed: what would be asked for its images, and when the upstream said what. Only what is
    under our seal: an author may write anything."""
    try:
        pod = _pod.decode(item)
    except UNREADABLE:
        return
    namespace = pod.metadata.namespace or ""
    images = read(pod.metadata.annotations or {})
    if not images.images:
        return
    subject = subject_of_pod(PodParts(pod.metadata, pod.spec), namespace)
    subject = msgspec.structs.replace(subject, namespace_labels=namespaces.get(namespace))
    if not is_ours(images, namespace, owner_of(subject), sealer):
        return
    for key, entry in images.images.items():
        ask = _ask(key, entry.from_, subject, rules)
        if ask is not None and is_digest(entry.digest) and source_of(entry) in RESOLVED:
            yield ask, entry.at or images.time, entry.digest


def _ask(key: str, text: str, subject: Subject, rules: RuleSet) -> AskDigest | None:
    image = parsed(text)
    if isinstance(image, BadReference) or image.digest is not None:
        return None
    field, _, container = key.partition("/")
    rule, _ = rules.first_match(subject, Slot("", field, container, text, image), image)
    upstreams = rule.upstreams(image) if rule is not None else ()
    return AskDigest(upstreams, subject.audience) if upstreams else None
