"""Everything between a review and a registry on loopback, put together as it is served; only clock and names are ours."""

import asyncio
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.core.test_admission import checked, patched, review
from tests.core.world import NOON, SEALER, pod
from tests.doors import Clock, soon
from tests.support.door import Names
from webhook.core.annotation import IMAGES
from webhook.core.ask import AskDigest, AskHeld, AskPin, AskStanding
from webhook.core.freshness import Resolving
from webhook.core.hosts import Registries, Registry
from webhook.core.reason import Reason
from webhook.core.rules import Rule, RuleSet
from webhook.core.targets import Target
from webhook.credentials.source import Credentials, Dated, Provider
from webhook.engine import Clocks, Engine, Unasked, Waiting
from webhook.holdings import Held, Holdings
from webhook.outbound import Outbound
from webhook.registry import RegistryClient
from webhook.resolver import Memory, Resolver
from webhook.telemetry import Log, Telemetry

KEY: Final = b"k" * 32
USUAL: Final = Resolving()
Providers = Mapping[str, Provider | Dated]


class Answered:
    """What the author of a Pod, and whoever watches, see of one review."""

    def __init__(self, document: dict[str, Any], response: dict[str, Any]) -> None:
        self.allowed: bool = response["allowed"]
        self.warnings: list[str] = response.get("warnings", [])
        self.refusal: str = response.get("status", {}).get("message", "")
        self.pod = patched(document, response)
        self.images = [one["image"] for one in self.pod["spec"]["containers"]]
        annotation = self.pod["metadata"].get("annotations", {}).get(IMAGES)
        self.sources = [one["source"] for one in json.loads(annotation)["images"].values()] if annotation else []


class Stack:
    """An engine over real doors. `open` again is a reload: what is remembered stays."""

    def __init__(
        self,
        *rules: Rule,
        targets: Sequence[Target] = (),
        resolving: Resolving = USUAL,
        providers: Providers | Callable[[Outbound, Registries], Providers] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.log = io.StringIO()
        self.telemetry = Telemetry(Log(self.log))
        self._rules = RuleSet(rules, targets=targets)
        self._resolving = resolving
        self._providers = providers
        self._answers = Memory(resolving.entries, self.clock)
        self._held = Held(resolving.entries, self.clock)
        self._outbound: Outbound | None = None
        self.engine: Engine | None = None

    async def open(self, registries: Sequence[Registry], names: Names | None = None) -> None:
        """Open the doors to these hosts, and close those that were open."""
        await self.close()
        known = Registries(registries)
        self._outbound = Outbound(
            known,
            observe=self.telemetry.registry_request,
            warn=self.telemetry.registry_warning,
            resolver=names or Names({}),
        )
        providers = self._providers(self._outbound, known) if callable(self._providers) else self._providers
        credentials = Credentials(known, key=KEY, providers=providers, now=self.clock)
        client = RegistryClient(self._outbound, known, now=self.clock, jitter=lambda: 0.0, refused=credentials.doubt)
        resolver = Resolver(
            client,
            credentials,
            known,
            self._resolving,
            memory=self._answers,
            observe=self.telemetry.resolution,
            jitter=lambda: 0.5,
        )
        holdings = Holdings(
            client,
            credentials,
            known,
            memory=self._held,
            gates=self._answers.gates,
            budget=self._resolving.budget,
            entries=self._resolving.entries,
        )
        nobody = Unasked(Reason.NO_CLUSTER)
        self.engine = Engine(
            self._rules,
            {AskDigest: resolver, AskHeld: holdings, AskStanding: nobody, AskPin: nobody},
            sealer=SEALER,
            clocks=Clocks(self.clock, lambda: NOON),
            new_id=lambda: "id-7",
            observer=self.telemetry,
        )
        self.telemetry.watch_breakers(self._answers.gates.states)

    async def close(self) -> None:
        """End everything that is under way."""
        await self._answers.flights.aclose()
        await self._held.flights.aclose()
        if self._outbound is not None:
            await self._outbound.aclose()

    async def admit(
        self,
        *images: str,
        seconds: float = 5.0,
        namespace: str = "default",
        says: str = "",
        spec: Mapping[str, Any] | None = None,
        **metadata: Any,
    ) -> Answered:
        """Ask for a Pod with these images in a namespace; `says` is the one that stands in the Pod itself, `spec` is added
        to its own."""
        assert self.engine is not None
        document = pod(*images, **metadata, **({"namespace": says} if says else {}))
        document["spec"] |= spec or {}
        outcome = self.engine.answer_now(review(document, namespace=namespace))
        if isinstance(outcome, Waiting):
            outcome = await self.engine.answer(outcome, deadline=soon(seconds))
        return Answered(document, checked(json.loads(outcome)))

    async def rest(self) -> None:
        """Wait until no request is under way."""
        while tasks := [*self._answers.flights._tasks, *self._held.flights._tasks]:
            await asyncio.wait(tasks)

    def count(self, name: str, **labels: str) -> float:
        """A metric, summed over the labels that are not named."""
        text, _ = self.telemetry.exposition()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def shown(self) -> str:
        """All that was logged and counted."""
        self.telemetry.log.flush()
        return self.log.getvalue() + self.telemetry.exposition()[0].decode()
