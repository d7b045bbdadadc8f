"""Which addresses may be dialled: IANA's special-purpose registries, the clouds' own, and the ways around a check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.addresses import Allowance, is_odd_number, refusal

NOTHING_MORE = Allowance()
PRIVATE = Allowance(private=True)
LOOPBACK = Allowance(loopback=True)
EVERYTHING = Allowance(private=True, loopback=True)

NEVER = [
    ("169.254.169.254", "link-local", "metadata of AWS, Azure, GCP, Oracle, OpenStack"),
    ("169.254.170.2", "link-local", "credentials of ECS tasks"),
    ("169.254.170.23", "link-local", "EKS Pod Identity"),
    ("169.254.0.1", "link-local", "RFC 3927"),
    ("fe80::1", "link-local", "RFC 4291"),
    ("fe80::1%eth0", "link-local", "with a zone, as getaddrinfo gives it"),
    ("fe80::a9fe:a9fe", "link-local", "OpenStack metadata over IPv6"),
    ("fd00:ec2::254", "metadata", "AWS metadata over IPv6"),
    ("fd00:ec2::23", "metadata", "EKS Pod Identity over IPv6"),
    ("fd20:ce::254", "metadata", "GCP metadata over IPv6"),
    ("100.100.100.200", "metadata", "Alibaba Cloud"),
    ("168.63.129.16", "metadata", "Azure wire server; ipaddress calls it global"),
    ("192.0.0.192", "metadata", "Oracle Cloud Classic"),
    ("224.0.0.1", "multicast", "RFC 5771"),
    ("239.255.255.255", "multicast", "RFC 5771"),
    ("ff02::1", "multicast", "RFC 4291"),
    ("0.0.0.0", "reserved", "Linux connects to loopback"),
    ("0.1.2.3", "reserved", "RFC 1122: this network"),
    ("::", "reserved", "Linux connects to loopback"),
    ("240.0.0.1", "reserved", "RFC 1112"),
    ("255.255.255.255", "reserved", "broadcast"),
    ("::ffff:169.254.169.254", "link-local", "mapped, kyverno#16419"),
    ("::ffff:a9fe:a9fe", "link-local", "mapped, in hexadecimal"),
    ("::169.254.169.254", "link-local", "IPv4-compatible, RFC 4291"),
    ("64:ff9b::a9fe:a9fe", "link-local", "NAT64, RFC 6052"),
    ("2002:a9fe:a9fe::1", "link-local", "6to4, RFC 3056"),
    ("2001:0:4136:e378:8000:63bf:5601:5601", "link-local", "Teredo to 169.254.169.254, RFC 4380"),
    ("64:ff9b::a83f:8110", "metadata", "NAT64 to Azure's wire server"),
    ("::ffff:0.0.0.0", "reserved", "mapped"),
    ("127.1", "malformed", "no address at all, ggcr#2425"),
    ("registry.example.com", "malformed", "a name is not dialled, its address is"),
    ("", "malformed", ""),
]
LOOP = [
    ("127.0.0.1", "RFC 1122"),
    ("127.255.255.254", "RFC 1122"),
    ("::1", "RFC 4291"),
    ("::ffff:127.0.0.1", "mapped, kyverno#16419"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("64:ff9b::7f00:1", "NAT64"),
    ("2002:7f00:1::", "6to4"),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", "Teredo to 127.0.0.1"),
]
INSIDE = [
    ("10.0.0.1", "RFC 1918"),
    ("172.16.0.1", "RFC 1918"),
    ("192.168.255.255", "RFC 1918"),
    ("100.64.0.1", "RFC 6598, shared by carriers: neither private nor global for ipaddress"),
    ("192.0.2.1", "RFC 5737, documentation"),
    ("198.18.0.1", "RFC 2544, benchmarks"),
    ("fd12:3456::1", "RFC 4193"),
    ("fec0::1", "RFC 3879, site-local; ipaddress calls it global"),
    ("64:ff9b:1::a00:1", "RFC 8215, NAT64 for local use; Python 3.11 calls it global"),
    ("2001:db8::1", "RFC 3849, documentation"),
    ("::ffff:10.0.0.1", "mapped"),
    ("::10.0.0.1", "IPv4-compatible"),
    ("64:ff9b::a00:1", "NAT64"),
    ("2002:a00:1::1", "6to4"),
]
OUTSIDE = [
    ("8.8.8.8", ""),
    ("2606:4700:4700::1111", ""),
    ("172.32.0.1", "beside RFC 1918"),
    ("168.63.129.17", "beside Azure's wire server"),
    ("64:ff9b::808:808", "NAT64 to a public address: how IPv6-only clusters reach most registries"),
    ("::ffff:8.8.8.8", "mapped"),
]
MORE = pytest.mark.parametrize(
    "allowance", [NOTHING_MORE, PRIVATE, LOOPBACK, EVERYTHING], ids=["nothing more", "private", "loopback", "both"]
)


@MORE
@pytest.mark.parametrize(("address", "kind", "source"), NEVER)
def test_some_addresses_are_never_dialled(address: str, kind: str, source: str, allowance: Allowance) -> None:
    assert refusal(address, allowance) == kind


@MORE
@pytest.mark.parametrize(("address", "source"), LOOP)
def test_loopback_is_dialled_where_it_is_allowed(address: str, source: str, allowance: Allowance) -> None:
    assert refusal(address, allowance) == (None if allowance.loopback else "loopback")


@MORE
@pytest.mark.parametrize(("address", "source"), INSIDE)
def test_private_addresses_are_dialled_for_listed_hosts(address: str, source: str, allowance: Allowance) -> None:
    assert refusal(address, allowance) == (None if allowance.private else "private")


@MORE
@pytest.mark.parametrize(("address", "source"), OUTSIDE)
def test_public_addresses_are_dialled(address: str, source: str, allowance: Allowance) -> None:
    assert refusal(address, allowance) is None


@given(st.ip_addresses(v=4))
def test_no_wrapping_changes_the_verdict(address: object) -> None:
    plain = refusal(str(address), NOTHING_MORE)
    if plain != "reserved":
        assert refusal(f"::ffff:{address}", NOTHING_MORE) == plain
        assert refusal(f"64:ff9b::{address}", NOTHING_MORE) == plain


@pytest.mark.parametrize(
    ("host", "odd"),
    [
        ("127.1", True),
        ("127.0.1", True),
        ("2130706433", True),
        ("0x7f000001", True),
        ("0X7F000001", True),
        ("0x7f.0.0.1", True),
        ("0x", True),
        ("0177.0.0.1", True),
        ("127.0.0.01", True),
        ("127.0.0.1.", True),
        ("1.2.3.4.5", True),
        ("256.1.1.1", True),
        ("registry.example.1", True),
        ("127.1:5000", True),
        ("2130706433:5000", True),
        ("127.0.0.1", False),
        ("127.0.0.1:5000", False),
        ("10.0.0.1", False),
        ("[::1]:5000", False),
        ("[::ffff:127.0.0.1]:5000", False),
        ("localhost", False),
        ("localhost:5000", False),
        ("registry.example.com", False),
        ("1.2.3.4.example.com", False),
        ("0x7f000001.nip.io", False),
        ("deadbeef", False),
        ("0xyz", False),
    ],
)
def test_numbers_that_are_no_plain_address_are_odd(host: str, odd: bool) -> None:
    assert is_odd_number(host) is odd
