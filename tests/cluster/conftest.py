"""One control plane for the run, a namespace for each test, and what stands around it. README.md tells how to use it."""

import re
import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.cluster.account import ADOPTER, SERVER, Account, shipped_account
from tests.cluster.adopters import Adopter
from tests.cluster.configuration import configuration
from tests.cluster.evidence import Evidence
from tests.cluster.gateway import Gateway
from tests.cluster.namespace import Namespace
from tests.cluster.real.kwok import fake_node, playing
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.searched import search_events
from tests.cluster.upstream import Upstream
from tests.cluster.webhook import OF_REGISTRATIONS, Settings
from tests.cluster.webhooks import Shared, Webhooks, registered
from tests.cluster.workloads import pod
from tests.deploy.manifests import KUBECTL
from tests.support.until import until

EVIDENCE: Final = pytest.StashKey[Evidence]()
NUMBERS: Final = count(1)

Kubectl = Callable[..., str]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and EVIDENCE in item.stash:
        report.sections += item.stash[EVIDENCE].shown()
    return report


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """What is shown if this test fails."""
    request.node.stash[EVIDENCE] = made = Evidence()
    return made


@pytest.fixture(scope="session")
def plane() -> Iterator[Running]:
    """The control plane of this run."""
    with control_plane() as running:
        yield running
        search_events(running.api)


@pytest.fixture(scope="module")
def kubectl(plane: Running, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """What an administrator types; what it prints."""
    home = tmp_path_factory.mktemp("home")

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [KUBECTL, "--kubeconfig", plane.kubeconfig, *words],
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def kwok(plane: Running) -> Iterator[tuple[str, ...]]:
    """The names of three nodes that KWOK plays: Pods get there and say that they run."""
    names = ("kwok-0", "kwok-1", "kwok-2")
    with playing(plane.api, plane.kubeconfig, plane.logs, *map(fake_node, names)):
        yield names


@pytest.fixture
def namespace(
    request: pytest.FixtureRequest, plane: Running, tmp_path: Path, evidence: Evidence
) -> Iterator[Namespace]:
    """A namespace of this test's own, named after it."""
    for part in ("apiserver", "controller-manager", "kubelet"):
        if (log := plane.logs / f"{part}.log").exists():
            evidence.add_log(log)
    name = f"{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[5:50].strip('-')}-{next(NUMBERS)}"
    api = plane.api
    api.create({"kind": "Namespace", "metadata": {"name": name}})
    until("the service account is there", lambda: api.find("ServiceAccount", "default", name))
    made = Namespace(api, name, plane.kubeconfig, tmp_path)
    evidence.add("events", lambda: made.kubectl("get", "events", "--sort-by=.lastTimestamp"))
    yield made
    search_events(api, name)
    # What is in it goes in the background.
    api.delete("Namespace", name)


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """A registry for this test."""
    with Upstream.running(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def account_of_the_run(plane: Running, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """The service account that all webhook processes use: the one that is shipped."""
    return shipped_account(plane, SERVER, tmp_path_factory.mktemp("account"))


@pytest.fixture(scope="session")
def adopter_of_the_run(plane: Running, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """The service account of what tends pins: the one that is shipped."""
    return shipped_account(plane, ADOPTER, tmp_path_factory.mktemp("adopter"))


@pytest.fixture
def account(account_of_the_run: Account, namespace: Namespace) -> Account:
    """The service account of the webhook processes, and what they asked of the API server about this namespace."""
    return account_of_the_run.within(namespace.name)


@pytest.fixture
def adopter_account(adopter_of_the_run: Account, namespace: Namespace) -> Account:
    """The service account of what tends pins; its Lease is in this namespace."""
    adopter_of_the_run.lent(namespace.name)
    return adopter_of_the_run.within(namespace.name)


@pytest.fixture
def gateway(account: Account, authority: trustme.CA, tmp_path: Path) -> Iterator[Gateway]:
    """A way to the API server, as the account, that fails on purpose: give its `kubeconfig` to `webhooks`."""
    with Gateway.running(account.kubeconfig, tmp_path, authority) as made:
        yield made


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the webhook's certificates."""
    return trustme.CA()


@pytest.fixture(scope="session")
def shared(
    account_of_the_run: Account, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    """The processes that tests share, started when the first test wants them."""
    nothing = Settings(configuration("registry.invalid"), account_of_the_run.kubeconfig)
    made = Shared(tmp_path_factory.mktemp("webhooks"), nothing, authority)
    yield made
    made.close()


@pytest.fixture
def webhooks(
    namespace: Namespace, account: Account, authority: trustme.CA, shared: Shared, tmp_path: Path, evidence: Evidence
) -> Iterator[Callable[..., Webhooks]]:
    """Gives `webhooks(count, configuration, **settings)`: processes that get this namespace's reviews when it returns.

    They are those that tests share, unless a setting is about the processes themselves, or they are to be its `own`.
    """
    with ExitStack() as running:

        def start(number: int, configuration: str, *, own: bool = False, beside: str = "", **settings: Any) -> Webhooks:
            chosen = Settings(configuration, **{"kubeconfig": account.kubeconfig, **settings})
            folder = shared.folder
            is_own = own or not settings.keys() <= OF_REGISTRATIONS
            if is_own:
                folder = tmp_path / f"webhooks-{next(NUMBERS)}"
                folder.mkdir()
            for name in ("haproxy", *(f"webhook-{one}" for one in range(number))):
                evidence.add_log(folder / "logs" / f"{name}.log")
            if is_own:
                made = running.enter_context(Webhooks.running(number, folder, chosen, authority))
            else:
                made = shared.take(number, chosen)
            running.enter_context(registered(namespace.api, namespace.name, made.url, chosen, authority, beside=beside))
            until("the registration is in force", lambda: _is_called(made, namespace))
            return made

        yield start


@pytest.fixture
def adopters(
    namespace: Namespace, adopter_account: Account, evidence: Evidence
) -> Iterator[Callable[..., list[Adopter]]]:
    """Starts `adopters(webhooks, count)`: processes that tend this namespace's pins with the webhooks' configuration."""
    with ExitStack() as running:

        def start(webhooks: Webhooks, count: int = 1, *flags: str) -> list[Adopter]:
            made = [
                Adopter(f"adopter-{number}", webhooks.folder, adopter_account.kubeconfig, namespace.name, *flags)
                for number in range(count)
            ]
            for one in made:
                one.start()
                running.callback(one.end)
                evidence.add_log(one.log)
            for one in made:
                one.await_ready()
            return made

        yield start


def _is_called(webhooks: Webhooks, namespace: Namespace) -> bool:
    """Whether a Pod's creation gets to the processes: the API server takes a moment to know a registration."""
    namespace.create(pod("probe", "registry.invalid/probe:1"), dry_run=True)
    return webhooks.metric("moorage_admission_reviews_total") > 0
