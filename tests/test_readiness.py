"""Our own TLS handshake: what it finds, how long it takes, how often it is made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from webhook.readiness import Handshake
from webhook.tls import Pair, context, self_signed, utc_now

ONE, _ = self_signed("localhost", now=utc_now())
OTHER, _ = self_signed("localhost", now=utc_now())
NOW = utc_now().timestamp()


class Door:
    """A listener that shows a pair and counts who comes."""

    def __init__(self) -> None:
        self.callers = 0
        self.address = ("127.0.0.1", 0)

    async def take(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()


@asynccontextmanager
async def door(pair: Pair | None, client_ca: str = "") -> AsyncIterator[Door]:
    made = Door()

    def protocol() -> asyncio.StreamReaderProtocol:
        made.callers += 1
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), made.take)

    def deaf() -> asyncio.Protocol:
        made.callers += 1
        return asyncio.Protocol()

    loop = asyncio.get_running_loop()
    if pair is None:
        server = await loop.create_server(deaf, "127.0.0.1", 0)
    else:
        server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context(pair, client_ca=client_ca))
    made.address = server.sockets[0].getsockname()
    try:
        yield made
    finally:
        server.close()


def handshake(at: Door, believed: Pair = ONE, *, wall: float = NOW, **more: float) -> Handshake:
    return Handshake(lambda: at.address, lambda: believed, wall=lambda: wall, **more)


async def test_all_is_well_when_the_pair_in_force_is_shown() -> None:
    async with door(ONE) as at:
        assert await handshake(at).problem() == ""


async def test_callers_may_have_to_show_a_certificate_of_their_own() -> None:
    _, ca = self_signed("client", now=utc_now())
    async with door(ONE, ca.decode()) as at:
        assert await handshake(at).problem() == ""


async def test_another_certificate_than_the_one_in_force_is_told() -> None:
    async with door(OTHER) as at:
        assert "another certificate" in await handshake(at).problem()


async def test_a_certificate_that_took_over_meanwhile_is_right() -> None:
    pairs = iter([ONE, OTHER])
    async with door(OTHER) as at:
        assert await Handshake(lambda: at.address, lambda: next(pairs), wall=lambda: NOW).problem() == ""


async def test_a_certificate_that_has_expired_is_told() -> None:
    async with door(ONE) as at:
        assert "expired" in await handshake(at, wall=ONE.expires).problem()


async def test_a_listener_that_says_nothing_is_given_up() -> None:
    async with door(None) as at:
        assert await handshake(at, within=0.05).problem() == "no handshake within 0.05 s"


async def test_a_port_that_is_closed_is_told() -> None:
    async with door(ONE) as at:
        pass
    assert "ConnectionRefusedError" in await handshake(at).problem()


async def test_however_many_ask_at_once_one_handshake_is_made() -> None:
    async with door(ONE) as at:
        asked = handshake(at)
        assert set(await asyncio.gather(*(asked.problem() for _ in range(50)))) == {""}
        assert at.callers == 1


async def test_what_was_found_is_looked_at_anew_after_its_life() -> None:
    async with door(ONE) as at:
        asked = handshake(at, life=0.0)
        for number in range(3):
            assert await asked.problem() == ""
            assert at.callers == number + 1
