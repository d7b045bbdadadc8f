"""Whether the live registration lets through all that the rules in force are about; where it is labelled so, it is made
to, and never in a fight with another writer.

Every replica does this by itself, so what they do must not part them while they have different configurations: what is
missing is added at once, to what is there, and what nobody needs any more goes only when it has been so for minutes.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import reduce
from typing import Any, Final, Protocol

from webhook.core.conditions import Coverage, needed
from webhook.core.registered import Finding, Home, Live, judge, mended, standing
from webhook.core.registration import NAME
from webhook.core.rules import RuleSet
from webhook.upkeep import Api, NotRead, NotWritten, find, patch

EVERY: Final = 60.0
"""Seconds between looks."""
NARROW_AFTER: Final = 600.0
"""Seconds for which hosts have to be of no use before they go: until then every replica has loaded the same."""
FIRST_PAUSE: Final = 60.0
LONGEST_PAUSE: Final = 3600.0
"""Seconds for which the same is not written again after somebody has undone it: doubled each time, up to an hour."""
TRIES: Final = 3
"""How often it is read and written in one look, where somebody else writes at the same time: replicas that want the same, or the
one that keeps `caBundle`."""
DROPPED: Final = (
    f"mutatingwebhookconfiguration {NAME}: the API server drops matchConditions, as one before 1.28 does: "
    "it asks about every Pod"
)
TOLD: Final = 20
"""Findings that a line names; a thousand rules may lack as many hosts."""


class Log(Protocol):
    """Who writes lines: `webhook.telemetry.Log`."""

    def write(self, level: str, event: str, **more: Any) -> None:
        """One event."""


class Patience:
    """When the same thing may be written again: at once when it is new, ever later while somebody undoes it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last: Coverage | None = None
        self._pause = 0.0
        self._since = 0.0

    def may_write(self, wanted: Coverage) -> bool:
        """Whether it is time."""
        return wanted != self._last or self._now() - self._since >= self._pause

    def wrote(self, wanted: Coverage) -> bool:
        """It was written; whether that was not for the first time."""
        now = self._now()
        again = wanted == self._last and now - self._since < 2 * LONGEST_PAUSE
        self._pause = min(self._pause * 2, LONGEST_PAUSE) if again else FIRST_PAUSE
        self._last, self._since = wanted, now
        return again


class Covering:
    """One process's eye on the registration. `changed` is told 1 or 0 when it is known; `rules` gives those in force."""

    def __init__(
        self,
        api: Api,
        rules: Callable[[], RuleSet],
        home: Home,
        log: Log,
        changed: Callable[[float], None],
        *,
        now: Callable[[], float],
        every: float = EVERY,
    ) -> None:
        """`now` is monotonic; `every` so many seconds it looks without being nudged."""
        self._api = api
        self._rules = rules
        self._home = home
        self._log = log
        self._changed = changed
        self._now = now
        self._every = every
        self._patience = Patience(now)
        self._due = asyncio.Event()
        self._told: tuple[Finding, ...] | None = None
        self._trouble = ""
        self._is_dropped = False
        self._unused: tuple[float, Coverage, Coverage] | None = None
        self._live: Live | None = None
        self._needed: tuple[RuleSet, Coverage] | None = None

    def nudge(self) -> None:
        """Look soon: the rules are others now, or the registration is. What they want and was not there when it was last
        seen counts as missing from now on."""
        if self._live is not None and any(one.is_gap for one in self._judged(self._live)):
            self._changed(0)
        self._due.set()

    async def run(self, guard: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
        """Look when nudged, and again and again from then on, until cancelled. `guard` calls a look and tells of its
        faults."""
        await self._due.wait()
        while True:
            self._due.clear()
            await guard(self.look)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), self._every)

    @property
    def findings(self) -> tuple[str, ...]:
        """What was missing or doubtful when it was looked at last, in sentences."""
        return tuple(_told([one for one in self._told or () if one.level != "info"]))

    async def look(self) -> None:
        """Hold the registration against the rules, and mend it where that is ours to do."""
        for _ in range(TRIES):
            try:
                live = await find(self._api)
            except NotRead as why:
                # What was known stays: that nobody may look is no gap.
                self._tell_trouble("registration not read", str(why))
                return
            try:
                live = await self._mend(live, self._need())
            except NotWritten as why:
                self._tell_trouble("registration not written", "" if why.is_conflict else str(why))
                if why.is_conflict:
                    continue
            else:
                self._tell_trouble("", "")
            break
        self._live = live
        self._tell(self._judged(live))

    def _need(self) -> Coverage:
        rules = self._rules()
        if self._needed is None or self._needed[0] is not rules:
            self._needed = (rules, needed(rules))
        return self._needed[1]

    def _judged(self, live: Live | None) -> tuple[Finding, ...]:
        return judge(live, self._rules(), self._home, need=self._need())

    async def _mend(self, live: Live | None, need: Coverage) -> Live | None:
        if live is None or not self._is_ours(live):
            return live
        wanted = self._wanted(live, need)
        if wanted is None or not self._patience.may_write(wanted):
            return live
        operations = mended(live, wanted)
        if not operations:
            return live
        others = live.writers("matchConditions")
        after = await patch(self._api, live, operations)
        again = self._patience.wrote(wanted)
        was_dropped, self._is_dropped = self._is_dropped, bool(mended(after, wanted))
        if self._is_dropped:
            if not was_dropped:
                self._log.write("warning", "registration not written", problem=DROPPED)
            return after
        told = {"writers": others} if again else {}
        self._log.write(
            "warning" if again else "info", "registration mended", hosts=_shown(wanted), again=again, **told
        )
        return after

    def _is_ours(self, live: Live) -> bool:
        """Whether its conditions are ours to keep: it says so, leads to us, and no newer Moorage keeps them."""
        ours = [webhook for _, webhook in live.ours]
        reads = [webhook.conditions_as("pods") for webhook in ours]
        return (
            live.is_managed
            and all(self._home.is_at(webhook.client_config) for webhook in ours)
            and not any(found.newer for found in reads)
        )

    def _wanted(self, live: Live, need: Coverage) -> Coverage | None:
        """What its conditions shall let through; None where they may stay for now."""
        every = standing(live)
        if every is None:
            return need
        there = reduce(Coverage.joined, every, need)
        if not all(one.holds(need) for one in every):
            self._unused = None
            return there
        if there == need:
            self._unused = None
            return None
        if self._unused is None or self._unused[1:] != (there, need):
            self._unused = (self._now(), there, need)
        return need if self._now() - self._unused[0] >= NARROW_AFTER else None

    def _tell(self, found: Sequence[Finding]) -> None:
        gaps = tuple(one for one in found if one.is_gap)
        self._changed(0 if gaps else 1)
        if self._told is not None and {*found} == {*self._told}:
            return
        had_gaps = self._told is not None and any(one.is_gap for one in self._told)
        self._told = tuple(found)
        if gaps:
            self._log.write("error", "registration gap", missing=_told(gaps), do=_remedies(gaps))
        elif had_gaps:
            self._log.write("info", "registration covers the rules again", name=NAME)
        rest = [one for one in found if one.level == "warning"]
        if rest:
            self._log.write("warning", "registration", problems=_told(rest), do=_remedies(rest))

    def _tell_trouble(self, event: str, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._log.write("warning", event, problem=trouble)
        self._trouble = trouble


def _told(found: Sequence[Finding]) -> list[str]:
    more = [f"and {len(found) - TOLD} more"] if len(found) > TOLD else []
    return [str(one) for one in found[:TOLD]] + more


def _remedies(found: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys(one.remedy for one in found))


def _shown(coverage: Coverage) -> int | str:
    return "all" if coverage.everything else len(coverage.names) + len(coverage.globs)
