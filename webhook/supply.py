"""What a server serves with, where it stands in a Secret: read again and again, and handed on when it is another.

One of the replicas keeps the Secret, by a Lease; all of them read it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec

from webhook.certificates import Held, held, names_of
from webhook.core.keeping import SETTLE
from webhook.core.registration import NAME
from webhook.keeper import Keeper, keep
from webhook.lease import Lease, Pace
from webhook.tls import BadCertificate
from webhook.upkeep import Api
from webhook.vault import Unread, Vault

LEASE: Final = "moorage-certs"
LOOKS: Final = 3
"""How often replicas and the one that keeps the Secret look in the time in which all must have heard."""
SOON: Final = 1.0
"""Seconds between two looks while there is nothing to serve with."""


class Clocks(msgspec.Struct, frozen=True):
    """`monotonic` in seconds, `wall` the time of day."""

    monotonic: Callable[[], float]
    wall: Callable[[], datetime]


class Supply:
    """`take` is handed what is new; it raises BadCertificate where it cannot serve with it. `unread` hears after each look
    what is wrong with what was found, `unkept` what is wrong with keeping it, from the replica that does, and None from
    one that does not; `did` of each step."""

    def __init__(
        self,
        api: Api,
        vault: Vault,
        *,
        identity: str,
        clocks: Clocks,
        take: Callable[[Held], Awaitable[None]],
        unread: Callable[[str], None],
        unkept: Callable[[str | None], None],
        did: Callable[[str], None],
        settle: float = SETTLE,
    ) -> None:
        self._vault = vault
        self._clocks = clocks
        self._take = take
        self._unread = unread
        self._unkept = unkept
        self._did = did
        self._every = settle / LOOKS
        self._name = names_of(vault.namespace, NAME)[0]
        self._keeper = Keeper(api, vault, now=clocks.monotonic, wall=clocks.wall, did=self._stepped, settle=settle)
        self._lease = Lease(
            api,
            vault.namespace,
            LEASE,
            identity=identity,
            now=clocks.monotonic,
            wall=clocks.wall,
            pace=Pace(duration=2 * settle, renew_within=4 / 3 * settle, retry=settle / LOOKS),
        )
        self._hurry = asyncio.Event()
        self._version = ""
        self._has_pair = False

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._lease.hold(self._work))

    async def _work(self) -> None:
        try:
            await keep(self._keeper, interval=self._every, tell=self._unkept)
        finally:
            self._unkept(None)

    async def _read(self) -> None:
        while True:
            self._hurry.clear()
            trouble = await self.look()
            # Who cannot be elected keeps nothing right, and nobody else may be able to either.
            self._unread("; ".join(filter(None, [trouble, self._lease.trouble])))
            try:
                await asyncio.wait_for(self._hurry.wait(), self._every if self._has_pair else min(SOON, self._every))
            except TimeoutError:
                continue

    async def look(self) -> str:
        """Read the Secret and hand on what is new; what is wrong with it, empty for nothing."""
        try:
            found = await self._vault.read()
        except Unread as why:
            return str(why)
        if found is None:
            return f"{self._vault.title} is not there"
        if found.version == self._version:
            return ""
        now_held = held(found.stored, name=self._name, now=self._clocks.wall())
        problems = list(now_held.problems)
        if self._has_pair or not problems:
            # Who begins must know all of it, or callers would meet one who knows half.
            try:
                await self._take(now_held)
            except BadCertificate as bad:
                problems.append(str(bad))
            else:
                self._has_pair = True
        # What cannot be used now may be valid later.
        self._version = "" if problems else found.version
        return "; ".join(f"{self._vault.title}: {one}" for one in problems)

    def _stepped(self, what: str) -> None:
        self._did(what)
        self._hurry.set()
