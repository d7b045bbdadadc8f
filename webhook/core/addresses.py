"""Which network addresses may be dialled, judged on the address that is really connected to.

The rows beyond the special-purpose registries of IANA are the clouds' own: their metadata and control services answer
on addresses that Python's `ipaddress` takes for ordinary ones.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import msgspec

_NEVER: Final[dict[str, tuple[str, ...]]] = {
    # Metadata of AWS, Azure, GCP, Oracle and OpenStack; credentials of ECS and EKS.
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    # AWS and GCP over IPv6, Alibaba, Azure's wire server, Oracle Cloud Classic.
    "metadata": ("fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    # Linux takes 0.0.0.0 and :: for loopback.
    "reserved": ("0.0.0.0/8", "::/128", "240.0.0.0/4"),
}
_DENIED: Final = tuple((kind, ip_network(text)) for kind, texts in _NEVER.items() for text in texts)
# Python 3.11 calls these global: NAT64 for local use (RFC 8215), site-local (RFC 3879).
_PRIVATE: Final = tuple(map(ip_network, ("64:ff9b:1::/48", "fec0::/10")))
# They end in an IPv4 address: NAT64 (RFC 6052), IPv4-compatible (RFC 4291 section 2.5.5.1).
_WRAPPING: Final = tuple(map(ip_network, ("64:ff9b::/96", "::/96")))
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


class Allowance(msgspec.Struct, frozen=True):
    """What an address may be, beyond public: `private` for hosts that the configuration lists literally, `loopback`
    where it says allowLoopback."""

    private: bool = False
    loopback: bool = False


def refusal(text: str, allowance: Allowance) -> str | None:
    """The kind of address that this is when it must not be dialled, None when it may."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return "malformed"
    if not address.is_loopback:
        address = _unwrapped(address)
    for kind, network in _DENIED:
        if address in network:
            return kind
    if address.is_loopback:
        return None if allowance.loopback else "loopback"
    is_public = address.is_global and not any(address in network for network in _PRIVATE)
    return None if allowance.private or is_public else "private"


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that a translator or tunnel reaches by this IPv6 one: each is a way around a check
    (kyverno#16419)."""
    if isinstance(address, IPv4Address):
        return address
    if any(address in network for network in _WRAPPING):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or address


def is_never(host: str) -> bool:
    """Whether a host (with its port, if any) is an address that nothing in a configuration allows to be dialled."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return refusal(name, Allowance(private=True, loopback=True)) not in {None, "malformed"}


def is_odd_number(host: str) -> bool:
    """Whether a host (with its port, if any) is a number that some diallers take for an address and others do not:
    `127.1`, `0x7f000001` (ggcr#2425).

    A name whose last label is a number is a plain IPv4 address or nothing (WHATWG URL, section 3.5).
    """
    name = host.partition(":")[0].lower()
    if host.startswith("[") or _NUMBER.fullmatch(name.removesuffix(".").rpartition(".")[2]) is None:
        return False
    try:
        return str(ip_address(name)) != name
    except ValueError:
        return True
