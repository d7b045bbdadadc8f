"""The names that a client certificate bears, and which of them may call. Whether it is genuine was asked before."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

SHOWN: Final = 3
"""Names of one certificate that are told to an operator."""
LONGEST: Final = 64
"""Characters of each that are told."""

_UNSHOWN: Final = re.compile(r"[^ -~]", re.ASCII)


class Names(msgspec.Struct, frozen=True):
    """The common name of the subject, empty where there is none, and the DNS names, in lower case."""

    common: str
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        """Fit for a line of a log, whatever the certificate holds."""
        every = [*filter(None, (self.common,)), *self.hosts]
        return ", ".join(_UNSHOWN.sub("?", one[:LONGEST]) for one in every[:SHOWN])


def names_of(certificate: Mapping[str, Any] | None) -> Names:
    """The names in a certificate, in the form of `ssl.SSLSocket.getpeercert`; none where there is no certificate."""
    told = certificate or {}
    subject: Sequence[Sequence[tuple[str, str]]] = told.get("subject", ())
    # Of several the last one counts, as where Kubernetes makes a user of a certificate.
    common = [value for part in subject for key, value in part if key == "commonName"][-1:]
    hosts = [value.lower() for kind, value in told.get("subjectAltName", ()) if kind == "DNS"]
    return Names("".join(common), tuple(hosts))


class Allowed(msgspec.Struct, frozen=True):
    """The names of which a caller must bear one: as a DNS name in any letters, as a common name to the letter."""

    names: frozenset[str]

    def admits(self, caller: Names) -> bool:
        """Whether a caller bears one. Nothing in a name stands for others."""
        return caller.common in self.names or not {one.lower() for one in self.names}.isdisjoint(caller.hosts)
