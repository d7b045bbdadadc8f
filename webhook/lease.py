"""One of many: a Lease at the API server says who does the work, until it is not renewed any more.

The way of client-go's leaderelection: time is measured on our own clock from the moment when a change of the Lease was
seen, so that clocks of machines need not agree. The official Python client has no Lease lock.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from webhook.core.broken import UNREADABLE
from webhook.kube import Answer, named, said

DURATION: Final = 15.0
"""Seconds after which a Lease that nobody renews may be taken."""
RENEW_WITHIN: Final = 10.0
"""Seconds in which the holder must have renewed it, or stop: less than DURATION, so that there are never two."""
RETRY: Final = 2.0

_CONFLICT: Final = 409
_ABSENT: Final = 404


class Pace(msgspec.Struct, frozen=True):
    """How often the API server is asked, and how soon another takes over; the constants above say what each is."""

    duration: float = DURATION
    renew_within: float = RENEW_WITHIN
    retry: float = RETRY


USUAL: Final = Pace()


class Api(Protocol):
    """Who speaks to the API server: `webhook.kube.Kube`."""

    async def get(self, path: str, *, deadline: float) -> Answer:
        """Read."""

    async def send(self, method: str, path: str, body: Any, *, deadline: float) -> Answer:
        """Write."""


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(msgspec.Struct):
    metadata: dict[str, Any]
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decoder: Final = msgspec.json.Decoder(_Lease)


class Lease:
    """A Lease, and whether it is ours."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        *,
        identity: str,
        now: Callable[[], float],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        pace: Pace = USUAL,
    ) -> None:
        """`identity` is this process's own and nobody else's; `now` is monotonic. `trouble` says why the Lease could not be
        read or written last."""
        self._api = api
        self._folder = named("apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases")
        self._path = f"{self._folder}/{name}"
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._now = now
        self._wall = wall
        self._pace = pace
        self.trouble = ""
        self._seen: _Spec | None = None
        self._since = 0.0

    async def try_once(self, *, within: float = RETRY) -> bool:
        """Take or renew the Lease; whether it is ours now. Answers come by `within` seconds or do not count."""
        deadline = asyncio.get_running_loop().time() + within
        answer = await self._api.get(self._path, deadline=deadline)
        if answer.status == _ABSENT:
            body = self._written({"name": self._name, "namespace": self._namespace}, self._mine(None))
            return self._is_done(await self._api.send("POST", self._folder, body, deadline=deadline))
        if not self._is_done(answer):
            return False
        try:
            found = _decoder.decode(answer.body)
        except UNREADABLE:
            self.trouble = f"{self._path}: the API server answers something that is no Lease"
            return False
        if found.spec != self._seen:
            self._seen, self._since = found.spec, self._now()
        if not self._may_take(found.spec):
            return False
        spec = self._mine(found.spec)
        # The resourceVersion goes along: of two who take it at once one gets a conflict.
        answer = await self._api.send("PUT", self._path, self._written(found.metadata, spec), deadline=deadline)
        if self._is_done(answer):
            self._seen, self._since = spec, self._now()
        return answer.is_good

    def _is_done(self, answer: Answer) -> bool:
        why = "" if answer.is_good or answer.status == _CONFLICT else said(answer)
        self.trouble = f"{self._path}: {why}" if why else ""
        return answer.is_good

    async def release(self, *, within: float = RETRY) -> None:
        """Give it up, so that the next one need not wait."""
        deadline = asyncio.get_running_loop().time() + within
        answer = await self._api.get(self._path, deadline=deadline)
        if not answer.is_good:
            return
        found = _decoder.decode(answer.body)
        if found.spec.holder_identity == self._identity:
            spec = msgspec.structs.replace(found.spec, holder_identity=None)
            await self._api.send("PUT", self._path, self._written(found.metadata, spec), deadline=deadline)

    async def hold(
        self, work: Callable[[], Awaitable[None]], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Wait for the Lease, do the work while it is ours, and end the work as soon as it may be another's; again and
        again, until cancelled."""
        while True:
            while not await self.try_once():
                await sleep(self._pace.retry)
            task = asyncio.ensure_future(work())
            try:
                await self._renew_while(task, sleep)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await self.release()

    async def _renew_while(self, task: "asyncio.Future[None]", sleep: Callable[[float], Awaitable[None]]) -> None:
        renewed = self._now()
        while not task.done() and self._now() - renewed < self._pace.renew_within:
            await sleep(self._pace.retry)
            if await self.try_once():
                renewed = self._now()
        if task.done():
            # A fault of the work is its own: whoever waits here is told.
            task.result()

    def _may_take(self, spec: _Spec) -> bool:
        if not spec.holder_identity or spec.holder_identity == self._identity:
            return True
        duration = spec.lease_duration_seconds or self._pace.duration
        return self._now() - self._since >= duration

    def _mine(self, before: _Spec | None) -> _Spec:
        now = self._wall().isoformat(timespec="microseconds").replace("+00:00", "Z")
        held = before is not None and before.holder_identity == self._identity
        turns = (before.lease_transitions or 0) if before is not None else 0
        acquired = before.acquire_time if before is not None and held else now
        return _Spec(
            self._identity, int(self._pace.duration), acquired, now, turns if held or before is None else turns + 1
        )

    def _written(self, metadata: dict[str, Any], spec: _Spec) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": msgspec.to_builtins(spec),
        }
