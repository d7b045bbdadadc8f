"""Builds the objects: the only module that knows every edge. It decides nothing."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from webhook.config import Loaded
from webhook.core.ask import AskDigest, AskHeld, AskLogin, AskNamespace, AskPin, AskSibling, AskStanding, Oracle
from webhook.core.reason import Reason
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.engine import Clocks, Engine, Observer, Unasked

if TYPE_CHECKING:
    from webhook.books import Refused
    from webhook.core.credential import Credential
    from webhook.core.hosts import Registries
    from webhook.credentials.acr import EntraTokens
    from webhook.credentials.cloud import Cloud, Threads
    from webhook.credentials.pull_secrets import PullSecrets
    from webhook.credentials.renewals import Renewals
    from webhook.credentials.source import Credentials, Dated, OperatorFile, Provider
    from webhook.credentials.stand_in import StandIn
    from webhook.flights import Gates
    from webhook.kube import Kube
    from webhook.outbound import Outbound
    from webhook.registry import RegistryClient
    from webhook.resolver import Resolver
    from webhook.telemetry import Telemetry

ENTRIES: Final = 10_000
LOGINS_WITHIN: Final = 5.0
"""Seconds that a server waits at its start for logins at clouds; those that take longer are waited for by Pods."""
CLOCKS: Final = Clocks(time.monotonic, lambda: time.time_ns() // 1_000_000)


def own_sealer() -> Sealer:
    """A key of this process: it trusts what it wrote itself and nothing else."""
    return Sealer((Secret(secrets.token_hex(32)),))


def sealer_from(file: Path | None) -> Sealer:
    """The keys in a file, one a line, the first signs; without a file a key of this process.

    Raises:
        ValueError: a key is too short, or the file cannot be read.
    """
    if file is None:
        return own_sealer()
    try:
        keys = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except OSError as failed:
        raise ValueError(f"{file}: {failed.strerror}") from None
    except UnicodeDecodeError:
        # What Python says of it quotes a byte of a key.
        raise ValueError(f"{file}: it holds no text") from None
    try:
        return Sealer(tuple(Secret(key) for key in keys))
    except ValueError as bad:
        raise ValueError(f"{file}: {bad}") from None


def new_id() -> str:
    """What ties a warning to its log line."""
    return secrets.token_hex(6)


class Laptop(msgspec.Struct):
    """What the command line works with. `client` and `credentials` are None when offline, `pods` also without a cluster."""

    engine: Engine
    started: float
    client: "RegistryClient | None" = None
    resolver: "Resolver | None" = None
    credentials: "Credentials | None" = None
    pods: "StandIn | None" = None


def offline(loaded: Loaded, *, cluster: "Cluster | None" = None) -> Laptop:
    """Rules and targets, and no registry to ask. Imports no HTTP."""
    asked = Unasked(Reason.OFFLINE)
    oracles: dict[type, Oracle] = dict.fromkeys((AskDigest, AskHeld, AskLogin, AskStanding, AskPin, AskSibling), asked)
    if cluster is not None:
        oracles |= cluster.oracles(loaded)
    sealer = cluster.sealer if cluster is not None else own_sealer()
    engine = Engine(loaded.rules, oracles, sealer=sealer, clocks=CLOCKS, new_id=new_id)
    return Laptop(engine, time.monotonic())


@asynccontextmanager
async def laptop(
    loaded: Loaded,
    *,
    environ: Mapping[str, str],
    docker_config: Path | None = None,
    observer: Observer | None = None,
    observe: Callable[[str, str, str, float], None] | None = None,
    warn: Callable[[str, str], None] | None = None,
    cluster: "Cluster | None" = None,
) -> AsyncIterator[Laptop]:
    """The same engine with registries to ask, and maybe a cluster; the user's docker config stands in for pull secrets
    that the user may not read there.

    `observe` is told of each request: registry, method, status or reason, seconds; `warn` of what a registry wants its
    users to read.
    """
    from webhook.credentials.docker_config import UserLogins, find
    from webhook.credentials.helpers import Helpers
    from webhook.outbound import Outbound

    logins = UserLogins(find(environ, chosen=docker_config), Helpers(environ))
    outbound = Outbound(loaded.registries, observe=observe, warn=warn)
    memories = Memories(loaded.resolving.entries)
    pods: StandIn | None = None
    if cluster is not None:
        from webhook.credentials.stand_in import StandIn as OrLogins

        pods = OrLogins(cluster.pull_secrets(), logins)
    try:
        oracles, client, resolver, credentials = _oracles(
            loaded, outbound, {"pod": pods or logins}, memories, cluster=cluster
        )
        sealer = cluster.sealer if cluster is not None else own_sealer()
        engine = Engine(loaded.rules, oracles, sealer=sealer, clocks=CLOCKS, new_id=new_id, observer=observer)
        yield Laptop(engine, time.monotonic(), client, resolver, credentials, pods)
    finally:
        await memories.aclose()
        await outbound.aclose()


def _oracles(
    loaded: Loaded,
    outbound: "Outbound",
    providers: Mapping[str, "Provider | Dated"],
    memories: "Memories",
    observe: Callable[[str, str], None] | None = None,
    cluster: "Cluster | None" = None,
    refused: "Refused | None" = None,
) -> "tuple[dict[type, Oracle], RegistryClient, Resolver, Credentials]":
    from webhook.credentials.source import Credentials
    from webhook.holdings import Holdings
    from webhook.registry import RegistryClient
    from webhook.resolver import Resolver

    credentials = Credentials(
        loaded.registries,
        key=memories.key,
        providers={**providers, **memories.clouds.providers(loaded.registries, outbound)},
        entries=loaded.resolving.entries,
        files=memories.files,
    )
    client = RegistryClient(outbound, loaded.registries, now=time.monotonic, refused=credentials.doubt)
    resolver = Resolver(
        client, credentials, loaded.registries, loaded.resolving, memory=memories.answers, observe=observe
    )
    no_cluster = Unasked(Reason.NO_CLUSTER)
    oracles: dict[type, Oracle] = {
        AskDigest: resolver,
        AskHeld: Holdings(
            client,
            credentials,
            loaded.registries,
            memory=memories.held,
            gates=memories.answers.gates,
            budget=loaded.resolving.budget,
            entries=loaded.resolving.entries,
        ),
        AskLogin: no_cluster,
        AskStanding: no_cluster,
        AskPin: no_cluster,
        AskSibling: no_cluster,
    }
    if cluster is not None:
        oracles |= cluster.oracles(loaded, refused)
    return oracles, client, resolver, credentials


class Cluster:
    """A cluster that can be asked: what was read of its rollouts outlives a reload."""

    def __init__(self, kube: "Kube", sealer: Sealer) -> None:
        from webhook.books import Books

        self.kube = kube
        self.sealer = sealer
        self._books = Books(time.monotonic)

    def oracles(self, loaded: Loaded, refused: "Refused | None" = None) -> dict[type, Oracle]:
        """Who answers for namespaces, pins, siblings and pull secrets under this configuration; `refused` is told of what may not be
        read."""
        from webhook.books import unheard
        from webhook.credentials.at_targets import LoginsAtTargets
        from webhook.namespaces import Namespaces
        from webhook.revisions import Pins, Siblings

        books, remembered, tell = self._books, loaded.resolving.pins, refused or unheard
        return {
            AskLogin: LoginsAtTargets(self.pull_secrets()),
            AskNamespace: Namespaces(self.kube, books.namespaces, refused=tell),
            AskPin: Pins(self.kube, books.pins, self.sealer, remembered=remembered, refused=tell),
            AskSibling: Siblings(self.kube, books.siblings, self.sealer, remembered=remembered, refused=tell),
        }

    def pull_secrets(
        self, *, count: Callable[[str], None] | None = None, warn: Callable[[str], None] | None = None
    ) -> "PullSecrets":
        """Who gives the credentials of Pods; told to `count` and `warn` as it says."""
        from webhook.credentials.pull_secrets import PullSecrets

        return PullSecrets(
            self.kube, self._books.secrets, self._books.accounts, now=time.monotonic, count=count, warn=warn
        )

    def seal_with(self, sealer: Sealer) -> None:
        """Judge pins by these keys from now on; what was judged by others is read again."""
        if sealer != self.sealer:
            self.sealer = sealer
            self._books.forget_pins()

    async def aclose(self) -> None:
        """End the work that is under way."""
        await self._books.aclose()
        self.kube.close()


class Memories:
    """What was learnt from registries and read from docker configs: it outlives a reload, and so does the key that
    keeps logins apart in it."""

    def __init__(self, entries: int, login: "Login | None" = None) -> None:
        from webhook.holdings import Held
        from webhook.resolver import Memory

        self.key = secrets.token_bytes(32)
        self.clouds = Clouds(login)
        self.files: dict[str, OperatorFile] = {}
        self.answers = Memory(entries, time.monotonic)
        self.held = Held(entries, time.monotonic)

    async def aclose(self) -> None:
        """End the work that is under way."""
        await self.answers.flights.aclose()
        await self.held.flights.aclose()
        await self.clouds.aclose()


Login = Callable[[str, str, str], None]
"""Told of each attempt to log in at a cloud: its kind, the place, and the trouble, empty where there was none."""


class Clouds:
    """Logins at clouds. Each cloud's library is imported when a configuration first names it; what it gave outlives a
    reload."""

    def __init__(self, login: Login | None = None) -> None:
        self._login = login
        self._kept: dict[str, Renewals[Credential]] = {}
        self._threads: Threads | None = None
        self._entra: EntraTokens | None = None

    def providers(self, registries: "Registries", door: "Outbound") -> "dict[str, Dated]":
        """Who logs in at the clouds that the configuration names."""
        from webhook.core.clouds import ACR, ECR, GAR

        every = (*registries.literal.values(), *registries.patterns)
        wanted = {source.kind for registry in every for source in registry.credentials} & {ECR, ACR, GAR}
        if not wanted:
            return {}
        from webhook.credentials.cloud import CloudLogins, Threads

        threads = self._threads = self._threads or Threads()
        clouds: list[Cloud] = []
        if ECR in wanted:
            from webhook.credentials.ecr import Ecr

            clouds.append(Ecr(threads))
        if ACR in wanted:
            from webhook.credentials.acr import Acr, EntraTokens

            self._entra = self._entra or EntraTokens(threads, time.monotonic)
            clouds.append(Acr(self._entra, door, registries))
        if GAR in wanted:
            from webhook.credentials.gar import Gar

            clouds.append(Gar(threads))
        return {cloud.kind: CloudLogins(cloud, self._kept_of(cloud.kind)) for cloud in clouds}

    def _kept_of(self, kind: str) -> "Renewals[Credential]":
        from webhook.credentials.renewals import Renewals

        if kind not in self._kept:
            login = self._login
            tell = (lambda place, trouble: login(kind, str(place), trouble)) if login is not None else None
            self._kept[kind] = Renewals(time.monotonic, tell=tell)
        return self._kept[kind]

    async def aclose(self) -> None:
        """End what is under way."""
        for kept in self._kept.values():
            await kept.aclose()
        if self._entra is not None:
            await self._entra.aclose()


class Assembly:
    """The parts of a serving process that outlive a reload, and the engine made of them for each configuration.

    `grace` in seconds is how much longer than a review may take the doors of the engine before stay open. `observer` hears
    of reviews in place of `telemetry`, and tells it.
    """

    def __init__(
        self,
        telemetry: "Telemetry",
        sealer: Sealer,
        cluster: "Cluster | None" = None,
        *,
        observer: Observer | None = None,
        grace: float = 10.0,
    ) -> None:
        self._telemetry = telemetry
        self._observer = observer if observer is not None else telemetry
        self._sealer = sealer
        self._cluster = cluster
        self._grace = grace
        self._memories = Memories(ENTRIES, telemetry.login)
        self._closing: dict[asyncio.Task[None], Outbound] = {}
        self._outbound: Outbound | None = None
        self._budget = 0.0
        self._credentials: Credentials | None = None
        self._resolver: Resolver | None = None
        self._providers: dict[str, Provider | Dated] = {}
        if cluster is not None:
            self._providers["pod"] = cluster.pull_secrets(
                count=telemetry.pull_secret_read, warn=telemetry.pull_secrets_unread
            )
        telemetry.watch_breakers(self._memories.answers.gates.states)

    def engine(self, loaded: Loaded, sealer: Sealer | None = None) -> Engine:
        """An engine for this configuration; the doors of the one before stay open for its running reviews. It seals as
        before where no other sealer is given."""
        from webhook.outbound import Outbound

        outbound = Outbound(loaded.registries, observe=self._counted(loaded), warn=self._telemetry.registry_warning)
        self._sealer = sealer or self._sealer
        if self._cluster is not None:
            self._cluster.seal_with(self._sealer)
        oracles, _, self._resolver, self._credentials = _oracles(
            loaded,
            outbound,
            self._providers,
            self._memories,
            self._telemetry.resolution,
            self._cluster,
            self._telemetry.cluster_unread,
        )
        if self._outbound is not None:
            self._close_later(self._outbound, self._budget + self._grace)
        self._outbound, self._budget = outbound, loaded.resolving.budget
        return Engine(
            loaded.rules,
            oracles,
            sealer=self._sealer,
            clocks=CLOCKS,
            new_id=new_id,
            observer=self._observer,
        )

    async def aclose(self) -> None:
        """End what is under way and close every door."""
        await self._memories.aclose()
        doors = [*self._closing.values(), *([self._outbound] if self._outbound is not None else [])]
        for task in tuple(self._closing):
            task.cancel()
        for outbound in doors:
            await outbound.aclose()
        if self._cluster is not None:
            await self._cluster.aclose()

    @property
    def sealer(self) -> Sealer:
        """The seal keys in force."""
        return self._sealer

    @property
    def has_cluster(self) -> bool:
        """Whether there is a cluster to ask."""
        return self._cluster is not None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the operator's docker configs, in sentences without a secret."""
        return self._credentials.problems if self._credentials is not None else ()

    def refresh_credentials(self) -> None:
        """Read the operator's docker configs again, where the rest of the configuration stays as it is."""
        if self._credentials is not None:
            self._credentials.refresh()

    def _close_later(self, outbound: "Outbound", seconds: float) -> None:
        task = asyncio.ensure_future(_close_after(seconds, outbound.aclose))
        self._closing[task] = outbound
        task.add_done_callback(self._closing.pop)

    def _counted(self, loaded: Loaded) -> Callable[[str, str, str, float], None]:
        from webhook.flights import OTHER

        literal, count = loaded.registries.literal, self._telemetry.registry_request

        def observe(host: str, method: str, code: str, seconds: float) -> None:
            count(host if host in literal else OTHER, method, code, seconds)

        return observe

    async def warm(self, loaded: Loaded) -> None:
        """Log in at the clouds, and learn from running Pods what was known before a restart."""
        if self._credentials is not None:
            await self._credentials.prepare(deadline=asyncio.get_running_loop().time() + LOGINS_WITHIN)
        if self._cluster is None or self._resolver is None:
            return
        from webhook.kube import ListBroke
        from webhook.warmup import warm

        log = self._telemetry.log
        try:
            learnt = await warm(
                self._cluster.kube, loaded.rules, self._sealer, self._resolver, milliseconds=CLOCKS.wall()
            )
        except ListBroke as broke:
            log.write("warning", "nothing learnt from running Pods", problem=str(broke))
        else:
            log.write("info", "learnt from running Pods", pods=learnt.pods, tags=learnt.tags)

    @property
    def gates(self) -> "Gates":
        """What stands before each registry that was asked."""
        return self._memories.answers.gates


async def _close_after(seconds: float, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(seconds)
    await close()
