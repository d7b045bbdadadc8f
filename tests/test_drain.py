"""The end of a serving process: readiness first, nobody who called goes without an answer, exit code 0."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.core.test_admission import review as admission_review
from tests.core.world import pod
from tests.support.process import Served, served
from tests.support.serving import Connection, post, review

SOON = post(review("a"))


class Load:
    """Callers who call on and on until they are refused; whatever else goes wrong is a failed call."""

    def __init__(self, server: Served, request: bytes = SOON) -> None:
        self._server = server
        self._request = request
        self.answers: list[int] = []
        self.failed: list[str] = []

    async def call_once(self, connection: Connection) -> bool:
        """One call; whether the connection goes on."""
        await connection.send(self._request)
        status, headers, _ = await connection.answer()
        self.answers.append(status)
        return headers.get("connection") != "close"

    async def keep_calling(self, *, keep: bool) -> None:
        """Call until the port is closed, over connections that are kept or over a new one each time."""
        while True:
            try:
                connection = Connection(*await self._server.connect())
            except ConnectionRefusedError:
                return
            except OSError as failed:
                self.failed.append(f"connecting: {failed!r}")
                continue
            try:
                while await self.call_once(connection) and keep:
                    pass
            except (OSError, asyncio.IncompleteReadError) as failed:
                self.failed.append(f"calling: {failed!r}")
            finally:
                connection.close()


@asynccontextmanager
async def silent_registry() -> AsyncIterator[str]:
    """Takes every request and answers none."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_no_call_fails_while_a_server_ends_under_load(tmp_path: Path) -> None:
    async with silent_registry() as host, served(tmp_path, "--drain", "100ms", host=host) as server:
        load = Load(server)
        waiting = Load(server, post(admission_review(pod(f"{host}/app:1")), path="/mutate?timeout=1s"))
        callers = [asyncio.create_task(load.keep_calling(keep=number % 2 == 0)) for number in range(8)]
        callers += [asyncio.create_task(waiting.keep_calling(keep=number % 2 == 0)) for number in range(4)]
        while len(load.answers) < 40 or len(waiting.answers) < 2:  # noqa: ASYNC110 - the count is the event
            await asyncio.sleep(0)
        before = len(load.answers)
        server.signal(signal.SIGTERM)
        await asyncio.gather(*callers)
        assert await server.process.wait() == 0
        assert load.failed + waiting.failed == []
        assert {*load.answers, *waiting.answers} == {200}
        assert len(load.answers) > before
        assert server.lines("internal error") + server.lines("library") == []
        assert [line["level"] for line in server.lines("stopped")] == ["info"]


async def test_a_hangup_loads_again_and_a_server_that_is_told_to_end_is_not_ready_and_answers_on_with_an_end_to_each_connection(
    tmp_path: Path,
) -> None:
    async with silent_registry() as host, served(tmp_path, "--drain", "60s", host=host) as server:
        server.signal(signal.SIGHUP)
        while len(server.lines("configuration in force")) < 2:  # noqa: ASYNC110 - the line is the event
            await asyncio.sleep(0)
        assert (await server.get("/readyz"))[0] == 200
        kept, waiting = [Connection(*await server.connect()) for _ in range(2)]
        await kept.send(SOON)
        assert "connection" not in (await kept.answer())[1]
        await waiting.send(post(admission_review(pod(f"{host}/app:1")), path="/mutate?timeout=2s"))
        server.signal(signal.SIGTERM)
        while (await server.get("/readyz"))[0] != 503:
            pass
        assert (await server.get("/livez"))[0] == 200
        for request, status in (
            (SOON, 200),
            (post(b"nonsense"), 400),
            (post(b"", method="GET"), 405),
            (post(b"", path="/other"), 404),
        ):
            connection = Connection(*await server.connect())
            await connection.send(request)
            answer = await connection.answer()
            assert (answer[0], answer[1]["connection"]) == (status, "close")
            assert await connection.is_closed()
        await kept.send(SOON)
        assert (await kept.answer())[1]["connection"] == "close"
        # A second signal does not wait for the rest of the minute, but for whom it owes an answer.
        server.signal(signal.SIGTERM)
        status, headers, body = await waiting.answer()
        assert (status, headers["connection"], json.loads(body)["response"]["allowed"]) == (200, "close", True)
        assert await server.process.wait() == 0


async def idle(server: Served) -> Connection:
    """One who called before and may call again."""
    connection = Connection(*await server.connect())
    await connection.send(SOON)
    await connection.answer()
    return connection


async def test_a_log_that_nobody_reads_holds_up_no_review_and_no_end(tmp_path: Path) -> None:
    read, write = os.pipe()
    try:
        async with served(tmp_path, "--drain", "0s", stderr=write) as server:
            connection = await idle(server)
            # A pipe holds 64 KiB; each of these is a line of 8 KiB.
            request = post(admission_review(pod(*[f"Registry.example.com/{'x' * 450}"] * 16)))
            for _ in range(60):
                await connection.send(request)
                assert (await connection.answer())[0] == 200
            assert (await server.get("/livez"))[0] == 200
            connection.close()
            server.signal(signal.SIGTERM)
            assert await server.process.wait() == 0
    finally:
        os.close(read)
        os.close(write)
