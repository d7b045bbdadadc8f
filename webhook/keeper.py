"""Keeps the Secret of certificates and keys, and what the registration says of them, right: one step after another, as the
core says."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, assert_never

import msgspec

from webhook.certificates import authorities_in, kept_in, names_of, new_authority, new_leaf, new_secret, stored_of
from webhook.core.bundle import entries, joined, keeper, strangers, told
from webhook.core.keeping import (
    SETTLE,
    Begin,
    Complete,
    Forget,
    Issue,
    Kept,
    Register,
    Registered,
    Rest,
    Step,
    begun,
    completed,
    forgotten,
    issued,
    next_step,
)
from webhook.core.paths import path_of, secret_of
from webhook.core.registered import Home, Live
from webhook.core.registration import NAME
from webhook.upkeep import Api, NotRead, NotWritten, find, patch
from webhook.vault import Found, Unread, Unwritten, Vault

STEPS: Final = 8
"""Steps in one round at most; what is left is done in the next."""

DONE: Final = {
    Begin: "another authority, seal key and path secret stand in the Secret",
    Complete: "what was missing of keys and path secrets stands in the Secret, or other paths are answered",
    Register: "the registration trusts what stands in the Secret",
    Issue: "another certificate stands in the Secret",
    Forget: "the authority before is gone from the Secret",
}
"""What was done, for people."""


class Look(msgspec.Struct, frozen=True):
    """What stands, and what is to be done. `trouble` says what is wrong that no step can mend."""

    found: Found | None
    kept: Kept | None
    live: Live | None
    registered: Registered | None
    step: Step
    trouble: str = ""


class Keeper:
    """Looks, and does what follows from it, whenever it is asked. `did` is told of each step that was done.

    Every write carries the version that was read, so two of them at once would harm nobody; a Lease sees to it that there is
    one. `now` is monotonic, `wall` the time of day.
    """

    def __init__(
        self,
        api: Api,
        vault: Vault,
        *,
        now: Callable[[], float],
        wall: Callable[[], datetime],
        did: Callable[[str], None] = lambda _: None,
        settle: float = SETTLE,
    ) -> None:
        self._api = api
        self._vault = vault
        self._home = Home(vault.namespace)
        self._names = names_of(vault.namespace, NAME)
        self._now = now
        self._wall = wall
        self._did = did
        self._settle = settle
        self._seen: object = None
        self._since = 0.0

    async def round(self) -> str:
        """Do what there is to do; what kept it from that, or is not to be mended here, empty for nothing.

        Raises:
            Unread: the Secret cannot be read.
        """
        troubles: dict[str, None] = {}
        for _ in range(STEPS):
            look = await self.look(is_fixed=bool(troubles))
            if isinstance(look.step, Rest):
                troubles |= {look.trouble: None}
                break
            try:
                await self._take(look)
            except NotWritten as why:
                # Certificates are renewed all the same.
                troubles |= {} if why.is_conflict else {str(why): None}
            except Unwritten as why:
                if not why.is_conflict:
                    troubles |= {str(why): None, look.trouble: None}
                    break
            else:
                self._did(DONE[type(look.step)])
        return "; ".join(filter(None, troubles))

    async def look(self, *, is_fixed: bool = False) -> Look:
        """Look, and do nothing; `is_fixed` where the registration cannot be changed.

        Raises:
            Unread: the Secret cannot be read.
        """
        found = await self._vault.read()
        kept = kept_in(found.stored) if found is not None else None
        live, registered = None, None
        try:
            live = await find(self._api)
            registered = msgspec.structs.replace(self._registered(live, kept), is_fixed=is_fixed)
            trouble = self._outside(live, kept, registered)
        except NotRead as why:
            trouble = str(why)
        step = next_step(
            kept,
            registered,
            name=self._names[0],
            names=frozenset(self._names),
            now=self._wall().timestamp(),
            settle=self._settle,
        )
        return Look(found, kept, live, registered, step, trouble)

    async def _take(self, look: Look) -> None:
        step = look.step
        if isinstance(step, Register):
            assert look.live is not None
            bundle = joined(one.certificate for one in step.bundle)
            operations = told(entries(look.live, self._home), bundle=bundle, path=path_of(step.path))
            await patch(self._api, look.live, operations)
            return
        after = self._after(step, look.kept or Kept())
        await self._vault.write(stored_of(after, look.found.stored if look.found is not None else None), look.found)

    def _after(self, step: Begin | Complete | Issue | Forget | Rest, kept: Kept) -> Kept:
        """What stands in the Secret after a step."""
        now = self._wall()
        match step:
            case Begin():
                return begun(kept, step, authority=new_authority(now), seal=new_secret(), path=new_secret())
            case Complete():
                return completed(kept, step, seal=new_secret(), path=new_secret())
            case Issue(authority):
                return issued(kept, new_leaf(authority, self._names, now), now=now.timestamp())
            case Forget():
                return forgotten(kept, now=now.timestamp())
            case Rest():
                return kept
            case _ as never:
                assert_never(never)

    def _registered(self, live: Live | None, kept: Kept | None) -> Registered:
        """What API servers are told, and for how long that, and what replicas answer, has been seen so."""
        found = entries(live, self._home)
        told_ = tuple((one.bundle, one.path) for one in found)
        seen = (told_, (kept.is_open, frozenset(kept.paths)) if kept is not None else None)
        if seen != self._seen:
            self._seen, self._since = seen, self._now()
        if live is None or not found:
            return Registered(is_there=False, is_ours=False)
        bundles = [authorities_in(one.bundle) for one in found]
        common = frozenset.intersection(*(frozenset(one.id for one in bundle) for bundle in bundles))
        path = secret_of(found[0].path)
        return Registered(
            bundle=tuple(one for one in bundles[0] if one.id in common),
            path=path,
            standing=self._now() - self._since,
            is_ours=not keeper(live),
            is_even=len(set(told_)) == 1 and found[0].path == path_of(path),
        )

    def _outside(self, live: Live | None, kept: Kept | None, registered: Registered) -> str:
        """What is wrong with a registration that others keep, and theirs to mend."""
        if live is None:
            return f"there is no mutatingwebhookconfiguration {NAME}: the API server asks nobody"
        if not registered.is_there:
            places = ", ".join(strangers(live, self._home))
            what = f"leads to {places}, and not to {self._names[0]}" if places else "holds no webhook of Moorage"
            return f"mutatingwebhookconfiguration {NAME} {what}"
        leaf = kept.leaf if kept is not None else None
        if registered.is_ours or leaf is None or leaf.authority in registered.trusts:
            return ""
        return (
            f"mutatingwebhookconfiguration {NAME} is kept by {keeper(live)} and does not trust who signed the certificate: "
            f"put ca.crt of {self._vault.title} into its caBundle"
        )


async def keep(
    keeper_: Keeper,
    *,
    interval: float,
    tell: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """A round every `interval` seconds, until cancelled; `tell` hears after each what is wrong, or nothing."""
    while True:
        try:
            trouble = await keeper_.round()
        except Unread as why:
            trouble = str(why)
        tell(trouble)
        await sleep(interval)
