"""From the options of `serve` to a running server, with reloads: what happens at start and whenever files change."""

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from webhook.config import BadConfiguration, Loaded, load
from webhook.core.seal import Sealer
from webhook.desk import Desk
from webhook.reload import watch
from webhook.server import Listen, Server
from webhook.telemetry import Log, Telemetry
from webhook.tls import BadCertificate, Pair, read, self_signed, utc_now
from webhook.wiring import IN_CLUSTER, Assembly, Cluster, sealer_from


class Options(msgspec.Struct, frozen=True):
    """`moorage serve`, as given."""

    config: Path | None = None
    rules: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    listen: str = "0.0.0.0:8443"
    ops_listen: str = "0.0.0.0:8080"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_self_signed: str = ""
    ca_out: Path | None = None
    client_ca: Path | None = None
    path_secret_file: Path | None = None
    seal_key_file: Path | None = None
    drain: float = 5.0
    log_format: str = "json"
    log_level: str = "info"
    lane: bool = True
    kube: str = "auto"
    kubeconfig: Path | None = None


class BadOptions(ValueError):
    """Options that cannot be served with; says which and what to do."""


class Service:
    """One serving process."""

    def __init__(self, options: Options, *, environ: Mapping[str, str], stderr: TextIO = sys.stderr) -> None:
        self._options = options
        self._environ = environ
        self.telemetry = Telemetry(Log(stderr, form=options.log_format, level=options.log_level))
        self._loaded = self._load()
        self._assembly: Assembly | None = None
        self._desk: Desk | None = None
        self.server: Server | None = None

    async def run(self, *, ready: Callable[[str], None] = print) -> None:
        """Serve until told to stop. `ready` gets the line of chosen addresses.

        Raises:
            BadConfiguration, BadOptions, BadCertificate: at start only.
        """
        options = self._options
        pair = self._first_pair()
        try:
            sealer = sealer_from(options.seal_key_file)
            cluster = self._cluster(sealer)
            assembly = self._assembly = Assembly(self.telemetry, sealer, cluster)
            listen, ops_listen = Listen.parse(options.listen), Listen.parse(options.ops_listen)
        except ValueError as bad:
            raise BadOptions(str(bad)) from None
        self._desk = Desk(
            assembly.engine(self._loaded),
            budget=self._loaded.resolving.budget,
            secret=_secret(options.path_secret_file),
            shed=self.telemetry.shed,
        )
        self.server = Server(
            self._desk,
            self.telemetry,
            pair,
            listen=listen,
            ops_listen=ops_listen,
            drain=options.drain,
            client_ca=_text(options.client_ca),
            reload=self.reload,
            lane=options.lane,
        )
        self._in_force(self._loaded)
        await assembly.warm(self._loaded)
        # What start-up made stays for good: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        gc.enable()
        watching = asyncio.create_task(watch(self._files, self.reload))
        try:
            await self.server.run(ready=ready)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            if cluster is not None:
                await cluster.aclose()

    async def reload(self) -> None:
        """Load configuration and certificate again; what is broken leaves the last good one in force."""
        try:
            loaded = await asyncio.to_thread(self._load)
        except BadConfiguration as bad:
            self.telemetry.reloaded(success=False, seconds=time.time())
            self.telemetry.log.write("error", "configuration not loaded", problems=[str(one) for one in bad.problems])
        else:
            self._loaded = loaded
            if self._assembly is not None and self._desk is not None:
                self._desk.engine = self._assembly.engine(loaded)
                self._desk.budget = loaded.resolving.budget
            self._in_force(loaded)
        await self._reload_pair()

    @property
    def rule_names(self) -> tuple[str, ...]:
        """The rules in force."""
        return tuple(rule.name for rule in self._loaded.rules.rules)

    async def _reload_pair(self) -> None:
        options = self._options
        if options.tls_cert is None or options.tls_key is None or self.server is None:
            return
        try:
            pair = read(options.tls_cert, options.tls_key, now=utc_now())
            await self.server.swap(pair)
        except BadCertificate as bad:
            self.telemetry.log.write("error", "certificate not loaded", problem=str(bad))

    def _cluster(self, sealer: Sealer) -> Cluster | None:
        """The cluster of the kubeconfig, else the one this Pod runs in, else none."""
        options = self._options
        inside = IN_CLUSTER in self._environ
        if options.kube == "off" or (options.kubeconfig is None and not inside):
            return None
        from webhook.kube import Kube, NoCluster  # noqa: PLC0415 - a process without a cluster does without it

        try:
            return Cluster(Kube.connect(options.kubeconfig, in_cluster=options.kubeconfig is None), sealer)
        except NoCluster as none:
            raise BadOptions(f"{none}; --kube off does without a cluster") from None

    def _load(self) -> Loaded:
        return load(
            self._options.config, environ=self._environ, rules=self._options.rules, variables=self._options.variables
        )

    def _in_force(self, loaded: Loaded) -> None:
        self.telemetry.reloaded(success=True, seconds=time.time())
        self.telemetry.log.write(
            "info", "configuration in force", file=str(loaded.path or ""), rules=len(loaded.rules.rules)
        )
        for warning in loaded.warnings:
            self.telemetry.log.write("warning", "configuration", problem=warning)

    def _files(self) -> Sequence[Path]:
        pair = [file for file in (self._options.tls_cert, self._options.tls_key) if file is not None]
        return [*self._loaded.files, *pair]

    def _first_pair(self) -> Pair:
        options = self._options
        if options.tls_cert is not None and options.tls_key is not None:
            return read(options.tls_cert, options.tls_key, now=utc_now())
        if not options.tls_self_signed:
            raise BadOptions("no certificate: give --tls-cert and --tls-key, or --tls-self-signed NAME --ca-out FILE")
        pair, ca = self_signed(options.tls_self_signed, now=utc_now())
        if options.ca_out is not None:
            try:
                options.ca_out.write_bytes(ca)
            except OSError as failed:
                raise BadOptions(f"--ca-out {options.ca_out}: {failed.strerror}") from None
        return pair


def _secret(file: Path | None) -> str:
    secret = _text(file).strip()
    if file is not None and (len(secret) < 16 or not secret.isascii() or not secret.isalnum()):
        raise BadOptions(f"--path-secret-file {file}: at least 16 letters and digits are wanted")
    return secret


def _text(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except OSError as failed:
        raise BadOptions(f"{file}: {failed.strerror}") from None
