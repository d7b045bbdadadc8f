"""From the options of `serve` to a running server, with reloads: what happens at start and whenever files change."""

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from webhook.config import BadConfiguration, Loaded, load
from webhook.core.registration import NAME, NotRegistered, Reached
from webhook.desk import Desk
from webhook.listening import Listen, announce
from webhook.options import (
    BadOptions,
    Options,
    authority_of_callers,
    first_pair,
    names_of_callers,
    secrets_of_path,
)
from webhook.reload import LastGood, NotLoaded, Part, fingerprint, watch
from webhook.server import Server
from webhook.surroundings import cluster_of, covering_of, registrar_of, supply_of
from webhook.telemetry import Libraries, Log, Telemetry
from webhook.tls import BadCertificate, is_due, read, utc_now
from webhook.wiring import Assembly, new_id, sealer_from
from webhook.writer import Writer

if TYPE_CHECKING:
    from webhook.certificates import Held
    from webhook.core.seal import Sealer
    from webhook.covering import Covering
    from webhook.registrar import Registrar
    from webhook.showing import PageOfService
    from webhook.supply import Supply
    from webhook.tls import Authority
    from webhook.wiring import Cluster


RENEW_EVERY: Final = 60.0
"""Seconds between looks at the age of a certificate of our own, and before a watch that broke is begun anew."""


class Service:
    """One serving process; `reach` finds its cluster, if it has one."""

    def __init__(
        self,
        options: Options,
        *,
        environ: Mapping[str, str],
        stderr: TextIO = sys.stderr,
        reach: "Callable[[Options, Mapping[str, str], Sealer], Cluster | None]" = cluster_of,
    ) -> None:
        self._options = options
        self._environ = environ
        self._reach = reach
        self._writer = Writer(stderr)
        self.telemetry = Telemetry(
            Log(self._writer, form=options.log_format, level=options.log_level, lost=lambda: self._writer.lost)
        )
        self._loaded = self._load(None)
        self._seen = fingerprint(self._files())
        self._last_good = LastGood(self.telemetry.log, self._not_loaded)
        self._authority: Authority | None = None
        self._assembly: Assembly | None = None
        self._desk: Desk | None = None
        self._registrar: Registrar | None = None
        self._supply: Supply | None = None
        self._unread_before = ""
        self._unkept_before = ""
        self._covering: Covering | None = None
        self.server: Server | None = None

    async def run(self, *, ready: Callable[[str], None] = announce) -> None:
        """Serve until told to stop. `ready` gets the line of chosen addresses.

        Raises:
            BadConfiguration, BadOptions, BadCertificate, OSError: at start only.
        """
        libraries = Libraries(self.telemetry.log)
        logging.getLogger().addHandler(libraries)
        try:
            server, assembly = self._assembled()
            if self._supply is None:
                await assembly.warm(self._loaded)
            calm_collector()
            beside = [asyncio.create_task(one) for one in (self._watch(), self._renew_in_time(), self._cover())]
            if self._supply is not None:
                beside.append(asyncio.create_task(self._supplied(self._supply)))
            registered = asyncio.create_task(self._registered(server))
            try:
                await server.run(ready=ready)
                await registered
            finally:
                for task in (*beside, registered):
                    task.cancel()
                await asyncio.gather(*beside, registered, return_exceptions=True)
        finally:
            if self._assembly is not None:
                await self._assembly.aclose()
            logging.getLogger().removeHandler(libraries)
            self.telemetry.log.flush()
            await asyncio.to_thread(self._writer.close)

    async def _registered(self, server: Server) -> None:
        """Be registered by URL for as long as the server serves, where that was asked for."""
        if self._registrar is None:
            return
        await server.up.wait()
        try:
            await self._register()
            await server.stopping.wait()
        except NotRegistered:
            server.stop()
            raise
        finally:
            # Before the drain: from now on the API server asks nobody.
            if not await self._registrar.remove():
                self.telemetry.log.write("error", "registration left behind", name=NAME)

    async def _register(self) -> None:
        if self._registrar is None or self.server is None or self._desk is None:
            return
        pair, _ = self.server.shown
        if pair is None:
            return
        authority = self._authority.certificate if self._authority is not None else pair.certificate
        await self._registrar.put(Reached(self._desk.path, url=self._options.register_url, authority=authority))
        self.telemetry.log.write("info", "registered", url=self._options.register_url)
        if self._covering is not None:
            self._covering.nudge()

    async def _cover(self) -> None:
        """Keep an eye on the registration, where there is a cluster."""
        if self._covering is not None:
            await self._covering.run(self._calmly)

    async def _calmly(self, part: Part) -> None:
        try:
            await part()
        except Exception as error:  # noqa: BLE001 - an outer door: the next look may do better
            self._fault("", error)

    async def _watch(self) -> None:
        while True:
            try:
                await watch(self._files, self.reload, seen=self._seen, again=self._last_good.retry)
            except Exception as error:  # noqa: BLE001 - an outer door: a change that nobody sees must not be the end
                self._fault("", error)
                await asyncio.sleep(RENEW_EVERY)

    def _assembled(self) -> tuple[Server, Assembly]:
        options = self._options
        pair, self._authority = first_pair(options)
        try:
            sealer = sealer_from(options.seal_key_file)
            cluster = self._reach(options, self._environ, sealer)
            self._registrar = registrar_of(options, cluster)
            self._supply = supply_of(options, cluster, self, self.telemetry)
            self._covering = covering_of(options, cluster, lambda: self._loaded.rules, self.telemetry)
            listen, ops_listen = Listen.parse(options.listen), Listen.parse(options.ops_listen)
            page_listen = Listen.parse(options.page_listen) if options.page_listen else None
            shown = self._shown(page_listen)
            assembly = self._assembly = Assembly(
                self.telemetry, sealer, cluster, observer=shown.recent if shown is not None else None
            )
        except ValueError as bad:
            raise BadOptions(str(bad)) from None
        self._desk = Desk(
            assembly.engine(self._loaded),
            budget=self._loaded.resolving.budget,
            secrets=secrets_of_path(options.path_secret_file),
            shed=self.telemetry.shed,
            refused=self.telemetry.refused_request,
            fault=self._fault,
        )
        self.server = Server(
            self._desk,
            self.telemetry,
            pair,
            listen=listen,
            ops_listen=ops_listen,
            page_listen=page_listen,
            page=shown.page(self, assembly) if shown is not None else None,
            drain=options.drain,
            client_ca=authority_of_callers(options.client_ca),
            client_names=names_of_callers(options),
            reload=self.reload,
            lane=options.lane,
        )
        self._in_force(self._loaded)
        self.telemetry.certificate_success.set(int(pair is not None))
        return self.server, assembly

    def _shown(self, page_listen: Listen | None) -> "PageOfService | None":
        options = self._options
        if page_listen is None:
            if options.page_hosts:
                raise BadOptions("--page-host wants --page-listen: give the address of the page")
            return None
        from webhook.showing import PageOfService  # noqa: PLC0415 - who shows no page has no use for what makes it

        if not page_listen.is_loopback:
            self.telemetry.log.write("warning", "page beyond loopback", address=options.page_listen)
        return PageOfService(self.telemetry, (*options.page_hosts, *page_listen.names))

    @property
    def loaded(self) -> Loaded:
        """The configuration in force."""
        return self._loaded

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps files that changed from being in force, in sentences."""
        return self._last_good.problems

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is doubtful in the configuration that is in force."""
        assembly, loaded = self._assembly, self._loaded
        problems = assembly.problems if assembly is not None else ()
        has_cluster = assembly is not None and assembly.has_cluster
        unknown = () if has_cluster else (loaded.rules.needs_cluster, loaded.needs_cluster)
        return tuple(filter(None, (*loaded.warnings, *unknown, *problems)))

    @property
    def findings(self) -> tuple[str, ...]:
        """What is wrong with the registration, as far as it was read."""
        return self._covering.findings if self._covering is not None else ()

    def fault(self, error: BaseException) -> str:
        """Log a fault of ours that was met beside reviews; gives its id."""
        return self._fault("", error)

    async def reload(self) -> bool:
        """Load configuration, seal keys, certificate and path secrets again; what is broken leaves the last good one in force. Whether
        all of it is in force now."""
        return await self._last_good.load(self._reload_configuration, self._reload_pair, self._reload_paths)

    @property
    def rule_names(self) -> tuple[str, ...]:
        """The rules in force."""
        return tuple(rule.name for rule in self._loaded.rules.rules)

    async def _reload_configuration(self) -> None:
        if self._assembly is None or self._desk is None:
            return
        options = self._options
        try:
            loaded = await asyncio.to_thread(self._load, self._loaded)
            sealer = sealer_from(options.seal_key_file) if options.seal_key_file is not None else None
        except ValueError as bad:
            self.telemetry.reloaded(success=False, seconds=time.time())
            # Logins change on their own, and a mistake elsewhere must not keep the old ones.
            self._assembly.refresh_credentials()
            problems = bad.problems if isinstance(bad, BadConfiguration) else (bad,)
            raise NotLoaded("configuration not loaded", problems=[str(one) for one in problems]) from None
        engine = self._assembly.engine(loaded, sealer)
        self._loaded, self._desk.engine, self._desk.budget = loaded, engine, loaded.resolving.budget
        self._in_force(loaded)

    async def _reload_pair(self) -> None:
        options = self._options
        if self.server is None:
            return
        pair, client_ca = shown = self.server.shown
        if pair is None:
            return
        try:
            if options.tls_cert is not None and options.tls_key is not None:
                pair = read(options.tls_cert, options.tls_key, now=utc_now(), names=pair.names)
            client_ca = authority_of_callers(options.client_ca)
            if (pair, client_ca) != shown:
                await self.server.swap(pair, client_ca=client_ca)
                await self._register()
        except (BadCertificate, BadOptions, NotRegistered) as bad:
            self.telemetry.certificate_success.set(0)
            raise NotLoaded("certificate not loaded", problem=str(bad)) from None
        if self._supply is None:
            self.telemetry.certificate_success.set(1)

    async def _reload_paths(self) -> None:
        file = self._options.path_secret_file
        if file is None or self._desk is None:
            return
        before = self._desk.path
        try:
            self._desk.serve_at(secrets_of_path(file))
            if self._desk.path != before:
                await self._register()
        except (BadOptions, NotRegistered) as bad:
            raise NotLoaded("path secret not loaded", problem=str(bad)) from None

    async def _supplied(self, supply: "Supply") -> None:
        while True:
            try:
                await supply.run()
            except Exception as error:  # noqa: BLE001 - an outer door: what is in force serves on
                self._fault("", error)
                await asyncio.sleep(RENEW_EVERY)

    async def take(self, held: "Held") -> None:
        """Serve with what the Secret holds; what of it cannot be used leaves what was in force."""
        server, desk, assembly = self.server, self._desk, self._assembly
        if server is None or desk is None or assembly is None:
            return
        async with self._last_good.alone:
            if held.sealer is not None and held.sealer != assembly.sealer:
                desk.engine = assembly.engine(self._loaded, held.sealer)
            if held.paths is not None:
                desk.serve_at(held.paths, is_open=held.is_open)
            pair, client_ca = server.shown
            if held.pair is None or held.pair == pair:
                return
            if pair is None:
                # Not before: what running Pods say is believed by the seal keys.
                await assembly.warm(self._loaded)
            await server.swap(held.pair, client_ca=client_ca)

    def unread(self, trouble: str) -> None:
        """Hear what is wrong with the Secret that was read last."""
        self.telemetry.certificate_success.set(int(not trouble))
        if self.server is not None:
            self.server.missing = trouble or self.server.missing
        if trouble and trouble != self._unread_before:
            self.telemetry.log.write("error", "certificate not loaded", problem=trouble)
        self._unread_before = trouble

    def unkept(self, trouble: str | None) -> None:
        """Hear what is wrong with keeping the Secret and the registration right; None from a replica that does not."""
        kept = self.telemetry.certificates_kept
        kept.values.clear()
        if trouble is not None:
            kept.set(int(not trouble))
        if trouble and trouble != self._unkept_before:
            self.telemetry.log.write("error", "certificates not kept", problem=trouble)
        self._unkept_before = trouble or ""

    def _not_loaded(self, error: BaseException) -> str:
        self.telemetry.reload_success.set(0)
        return self._fault("", error)

    def _fault(self, uid: str, error: BaseException) -> str:
        """Log a fault of ours and give its id."""
        identity = new_id()
        try:
            self.telemetry.bug(identity, uid, error)
        except Exception:  # noqa: BLE001 - what is broken may be telemetry itself
            told = {"message": f"internal error {identity}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
        return identity

    def _load(self, before: Loaded | None) -> Loaded:
        options = self._options
        return load(
            options.config, environ=self._environ, rules=options.rules, variables=options.variables, before=before
        )

    def _in_force(self, loaded: Loaded) -> None:
        self.telemetry.reloaded(success=True, seconds=time.time())
        self.telemetry.in_force(loaded.hash)
        self.telemetry.log.write(
            "info", "configuration in force", file=str(loaded.path or ""), rules=len(loaded.rules.rules)
        )
        if self._covering is not None and (self._registrar is None or self._registrar.is_put):
            self._covering.nudge()
        for warning in self.doubts:
            self.telemetry.log.write("warning", "configuration", problem=warning)

    def _files(self) -> Sequence[Path]:
        return [*self._loaded.files, *self._options.files]

    async def renew(self, now: datetime) -> None:
        """Issue the next pair of our own authority, when it is time."""
        if self._authority is None or self.server is None:
            return
        pair, client_ca = self.server.shown
        if pair is not None and is_due(pair, now=now):
            await self.server.swap(self._authority.issue(self._options.tls_self_signed, now=now), client_ca=client_ca)

    async def _renew_in_time(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY)
            await self._last_good.attempt(self._renew)

    async def _renew(self) -> None:
        await self.renew(utc_now())


def calm_collector() -> None:
    """Let the collector look less often, and never again at what start-up made, which stays for good.

    By itself it looks after every few requests and takes a fifth of the time of a cold lookup.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
