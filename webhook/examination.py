"""Looks at a cluster for doctor: reads what its judgements want, each within its time. What cannot be seen is told too."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from webhook.certificates import distrust
from webhook.config import BadConfiguration, Loaded
from webhook.core.ask import Absent, Failed, Passed
from webhook.core.bundle import entries
from webhook.core.registered import Live
from webhook.core.registration import INSTALLED_IN, NAME
from webhook.diagnosis import (
    agents,
    answers,
    certificate,
    cluster,
    install,
    localhost,
    neighbours,
    registration,
    registries,
    rights,
    service,
)
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, unseen, wrong
from webhook.diagnosis.shapes import (
    ConfigMap,
    EndpointSlice,
    Lease,
    Namespace,
    Node,
    Pod,
    Service,
    Workload,
)
from webhook.document import BadDocument, documents
from webhook.installed import Installed, NotInstalled, laid_out, read
from webhook.kube import named, said
from webhook.looking import TEXT, Api, Reader, decoded, is_of_api_server, not_read
from webhook.tls import public, utc_now

SHARE: Final = 0.9
"""Of a check's time that one reading may take, so that the slow one is told with its name."""
PODS: Final = 10
"""Pods of ours that are asked how they are; more say nothing new."""
_SYSTEM: Final = "kube-system"
_WEBHOOKS: Final = ("apis", "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
_REVIEWS: Final = "/apis/authorization.k8s.io/v1"

Greeting = tuple[str, Passed | Absent | Failed, str]
"""A registry host, how it answers, and the kind of the login that was offered."""


class _ReviewStatus(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _ReviewStatus = msgspec.field(default_factory=_ReviewStatus)


class Examination:
    """One look at an install. `version` is this command's, `host` the API server's address; `greet` says how registries
    answer; `inside` whether this runs in the cluster; `namespace` where the Pod of the dry run goes, empty to choose."""

    def __init__(
        self,
        api: Api,
        *,
        host: str,
        version: str,
        within: float,
        greet: Callable[[Loaded], Awaitable[Sequence[Greeting]]],
        inside: bool = False,
        namespace: str = "",
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._api = api
        self._host = host
        self._version = version
        self._within = within
        self._greet = greet
        self._inside = inside
        self._namespace = namespace
        self._wall = wall
        self._reader = Reader(api, within * SHARE)
        self._laid_out = ExitStack()
        self._missing = ""

    async def run(self) -> list[Finding]:
        """Everything that there is to say, in the order of the checks. Never raises."""
        looks: Sequence[tuple[Check, Callable[[], AsyncIterator[Finding]]]] = (
            (Check.CLUSTER, self._cluster),
            (Check.INSTALL, self._install),
            (Check.VERSION, self._versions),
            (Check.CONFIGURATION, self._configuration),
            (Check.REGISTRATION, self._registration),
            (Check.SERVICE, self._service),
            (Check.CERTIFICATE, self._certificate),
            (Check.ANSWERS, self._answers),
            (Check.RIGHTS, self._rights),
            (Check.REGISTRIES, self._registries),
            (Check.LOCALHOST, self._localhost),
            (Check.AGENTS, self._agents),
            (Check.NEIGHBOURS, self._neighbours),
            (Check.ADOPT, self._adopt),
        )
        with self._laid_out:
            found = await asyncio.gather(*(self._bounded(check, look) for check, look in looks))
        order = list(Check)
        return sorted((one for each in found for one in each), key=lambda one: order.index(one.check))

    async def _bounded(self, check: Check, look: Callable[[], AsyncIterator[Finding]]) -> list[Finding]:
        found: list[Finding] = []
        try:
            async with asyncio.timeout(self._within):
                async for one in look():
                    found.append(one)  # noqa: PERF401 - what was found before it broke counts
        except TimeoutError:
            advice = "give it more time with --timeout, or see what hangs"
            found.append(doubtful(check, f"check of {check}", f"not done within {self._within:g} s", advice))
        except Exception as error:  # noqa: BLE001 - an outer door: what one check meets must not end the others
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
            found.append(wrong(check, f"check of {check}", f"internal error: {place}", "please report it"))
        return found

    async def _cluster(self) -> AsyncIterator[Finding]:
        looked = f"API server at {self._host}"
        found = await self._reader.one(looked, cluster.Version, "version")
        if isinstance(found, Unseen):
            yield unseen(Check.CLUSTER, found, is_needed=True)
        else:
            yield cluster.judge(found, self._host)

    async def _install(self) -> AsyncIterator[Finding]:
        yield install.judge_deployment(await self._deployment(NAME))
        heard = await self._heard()
        for judge in (install.judge_readiness, install.judge_heard):
            for one in judge(heard):
                yield one

    async def _adopt(self) -> AsyncIterator[Finding]:
        found = await self._deployment(install.ADOPT)
        yield install.judge_deployment(found, check=Check.ADOPT)
        if isinstance(found, Workload) and found.status.ready_replicas:
            folder = ("apis", "coordination.k8s.io", "v1", "namespaces", INSTALLED_IN, "leases", install.ADOPT)
            yield install.judge_lease(
                await self._reader.one(f"lease {install.ADOPT} in {INSTALLED_IN}", Lease, *folder)
            )

    async def _versions(self) -> AsyncIterator[Finding]:
        found = await self._deployment(NAME)
        if isinstance(found, Workload):
            yield install.judge_version(self._version, found, await self._heard())

    async def _configuration(self) -> AsyncIterator[Finding]:
        loaded = await self._loaded()
        if not isinstance(loaded, Loaded):
            for one in loaded:
                yield one
            return
        if self._missing:
            # What is loaded here is the example of the install: Pods that run need not have it in force.
            yield install.judge_missing(self._missing)
            return
        yield install.judge_problems((), loaded.warnings)
        for one in install.judge_loaded(loaded.hash, await self._heard()):
            yield one

    async def _registration(self) -> AsyncIterator[Finding]:
        found, loaded = await self._registered(), await self._loaded()
        rules = loaded.rules if isinstance(loaded, Loaded) and not self._missing else None
        for one in registration.judge(found, rules, await self._registrations()):
            yield one
        if isinstance(found, Live) and found.ours:
            for one in registration.judge_namespaces(found, await self._namespaces()):
                yield one

    async def _service(self) -> AsyncIterator[Finding]:
        registered = await self._registered()
        places = service.places_of(registered)
        found = await self._reader.one(
            service.LOOKED, Service, "api", "v1", "namespaces", INSTALLED_IN, "services", NAME
        )
        slices = await self._reader.every(
            f"endpoints of {service.LOOKED}",
            EndpointSlice,
            *("apis", "discovery.k8s.io", "v1", "namespaces", INSTALLED_IN, "endpointslices"),
            labels=f"kubernetes.io/service-name={NAME}",
        )
        judged = list(service.judge(found, slices, places))
        for one in judged:
            yield one
        if all(one.level == "ok" for one in judged):
            is_told = isinstance(registered, Live) and bool(registered.ours)
            is_guarded = service.asks_for_certificates(await self._deployment(NAME))
            for place in places:
                yield service.judge_echo(await self._echo(place), is_told=is_told, is_guarded=is_guarded)

    async def _echo(self, place: service.Place) -> service.Echo | Unseen:
        """What the API server's proxy gets from behind the Service."""
        path = f"/api/v1/namespaces/{INSTALLED_IN}/services/https:{NAME}:{place.port}/proxy{place.path}"
        answer = await self._api.get(path, deadline=self._reader.deadline, accept=TEXT)
        if not answer.status or (answer.status in {403, 404} and is_of_api_server(answer)):
            return not_read(f"{service.LOOKED}, through the API server's proxy", answer)
        return service.Echo(answer.status, said(answer) if is_of_api_server(answer) else "")

    async def _certificate(self) -> AsyncIterator[Finding]:
        registered = await self._registered()
        bundles = {one.bundle for one in entries(registered, registration.HOME)} if isinstance(registered, Live) else ()
        chains = {name: one.chain for name, one in (await self._heard()).items() if isinstance(one, install.Told)}
        shown = {
            name: _shown(chain, bundle, self._wall())
            for bundle in bundles
            for name, chain in chains.items()
            if chain and bundle
        }
        for one in certificate.judge(shown, service.DNS_NAME, self._wall().timestamp()):
            yield one
        for one in certificate.judge_loaded(await self._heard()):
            yield one

    async def _answers(self) -> AsyncIterator[Finding]:
        registered = await self._registered()
        if not isinstance(registered, Live) or not registered.ours:
            return
        namespace = answers.choose(registered, await self._namespaces(), self._namespace)
        if not namespace:
            return
        probe = answers.probe(registered)
        folder = named("api", "v1", "namespaces", namespace, "pods")
        answer = await self._reader.send(folder, probe, {"dryRun": "All"})
        pod = decoded("", Pod, answer) if answer.is_good else Unseen("", "")
        annotations = pod.metadata.annotations or {} if isinstance(pod, Pod) else {}
        policy = next((one.failure_policy for one in registration.askers(registered)), "")
        message = "" if answer.is_good else said(answer)
        yield answers.judge(answer.status, message, answer.warnings, annotations, namespace, policy)

    async def _rights(self) -> AsyncIterator[Finding]:
        own = await self._reviewed("selfsubjectaccessreviews", {}, rights.OF_PERSON)
        yield rights.judge_person(own)
        for account in rights.WANTED:
            found = await self._deployment(account)
            wanted = rights.wanted(account, found.words if isinstance(found, Workload) else ())
            may = await self._reviewed("subjectaccessreviews", rights.user_of(account), wanted)
            for one in rights.judge(account, may):
                yield one

    async def _reviewed(
        self, reviews: str, who: Mapping[str, object], wanted: Sequence[rights.Right]
    ) -> dict[rights.Right, bool | Unseen]:
        kind = {"selfsubjectaccessreviews": "SelfSubjectAccessReview"}.get(reviews, "SubjectAccessReview")

        async def ask(right: rights.Right) -> bool | Unseen:
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": kind,
                "spec": {**who, "resourceAttributes": right.attributes},
            }
            found = decoded(reviews, _Review, await self._reader.send(f"{_REVIEWS}/{reviews}", body))
            return found if isinstance(found, Unseen) else found.status.allowed

        return dict(zip(wanted, await asyncio.gather(*map(ask, wanted)), strict=True))

    async def _registries(self) -> AsyncIterator[Finding]:
        loaded = await self._loaded()
        if isinstance(loaded, Loaded):
            for host, outcome, login in await self._greet(loaded):
                yield registries.judge(host, outcome, login, inside=self._inside)
        heard = await self._heard()
        for one in (*registries.judge_logins(heard), *registries.judge_breakers(heard)):
            yield one

    async def _localhost(self) -> AsyncIterator[Finding]:
        found = await self._ports()
        if isinstance(found, Unseen):
            yield localhost.unlooked(found)
            return
        proxy = await self._proxy() if any(one.services and not one.on_host for one in found) else localhost.Proxy()
        for one in found:
            yield localhost.judge(one, proxy)

    async def _ports(self) -> list[localhost.Port] | Unseen:
        """Ports of the nodes' loopback that targets name, and who listens there."""
        loaded = await self._loaded()
        wanted = localhost.ports_of(loaded.rules.targets) if isinstance(loaded, Loaded) else {}
        if not wanted:
            return []
        services, daemon_sets = await asyncio.gather(
            self._reader.every("services", Service, "api", "v1", "services"), self._daemon_sets()
        )
        if isinstance(services, Unseen):
            return services
        if isinstance(daemon_sets, Unseen):
            return daemon_sets
        return list(localhost.listening(wanted, services, daemon_sets))

    async def _proxy(self) -> localhost.Proxy:
        """What serves Services on nodes, as far as something says so (kubeadm, EKS; AKS; Cilium)."""
        if cilium := await self._system_map("cilium-config"):
            found = localhost.of_cilium(cilium)
            if found.mode:
                return found
        for name in ("kube-proxy", "kube-proxy-config"):
            data = await self._system_map(name)
            text = data.get("config.conf") or data.get("config") or ""
            document = next(documents(text, name), None) if text else None
            if document is not None and not isinstance(document, BadDocument):
                return localhost.of_configuration(document.value(), f"configmap {name} in {_SYSTEM}")
        path = ("apis", "apps", "v1", "namespaces", _SYSTEM, "daemonsets", "kube-proxy")
        flags = await self._reader.one("daemonset kube-proxy", Workload, *path)
        return localhost.Proxy() if isinstance(flags, Unseen) else localhost.of_flags(flags)

    async def _system_map(self, name: str) -> Mapping[str, str]:
        path = ("api", "v1", "namespaces", _SYSTEM, "configmaps", name)
        found = await self._reader.one(f"configmap {name} in {_SYSTEM}", ConfigMap, *path)
        return {} if isinstance(found, Unseen) else found.data or {}

    async def _agents(self) -> AsyncIterator[Finding]:
        loaded = await self._loaded()
        if not isinstance(loaded, Loaded):
            return
        health = [one.health.daemon_set for one in loaded.settings.targets.values() if one.health is not None]
        wanted = [one for one in dict.fromkeys(health) if one is not None]
        daemon_sets, ports = await asyncio.gather(self._daemon_sets(), self._ports())
        if isinstance(daemon_sets, Unseen):
            if wanted:
                yield unseen(Check.AGENTS, daemon_sets)
            return
        named_so = {one.shown: one for one in daemon_sets}
        for name in wanted:
            if name not in named_so:
                yield agents.judge_missing(name, "it is not there, though health.daemonSet of a target names it")
        found = {name: named_so[name] for name in wanted if name in named_so}
        for port in ports if not isinstance(ports, Unseen) else ():
            behind = [*port.on_host, *localhost.behind(port.services, daemon_sets)]
            found |= {one.shown: one for one in behind}
            if port.services and not behind:
                yield await self._shared(port.services[0])
        for one in found.values():
            yield await self._agent(one)

    async def _agent(self, daemon_set: Workload) -> Finding:
        labels = _labels(daemon_set.spec.selector.match_labels)
        folder = ("api", "v1", "namespaces", daemon_set.metadata.namespace, "pods")
        pods, nodes = await asyncio.gather(
            self._reader.every(f"pods of daemonset {daemon_set.shown}", Pod, *folder, labels=labels),
            self._reader.every("nodes", Node, "api", "v1", "nodes"),
        )
        for one in (pods, nodes):
            if isinstance(one, Unseen):
                return unseen(Check.AGENTS, one)
        return agents.judge(daemon_set, pods, nodes)  # type: ignore[arg-type]  # what was not seen has gone

    async def _shared(self, one: Service) -> Finding:
        folder = ("apis", "discovery.k8s.io", "v1", "namespaces", one.metadata.namespace, "endpointslices")
        label = f"kubernetes.io/service-name={one.metadata.name}"
        slices = await self._reader.every(f"endpoints of service {one.shown}", EndpointSlice, *folder, labels=label)
        if isinstance(slices, Unseen):
            return unseen(Check.AGENTS, slices)
        every = [endpoint for each in slices for endpoint in each.endpoints or ()]
        return agents.judge_service(one.shown, sum(one.conditions.ready is not False for one in every))

    async def _neighbours(self) -> AsyncIterator[Finding]:
        for one in neighbours.judge(await self._registrations()):
            yield one

    async def _deployment(self, name: str) -> Workload | Unseen:
        path = ("apis", "apps", "v1", "namespaces", INSTALLED_IN, "deployments", name)
        return await self._reader.one(f"deployment {name} in {INSTALLED_IN}", Workload, *path)

    async def _daemon_sets(self) -> list[Workload] | Unseen:
        return await self._reader.every("daemonsets", Workload, "apis", "apps", "v1", "daemonsets")

    async def _namespaces(self) -> list[Namespace] | Unseen:
        return await self._reader.every("namespaces", Namespace, "api", "v1", "namespaces")

    async def _registered(self) -> Live | Unseen | None:
        found = await self._reader.one(registration.LOOKED, Live, *_WEBHOOKS, NAME)
        return None if isinstance(found, Unseen) and found.is_missing else found

    async def _registrations(self) -> list[Live] | Unseen:
        return await self._reader.every("mutatingwebhookconfigurations", Live, *_WEBHOOKS)

    async def _heard(self) -> install.Heard:
        """What the Pods of the server say of themselves, through the API server's proxy."""
        return await self._reader.once("pods of ours", self._hear)

    async def _hear(self) -> install.Heard:
        deployment = await self._deployment(NAME)
        if isinstance(deployment, Unseen):
            return {}
        labels = _labels(deployment.spec.selector.match_labels)
        folder = ("api", "v1", "namespaces", INSTALLED_IN, "pods")
        pods = await self._reader.every(f"pods of deployment {NAME}", Pod, *folder, labels=labels)
        if isinstance(pods, Unseen):
            return {}
        running = [one for one in pods if one.status.phase == "Running" and not one.metadata.deletion_timestamp]
        told = await asyncio.gather(*map(self._told, running[:PODS]))
        return {pod.metadata.name: one for pod, one in zip(running, told, strict=False)}

    async def _told(self, pod: Pod) -> install.Told | Unseen:
        name = pod.metadata.name
        base = f"/api/v1/namespaces/{INSTALLED_IN}/pods/{name}:{install.ops_port(pod)}/proxy"
        what = f"ops port of pod {name}"
        metrics, ready, chain = await asyncio.gather(
            *(self._reader.text(what, f"{base}/{place}") for place in ("metrics", "readyz?verbose", "certificate"))
        )
        if isinstance(metrics, Unseen):
            return metrics
        lines = ready[1].splitlines() if not isinstance(ready, Unseen) else ()
        bad = tuple(line.removeprefix("[-]") for line in lines if line.startswith("[-]"))
        return install.Told(_good(metrics), bad, _good(chain))

    async def _loaded(self) -> Loaded | list[Finding]:
        """The configuration of the ConfigMap, or why there is none."""
        return await self._reader.once("configuration", self._load)

    async def _load(self) -> Loaded | list[Finding]:
        try:
            there: Installed = await read(self._api)
        except NotInstalled as none:
            return [install.judge_no_configuration(str(none), was_asked=none.was_asked)]
        self._missing = there.missing
        try:
            loaded = self._laid_out.enter_context(laid_out(there))
        except BadConfiguration as bad:
            return [install.judge_problems([str(one) for one in bad.problems], ())]
        return msgspec.structs.replace(loaded, warnings=(*loaded.warnings, *there.unknown))


def _good(found: tuple[int, str] | Unseen) -> str:
    return found[1] if not isinstance(found, Unseen) and found[0] == 200 else ""


def _shown(chain: str, bundle: bytes, now: datetime) -> certificate.Shown:
    trouble = distrust(chain.encode(), bundle, name=service.DNS_NAME, now=now)
    return certificate.Shown(0.0 if trouble else public(chain.encode()).expires, trouble)


def _labels(wanted: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in (wanted or {}).items())
