"""From the options of `adopt --watch` to a process that tends the pins of living rollouts."""

import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TextIO

import msgspec
from cachetools import TTLCache

from webhook.access import Access
from webhook.adopter import Adopter, Report, survey
from webhook.config import BadConfiguration, Loaded, load
from webhook.core.adoption import WRITES
from webhook.core.revision import NAMED
from webhook.core.seal import Sealer
from webhook.elected import Elected
from webhook.kube import Kube, ListBroke
from webhook.lease import Lease
from webhook.listening import Listen, announce
from webhook.reload import fingerprint
from webhook.telemetry import Log, Telemetry
from webhook.wiring import CLOCKS, Assembly, Cluster, new_id, sealer_from
from webhook.writer import Writer

LEASE: Final = "moorage-adopt"
TOLD: Final = 10_000
TELL_AGAIN: Final = 3600.0
"""Seconds after which a pin that is gone and stays is told again: Events are kept as long."""


class Options(msgspec.Struct, frozen=True):
    """`moorage adopt --watch`, as given. `interval` in seconds."""

    access: Access
    namespace: str
    newest: bool
    interval: float
    ops_listen: str
    lease_namespace: str
    config: Path | None
    rules: tuple[str, ...]
    variables: dict[str, str]
    seal_key_file: Path | None


class Tending:
    """One process; of several one works."""

    def __init__(self, options: Options, *, environ: Mapping[str, str], stderr: TextIO = sys.stderr) -> None:
        """Raises:
        BadConfiguration, ValueError: what is given cannot be used.
        """
        self._options = options
        self._environ = environ
        self._writer = Writer(stderr)
        self._telemetry = Telemetry(Log(self._writer, lost=lambda: self._writer.lost))
        self._kube = Kube(options.access)
        self._loaded = self._load(None)
        self._sealer = sealer_from(options.seal_key_file if not self._lacks_keys() else None)
        self._is_waiting = self._lacks_keys()
        self._seen = fingerprint(self._files())
        self._assembly = Assembly(self._telemetry, self._sealer, Cluster(self._kube, self._sealer))
        self._adopter = self._adopter_of(self._loaded, self._sealer)
        self._told: TTLCache[tuple[str, str, str], bool] = TTLCache(TOLD, TELL_AGAIN, CLOCKS.monotonic)
        self._in_force()

    async def run(self, *, ready: Callable[[str], None] = announce) -> None:
        """Tend until told to stop.

        Raises:
            OSError, CannotServe, ValueError: the port cannot be had, or was lost.
        """
        options = self._options
        lease = Lease(
            self._kube,
            options.lease_namespace,
            LEASE,
            identity=f"{socket.gethostname()}_{new_id()}",
            now=CLOCKS.monotonic,
        )
        elected = Elected(
            lease,
            self.round,
            self._telemetry,
            interval=options.interval,
            ops_listen=Listen.parse(options.ops_listen),
            new_id=new_id,
        )
        try:
            await elected.run(ready=ready)
        finally:
            await self._assembly.aclose()
            self._telemetry.log.flush()
            self._writer.close()

    async def round(self) -> str:
        """Look at every living revision, write and tell what there is; what kept it from that, empty for nothing."""
        trouble = self._reload()
        if self._is_waiting:
            # Pins that nobody else believes would only have to be written again.
            return trouble or f"{self._options.seal_key_file} is not there yet: nothing is written before"
        try:
            living = await survey(self._kube, self._options.namespace)
        except ListBroke as broke:
            return "; ".join(filter(None, [trouble, f"{broke}; may the account list it?"]))
        reports = [
            await self._adopter.write(one) for one in await self._adopter.look(living, newest=self._options.newest)
        ]
        untold = [why for report in reports for why in await self._tell(report)]
        if untold:
            self._telemetry.log.write("warning", "events not written", events=len(untold), problem=untold[0])
        written = [one for report in reports for one in report.adopted if one.verdict in WRITES and not report.trouble]
        self._telemetry.log.write("info", "looked", revisions=len(living), written=len(written))
        unwritten = [
            f"{one.living.revision.namespace}/{one.living.revision.name}: {one.trouble}"
            for one in reports
            if one.trouble
        ]
        return "; ".join(filter(None, [trouble, *unwritten[:3]]))

    async def _tell(self, report: Report) -> list[str]:
        """Count what was done, and leave Events; why some could not be."""
        untold: list[str] = []
        revision = report.living.revision
        for one in report.adopted if not report.trouble else ():
            if one.verdict in WRITES:
                self._telemetry.pins.add((NAMED[revision.kind].resource, one.verdict.value))
        for one in report.gone:
            key = (revision.uid, one.name, one.before)
            if key not in self._told:
                self._told[key] = True
                self._telemetry.pins_gone.add((one.rule,))
                untold.append(await self._adopter.tell(report.living, one))
        return [why for why in untold if why]

    def _reload(self) -> str:
        """Take in a configuration or keys that changed; what is wrong with them leaves the last good ones in force."""
        options = self._options
        seen = fingerprint(self._files())
        if seen == self._seen:
            # Also where somebody has put a broken one back to what is in force.
            self._telemetry.reload_success.set(1)
            return ""
        try:
            loaded = self._load(self._loaded)
            if self._is_waiting and self._lacks_keys():
                return ""
            sealer = sealer_from(options.seal_key_file) if options.seal_key_file is not None else self._sealer
        except ValueError as bad:
            self._telemetry.reloaded(success=False, seconds=time.time())
            problems = bad.problems if isinstance(bad, BadConfiguration) else (bad,)
            return "; ".join(str(one) for one in problems)
        self._seen, self._loaded, self._sealer, self._is_waiting = seen, loaded, sealer, False
        self._adopter = self._adopter_of(loaded, sealer)
        self._in_force()
        return ""

    def _in_force(self) -> None:
        self._telemetry.reloaded(success=True, seconds=time.time())
        self._telemetry.in_force(self._loaded.hash)
        for rule in self._loaded.rules.rules:
            self._telemetry.pins_gone.begin((rule.name,))

    def _lacks_keys(self) -> bool:
        """Whether the file of seal keys is still to come, as where it is mounted from a Secret that the webhook makes."""
        file = self._options.seal_key_file
        return file is not None and not file.exists()

    def _adopter_of(self, loaded: Loaded, sealer: Sealer) -> Adopter:
        engine = self._assembly.engine(loaded, sealer)
        return Adopter(
            self._kube,
            engine,
            loaded.rules,
            sealer,
            now=CLOCKS.monotonic,
            wall=CLOCKS.wall,
            knows_seals=self._options.seal_key_file is not None,
        )

    def _load(self, before: Loaded | None) -> Loaded:
        options = self._options
        return load(
            options.config, environ=self._environ, rules=options.rules, variables=options.variables, before=before
        )

    def _files(self) -> list[Path]:
        keys = self._options.seal_key_file
        return [*self._loaded.files, *([keys] if keys is not None else [])]
