"""Callers by the names in their certificates, over real TLS: who is answered, and what a stranger gets to hear."""

import asyncio
import contextlib
import io
import json
import ssl
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
import trustme

from tests.support.process import served
from tests.support.serving import Connection, Running, post, review, serving
from webhook.desk import STRANGER
from webhook.telemetry import QUIET, Log, Telemetry
from webhook.tls import Authority, utc_now

EVERY = pytest.mark.parametrize(
    "how", [{"lane": True}, {"lane": False}, {"own_protocol": False}], ids=["lane", "asgi", "h11"]
)
"""Every way in which the server may speak HTTP."""
NAMES = frozenset({"kube-apiserver"})
FORBIDDEN = (403, {"content-type": "text/plain; charset=utf-8", "content-length": str(len(STRANGER.body)), "connection": "close"}, STRANGER.body)  # fmt: skip


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs for callers."""
    return trustme.CA()


def guarded(authority: trustme.CA, how: dict[str, Any]) -> Any:
    """A server that asks callers for a certificate of this authority and a name."""
    return serving(client_ca=authority.cert_pem.bytes().decode(), client_names=NAMES, last_call=0.1, **how)


async def caller(running: Running, certificate: trustme.LeafCert) -> Connection:
    context = ssl.create_default_context(cadata=running.ca.decode())
    certificate.configure_cert(context)
    return Connection(*await asyncio.open_connection(*running.admission, ssl=context, server_hostname="localhost"))


@EVERY
async def test_a_caller_who_bears_an_allowed_name_is_answered(authority: trustme.CA, how: dict[str, Any]) -> None:
    async with guarded(authority, how) as running:
        for certificate in (
            authority.issue_cert(common_name="kube-apiserver"),
            authority.issue_cert("kube-apiserver", common_name="another"),
        ):
            connection = await caller(running, certificate)
            for uid in ("a", "b"):
                await connection.send(post(review(uid)))
                status, _, body = await connection.answer()
                assert (status, json.loads(body)["uid"]) == (200, uid)
            connection.close()
        assert running.lines("caller refused") == []


ASKED = [
    ("a review", post(review("a"))),
    ("another path", post(review("a"), path="/other")),
    ("another method", post(b"", method="GET")),
    ("nonsense", b"\x00\x01nonsense\r\n\r\n"),
    ("half a review", post(review("a"))[:-5]),
    ("two at once", post(review("a")) + post(review("b"))),
    ("what is too large", post(b"x" * 100_000, path="/mutate").replace(b"100000", b"99999999999")),
]


@EVERY
async def test_a_stranger_hears_one_and_the_same_whatever_he_asks_and_then_the_end(
    authority: trustme.CA, how: dict[str, Any]
) -> None:
    stranger = authority.issue_cert("worker-7.test", common_name="system:node:worker-7")

    async def told(data: bytes) -> tuple[Any, bytes]:
        connection = await caller(running, stranger)
        await connection.send(data)
        answer = await connection.answer()
        return answer, await connection.rest()

    async with guarded(authority, {**how, "patience": 1.0}) as running:
        answers = await asyncio.gather(*(told(data) for _, data in ASKED))
        assert {name: answer for (name, _), answer in zip(ASKED, answers, strict=True)} == {
            name: (FORBIDDEN, b"") for name, _ in ASKED
        }
        assert running.engine.now == []
        assert running.count("moorage_reviews_shed_total") == 0
        assert running.refused() == {"403": len(ASKED)}


async def test_a_certificate_of_the_authority_that_is_for_servers_is_none_for_callers(tmp_path: Path) -> None:
    ours = Authority(now=utc_now())
    pair = ours.issue("kube-apiserver", now=utc_now())
    (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    async with serving(client_ca=ours.certificate.decode(), client_names=NAMES, last_call=0.1) as running:
        context = ssl.create_default_context(cadata=running.ca.decode())
        context.load_cert_chain(tmp_path / "pair.pem")
        with contextlib.suppress(OSError):
            opened = await asyncio.open_connection(*running.admission, ssl=context, server_hostname="localhost")
            connection = Connection(*opened)
            await connection.send(post(review("a")))
            assert await connection.rest() == b""
        assert running.engine.now == []


async def test_readiness_and_metrics_are_for_everybody_as_before(authority: trustme.CA) -> None:
    async with guarded(authority, {}) as running:
        for path in ("/readyz", "/metrics"):
            reader, writer = await asyncio.open_connection(*running.ops)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n")
            writer.close()


async def test_strangers_are_told_of_once_a_minute_with_names_that_do_no_harm(authority: trustme.CA) -> None:
    async with guarded(authority, {}) as running:
        for _ in range(3):
            connection = await caller(running, authority.issue_cert(common_name="evil\n{name}\u202e"))
            await connection.send(post(review("a")))
            assert (await connection.answer())[0] == 403
            connection.close()
        (line,) = running.lines("caller refused")
        assert (line["level"], line["names"], line["address"], line["refused"]) == (
            "warning",
            "evil?{name}?",
            "127.0.0.1",
            1,
        )


def test_the_line_of_the_next_minute_counts_those_that_were_not_told() -> None:
    now, stream = [1000.0], io.StringIO()
    telemetry = Telemetry(Log(stream, clock=lambda: now[0]))
    for moment in (0.0, 1.0, QUIET - 1, QUIET, QUIET + 1):
        now[0] = 1000.0 + moment
        telemetry.refused("a", "10.0.0.1")
    # A clock that was set back silences nobody.
    now[0] = 10.0
    telemetry.refused("a", "10.0.0.1")
    assert [json.loads(line)["refused"] for line in stream.getvalue().splitlines()] == [1, 3, 2]


async def test_the_command_takes_names(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "clients.crt"))
    flags = ("--client-ca", str(tmp_path / "clients.crt"), "--client-name", "front", "--client-name", "kube-apiserver")
    async with served(tmp_path, *flags, "--kube", "off", "--drain", "0s") as process:
        statuses = {}
        for name in ("front", "kube-apiserver", "another"):
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
            authority.issue_cert(common_name=name).configure_cert(context)
            opened = await asyncio.open_connection(*process.admission, ssl=context, server_hostname="localhost")
            connection = Connection(*opened)
            await connection.send(post(review("a")))
            statuses[name] = (await connection.answer())[0]
            connection.close()
        assert statuses == {"front": 200, "kube-apiserver": 200, "another": 403}
        process.signal(SIGTERM)
        assert await process.process.wait() == 0
        (line,) = process.lines("caller refused")
        assert (line["names"], line["address"]) == ("another", "127.0.0.1")
