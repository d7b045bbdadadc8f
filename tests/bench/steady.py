"""Calls lost while processes are restarted one after the other, and while one is killed, under a steady load."""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import msgspec
import trustme

from tests.bench.cluster import make_namespace, serving
from tests.bench.figures import Bound, Figure
from tests.bench.processes import MOORAGE
from tests.cluster.account import SERVER, shipped_account
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import images_of
from tests.cluster.real.api import Api, ApiError
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.upstream import Upstream
from tests.cluster.webhook import Settings
from tests.cluster.workloads import pod

RESTARTED, KILLED = "restarted", "killed"
RATE: Final = 50
"""Pods a second."""
RESTARTS: Final = 20
DRAIN: Final = "5s"
"""As it is installed."""
KILLS: Final = 5
FAILED_OPEN: Final = "apiserver_admission_webhook_fail_open_count"


class Seen(msgspec.Struct):
    """What became of all creations: refused or lost, and the names of those admitted as they were; `why` the last one
    failed."""

    created: int = 0
    failed: int = 0
    unpinned: set[str] = set()
    why: str = ""


def steady(_folder: Path, _rounds: object) -> list[Figure]:
    """All figures, in one control plane."""
    with ExitStack() as ending, tempfile.TemporaryDirectory(prefix="moorage-bench-") as place:
        folder = Path(place)
        plane = ending.enter_context(control_plane())
        upstream = ending.enter_context(Upstream.running(folder))
        upstream.push("team/app", "stable")
        authority = trustme.CA()
        for name in (RESTARTED, KILLED):
            make_namespace(plane.api, name)
        account = shipped_account(plane, SERVER, folder)
        settings = Settings(configuration(upstream.host), account.kubeconfig, drain=DRAIN)
        image = upstream.image("team/app", "stable")
        return [
            _restarted(plane, image, settings, folder, authority),
            *_killed(plane, image, msgspec.structs.replace(settings, failure_policy="Ignore"), folder, authority),
        ]


def _restarted(plane: Running, image: str, settings: Settings, folder: Path, authority: trustme.CA) -> Figure:
    with (
        serving(3, plane, RESTARTED, settings, folder, authority) as webhooks,
        _load(plane, RESTARTED, image, dry_run=True) as seen,
    ):
        codes = [webhooks.restart(one) for _ in range(RESTARTS) for one in webhooks]
    assert set(codes) == {0}, codes
    assert not seen.unpinned, seen
    return Figure(
        f"{RESTARTS} rolling restarts of 3 processes, failurePolicy Fail, {RATE} Pods/s: calls that failed",
        f"{seen.failed} of {seen.created} {seen.why}",
        seen.failed,
        Bound(0),
        "calls",
    )


def _killed(plane: Running, image: str, settings: Settings, folder: Path, authority: trustme.CA) -> Iterator[Figure]:
    with serving(3, plane, KILLED, settings, folder, authority) as webhooks:
        before = _failed_open(plane.api)
        with _load(plane, KILLED, image, dry_run=False) as seen:
            for number in range(KILLS):
                one = webhooks[number % 3]
                one.kill()
                webhooks.await_down(one)
                webhooks.start(one)
    yield Figure(
        f"{KILLS} times one of 3 killed, failurePolicy Ignore, {RATE} Pods/s: Pods that were not created",
        f"{seen.failed} of {seen.created}",
        seen.failed,
        Bound(0),
        "Pods",
    )
    counted = _failed_open(plane.api) - before
    yield Figure(
        "the same: Pods admitted unpinned, less those that the API server counts as failed open",
        f"{len(seen.unpinned)} unpinned, {counted:.0f} counted",
        abs(len(seen.unpinned) - counted),
        Bound(0),
        "Pods",
    )
    named = _named(plane, settings, folder)
    yield Figure(
        "the same: Pods admitted unpinned that `moorage check pods -o patch` does not name, and Pods that it names wrongly",
        f"{len(named & seen.unpinned)} of {len(seen.unpinned)} named",
        len(named ^ seen.unpinned),
        Bound(0),
        "Pods",
    )


def _named(plane: Running, settings: Settings, folder: Path) -> set[str]:
    """What an operator types when it is over, to find what went past the webhook."""
    (folder / "moorage.yaml").write_text(settings.configuration)
    command = (*MOORAGE, "check", "pods", "-n", KILLED, "--config", folder / "moorage.yaml", "-o", "patch")
    environ = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert told.returncode in {0, 1}, told.stderr
    return {one["name"] for one in json.loads(told.stdout)}


@contextmanager
def _load(plane: Running, namespace: str, image: str, *, dry_run: bool) -> Iterator[Seen]:
    """Creations at a set rate, whatever becomes of the ones before, for as long as the block lasts."""
    seen, finished = Seen(), threading.Event()
    counting = threading.Lock()

    def one(number: int) -> None:
        made = pod(f"app-{number}", image)
        made["metadata"]["namespace"] = namespace
        try:
            images = images_of(plane.api.create(made, dry_run=dry_run).body)
        except (ApiError, httpx.HTTPError) as error:
            images, seen.why = None, f"{datetime.now(UTC):%T.%f} {error}"
        with counting:
            seen.created += 1
            seen.failed += images is None
            if images is not None and not images[0].startswith(f"{CACHE}/"):
                seen.unpinned.add(made["metadata"]["name"])

    def on_and_on() -> list[Future[None]]:
        started = time.monotonic()
        begun: list[Future[None]] = []
        while not finished.wait(max(0.0, started + len(begun) / RATE - time.monotonic())):
            begun.append(calling.submit(one, len(begun)))
        return begun

    with ThreadPoolExecutor(RATE) as calling, ThreadPoolExecutor(1) as beside:
        caller = beside.submit(on_and_on)
        try:
            yield seen
        finally:
            finished.set()
        for future in caller.result():
            future.result()


def _failed_open(api: Api) -> float:
    lines = str(api.ask("GET", "/metrics").body).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{FAILED_OPEN}{{"))
