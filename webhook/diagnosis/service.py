"""Whether the API server can reach Moorage: the Service, those behind it, and what comes back through it."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from webhook.core.registered import Live
from webhook.core.registration import INSTALLED_IN, NAME
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, few, fine, unseen, wrong
from webhook.diagnosis.shapes import EndpointSlice, Service, Workload

LOOKED: Final = f"service {NAME} in {INSTALLED_IN}"
DNS_NAME: Final = f"{NAME}.{INSTALLED_IN}.svc"
"""The name that the API server looks for in our certificate."""


ONLY_POST: Final = 405
"""What Moorage answers to a GET where it takes reviews."""


class Echo(msgspec.Struct, frozen=True):
    """What came back through the API server from behind the Service: a status, and what it says itself in a trouble."""

    status: int
    said: str = ""


class Place(msgspec.Struct, frozen=True, order=True):
    """Where the registration expects us behind the Service. The path may be a secret, and is told to nobody."""

    port: int = 443
    path: str = "/mutate"


def places_of(registration: Live | Unseen | None) -> tuple[Place, ...]:
    """All of them; the usual one where nobody knows."""
    webhooks = registration.ours if isinstance(registration, Live) else ()
    services = [one.client_config.service for _, one in webhooks]
    # The API server calls at the root where no path is said.
    found = {Place(one.port, one.path or "/") for one in services if one is not None}
    return tuple(sorted(found)) or (Place(),)


def judge(
    found: Service | Unseen, slices: Sequence[EndpointSlice] | Unseen, places: Sequence[Place]
) -> Iterator[Finding]:
    """Whether there is a Service with somebody behind it."""
    if isinstance(found, Unseen):
        if found.is_missing:
            yield wrong(Check.SERVICE, LOOKED, "it is not there: nobody can be asked", "apply again what installed it")
        else:
            yield unseen(Check.SERVICE, found)
        return
    missing = [one.port for one in places if one.port not in {port.port for port in found.spec.ports or ()}]
    if missing:
        yield wrong(
            Check.SERVICE,
            LOOKED,
            f"it has no port {missing[0]}, where the registration expects us",
            "apply again what installed it: the Service listens at 443",
        )
        return
    if isinstance(slices, Unseen):
        yield unseen(Check.SERVICE, slices)
        return
    every = [one for each in slices for one in each.endpoints or ()]
    ready = [one for one in every if one.conditions.ready is not False]
    if not ready:
        yield wrong(
            Check.SERVICE,
            LOOKED,
            f"no Pod behind it is ready ({len(every)} are not)" if every else "there is no Pod behind it",
            f"kubectl -n {INSTALLED_IN} get pods: its selector is {_shown(found.spec.selector)}",
        )
        return
    yield fine(Check.SERVICE, LOOKED, f"{len(ready)} of {len(every)} endpoints are ready")


def asks_for_certificates(server: Workload | Unseen) -> bool:
    """Whether the Deployment says that callers must show a certificate."""
    containers = server.spec.template.spec.containers if isinstance(server, Workload) else ()
    return any(word.partition("=")[0] == "--client-ca" for one in containers for word in one.args or ())


def judge_echo(found: Echo | Unseen, *, is_told: bool = True, is_guarded: bool = False) -> Finding:
    """Whether the API server reaches somebody behind the Service who speaks TLS. Its proxy trusts every certificate, and
    shows none. `is_told` where the path is the registration's: nobody else knows it. `is_guarded` where callers must show a
    certificate."""
    looked = f"{LOOKED}, through the API server's proxy"
    if isinstance(found, Unseen):
        return unseen(Check.SERVICE, found)
    if found.status == ONLY_POST or (found.status == 404 and not is_told):
        return fine(Check.SERVICE, looked, "Moorage answers there")
    if found.status == 404:
        return wrong(
            Check.SERVICE,
            looked,
            "somebody answers there, but not at the path that the registration names",
            "Moorage writes the path within a minute where it keeps the registration right; else it is /mutate, with the "
            "secret of --path-secret-file behind it if there is one",
        )
    # Who was reached ends the connection then, and does not always get to say why.
    if ("certificate" in found.said and "tls" in found.said) or (
        is_guarded and found.status in {502, 503} and "dial" not in found.said
    ):
        return fine(Check.SERVICE, looked, "somebody answers there who asks for a client certificate (--client-ca)")
    if found.status in {502, 503, 504}:
        return wrong(
            Check.SERVICE,
            looked,
            f"the API server does not get there: {found.said or found.status}",
            "open the way from the control plane to port 8443 of the Pods: NetworkPolicy, firewall (private GKE), "
            "or a CNI that the control plane does not know (EKS: host network)",
        )
    return doubtful(
        Check.SERVICE, looked, f"it answers {found.status}", "somebody else than Moorage seems to answer there"
    )


def _shown(selector: dict[str, str] | None) -> str:
    return few(f"{key}={value}" for key, value in (selector or {}).items()) or "empty"
