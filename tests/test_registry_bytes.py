"""Whatever bytes a registry sends, what comes of them is a typed answer: responses are spoilt at random, from a seed."""

import asyncio
import random
from typing import Final

import pytest

from tests.core.world import D
from tests.doors import Clock, soon
from tests.support.asking import READER, SECRETS, known_as
from webhook.core.ask import Absent, Failed, Known
from webhook.core.hosts import Registries, Registry
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.outbound import Outbound
from webhook.registry import RegistryClient

WELL: Final = [
    f"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: 500\r\n"
    f"Docker-Content-Digest: {D}\r\n\r\n".encode(),
    b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="/token",service="s"\r\nContent-Length: 0\r\n\r\n',
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 307 There\r\nLocation: /v2/x/manifests/y\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Wait\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nWarning: 299 - "x"\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"token":"t"}',
    b"HTTP/1.1 503 Out\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\nConnection: close\r\n\r\nabc",
    b"HTTP/1.0 204 Nothing\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
]
SPOILS: Final = [
    *(b"\r\n", b"\n", b"\x00", b"\xff", b":", b" ", b"\t", b"0\r\n\r\n", b"ffffffffffffffffff\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"Content-Encoding: gzip\r\n", b"Set-Cookie: a=b\r\n"),
    *(b"Location: //[::1\r\n", b"Location: http://\xff/\r\n", b"Location: " + b"x" * 9000 + b"\r\n"),
    *(b"Retry-After: 99999999999999999999999\r\n", b"Retry-After: \xb2\r\n", b"Docker-Content-Digest: \xff\r\n"),
    *(b'WWW-Authenticate: Bearer realm="\xff"\r\n', b'Content-Type: \x80; charset="\r\n', b"HTTP/1.1 200 OK\r\n\r\n"),
]
TIMES: Final = 200


def spoilt(dice: random.Random) -> bytes:
    """One of the good responses, with up to three faults in it."""
    answer = dice.choice(WELL)
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(answer) + 1)
        match dice.randrange(4):
            case 0:
                answer = answer[:at] + dice.choice(SPOILS) + answer[at:]
            case 1:
                answer = answer[:at] + answer[at + dice.randrange(1, 20) :]
            case 2:
                answer = answer[:at] + bytes([dice.randrange(256)]) + answer[at + 1 :]
            case _:
                lines = answer.split(b"\r\n")
                lines.insert(dice.randrange(len(lines)), dice.choice(SPOILS).rstrip())
                answer = b"\r\n".join(lines)
    return answer


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_bytes_come_the_answer_is_typed(seed: int) -> None:
    dice = random.Random(seed)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(spoilt(dice))
                await writer.drain()
                if dice.random() < 0.3:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    known = Registries([Registry(host, plain_http=True, allow_loopback=True)])
    outbound = Outbound(known)
    client = RegistryClient(outbound, known, now=Clock(), jitter=lambda: 0.0)
    said: set[str] = set()
    for number in range(TIMES):
        who = known_as(READER) if number % 2 else known_as()
        found = await client.digest_of(Reference(host, f"app/{number % 7}", "stable"), who, deadline=soon(0.1))
        assert isinstance(found, Known | Absent | Failed)
        said.add(found.reason if isinstance(found, Failed) else type(found).__name__)
        assert not any(part in repr(found) for part in SECRETS)
    await outbound.aclose()
    server.close()
    await server.wait_closed()
    assert {"Known", "Absent", Reason.BAD_REGISTRY, Reason.THROTTLED} <= said
