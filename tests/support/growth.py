"""What an upstream's answers do to the memory of one who asks: `python -m tests.support.growth HOST TIMES CASE…`.

A process of its own, beside the registry that misbehaves. Each case is the path of an image; a line of JSON tells what
came of it, and by how many MiB memory grew at its highest.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Final

from webhook.core.ask import Absent, Failed, Known
from webhook.core.credential import ANONYMOUS, Candidates, candidates
from webhook.core.hosts import Registries, Registry
from webhook.core.reference import Reference
from webhook.outbound import Outbound
from webhook.registry import RegistryClient

SECONDS: Final = 1.0
GOOD: Final = "good"
STATUS: Final = Path("/proc/self/status")
"""Linux tells there what a process holds, and what it held at most since that was last forgotten."""


def _mebibytes(name: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def _forget_the_most() -> float:
    """Let the count of the most begin anew; what is held now."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _mebibytes("VmRSS")


async def measure(host: str, times: int, cases: list[str]) -> None:
    """Ask for each, so many times at once, and print what it took."""
    known = Registries([Registry(host, plain_http=True, allow_loopback=True)])
    outbound = Outbound(known)
    client = RegistryClient(outbound, known, now=time.monotonic)
    clock = asyncio.get_running_loop().time

    async def ask(path: str) -> Known | Absent | Failed:
        nobody: Candidates = candidates([ANONYMOUS], b"k" * 32)
        return await client.digest_of(Reference(host, path, "stable"), nobody, deadline=clock() + SECONDS)

    # What is made once for the first answers is not what is measured.
    await asyncio.gather(*(ask(GOOD) for _ in range(times)))
    for case in cases:
        before = _forget_the_most()
        found = await asyncio.gather(*(ask(f"{case}/{number}") for number in range(times)))
        print(
            json.dumps(
                {
                    "case": case,
                    "told": sorted(
                        {one.reason.value if isinstance(one, Failed) else type(one).__name__ for one in found}
                    ),
                    "growth": _mebibytes("VmHWM") - before,
                }
            )
        )
    await outbound.aclose()


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
