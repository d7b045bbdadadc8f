"""Authorities as bundles keep them."""

import ssl

import pytest
import trustme

from webhook.pem import BadAuthorities, authorities

ONE, OTHER = (trustme.CA().cert_pem.bytes().decode() for _ in range(2))

BUNDLES = [
    ("one", ONE, 1),
    ("two", ONE + OTHER, 2),
    ("words in between that are no ASCII", f"# Issuer: CN=Főtanúsítvány\n{ONE}\n# é\n{OTHER}", 2),
    ("lines of Windows", ONE.replace("\n", "\r\n"), 1),
    ("no line at the end", ONE.rstrip(), 1),
]


@pytest.mark.parametrize(("text", "count"), [row[1:] for row in BUNDLES], ids=[row[0] for row in BUNDLES])
def test_a_bundle_is_one_that_openssl_takes(text: str, count: int) -> None:
    context = ssl.create_default_context(cadata=authorities(text))
    assert len(context.get_ca_certs()) == count


BROKEN = [
    ("", "no certificate"),
    ("hello", "no certificate"),
    (ONE[: len(ONE) // 2], "without an end"),
    (ONE + OTHER[:100], "without an end"),
    (ONE + OTHER.replace("MII", "???"), "number 2"),
    ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "number 1"),
]


@pytest.mark.parametrize(("text", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_a_bundle_that_is_broken_is_told(text: str, why: str) -> None:
    with pytest.raises(BadAuthorities, match=why):
        authorities(text)
