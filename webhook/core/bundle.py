"""The part of a live registration that says whom to trust and where to call: who keeps it, and what changes it."""

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from webhook.core.registered import Home, Live, Operation, Service, Webhook

ELSEWHERE: Final = "moorage.dev/ca-bundle"
"""Annotation of a registration: with the value `elsewhere` somebody else keeps its `caBundle` and path."""
BY_URL: Final = "moorage.dev/registered-by-url"
"""Marks a registration that a process on a laptop made, so that the next one may replace what a crash left behind."""
INJECTED: Final = "cert-manager.io/inject-"
"""How annotations begin by which cert-manager's injector is told to keep `caBundle`."""


class Entry(msgspec.Struct, frozen=True):
    """A webhook of a registration that leads to us: its place in the list, whom it trusts (PEM) and where it calls."""

    number: int
    bundle: bytes
    path: str


def entries(live: Live | None, home: Home) -> tuple[Entry, ...]:
    """The webhooks that lead to a Service."""
    found = live.ours if live is not None else ()
    return tuple(
        Entry(number, _decoded(one.client_config.ca_bundle), service.path)
        for number, one in found
        if (service := one.client_config.service) is not None and home.is_at(one.client_config)
    )


def strangers(live: Live | None, home: Home) -> tuple[str, ...]:
    """Where webhooks of Moorage lead that do not lead to us, as people name it."""
    found = live.ours if live is not None else ()
    return tuple(dict.fromkeys(_place(one) for _, one in found if not _is_at(one, home)))


def keeper(live: Live) -> str:
    """Who else keeps `caBundle` and path; empty when that is us."""
    annotations = live.metadata.annotations or {}
    if annotations.get(ELSEWHERE) == "elsewhere":
        return f"whoever annotated it {ELSEWHERE}=elsewhere"
    if BY_URL in annotations:
        return "moorage serve --register-url"
    return "cert-manager" if any(key.startswith(INJECTED) for key in annotations) else ""


def told(found: Sequence[Entry], *, bundle: bytes, path: str) -> list[Operation]:
    """What lets these webhooks trust these authorities (PEM) and call there; empty where they do."""
    return [operation for entry in found for operation in _operations(entry, bundle, path)]


def _operations(entry: Entry, bundle: bytes, path: str) -> Iterator[Operation]:
    place = f"/webhooks/{entry.number}/clientConfig"
    # `add` takes the place of what is there (RFC 6902, 4.1), and either may be missing.
    if entry.bundle != bundle:
        yield {"op": "add", "path": f"{place}/caBundle", "value": b64encode(bundle).decode()}
    if entry.path != path:
        yield {"op": "add", "path": f"{place}/service/path", "value": path}


def _is_at(webhook: Webhook, home: Home) -> bool:
    return webhook.client_config.service is not None and home.is_at(webhook.client_config)


def _place(webhook: Webhook) -> str:
    service: Service | None = webhook.client_config.service
    return f"service {service}" if service is not None else webhook.client_config.url


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text)
    except Error:
        return b""


def joined(certificates: Iterable[str]) -> bytes:
    """Certificates as they stand in a bundle."""
    return "".join(certificates).encode()
