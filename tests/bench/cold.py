"""Reviews that have to ask an upstream, memory, and how long a command line takes to say something."""

import asyncio
import json
import ssl
import subprocess
import sys
import time
import urllib.request
from http.client import HTTPSConnection
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from tests.bench.figures import Bound, Figure
from tests.bench.processes import MOORAGE, SERVER_CORE, Process, moorage, on_core, upstream
from tests.bench.reviews import configuration, review

DELAY: Final = 0.025
ENTRIES: Final = 10_000


def slow_upstream(folder: Path) -> list[Figure]:
    """Cold images behind a registry that takes its time, and a storm for one of them."""
    with upstream(DELAY) as registry:
        host = registry.url.removeprefix("http://")
        with moorage(configuration(folder, host), folder) as server:
            context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
            taken = [_cold_pod(server, context, host, number) for number in range(12)][2:]
            asyncio.run(_storm(server, context, host))
        with urllib.request.urlopen(f"{registry.url}/asked", timeout=5) as answer:
            asked = json.load(answer)["/v2/storm/app/manifests/v1"]
    values = [seconds / DELAY for seconds in taken]
    return [
        Figure(
            "8 cold images in one Pod, 25 ms a request",
            f"{median(taken) * 1e3:.1f} ms",
            median(values),
            Bound(2.5, 1.3),
            "times 25 ms",
            (min(values), max(values)),
        ),
        Figure(
            "200 reviews of one cold image, 50 at once", f"{asked} manifest request(s)", asked, Bound(1), "request(s)"
        ),
    ]


def _cold_pod(server: Process, context: ssl.SSLContext, host: str, number: int) -> float:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    connection = HTTPSConnection(parts.hostname, parts.port, context=context)
    connection.connect()
    body = review([f"{host}/cold/{number}-{index}:v1" for index in range(8)])
    started = time.perf_counter()
    connection.request("POST", "/mutate?timeout=5s", body, {"Content-Type": "application/json"})
    told = json.loads(connection.getresponse().read())
    taken = time.perf_counter() - started
    assert told["response"]["patch"], told
    connection.close()
    return taken


async def _storm(server: Process, context: ssl.SSLContext, host: str) -> None:
    body = review([f"{host}/storm/app:v1"])
    waiting = iter(range(200))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=50)) as session:

        async def send() -> None:
            for _ in waiting:
                async with session.post(f"{server.url}/mutate?timeout=5s", data=body) as answer:
                    assert (await answer.json())["response"]["patch"]

        await asyncio.gather(*(send() for _ in range(50)))


def lookups(folder: Path) -> list[Figure]:
    """Distinct images at an upstream that answers at once."""
    with upstream(0) as registry:
        host = registry.url.removeprefix("http://")
        config = configuration(folder, host)
        command = [sys.executable, "-m", "tests.bench.lookups", str(config), host, "4000", "100"]
        seen = []
        for _ in range(3):
            told = subprocess.run(on_core(SERVER_CORE, command), capture_output=True, text=True, check=True).stdout
            seen.append(float(told))
    return [
        Figure(
            "cold lookups of distinct images, 100 at once",
            f"{median(seen):.0f}/s",
            median(seen),
            Bound(1000, 3000, at_most=False),
            "/s",
            (min(seen), max(seen)),
        )
    ]


def memory(folder: Path) -> list[Figure]:
    """What the server holds, idle and with a full cache."""
    with upstream(0) as registry:
        host = registry.url.removeprefix("http://")
        with moorage(configuration(folder, host), folder) as server:
            context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
            idle = server.resident
            asyncio.run(_fill(server, context, host))
            full = server.resident
    return [
        Figure("resident memory, idle", f"{idle:.0f} MiB", idle, Bound(100, 64), "MiB"),
        Figure(f"resident memory with {ENTRIES} references", f"{full:.0f} MiB", full, Bound(128, 80), "MiB"),
    ]


async def _fill(server: Process, context: ssl.SSLContext, host: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for first in range(0, ENTRIES, 50):
            body = review([f"{host}/many/{first + index}:v1" for index in range(50)])
            async with session.post(f"{server.url}/mutate?timeout=5s", data=body) as answer:
                assert (await answer.json())["response"]["patch"]


def startup(folder: Path) -> list[Figure]:
    """The command line, from nothing to its answer."""
    manifest = folder / "pod.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
        "spec: {containers: [{name: a, image: 'registry.example.com/app:stable'}]}\n"
    )
    config = configuration(folder, "registry.example.com")
    check = ["check", "--offline", "--config", str(config), str(manifest)]
    return [
        _timed("moorage --help", ["--help"], Bound(0.25, 0.15)),
        _timed("moorage check on one file, offline", check, Bound(0.5, 0.3)),
    ]


def _timed(name: str, arguments: list[str], bound: Bound) -> Figure:
    seen = []
    for _ in range(15):
        started = time.perf_counter()
        subprocess.run(on_core(SERVER_CORE, [*MOORAGE, *arguments]), capture_output=True, check=True)
        seen.append(time.perf_counter() - started)
    return Figure(name, f"{median(seen):.2f} s", median(seen), bound, "s", (min(seen), max(seen)))
