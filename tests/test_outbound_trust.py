"""Proxies and certificates at the door, against real sockets on loopback."""

import socket
import ssl
from pathlib import Path
from typing import Final

import pytest
import trustme

import webhook.outbound as outbound_module
from tests.doors import soon
from tests.support.door import Names, door, encrypted, manifest, plain, server_context
from tests.support.faults import redirected, with_status
from tests.support.registry import CANARY, fake_registry, trap_socket
from webhook.core.addresses import Allowance
from webhook.core.challenge import Response, Trouble
from webhook.core.hosts import Registry
from webhook.core.reason import Reason

NAME: Final = "registry.example.com"


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_registry() as fake:
        with trap_socket() as trap:
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://{trap.host}")
            async with door(plain(fake)) as outbound:
                told = await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
            assert isinstance(told, Response)
            assert trap.connections == 0


async def test_a_configured_proxy_is_used_and_resolves_names_itself() -> None:
    names = Names({})
    async with fake_registry() as proxy:
        digest = proxy.push()
        registry = Registry(NAME, plain_http=True, proxy=f"http://{proxy.host}")
        async with door(registry, resolver=names) as outbound:
            told = await outbound.send(manifest(NAME), registry=registry, deadline=soon())
        assert isinstance(told, Response)
        assert told.header("docker-content-digest") == digest
        (asked,) = proxy.asked
        assert asked.target == f"http://{NAME}/v2/team/app/manifests/stable"
    assert names.asked == []


async def test_a_proxy_that_refuses_or_is_not_there_is_told_as_such() -> None:
    async with fake_registry() as proxy:
        proxy.faults["tunnel"] = with_status(407, ("Proxy-Authenticate", f'Basic realm="{CANARY}"'))
        registry = Registry(NAME, proxy=f"http://{proxy.host}")
        async with door(registry) as outbound:
            request = manifest(NAME, scheme="https")
            told = await outbound.send(request, registry=registry, deadline=soon())
        assert told == Trouble(Reason.UNAVAILABLE, "the proxy refuses the connection")
        (asked,) = proxy.asked
        assert (asked.method, asked.target, asked.header("Authorization")) == ("CONNECT", f"{NAME}:443", None)
    async with door(registry) as outbound:
        told = await outbound.send(request, registry=registry, deadline=soon())
        assert told == Trouble(Reason.UNAVAILABLE, "the proxy cannot be reached")


async def test_a_redirect_goes_through_the_proxy_of_its_own_host() -> None:
    async with fake_registry() as fake, fake_registry() as proxy:
        proxy.push()
        other = Registry(NAME, plain_http=True, proxy=f"http://{proxy.host}")
        fake.faults["manifest"] = redirected(f"http://{NAME}/v2/team/app/manifests/stable")
        async with door(plain(fake), other) as outbound:
            told = await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
        assert isinstance(told, Response)
        assert (len(fake.asked), len(proxy.asked)) == (1, 1)
        assert proxy.asked[0].header("Authorization") is None


async def test_certificates_are_checked_against_the_registrys_own_authority() -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    context = server_context(authority.issue_cert("localhost"))
    untrusted = Trouble(Reason.UNAVAILABLE, "its certificate is not trusted")
    async with fake_registry(tls=context) as fake:
        fake.push()
        port = fake.host.rpartition(":")[2]
        rows = [("localhost", authority, 200), ("localhost", stranger, untrusted), ("localhost", None, untrusted)]
        for name, ca, expected in [*rows, ("127.0.0.1", authority, untrusted)]:
            registry = encrypted(f"{name}:{port}", ca)
            async with door(registry) as outbound:
                request = manifest(registry.host, scheme="https")
                told = await outbound.send(request, registry=registry, deadline=soon())
            assert (told.status if isinstance(told, Response) else told) == expected, (name, ca)
        assert len(fake.asked) == 1


async def test_a_registrys_own_authority_stands_beside_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with docker and containerd: a registry of one's own may send to a token server of the world."""
    authority, own = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    async with fake_registry(tls=server_context(authority.issue_cert("127.0.0.1"))) as fake:
        registry = encrypted(fake.host, own)
        async with door(registry) as outbound:
            told = await outbound.send(manifest(fake.host, scheme="https"), registry=registry, deadline=soon())
    assert isinstance(told, Response)


async def test_a_redirect_is_checked_against_the_authority_of_its_own_host() -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    async with (
        fake_registry(tls=server_context(ours.issue_cert("127.0.0.1"))) as fake,
        fake_registry(tls=server_context(theirs.issue_cert("127.0.0.1"))) as other,
    ):
        other.push()
        fake.faults["manifest"] = redirected(f"https://{other.host}/v2/team/app/manifests/stable")
        registry = encrypted(fake.host, ours)
        for authority, expected in ((theirs, True), (ours, False)):
            async with door(registry, encrypted(other.host, authority)) as outbound:
                told = await outbound.send(manifest(fake.host, scheme="https"), registry=registry, deadline=soon())
            assert isinstance(told, Response) is expected


async def test_a_redirect_from_tls_to_plain_http_is_not_followed() -> None:
    authority = trustme.CA()
    async with fake_registry(tls=server_context(authority.issue_cert("127.0.0.1"))) as fake, fake_registry() as other:
        fake.faults["manifest"] = redirected(f"http://{other.host}/v2/team/app/manifests/stable")
        registry = encrypted(fake.host, authority)
        async with door(registry, plain(other)) as outbound:
            told = await outbound.send(manifest(fake.host, scheme="https"), registry=registry, deadline=soon())
        assert told == Trouble(Reason.BAD_REGISTRY, "it redirects to plain http, which is not followed")
        assert other.asked == []


async def test_one_that_does_not_speak_tls_is_told_as_such() -> None:
    async with fake_registry() as fake:
        registry = Registry(fake.host, allow_loopback=True)
        async with door(registry) as outbound:
            request = manifest(fake.host, scheme="https")
            told = await outbound.send(request, registry=registry, deadline=soon())
        assert told == Trouble(Reason.UNAVAILABLE, "the TLS handshake failed")
        assert fake.asked == []


async def test_a_host_where_nobody_listens_is_told_as_such() -> None:
    with trap_socket() as trap:
        registry = Registry(trap.host, plain_http=True, allow_loopback=True)
    async with door(registry) as outbound:
        told = await outbound.send(manifest(registry.host), registry=registry, deadline=soon())
    assert told == Trouble(Reason.UNAVAILABLE, "the connection is refused or the host cannot be reached")


async def test_where_no_tls_is_spoken_no_authority_is_read_and_none_is_trusted() -> None:
    async with fake_registry() as fake, door(plain(fake)) as outbound:
        await outbound.send(manifest(fake.host), registry=plain(fake), deadline=soon())
        (transport,) = outbound._transports.values()
        assert transport.ssl_context.cert_store_stats()["x509_ca"] == 0
        assert transport.ssl_context.verify_mode is ssl.CERT_REQUIRED
        assert transport.ssl_context.check_hostname


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="macOS has none")
def test_a_connection_that_a_firewall_forgot_is_noticed_while_it_idles() -> None:
    make = outbound_module._checked_socket(Allowance(loopback=True))
    with make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        probes = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) * made.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_KEEPCNT
        )
    assert idle + probes < outbound_module.KEEP_ALIVE
