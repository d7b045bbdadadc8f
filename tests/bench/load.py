"""Load: wrk as fast as it goes, vegeta at a set rate. Both on the load's core, over TLS, each answer checked for 2xx."""

import json
import re
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from tests.bench.processes import LOAD_CORE, Process, on_core
from tests.parts import part

CONNECTIONS: Final = 16
_UNIT: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}


class Seen(msgspec.Struct, frozen=True):
    """What a run saw: reviews a second, p99 in milliseconds, the server's CPU in microseconds a review."""

    rate: float
    p99: float
    cpu: float


def full(server: Process, script: Path, seconds: int) -> Seen:
    """As many reviews as the server answers."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), server.url]
    before = server.cpu
    told = subprocess.run(on_core(LOAD_CORE, command), capture_output=True, text=True, check=True).stdout
    used = server.cpu - before
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(f"not every review was answered:\n{told}")
    answered = int(_found(r"(\d+) requests in", told)[0])
    number, unit = _found(r"99%\s+([\d.]+)(us|ms|s)", told)
    return Seen(float(_found(r"Requests/sec:\s+([\d.]+)", told)[0]), float(number) * _UNIT[unit], used / answered * 1e6)


def steady(server: Process, body: str, folder: Path, *, rate: int, seconds: int) -> Seen:
    """A set number of reviews a second, sent on time whether or not earlier ones were answered."""
    (folder / "body.json").write_text(body)
    target = folder / "targets.txt"
    target.write_text(f"POST {server.url}/mutate?timeout=5s\nContent-Type: application/json\n@{folder / 'body.json'}\n")
    vegeta = str(part("vegeta"))
    attack = [vegeta, "attack", f"-rate={rate}", f"-duration={seconds}s", f"-targets={target}"]
    attack += [f"-root-certs={folder / 'ca.crt'}", f"-connections={CONNECTIONS}", f"-workers={CONNECTIONS}"]
    before = server.cpu
    results = subprocess.run(on_core(LOAD_CORE, attack), capture_output=True, check=True).stdout
    used = server.cpu - before
    report = subprocess.run([vegeta, "report", "-type=json"], input=results, capture_output=True, check=True).stdout
    told = json.loads(report)
    if told["success"] != 1:
        raise RuntimeError(f"not every review was answered: {told['status_codes']} {told['errors']}")
    return Seen(told["rate"], told["latencies"]["99th"] / 1e6, used / told["requests"] * 1e6)


def _found(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"wrk did not say {pattern}:\n{text}")
    return found.groups()
