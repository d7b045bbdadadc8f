"""The serving process: ports, readiness, certificates swapped under load, a drain that fails no call."""

import asyncio
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.serving import Connection, Echo, Running, post, review, serving, trusting
from webhook.desk import Desk
from webhook.listening import Listen
from webhook.server import Server
from webhook.telemetry import Telemetry
from webhook.tls import BadCertificate, check, is_host, self_signed, utc_now


async def get(running: Running, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection(*running.ops)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body.decode()


async def test_operations() -> None:
    async with serving() as running:
        assert await get(running, "/livez") == (200, "ok\n")
        assert await get(running, "/readyz") == (200, "ok\n")
        assert (await get(running, "/readyz?verbose"))[1] == "[+]configuration ok\n[+]tls ok\n[+]draining ok\n"
        status, text = await get(running, "/metrics")
        assert status == 200
        assert "moorage_build_info" in text
        assert text.endswith("# EOF\n")
        pair, _ = running.server.shown
        assert pair is not None
        assert await get(running, "/certificate") == (200, pair.certificate.decode())
        running.desk.draining = True
        assert await get(running, "/readyz") == (
            503,
            "[+]configuration ok\n[+]tls ok\n[-]draining the server is about to stop\n",
        )
        assert (await get(running, "/livez"))[0] == 200


async def test_it_is_not_ready_with_another_certificate_than_it_believes_in() -> None:
    async with serving() as running:
        running.server._pair = self_signed("localhost", now=utc_now())[0]
        status, text = await get(running, "/readyz")
        assert status == 503
        assert "[-]tls another certificate is shown" in text


async def test_it_is_not_ready_once_its_certificate_has_expired() -> None:
    async with serving(wall=lambda: utc_now().timestamp() + 31 * 86_400) as running:
        assert (await get(running, "/readyz"))[0] == 503
        assert (await get(running, "/livez"))[0] == 200


async def test_metrics_are_given_in_the_older_form_to_one_who_asks_for_that() -> None:
    async with serving() as running:
        for accept, kind in (("text/plain;version=0.0.4", "text/plain"), ("*/*", "application/openmetrics-text")):
            reader, writer = await asyncio.open_connection(*running.ops)
            writer.write(f"GET /metrics HTTP/1.1\r\nHost: l\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode())
            head = (await reader.read()).partition(b"\r\n\r\n")[0].decode().lower()
            assert f"content-type: {kind}" in head
            writer.close()


async def test_the_ops_port_has_bounds_too() -> None:
    async with serving(patience=0.2) as running:
        rows = {b"GET /li": 408, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 500_000: 431, b"nonsense\r\n\r\n": 400}
        for data, status in rows.items():
            reader, writer = await asyncio.open_connection(*running.ops)
            writer.write(data)
            assert (await reader.readuntil(b"\r\n")).split()[1] == str(status).encode()
            writer.close()


async def fingerprint(running: Running) -> str:
    _, writer = await asyncio.open_connection(*running.admission, ssl=trusting())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown).hex()


async def test_a_new_certificate_is_shown_to_new_connections_and_open_ones_stay() -> None:
    async with serving() as running:
        before = await fingerprint(running)
        open_one = await running.connect()
        await open_one.send(post(review("a")))
        assert (await open_one.answer())[0] == 200
        pair, _ = self_signed("localhost", now=utc_now())
        await running.server.swap(pair, client_ca="")
        assert await fingerprint(running) != before
        await open_one.send(post(review("b")))
        assert (await open_one.answer())[0] == 200
        open_one.close()


async def test_certificates_are_swapped_under_load_without_one_failed_call() -> None:
    async with serving() as running:
        stop = asyncio.Event()
        answers: list[int] = []

        async def call_on_and_on() -> None:
            context = trusting()
            while not stop.is_set():
                reader, writer = await asyncio.open_connection(*running.admission, ssl=context)
                writer.write(post(review("x")))
                answers.append(int((await reader.readuntil(b"\r\n\r\n")).split()[1]))
                writer.close()

        callers = [asyncio.create_task(call_on_and_on()) for _ in range(4)]
        for _ in range(10):
            seen = len(answers)
            await running.server.swap(self_signed("localhost", now=utc_now())[0], client_ca="")
            while len(answers) < seen + 8:  # noqa: ASYNC110 - calls are counted, and the count is the event
                await asyncio.sleep(0)
        stop.set()
        await asyncio.gather(*callers)
        assert set(answers) == {200}


async def test_certificates_that_are_swapped_at_once_leave_one_listener() -> None:
    async with serving() as running:
        pairs = [self_signed("localhost", now=utc_now())[0] for _ in range(5)]
        await asyncio.gather(*(running.server.swap(pair, client_ca="") for pair in pairs))
        shown = running.server.shown[0]
        assert shown is not None
        assert {await fingerprint(running) for _ in range(20)} == {shown.leaf.hex()}
        place = running.admission
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*place)


async def test_a_caller_must_show_a_certificate_of_the_authority_in_force() -> None:
    old, new = trustme.CA(), trustme.CA()

    async def answered(authority: trustme.CA | None) -> bool:
        context = ssl.create_default_context(cadata=running.ca.decode())
        if authority is not None:
            authority.issue_cert("kube-apiserver").configure_cert(context)
        try:
            reader, writer = await asyncio.open_connection(*running.admission, ssl=context, server_hostname="localhost")
        except OSError:
            return False
        try:
            writer.write(post(review("a")))
            return b" 200 " in await reader.readuntil(b"\r\n")
        except (OSError, asyncio.IncompleteReadError):
            return False
        finally:
            writer.close()

    async with serving(client_ca=pem(old), last_call=0.1) as running:
        assert [await answered(one) for one in (old, new, None)] == [True, False, False]
        shown = running.server.shown[0]
        assert shown is not None
        await running.server.swap(shown, client_ca=pem(new))
        assert [await answered(one) for one in (old, new, None)] == [False, True, False]
        assert (await get(running, "/readyz"))[0] == 200


async def handshaken(running: Running, raw: socket.socket) -> Connection:
    """TLS over a connection that is there already."""
    raw.setblocking(False)
    context = ssl.create_default_context(cadata=running.ca.decode())
    return Connection(*await asyncio.open_connection(sock=raw, ssl=context, server_hostname="localhost"))


async def test_callers_whom_the_kernel_took_before_the_port_was_closed_are_let_in() -> None:
    async with serving() as running:
        # No turn of the loop lies in between: nobody but the kernel knows of them.
        raw = [socket.create_connection(running.admission) for _ in range(5)]
        running.server._close_the_door()
        for one in raw:
            connection = await handshaken(running, one)
            await connection.send(post(review("a")))
            assert (await connection.answer())[0] == 200
            connection.close()


async def connected(running: Running) -> Connection:
    """A caller of whom the server knows nothing but that he came."""
    raw = socket.create_connection(running.admission)
    while not running.server._callers:  # noqa: ASYNC110 - the count is the event
        await asyncio.sleep(0)
    raw.setblocking(False)
    return Connection(*await asyncio.open_connection(sock=raw))


async def fresh(running: Running) -> Connection:
    """One who has not said yet what he wants."""
    return await running.connect()


async def half(running: Running) -> Connection:
    """One who is in the middle of it."""
    connection = await running.connect()
    await connection.send(post(review("a"))[:50])
    return connection


@pytest.mark.parametrize("caller", [connected, fresh, half])
async def test_the_end_waits_for_callers_who_came_before_the_port_was_closed(
    caller: Callable[[Running], Awaitable[Connection]],
) -> None:
    async with serving() as running:
        connection = await caller(running)
        running.server.stop()
        arrivals = running.server._arrivals
        assert arrivals is not None
        while arrivals.is_serving():  # noqa: ASYNC110 - the flag is the event
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
            assert not running.server._admission.ending.is_set()
        with pytest.raises(ConnectionRefusedError):
            await running.connect()
        if caller is connected:
            context = ssl.create_default_context(cadata=running.ca.decode())
            await connection.writer.start_tls(context, server_hostname="localhost")
        await connection.send(post(review("a"))[50 if caller is half else 0 :])
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (200, "close")
        await running.task


async def test_those_who_say_nothing_do_not_hold_up_the_end() -> None:
    async with serving(last_call=0.1) as running:
        idle = await running.connect()
        await idle.send(post(review("a")))
        assert (await idle.answer())[0] == 200
        new, bare = await running.connect(), await connected(running)
        running.server.stop()
        await running.task
        for connection in (idle, new):
            assert await connection.is_closed()
            connection.close()
        bare.close()


async def test_a_port_that_is_taken_is_told() -> None:
    async with serving() as running:
        taken, free = Listen(*running.admission), Listen("127.0.0.1", 0)
        for listen, ops_listen in ((taken, free), (free, taken)):
            server = Server(running.desk, running.telemetry, GOOD, listen=listen, ops_listen=ops_listen, drain=0.0)
            with pytest.raises(OSError, match=f"in use: '127.0.0.1:{taken.port}'"):
                await server.run()


async def test_a_port_that_somebody_bound_first_and_listens_at_now_is_told() -> None:
    # Linux lets two bind as long as neither listens.
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        listen = Listen(*first.getsockname())
        free = Listen("127.0.0.1", 0)
        server = Server(Desk(Echo(), budget=4.0), Telemetry(), GOOD, listen=listen, ops_listen=free, drain=0.0)
        running = asyncio.create_task(server.run(ready=lambda _: None))
        first.listen()
        with pytest.raises(OSError, match="in use"):
            await running


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@pytest.mark.parametrize(("version", "spoken"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_tls_is_spoken_from_1_2_on(version: str, *, spoken: bool) -> None:
    async with serving(last_call=0.1) as running:
        context = ssl.create_default_context(cadata=running.ca.decode())
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        try:
            _, writer = await asyncio.open_connection(*running.admission, ssl=context, server_hostname="localhost")
        except OSError:
            assert not spoken
        else:
            assert spoken
            writer.close()


NOW = utc_now()
GOOD, _ = self_signed("localhost", now=NOW)
OTHER, _ = self_signed("localhost", now=NOW)


def issued(*extensions: x509.ExtensionType) -> tuple[bytes, bytes]:
    """A certificate that signs itself, with these extensions, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - timedelta(days=1), NOW + timedelta(days=9))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), secret


NAMED = x509.SubjectAlternativeName([x509.DNSName("localhost")])
CLIENT, SERVER, ANY = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE  # fmt: skip


@pytest.mark.parametrize("uses", [[], [SERVER], [CLIENT, SERVER], [ANY]])
def test_a_pair_for_a_server_may_serve(uses: list[x509.ObjectIdentifier]) -> None:
    pair = check(*issued(NAMED, *([x509.ExtendedKeyUsage(uses)] if uses else [])), now=NOW)
    assert pair.names == {"localhost"}


@pytest.mark.parametrize(
    ("certificate", "key", "days", "why"),
    [
        (*issued(NAMED, x509.ExtendedKeyUsage([CLIENT])), 0, "not for a server"),
        (*issued(), 0, "no subject alternative name"),
        (GOOD.certificate, OTHER.key, 0, "does not belong"),
        (GOOD.certificate, GOOD.key, 31, "valid from"),
        (GOOD.certificate, GOOD.key, -1, "valid from"),
        (b"nonsense", GOOD.key, 0, "not PEM"),
        (GOOD.certificate, b"", 0, "not PEM"),
    ],
)
def test_a_pair_that_must_not_serve_is_refused(certificate: bytes, key: bytes, days: int, why: str) -> None:
    with pytest.raises(BadCertificate, match=why):
        check(certificate, key, now=NOW + timedelta(days=days))


@pytest.mark.parametrize("text", ["", "8443", "host:", "host:x", "host:70000"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Listen.parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port"), [("0.0.0.0:1", "0.0.0.0", 1), ("[::1]:0", "::1", 0), (":8", "0.0.0.0", 8)]
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert Listen.parse(text) == Listen(host, port)


@pytest.mark.parametrize(
    "name", ["localhost", "moorage.moorage-system.svc", "*.example.com", "A1.b", "10.0.0.1", "::1"]
)
def test_a_certificate_may_be_for_a_name_or_an_address(name: str) -> None:
    assert is_host(name)
    assert name.lower() in self_signed(name, now=utc_now())[0].names


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a/b", "https://a", "a:443", "[::1]", "-a", "a-", "a..b", "a.", "ä", "*", "a*", "x" * 64, "a." * 127 + "a"]
)  # fmt: skip
def test_what_no_caller_can_dial_gets_no_certificate(name: str) -> None:
    assert not is_host(name)
