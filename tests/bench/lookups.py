"""Distinct images looked up at an upstream, many at once: `python -m tests.bench.lookups CONFIG HOST COUNT PARALLEL`.

A process of its own, so that it can be held to one core; its collector is set as the server's. Prints lookups a second.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from webhook.config import load
from webhook.core.ask import AskDigest, Known
from webhook.core.reference import Reference
from webhook.core.subject import Audience
from webhook.serving import calm_collector
from webhook.wiring import laptop


async def look_up(config: Path, host: str, number: int, parallel: int) -> float:
    """Lookups a second, of so many images, so many at a time."""
    loaded = load(config, environ={}, rules=(), variables={})
    clock = asyncio.get_running_loop().time
    async with laptop(loaded, environ={"HOME": "/nonexistent"}) as here:
        resolver = here.resolver
        assert resolver is not None
        waiting = iter(
            [AskDigest((Reference(host, f"cold/image-{index}", "v1"),), Audience("default")) for index in range(number)]
        )

        async def work() -> None:
            for ask in waiting:
                fact = await resolver.fetch(ask, deadline=clock() + 10)
                assert isinstance(fact, Known), fact

        calm_collector()
        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(parallel)))
        return number / (time.perf_counter() - started)


if __name__ == "__main__":
    print(uvloop.run(look_up(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
