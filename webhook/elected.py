"""A process of which one does the work: a round again and again while the Lease is its own, with health and metrics."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Final

from webhook.lease import Lease
from webhook.listening import BACKLOG, Listen, Quiet, address_of, announce, configured, until
from webhook.ops import operations
from webhook.telemetry import FLUSH_EVERY, Telemetry

ROUND: Final = "round"
LEASE: Final = "lease"


class Elected:
    """`round_` does all there is to do, and says what kept it from that (empty for nothing); `interval` in seconds is the
    rest between two rounds."""

    def __init__(
        self,
        lease: Lease,
        round_: Callable[[], Awaitable[str]],
        telemetry: Telemetry,
        *,
        interval: float,
        ops_listen: Listen,
        new_id: Callable[[], str],
    ) -> None:
        self._lease = lease
        self._round = round_
        self._telemetry = telemetry
        self._interval = interval
        self._ops_listen = ops_listen
        self._new_id = new_id
        self._stop = asyncio.Event()
        self._trouble = ""
        self._unheld = ""

    async def run(self, *, ready: Callable[[str], None] = announce) -> None:
        """Until SIGTERM or SIGINT. `ready` gets the line of the chosen address.

        Raises:
            OSError: the port cannot be had.
            CannotServe: it was lost on the way.
        """
        bound = self._ops_listen.bound()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

        async def listen(server: Quiet) -> asyncio.Server:
            return await loop.create_server(server.protocol, sock=bound, backlog=BACKLOG)

        ops = Quiet(configured(operations(self._checks, self._telemetry.exposition)), listen)
        address = f"http://{address_of(bound)}"
        every = [asyncio.create_task(one) for one in (ops.serve(), self._lease.hold(self._work), self._flush())]
        try:
            await until(every, ops.up)
            self._telemetry.log.write("info", "waiting for the lease", ops=address)
            ready(json.dumps({"listening": {"ops": address}}))
            await until(every, self._stop)
        finally:
            for one in every[1:]:
                one.cancel()
            # The Lease is given up here, so that the next one need not wait.
            await asyncio.gather(*every[1:], return_exceptions=True)
            ops.ending.set()
            await asyncio.gather(every[0], return_exceptions=True)
            self._telemetry.log.write("info", "stopped")

    def stop(self) -> None:
        """What SIGTERM does."""
        self._stop.set()

    async def _work(self) -> None:
        self._unheld = ""
        self._telemetry.log.write("info", "elected")
        try:
            while True:
                await self._once()
                await asyncio.sleep(self._interval)
        finally:
            self._telemetry.log.write("info", "not elected any more")

    async def _once(self) -> None:
        try:
            trouble = await self._round()
        except Exception as error:  # noqa: BLE001 - an outer door: the next round may do better
            identity = self._new_id()
            self._telemetry.bug(identity, "", error)
            trouble = f"internal error {identity}"
        if trouble and trouble != self._trouble:
            self._telemetry.log.write("error", "round failed", problem=trouble)
        self._trouble = trouble

    async def _checks(self) -> dict[str, str]:
        return {LEASE: self._lease.trouble, ROUND: self._trouble}

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            # Each try begins without trouble, so that only an election ends it.
            if self._lease.trouble and self._lease.trouble != self._unheld:
                self._unheld = self._lease.trouble
                self._telemetry.log.write("error", "lease not held", problem=self._unheld)
            self._telemetry.log.flush()
