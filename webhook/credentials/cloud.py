"""A cloud's login as a source of credentials: one for all who may use it, whatever the namespace."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Final, Protocol, TypeVar

import msgspec

from webhook.core.credential import Credential
from webhook.core.lasting import Lasting
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.credentials.renewals import NoLogin, Renewals
from webhook.credentials.source import NOTHING, Given

THREADS: Final = 4
NAME: Final = "cloud"
"""Of each of these threads."""
SHARE: Final = 0.6
"""Of the time that is left, what a login gets: other credentials and the registry need some, too."""

Result = TypeVar("Result")


class Cloud(Protocol):
    """One cloud. What it needs of its library's blocking calls it makes in `Threads`."""

    @property
    def kind(self) -> str:
        """The word that the configuration has for it."""

    def place(self, registry: str) -> Hashable | None:
        """What registries share when one login is good for them; None for a host that is not the cloud's."""

    def login(self, place: Any) -> Coroutine[Any, Any, Lasting[Credential]]:
        """A new login.

        Raises:
            NoLogin: there is none.
        """


class Threads:
    """Where blocking libraries are called: a few threads of their own, so that one that hangs holds up neither the loop,
    nor what shares its default pool, nor the end of the process."""

    def __init__(self, number: int = THREADS) -> None:
        self._places = asyncio.Semaphore(number)

    async def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What the function gives or raises."""
        loop = asyncio.get_running_loop()
        await self._places.acquire()
        done: asyncio.Future[Result] = loop.create_future()

        def land(tell: Callable[[], None]) -> None:
            # Only now: who gave up waiting leaves a thread behind, and its place is taken until it ends.
            self._places.release()
            if not done.done():
                tell()

        def work() -> None:
            try:
                tell = partial(done.set_result, function(*arguments))
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                tell = partial(done.set_exception, error)
            # Where the loop has ended, nobody waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(land, tell)

        Thread(target=work, name=NAME, daemon=True).start()
        return await done


class CloudLogins:
    """A provider of credentials (webhook.credentials.source.Dated). `kept` outlives a reload."""

    def __init__(self, cloud: Cloud, kept: Renewals[Credential]) -> None:
        self._cloud = cloud
        self._kept = kept

    @property
    def problems(self) -> tuple[str, ...]:
        """Logins that could not be had, and why."""
        return tuple(f"no {self._cloud.kind} login at {place}: {why}" for place, why in self._kept.troubles.items())

    def give(self, image: Reference, audience: Audience) -> Given | None:
        """The login, the same for everyone who may use it; None when it has to be waited for."""
        del audience
        place = self._cloud.place(image.registry)
        if place is None:
            return NOTHING
        found, until = self._kept.peek_dated(place, lambda: self._login(place))
        return None if found is None else Given((self._shown(found, place),), until)

    async def give_by(self, image: Reference, audience: Audience, *, deadline: float) -> Given:
        """The same, asked for where it must be."""
        del audience
        place = self._cloud.place(image.registry)
        if place is None:
            return NOTHING
        now = asyncio.get_running_loop().time()
        within = now + (deadline - now) * SHARE
        found = await self._kept.get(place, lambda: self._login(place), deadline=within)
        return Given((self._shown(found, place),))

    def doubt(self, credential: Credential) -> None:
        """A registry refused this one: it may have been revoked."""
        self._kept.doubt(credential)

    async def _login(self, place: Hashable) -> Lasting[Credential]:
        found = await self._cloud.login(place)
        return Lasting(msgspec.structs.replace(found.value, principal=str(place)), found.life)

    def _shown(self, found: Credential | NoLogin, place: Hashable) -> Credential:
        if isinstance(found, Credential):
            return found
        kind = self._cloud.kind
        # It stands where the login would, so that what was learnt with the login can still be found.
        return Credential(kind, principal=str(place), lacks=f"no {kind} login: {found}")
