"""Clouds as they are put together: what is imported when, asked when, and told where."""

import asyncio
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.doors import settled
from tests.support.aws import Aws
from tests.support.azure import Azure
from tests.support.cloud import Ask, Cloud, Front, Said, Service, served
from tests.support.google import Google
from tests.support.process import served as process
from webhook.config import BadConfiguration, load
from webhook.credentials.cloud import Threads
from webhook.telemetry import Log, Telemetry
from webhook.wiring import Assembly, own_sealer

HOSTS: Final = {
    "ecr": "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    "acr": "acmeprod.azurecr.io",
    "gar": "europe-docker.pkg.dev",
}
IDLE: Final = 100
"""MiB."""
CONFIG: Final = """\
apiVersion: moorage.dev/v1alpha1
kind: Configuration
registries:
  {host}: {{credentials: [{kind}]}}
rules: [{{name: private, images: ["{host}/**"], targets: [localhost:30081]}}]
"""


class All(Cloud):
    """Every cloud at once, each with a machine's own identity."""

    def __init__(self) -> None:
        super().__init__()
        self.aws, self.azure, self.google = Aws(), Azure(), Google()
        self.aws.has_role = self.azure.node = self.google.node = True
        every = [service for cloud in (self.aws, self.azure, self.google) for service in cloud.services]
        # The metadata services of two clouds share one address: the one that knows the path answers.
        self.services = [self._unless_lost(service) for service in every]

    def _unless_lost(self, service: Service) -> Service:
        def serve(ask: Ask) -> Said | None:
            said = service(ask)
            return said if said is None or said.status not in {400, 401, 404} else None

        return serve


@pytest.fixture
def clouds() -> All:
    return All()


@pytest.fixture
def front(clouds: All, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Front]:
    with served(clouds, monkeypatch, tmp_path) as front:
        yield front


def config(folder: Path, kind: str, host: str = "") -> Path:
    file = folder / "moorage.yaml"
    file.write_text(CONFIG.format(kind=kind, host=host or HOSTS.get(kind, "registry.example.com")))
    return file


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("anonymous", set()),
        ("ecr", {"botocore"}),
        ("acr", {"azure", "msal", "requests"}),
        ("gar", {"google", "requests"}),
    ],
)
def test_a_clouds_library_is_imported_where_it_is_configured_and_nowhere_else(
    kind: str, expected: set[str], tmp_path: Path
) -> None:
    program = f"""
import asyncio, pathlib, sys
from webhook.config import load
from webhook.credentials.cloud import Threads
from webhook.telemetry import Telemetry
from webhook.wiring import Assembly, own_sealer

async def main():
    assembly = Assembly(Telemetry(), own_sealer())
    assembly.engine(load(pathlib.Path({str(config(tmp_path, kind))!r}), environ={{}}))
    await assembly.aclose()

asyncio.run(main())
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert set(told.stdout.split()) & {"botocore", "azure", "msal", "google", "requests"} == expected


def resident(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def test_a_process_without_clouds_stays_small(tmp_path: Path) -> None:
    async with process(tmp_path) as server:
        assert (await server.get("/readyz"))[0] == 200
        assert resident(server.process.pid) <= IDLE


@pytest.mark.parametrize(("kind", "module"), [("ecr", "botocore"), ("acr", "azure.identity"), ("gar", "google.auth")])
def test_a_package_that_is_missing_is_told_with_what_brings_it(
    kind: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadConfiguration) as bad:
        load(config(tmp_path, kind), environ={})
    (problem,) = bad.value.problems
    assert problem.message == f"{kind} logins need a package that is not here; pip install 'moorage[{kind}]' brings it"
    assert (problem.line, problem.where) == (4, f'registries["{HOSTS[kind]}"].credentials[0]')


@pytest.mark.parametrize(
    ("kind", "service"),
    [("ecr", "api.ecr"), ("acr", "169.254.169.254"), ("gar", "metadata.google.internal")],
)
async def test_it_logs_in_before_the_first_pod_comes_and_not_again_at_a_reload(
    kind: str, service: str, clouds: All, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(config(tmp_path, kind), environ={})
    log = io.StringIO()
    telemetry = Telemetry(Log(log))
    assembly = Assembly(telemetry, own_sealer())
    assembly.engine(loaded)
    # Azure's registry is asked, too; its name leads to loopback here, which is refused.
    monkeypatch.setattr(assembly._outbound, "_resolver", front)
    await assembly.warm(loaded)
    asked = len(clouds.of(service))
    assert asked >= 1
    assembly.engine(loaded)
    await assembly.warm(loaded)
    assert len(clouds.of(service)) == asked
    outcome = "failed" if kind == "acr" else "renewed"
    metric = f'moorage_cloud_logins_total{{outcome="{outcome}",provider="{kind}"}} 1.0'
    assert metric in telemetry.exposition()[0].decode()
    await assembly.aclose()


async def test_a_login_that_fails_is_logged_once_and_so_is_its_return(
    clouds: All, front: Front, tmp_path: Path
) -> None:
    clouds.aws.has_role = False
    log = io.StringIO()
    telemetry = Telemetry(Log(log))
    assembly = Assembly(telemetry, own_sealer())
    assembly.engine(load(config(tmp_path, "ecr"), environ={}))
    await assembly.warm(load(config(tmp_path, "ecr"), environ={}))
    trouble = "there are no AWS credentials: no IRSA, Pod Identity, instance role or keys"
    assert assembly.problems == (f"no ecr login at eu-west-1: {trouble}",)
    for outcome in (trouble, "", "", trouble):
        telemetry.login("ecr", "eu-west-1", outcome)
    await assembly.aclose()
    telemetry.log.flush()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [(line["event"], line["provider"], line["place"], line.get("problem", "")) for line in lines]
    assert told == [
        ("no cloud login", "ecr", "eu-west-1", trouble),
        ("cloud login is back", "ecr", "eu-west-1", ""),
        ("no cloud login", "ecr", "eu-west-1", trouble),
    ]


async def test_a_cloud_that_hangs_delays_the_start_by_seconds_only(
    clouds: All, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhook.wiring.LOGINS_WITHIN", 0.2)
    clouds.hanging.clear()
    loaded = load(config(tmp_path, "ecr"), environ={})
    assembly = Assembly(Telemetry(), own_sealer())
    assembly.engine(loaded)
    async with asyncio.timeout(2):
        await assembly.warm(loaded)
    clouds.hanging.set()
    await assembly.aclose()


def test_a_cloud_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = """
import asyncio, time
from webhook.credentials.cloud import Threads

async def main():
    asyncio.ensure_future(Threads()(time.sleep, 600))
    await asyncio.sleep(0.1)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


async def test_no_more_than_a_few_threads_wait_for_clouds() -> None:
    threads, release, inside = Threads(2), threading.Event(), []

    def hang(number: int) -> int:
        inside.append(number)
        release.wait(30)
        return number

    waiting = [asyncio.ensure_future(threads(hang, number)) for number in range(5)]
    while len(inside) < 2:  # noqa: ASYNC110 - threads know no event of the loop
        await asyncio.sleep(0.001)
    # One who gives up frees no place: its thread still hangs.
    waiting[0].cancel()
    await settled()
    assert len(inside) == 2
    release.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 2, 3, 4]
