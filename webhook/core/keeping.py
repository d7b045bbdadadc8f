"""What is to be done next about certificates and keys, given what stands. Knows no cluster and makes no key.

A generation is an authority, a seal key and a path secret. Another takes its place in three writes of the Secret:

| write | `ca.crt` | `ca.key` | `tls.crt` of | `seal.key` | `path.secret` |
|---|---|---|---|---|---|
| begun | new, old | new, old | old | old, new | old, new |
| switched | new, old | new | new | new, old | new, old |
| forgotten | new | new | new | new, old | new |

Of seal keys and path secrets the first is in force and the others are believed. Between the first two writes the
registration trusts both authorities for as long as API servers and replicas take to hear of it. The old one goes when the
last certificate that it signed has ended: its key is gone since the switch, so nobody need know what each replica serves,
and one that was cut off meanwhile is still trusted. What stands at any moment says where one is; whoever dies on the way
leaves nothing that the next one must be told.

Where somebody else keeps the registration, reviews come at a path without a secret. On the way there and back both kinds of
paths are answered: from when it is known who keeps it, until no API server calls at the one before.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from webhook.core.secret import Secret

DAY: Final = 86_400.0
AUTHORITY_LIFE: Final = 365 * DAY
LEAF_LIFE: Final = 30 * DAY
BACKDATED: Final = 300.0
"""Seconds by which certificates begin before they are made: clocks differ."""
SETTLE: Final = 30.0
"""Seconds in which every API server and every replica hears of what was written, unless said otherwise."""
RESCUED: Final = 3
"""Authorities at most that are taken over from a registration, where the Secret has lost them."""
PATIENT: Final = 10
"""How many times longer a path secret stands before callers are sent to it, and a certificate before an operator may have
the authority before dropped: a replica that could not read the Secret meanwhile would answer 404, or show the old one."""

LEAF: Final = "leaf"
ALL: Final = "all"
DROP: Final = "drop"
WISHES: Final = (LEAF, ALL, DROP)
"""What an operator may ask for: a certificate now, a generation now, an end of the authority before now."""


class Authority(msgspec.Struct, frozen=True):
    """A certificate that signs, as PEM, and its key where it is known; `id` is its fingerprint. Times in unix seconds."""

    id: str
    certificate: str
    key: Secret | None
    starts: float
    ends: float

    def lives(self, now: float) -> bool:
        """Whether it is valid."""
        return self.starts <= now < self.ends


class Leaf(msgspec.Struct, frozen=True):
    """A certificate that serves, as PEM, and its key, which fits. `authority` is the id of who signed it, empty when none
    that stands in the Secret did."""

    certificate: str
    key: Secret
    authority: str
    starts: float
    ends: float
    names: frozenset[str]

    def serves(self, names: frozenset[str], authorities: Iterable[Authority], now: float) -> bool:
        """Whether callers who know these authorities take it for these names."""
        known = {one.id for one in authorities}
        return self.starts <= now < self.ends and names <= self.names and self.authority in known


class Kept(msgspec.Struct, frozen=True):
    """What stands in the Secret. `authorities` the newest first; of `seals` and `paths` the first is in force.

    `until` is when the authorities before the newest may go, 0 while the newest is not in force yet; `wish` is one of
    WISHES or empty; `is_open` says that reviews are answered at the path without a secret, beside those of `paths`; `is_ours`
    whether Moorage keeps it, or somebody else does."""

    authorities: tuple[Authority, ...] = ()
    leaf: Leaf | None = None
    seals: tuple[Secret, ...] = ()
    paths: tuple[Secret, ...] = ()
    until: float = 0.0
    wish: str = ""
    is_open: bool = False
    is_ours: bool = True

    def living(self, now: float) -> tuple[Authority, ...]:
        """The authorities that are valid."""
        return tuple(one for one in self.authorities if one.lives(now))


class Registered(msgspec.Struct, frozen=True):
    """What API servers are told: whom to trust, and where to call. `path` is empty where there is no secret in it.

    `standing` are the seconds for which whoever asks has seen it so, and the paths that are answered as they are. `is_there` is False where nothing is registered, so
    that nobody calls; `is_ours` whether its `bundle` and path are Moorage's to keep; `is_fixed` that they could not be
    changed just now; `is_even` whether all its webhooks say the same."""

    bundle: tuple[Authority, ...] = ()
    path: Secret | None = None
    standing: float = 0.0
    is_there: bool = True
    is_ours: bool = True
    is_fixed: bool = False
    is_even: bool = True

    @property
    def trusts(self) -> frozenset[str]:
        """The ids of the authorities."""
        return frozenset(one.id for one in self.bundle)

    @property
    def is_elsewhere(self) -> bool:
        """Whether somebody else keeps it, so that there shall be no path secret: what stands in Git is none."""
        return self.is_there and not self.is_ours


class Begin(msgspec.Struct, frozen=True):
    """Make an authority, a seal key and a path secret, and let them stand beside those before; `trusted` are the
    authorities that somebody may still serve by. `path` is where callers are sent already, if the Secret has lost it;
    with `is_open` no path secret is made."""

    trusted: tuple[Authority, ...]
    path: Secret | None = None
    is_open: bool = False


class Complete(msgspec.Struct, frozen=True):
    """Make the seal key or the path secret that is missing, or take back this path; or let other paths be answered: the one
    without a secret (`is_open`), those with one (`is_secret`), or both."""

    path: Secret | None = None
    is_open: bool = False
    is_secret: bool = True


class Register(msgspec.Struct, frozen=True):
    """Let the registration trust these authorities and call at this path; None for one without a secret."""

    bundle: tuple[Authority, ...]
    path: Secret | None


class Issue(msgspec.Struct, frozen=True):
    """Make a certificate that this authority signs."""

    authority: Authority


class Forget(msgspec.Struct, frozen=True):
    """Drop what came before the newest authority."""


class Rest(msgspec.Struct, frozen=True):
    """All is well until then, as far as one can see now."""

    until: float


Step = Begin | Complete | Register | Issue | Forget | Rest


def next_step(
    kept: Kept | None, registered: Registered | None, *, name: str, names: frozenset[str], now: float, settle: float
) -> Step:
    """What to do now.

    `name` is what callers call by, `names` all that a certificate is made for. `kept` is None where there is no Secret,
    `registered` where the registration cannot be read. `settle` are the seconds in which every API server and every replica
    hears of what was written.
    """
    is_elsewhere = registered is not None and registered.is_elsewhere
    live = registered.path if registered is not None and registered.is_there else None
    if kept is None:
        return Begin(_rescued((), registered, now), live, is_open=is_elsewhere)
    if kept.is_ours and not _signing(kept, now):
        return Begin(_trusted(kept, registered, now), live, is_open=is_elsewhere or kept.is_open)
    is_open, is_secret = _answered(kept, registered, settle)
    if kept.is_ours and (not kept.seals or kept.is_open is not is_open or bool(kept.paths) is not is_secret):
        return Complete(live, is_open=is_open, is_secret=is_secret)
    if (told := _registration(kept, registered, name, now, settle)) is not None:
        return told
    if not kept.is_ours:
        return Rest(kept.leaf.ends if kept.leaf is not None else now)
    return _certificate(kept, registered, names, now, settle) or _generation(kept, registered, now, settle)


def _answered(kept: Kept, registered: Registered | None, settle: float) -> tuple[bool, bool]:
    """Whether reviews shall be answered at the path without a secret, and at those with one: at both until it has been seen
    for a while that nobody is sent to the one before."""
    if registered is None or not registered.is_there:
        return kept.is_open, bool(kept.paths) or not kept.is_open
    is_settled = registered.standing >= settle
    if registered.is_elsewhere:
        return True, registered.path is not None or (bool(kept.paths) and not is_settled)
    return kept.is_open and not (registered.path in kept.paths and is_settled), True


def _certificate(
    kept: Kept, registered: Registered | None, names: frozenset[str], now: float, settle: float
) -> Issue | Rest | None:
    """A certificate, where one is wanted."""
    signing = _signing(kept, now)
    newest, leaf = signing[0], kept.leaf
    is_trusted = _holds(registered, newest, settle)
    if leaf is None or not leaf.serves(names, kept.living(now), now):
        by = next((one for one in signing if _holds(registered, one, settle)), None)
        if by is None and _is_alone(kept, registered, newest, now):
            by = newest
        return Issue(by) if by is not None else Rest(now)
    if leaf.authority != newest.id and is_trusted:
        return Issue(newest)
    by = next((one for one in signing if one.id == leaf.authority), None)
    if by is not None and (kept.wish == LEAF or (due(leaf) <= now and leaf.ends < by.ends)):
        return Issue(by)
    return None


def _generation(kept: Kept, registered: Registered | None, now: float, settle: float) -> Begin | Forget | Rest:
    """What comes after the certificate: the generation before goes, or another one begins."""
    newest, leaf = _signing(kept, now)[0], kept.leaf
    if leaf is None or leaf.authority != newest.id:
        # The newest one waits until it is known everywhere.
        return Rest(now)
    leave = _leave(kept, newest)
    has_more = leave is not None or len(kept.paths) > 1
    is_known = _is_known(kept, registered, settle)
    is_time = has_more and (leave or 0.0) <= now
    # Not before replicas that were late to hear of this certificate show it.
    is_wished = kept.wish == DROP and now - leaf.starts >= BACKDATED + PATIENT * settle
    if (is_time or is_wished) and is_known:
        return Forget()
    if kept.wish != ALL and due(newest) > now:
        return Rest(
            now
            if is_time or kept.wish == DROP
            else min(due(leaf), due(newest), *([leave] if leave is not None else []))
        )
    if registered is None or not registered.is_ours or registered.is_fixed or is_known:
        live = registered.path if registered is not None and registered.is_there else None
        return Begin(_trusted(kept, registered, now), live, is_open=kept.is_open)
    # One after another: where callers are sent now must stand until they all are sent elsewhere.
    return Rest(now)


def _registration(kept: Kept, registered: Registered | None, name: str, now: float, settle: float) -> Register | None:
    """What is wrong with a registration that is ours to keep."""
    bundle = kept.living(now)
    if registered is None or not registered.is_there or not registered.is_ours or registered.is_fixed or not bundle:
        return None
    if not kept.is_ours and (kept.leaf is None or not kept.leaf.serves(frozenset({name}), bundle, now)):
        # Replicas serve on with what they had, and nobody here makes another: who has signed that stays trusted.
        known = {one.id for one in bundle}
        bundle = (*bundle, *(one for one in registered.bundle if one.id not in known and one.lives(now)))
    # Without paths, and none that is open, those that stand there cannot be used: replicas answer at the ones before.
    path = kept.paths[0] if kept.paths else None if kept.is_open else registered.path
    is_answered = registered.path in kept.paths or (registered.path is None and kept.is_open)
    if is_answered and registered.standing < PATIENT * settle:
        path = registered.path
    if registered.is_even and registered.trusts == {one.id for one in bundle} and registered.path == path:
        return None
    return Register(bundle, path)


def begun(kept: Kept | None, step: Begin, *, authority: Authority, seal: Secret, path: Secret) -> Kept:
    """After Begin."""
    before = kept or Kept()
    paths = before.paths
    if step.path is not None and (step.path in paths or not paths):
        paths = (step.path,)
    return msgspec.structs.replace(
        before,
        authorities=(authority, *step.trusted),
        seals=(*before.seals[:1], seal),
        paths=paths if step.is_open else (*paths[:1], path),
        until=0.0,
        wish="",
        is_open=step.is_open,
        is_ours=True,
    )


def completed(kept: Kept, step: Complete, *, seal: Secret, path: Secret) -> Kept:
    """After Complete."""
    paths = kept.paths or (step.path or path,) if step.is_secret else ()
    return msgspec.structs.replace(kept, seals=kept.seals or (seal,), paths=paths, is_open=step.is_open)


def issued(kept: Kept, leaf: Leaf, *, now: float) -> Kept:
    """After Issue. With the first certificate of another authority its whole generation comes into force."""
    wish = "" if kept.wish == LEAF else kept.wish
    newest, *old = kept.authorities
    if leaf.authority != newest.id or not old or kept.until:
        return msgspec.structs.replace(kept, leaf=leaf, wish=wish)
    before = kept.leaf
    # Where it is not known what replicas serve, it is something that was signed before now.
    is_known = before is not None and before.authority in {one.id for one in old}
    return msgspec.structs.replace(
        kept,
        authorities=(newest, *(msgspec.structs.replace(one, key=None) for one in old)),
        leaf=leaf,
        seals=kept.seals[1::-1],
        paths=kept.paths[1::-1],
        until=before.ends if before is not None and is_known else now + LEAF_LIFE,
        wish=wish,
    )


def forgotten(kept: Kept, *, now: float) -> Kept:
    """After Forget."""
    wish = "" if kept.wish == DROP else kept.wish
    newest = _signing(kept, now)[:1]
    return msgspec.structs.replace(kept, authorities=newest, paths=kept.paths[:1], until=0.0, wish=wish)


def due(one: Authority | Leaf) -> float:
    """When two thirds of its life are over."""
    return one.starts + (one.ends - one.starts) * 2 / 3


def _signing(kept: Kept, now: float) -> tuple[Authority, ...]:
    """The authorities that can sign."""
    return tuple(one for one in kept.living(now) if one.key is not None)


def _holds(registered: Registered | None, authority: Authority, settle: float) -> bool:
    """Whether every API server trusts an authority by now."""
    if registered is None:
        return False
    return not registered.is_there or (authority.id in registered.trusts and registered.standing >= settle)


def _is_alone(kept: Kept, registered: Registered | None, newest: Authority, now: float) -> bool:
    """Whether no API server can trust what another authority has signed, so that there is nothing to wait for."""
    others = {one.id for one in kept.living(now)} - {newest.id}
    return not others or (registered is not None and not registered.trusts & others)


def _is_known(kept: Kept, registered: Registered | None, settle: float) -> bool:
    """Whether every API server calls at the path that is in force, and trusts the newest authority."""
    if registered is None or not _holds(registered, kept.authorities[0], settle):
        return False
    return not registered.is_there or registered.path in (None, *kept.paths[:1])


def _leave(kept: Kept, newest: Authority) -> float | None:
    """When the authorities before the newest may go; None where there are none."""
    old = [one.ends for one in kept.authorities if one.id != newest.id]
    if not old:
        return None
    return min(kept.until, max(old)) if kept.until else max(old)


def _trusted(kept: Kept, registered: Registered | None, now: float) -> tuple[Authority, ...]:
    """By which authorities a replica may serve: those that sign, that have signed, and that API servers trust."""
    trusts = registered.trusts if registered is not None else frozenset()
    signed = kept.leaf.authority if kept.leaf is not None else ""
    have = tuple(one for one in kept.living(now) if one.key is not None or one.id in trusts or one.id == signed)
    return (*have, *_rescued(have, registered, now))


def _rescued(have: tuple[Authority, ...], registered: Registered | None, now: float) -> tuple[Authority, ...]:
    """What a registration of ours trusts and the Secret has lost."""
    if registered is None or not registered.is_ours:
        return ()
    known = {one.id for one in have}
    return tuple(one for one in registered.bundle if one.id not in known and one.lives(now))[:RESCUED]
