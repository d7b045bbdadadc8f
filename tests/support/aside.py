"""What is served from a thread of its own, beside a test that blocks: a command line runs its own loop."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from threading import Thread
from typing import TypeVar

Served = TypeVar("Served")


@contextmanager
def aside(service: AbstractAsyncContextManager[Served]) -> Iterator[Served]:
    """The service, entered and left in a loop that runs beside."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        served = asyncio.run_coroutine_threadsafe(service.__aenter__(), loop).result(10)
        try:
            yield served
        finally:
            asyncio.run_coroutine_threadsafe(service.__aexit__(None, None, None), loop).result(10)
            asyncio.run_coroutine_threadsafe(_rest(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _rest() -> None:
    """Until nothing is under way any more: a connection that was being taken may not have begun yet."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)
