"""Whether the API server can reach Moorage: the Service, those behind it, and what comes back through it."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from webhook.core.registered import Live
from webhook.core.registration import INSTALLED_IN, NAME
from webhook.diagnosis.finding import Check, Finding, Unseen, doubtful, few, fine, unseen, wrong
from webhook.diagnosis.shapes import EndpointSlice, Service

LOOKED: Final = f"service {NAME} in {INSTALLED_IN}"
DNS_NAME: Final = f"{NAME}.{INSTALLED_IN}.svc"
"""The name that the API server looks for in our certificate."""


class Echo(msgspec.Struct, frozen=True):
    """What came back through the API server from behind the Service: a status, and what it says itself in a trouble."""

    status: int
    said: str = ""


def ports_of(registration: Live | Unseen | None) -> tuple[int, ...]:
    """Where the registration expects us."""
    webhooks = registration.ours if isinstance(registration, Live) else ()
    places = [one.client_config.service for _, one in webhooks]
    return tuple(sorted({one.port for one in places if one is not None})) or (443,)


def judge(found: Service | Unseen, slices: Sequence[EndpointSlice] | Unseen, ports: Sequence[int]) -> Iterator[Finding]:
    """Whether there is a Service with somebody behind it."""
    if isinstance(found, Unseen):
        if found.is_missing:
            yield wrong(Check.SERVICE, LOOKED, "it is not there: nobody can be asked", "apply deploy/install.yaml")
        else:
            yield unseen(Check.SERVICE, found)
        return
    missing = [port for port in ports if port not in {one.port for one in found.spec.ports or ()}]
    if missing:
        yield wrong(
            Check.SERVICE,
            LOOKED,
            f"it has no port {missing[0]}, where the registration expects us",
            "apply deploy/install.yaml: the Service listens at 443",
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


def judge_echo(found: Echo | Unseen) -> Finding:
    """Whether the API server reaches somebody behind the Service who speaks TLS. Its proxy trusts every certificate."""
    looked = f"{LOOKED}, through the API server's proxy"
    if isinstance(found, Unseen):
        return unseen(Check.SERVICE, found)
    if found.status in {404, 405}:
        return fine(Check.SERVICE, looked, "Moorage answers there")
    if "certificate" in found.said and "tls" in found.said:
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
