"""Under which names the page may be asked for: a page that answers to any name can be read by any site, once its owner
lets that name lead to this address (DNS rebinding)."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

LOCALHOST: Final = "localhost"


class Names:
    """Loopback, the address that was really dialled, and `more`. Ports do not matter: a forwarded one is another.

    Raises:
        ValueError: one of `more` is no name.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        every = tuple(more)
        for name in every:
            if name_in(name) != _plain(name):
                raise ValueError(f"--page-host {name!r} is no name; write it as moorage.example.com, without a port")
        self._more = frozenset(map(_plain, every))

    def have(self, host: str, dialled: str) -> bool:
        """Whether the page answers to a Host header, at the local address of the connection."""
        name = name_in(host)
        if name is None:
            return False
        if name in self._more or name == LOCALHOST:
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or address == _address(dialled))


def name_in(host: str) -> str | None:
    """The name or address in `name`, `name:port`, `[address]` or `[address]:port`; None where it is none of them."""
    if host.startswith("["):
        name, closed, port = host[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return None
        port = port[1:] or "0"
    else:
        name, colon, port = host.partition(":")
        port = port if colon else "0"
    return _plain(name) if name and port.isascii() and port.isdigit() else None


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
