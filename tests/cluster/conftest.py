"""One control plane for the run, a namespace for each test, and what stands around it. README.md tells how to use it."""

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.cluster.account import RULES, Account, make_account
from tests.cluster.evidence import Evidence
from tests.cluster.gateway import Gateway
from tests.cluster.namespace import Namespace
from tests.cluster.real.kwok import fake_node, playing
from tests.cluster.real.plane import Running, control_plane
from tests.cluster.until import until
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Settings, Webhooks, registered
from tests.cluster.workloads import pod

EVIDENCE: Final = pytest.StashKey[Evidence]()
NUMBERS: Final = count(1)


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
    # What is in it goes in the background.
    api.delete("Namespace", name)


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """A registry for this test."""
    with Upstream.running(tmp_path) as made:
        yield made


@pytest.fixture
def account(plane: Running, namespace: Namespace, tmp_path: Path) -> Account:
    """The service account of this test's webhook processes, and what they asked of the API server."""
    return make_account(plane, namespace.name, tmp_path, rules=RULES)


@pytest.fixture
def gateway(account: Account, authority: trustme.CA, tmp_path: Path) -> Iterator[Gateway]:
    """A way to the API server, as the account, that fails on purpose: give its `kubeconfig` to `webhooks`."""
    with Gateway.running(account.kubeconfig, tmp_path, authority) as made:
        yield made


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the webhook's certificates."""
    return trustme.CA()


@pytest.fixture
def webhooks(
    namespace: Namespace, account: Account, authority: trustme.CA, tmp_path: Path, evidence: Evidence
) -> Iterator[Callable[..., Webhooks]]:
    """Starts `webhooks(count, configuration, **settings)`: processes that get this namespace's reviews when it returns."""
    with ExitStack() as running:

        def start(number: int, configuration: str, **settings: Any) -> Webhooks:
            folder = tmp_path / f"webhooks-{next(NUMBERS)}"
            folder.mkdir()
            chosen = Settings(configuration, **{"kubeconfig": account.kubeconfig, **settings})
            for name in ("haproxy", *(f"webhook-{one}" for one in range(number))):
                evidence.add_log(folder / f"{name}.log")
            made = running.enter_context(Webhooks.running(number, folder, chosen, authority))
            running.enter_context(registered(namespace.api, namespace.name, made.url, chosen, authority))
            until("the registration is in force", lambda: _is_called(made, namespace))
            return made

        yield start


def _is_called(webhooks: Webhooks, namespace: Namespace) -> bool:
    """Whether a Pod's creation gets to the processes: the API server takes a moment to know a registration."""
    namespace.create(pod("probe", "registry.invalid/probe:1"), dry_run=True)
    return webhooks.metric("moorage_admission_reviews_total") > 0
