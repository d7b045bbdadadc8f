"""`moorage serve` as a process of its own."""

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.support.canary import search

PROGRAM = "import sys; from webhook.cli.main import run; sys.exit(run(sys.argv[1:]))"
CONFIG = """\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
registries:
  {host}: {{plainHTTP: true, allowLoopback: true, credentials: [anonymous]}}
rules:
  - name: {name}
    images: ["{host}/**"]
    targets: [localhost:30081]
"""


class Served(msgspec.Struct):
    """A server process that runs."""

    process: asyncio.subprocess.Process
    admission: tuple[str, int]
    ops: tuple[str, int]
    context: ssl.SSLContext
    log: Path
    config: Path
    listening: dict[str, str]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in map(json.loads, self.log.read_text().splitlines()) if line["event"] == event]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection to the admission port."""
        return await asyncio.open_connection(*self.admission, ssl=self.context, server_hostname="localhost")

    async def get(self, path: str) -> tuple[int, str]:
        """What the ops port answers."""
        reader, writer = await asyncio.open_connection(*self.ops)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body.decode()


@asynccontextmanager
async def served(
    folder: Path, *arguments: str, host: str = "registry.example.com", stderr: int | None = None
) -> AsyncIterator[Served]:
    """A server on free ports with a certificate of its own, ended when the block ends. Its log goes to a file, or to
    the descriptor `stderr`."""
    config, ca, log = folder / "moorage.yaml", folder / "ca.crt", folder / "log"
    config.write_text(CONFIG.format(host=host, name="one"))
    given = ["serve", "--config", str(config), "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", *arguments]
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, *given, "--tls-self-signed", "localhost", "--ca-out", str(ca),
            stdout=asyncio.subprocess.PIPE, stderr=file if stderr is None else stderr,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        listening = json.loads(await process.stdout.readline())["listening"]
        context = ssl.create_default_context(cafile=str(ca))
        yield Served(process, _place(listening["admission"]), _place(listening["ops"]), context, log, config, listening)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        search("the log of a process", log.read_bytes())


def _place(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)
