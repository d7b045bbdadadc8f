"""PEM as people keep it: blocks with anything in between."""

import re
from typing import Final

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_BLOCK: Final = re.compile(f"{_BEGIN}.*?-----END CERTIFICATE-----", re.DOTALL)


_ANY: Final = re.compile("-----BEGIN ([A-Z ]+)-----.*?-----END \\1-----\n?", re.DOTALL)


class BadAuthorities(ValueError):
    """A text that holds no usable certificates; says why."""


def authorities(text: str) -> str:
    """The blocks alone: what bundles say in between is often no ASCII, which OpenSSL takes for a mistake.

    Raises:
        BadAuthorities: none, or one that is broken or half written.
    """
    import ssl  # noqa: PLC0415 - only a configuration that names authorities pays for it

    blocks = _BLOCK.findall(text)
    if _BEGIN not in text:
        raise BadAuthorities("holds no certificate in PEM form")
    if len(blocks) != text.count(_BEGIN):
        raise BadAuthorities("holds a certificate without an end")
    for number, block in enumerate(blocks, 1):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=block)
        except (ssl.SSLError, TypeError):
            raise BadAuthorities(f"holds a certificate that cannot be read, number {number}") from None
    return "\n".join(blocks) + "\n"


def blocks(text: str, kind: str) -> list[str]:
    """The whole blocks of a kind, as CERTIFICATE; PRIVATE KEY finds those of an algorithm too."""
    return [found[0] for found in _ANY.finditer(text) if found[1].endswith(kind)]
