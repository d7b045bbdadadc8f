"""Which addresses the door dials, against real sockets on loopback: literals, names, and numbers of odd shape."""

from collections.abc import Callable
from typing import Final

import aiohttp
import pytest

from tests.doors import soon
from tests.support import wire
from tests.support.door import Names, door, manifest
from tests.support.faults import sent_as
from tests.support.registry import fake_registry, trap_socket
from webhook.core.challenge import Response, Trouble
from webhook.core.hosts import Registries, Registry
from webhook.core.reason import Reason
from webhook.outbound import Outbound

NAME: Final = "registry.example.com"
ODD: Final = Trouble(Reason.ADDRESS_REFUSED, "its host is a number that is no plain address; write it in full")


def leads_to(kind: str, advice: str = ", which is never contacted") -> Trouble:
    return Trouble(Reason.ADDRESS_REFUSED, f"it leads to a {kind} address{advice}")


def unless_loopback(host: str) -> Trouble:
    return leads_to("loopback", f"; if that is right, set allowLoopback under registries.{host}")


def unless_listed(host: str) -> Trouble:
    return leads_to("private", f"; if that is right, list the host literally: registries.{host}: {{}}")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", unless_loopback),
        ("localhost", unless_loopback),
        ("[::ffff:127.0.0.1]", unless_loopback),
        ("[::ffff:7f00:1]", unless_loopback),
        ("[::1]", unless_loopback),
        ("[::127.0.0.1]", unless_loopback),
        ("[64:ff9b::7f00:1]", unless_loopback),
        ("127.1", ODD),
        ("2130706433", ODD),
        ("0x7f000001", ODD),
        ("0X7F.1", ODD),
        ("0177.0.0.1", ODD),
        ("0.0.0.0", leads_to("reserved")),
        ("[::]", leads_to("reserved")),
        ("169.254.169.254", leads_to("link-local")),
        ("[::ffff:169.254.169.254]", leads_to("link-local")),
        ("[fd00:ec2::254]", leads_to("metadata")),
        ("168.63.129.16", leads_to("metadata")),
    ],
)
async def test_a_listed_host_at_a_bad_address_gets_no_packet(
    address: str, expected: Trouble | Callable[[str], Trouble]
) -> None:
    with trap_socket() as trap:
        registry = Registry(f"{address}:{trap.port}", plain_http=True)
        async with door(registry) as outbound:
            told = await outbound.send(manifest(registry.host), registry=registry, deadline=soon())
        assert told == (expected if isinstance(expected, Trouble) else expected(registry.host))
        assert trap.connections == 0


@pytest.mark.parametrize("address", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "169.254.169.254", "0.0.0.0"])
async def test_nor_does_it_where_loopback_is_allowed(address: str) -> None:
    with trap_socket() as trap:
        registry = Registry(f"{address}:{trap.port}", plain_http=True, allow_loopback=True)
        async with door(registry) as outbound:
            told = await outbound.send(manifest(registry.host), registry=registry, deadline=soon())
        assert isinstance(told, Trouble)
        assert told.reason is Reason.ADDRESS_REFUSED
        assert trap.connections == 0


@pytest.mark.parametrize(
    ("addresses", "pattern", "expected"),
    [
        (["127.0.0.1"], "", unless_loopback),
        (["127.0.0.1"], "*.example.com", unless_loopback),
        (["169.254.169.254"], "", leads_to("link-local")),
        (["fd00:ec2::254"], "", leads_to("metadata")),
        (["10.1.2.3"], "*.example.com", unless_listed),
        (["fd12:3456::1"], "*.example.com", unless_listed),
        (["169.254.169.254", "10.1.2.3"], "*.example.com", leads_to("link-local")),
        ([], "", Trouble(Reason.UNAVAILABLE, "its name cannot be resolved")),
    ],
)
async def test_a_name_is_judged_by_what_it_resolves_to(
    addresses: list[str], pattern: str, expected: Trouble | Callable[[str], Trouble]
) -> None:
    names = Names({NAME: addresses} if addresses else {})
    with trap_socket() as trap:
        host = f"{NAME}:{trap.port}"
        listed = Registry(f"{pattern or NAME}:{trap.port}", plain_http=True)
        async with door(listed, resolver=names) as outbound:
            registry = Registries([listed]).find(host)
            assert registry is not None
            told = await outbound.send(manifest(host), registry=registry, deadline=soon())
        assert told == (expected if isinstance(expected, Trouble) else expected(host))
        assert trap.connections == 0
    assert names.asked == [NAME]


async def test_a_private_address_of_a_listed_host_is_dialled(dialled: list[str]) -> None:
    listed = Registry(f"{NAME}:5000", plain_http=True)
    async with door(listed, resolver=Names({NAME: ["10.1.2.3"]})) as outbound:
        await outbound.send(manifest(listed.host), registry=listed, deadline=soon())
    assert dialled.pop() == "10.1.2.3"


@pytest.mark.parametrize("is_broken", [False, True], ids=["well", "broken"])
async def test_of_several_addresses_the_good_one_is_dialled_and_told_of(is_broken: bool) -> None:
    async with fake_registry() as fake:
        port = fake.host.rpartition(":")[2]
        glob = Registry(f"*.example.com:{port}", plain_http=True, allow_loopback=True)
        host = f"{NAME}:{port}"
        if is_broken:
            fake.faults["manifest"] = sent_as(wire.reset)
        async with door(glob, resolver=Names({NAME: ["10.1.2.3", "127.0.0.1"]})) as outbound:
            registry = Registries([glob]).find(host)
            assert registry is not None
            told = await outbound.send(manifest(host), registry=registry, deadline=soon())
        assert {asked.header("Host") for asked in fake.asked} == {host}
        found = told.status if isinstance(told, Response) else told
        assert found == (Trouble(Reason.UNAVAILABLE, "the connection broke") if is_broken else 404)


AUTH: Final = "auth.example.com"


@pytest.mark.parametrize(
    ("addresses", "also", "expected"),
    [
        # A realm is no registry: that it may issue tokens does not say that it may stand inside.
        (["10.1.2.3"], [], unless_listed(AUTH)),
        (["127.0.0.1"], [], leads_to("loopback", f"; if that is right, set allowLoopback under registries.{NAME}")),
        (["169.254.169.254"], [Registry(AUTH)], leads_to("link-local")),
    ],
    ids=["inside", "loopback", "metadata"],
)
async def test_a_realm_at_a_bad_address_gets_no_packet_and_the_advice_names_it(
    addresses: list[str], also: list[Registry], expected: Trouble
) -> None:
    names = Names({AUTH: addresses})
    registry = Registry(NAME, realms=(AUTH,))
    async with door(registry, *also, resolver=names) as outbound:
        request = manifest(AUTH, purpose="token", scheme="https")
        assert await outbound.send(request, registry=registry, deadline=soon()) == expected
    assert names.asked == [AUTH]


async def test_a_realm_that_is_listed_as_a_registry_may_stand_inside(dialled: list[str]) -> None:
    registry = Registry(NAME, realms=(AUTH,))
    async with door(registry, Registry(AUTH), resolver=Names({AUTH: ["10.1.2.3"]})) as outbound:
        await outbound.send(manifest(AUTH, purpose="token", scheme="https"), registry=registry, deadline=soon())
    assert dialled.pop() == "10.1.2.3"


async def test_a_name_that_leads_elsewhere_a_moment_later_is_judged_again() -> None:
    """DNS rebinding: what is judged is the address of the very socket, so there is no moment in between."""
    async with fake_registry() as fake:
        fake.faults["manifest"] = sent_as(wire.farewell)
        port = fake.host.rpartition(":")[2]
        glob = Registry(f"*.example.com:{port}", plain_http=True, allow_loopback=True)
        registry = Registries([glob]).find(f"{NAME}:{port}")
        assert registry is not None
        names = Names({NAME: ["127.0.0.1"]})
        async with door(glob, resolver=names) as outbound:
            first = await outbound.send(manifest(registry.host), registry=registry, deadline=soon())
            for addresses, expected in (
                (["169.254.169.254"], leads_to("link-local")),
                (["10.1.2.3"], unless_listed(registry.host)),
                (["::ffff:169.254.169.254"], leads_to("link-local")),
            ):
                names.addresses = {NAME: addresses}
                forget_names(outbound)
                told = await outbound.send(manifest(registry.host), registry=registry, deadline=soon())
                assert told == expected
        assert isinstance(first, Response)
        assert len(fake.asked) == 1


def forget_names(outbound: Outbound) -> None:
    """What the client library remembers of names for ten seconds."""
    for transport in outbound._transports.values():
        connector = transport.get_client().connector
        assert isinstance(connector, aiohttp.TCPConnector)
        connector.clear_dns_cache()


async def test_a_trap_would_notice() -> None:
    with trap_socket() as trap:
        registry = Registry(trap.host, plain_http=True, allow_loopback=True)
        async with door(registry) as outbound:
            told = await outbound.send(manifest(registry.host), registry=registry, deadline=soon(0.2))
        assert told == Trouble(Reason.OUT_OF_TIME, "no answer in time")
        assert trap.connections == 1
