"""Which network addresses may be dialled, judged on the address that is really connected to."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import msgspec

_NAT64: Final = ip_network("64:ff9b::/96")
_NEVER: Final[dict[str, tuple[str, ...]]] = {
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    # AWS, GCP over IPv6, Alibaba, Azure's wire server (reported as global by Python), Oracle.
    "metadata": ("fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "unspecified or reserved": ("0.0.0.0/8", "::/128", "240.0.0.0/4"),
}
_DENIED: Final = tuple((kind, ip_network(text)) for kind, texts in _NEVER.items() for text in texts)


class Allowance(msgspec.Struct, frozen=True):
    """What an address may be, beyond public: `private` for hosts that the configuration lists literally, `loopback`
    where it says allowLoopback."""

    private: bool = False
    loopback: bool = False


def refusal(text: str, allowance: Allowance) -> str | None:
    """The kind of address that this is when it must not be dialled, None when it may."""
    address = _unwrapped(ip_address(text.partition("%")[0]))
    for kind, network in _DENIED:
        if address in network:
            return kind
    if address.is_loopback:
        return None if allowance.loopback else "loopback"
    return None if allowance.private or address.is_global else "private"


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one: mapped, NAT64 or 6to4, each a way around a check (kyverno#16419)."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
