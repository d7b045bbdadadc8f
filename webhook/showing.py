"""Shows a serving process on the page: which of its parts tells what. Imported where a page is asked for, and nowhere else."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp

from webhook.flights import OTHER
from webhook.ops import Checks
from webhook.page.application import page
from webhook.page.names import Names
from webhook.page.recent import Recent
from webhook.page.telling import Numbers, Sources

if TYPE_CHECKING:
    from webhook.config import Loaded
    from webhook.page.telling import Breaker
    from webhook.server import Server
    from webhook.telemetry import Telemetry
    from webhook.tls import Pair
    from webhook.wiring import Assembly


class Serving(Protocol):
    """Who serves: `webhook.serving.Service`."""

    server: "Server | None"

    @property
    def loaded(self) -> "Loaded":
        """The configuration in force."""

    @property
    def problems(self) -> Sequence[str]:
        """What keeps files from being in force."""

    @property
    def doubts(self) -> Sequence[str]:
        """What is doubtful in the configuration."""

    @property
    def findings(self) -> Sequence[str]:
        """What is wrong with the registration."""

    def fault(self, error: BaseException) -> str:
        """Log a fault of ours; gives its id."""


class PageOfService:
    """The page of one process. `recent` hears of reviews in place of `telemetry`, and tells it; `names` are those under
    which the page may be asked for besides loopback.

    Raises:
        ValueError: one of them is no name.
    """

    def __init__(self, telemetry: "Telemetry", names: Sequence[str]) -> None:
        self._telemetry = telemetry
        self._names = Names(names)
        self.recent = Recent(telemetry)

    def page(self, service: Serving, assembly: "Assembly") -> Callable[[Checks], ASGIApp]:
        """What makes the application, once it is known what readiness rests on."""
        sources = self._sources(service, assembly)
        return lambda checks: page(sources, checks, service.fault, self._names)

    def _sources(self, service: Serving, assembly: "Assembly") -> Sources:
        telemetry = self._telemetry

        def shown() -> "Pair | None":
            return service.server.shown[0] if service.server is not None else None

        def breaker(host: str) -> "Breaker | None":
            gate = assembly.gates.find(host)
            return gate.breaker if gate is not None else None

        return Sources(
            loaded=lambda: service.loaded,
            problems=lambda: service.problems,
            warnings=lambda: service.doubts,
            shown=shown,
            findings=lambda: service.findings,
            breaker=breaker,
            others=lambda: assembly.gates.states().get(OTHER, False),
            numbers=Numbers(
                reviews=lambda: telemetry.reviews.values,
                images=lambda: telemetry.images.values,
                requests=lambda: telemetry.requests.values,
                turned_away=lambda: telemetry.shed_reviews.values,
                faults=lambda: telemetry.internal_errors.values,
                loaded_at=lambda: telemetry.reload_time.values,
                certificate_loaded=lambda: telemetry.certificate_success.values,
                certificates_kept=lambda: telemetry.certificates_kept.values,
                covers=lambda: telemetry.registration_covers.values,
            ),
            recent=self.recent,
            wall=time.time,
        )
