"""Running processes and the live registration: what it hides is told, and mended where that is theirs to do.

Most tests start processes of their own, because it is about what these see first; that takes seconds.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from tests.cluster.configuration import configuration
from tests.cluster.namespace import Namespace, images_of
from tests.cluster.process import ran
from tests.cluster.real.api import Api
from tests.cluster.test_pins_deployment import placed
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import pod
from tests.support.until import until
from webhook.core.conditions import needed, read
from webhook.core.globs import Globs
from webhook.core.registration import NAME, Reached, registration
from webhook.core.rules import Rule, RuleSet

KIND: Final = "MutatingWebhookConfiguration"
COVERS: Final = "moorage_registration_covers_rules"
OTHER: Final = needed(RuleSet([Rule("other", Globs(("other.example.com/**",)))]))


@pytest.fixture
def installed(
    namespace: Namespace, webhooks: Callable[..., Webhooks], upstream: Upstream, authority: trustme.CA
) -> Iterator[Callable[..., Webhooks]]:
    """Two processes and a registration of theirs that says so, for hosts that are not all that they need."""
    api = namespace.api

    def install(*, managed: bool) -> Webhooks:
        # Before they start, so that what they see first is what there is.
        made = registration(Reached(url="https://127.0.0.1:9"), only=[namespace.name], coverage=OTHER, managed=managed)
        api.create(made)
        return webhooks(2, configuration(upstream.host), own=True)

    yield install
    api.delete(KIND, NAME)


def live(api: Api) -> Any:
    return api.get(KIND, NAME)


def passing(api: Api) -> set[str]:
    """The hosts that all of its conditions let through."""
    each = [
        read(one["matchConditions"], "pods" if "pods" in one["name"] else "revisions") for one in live(api)["webhooks"]
    ]
    return set.intersection(*[set(one.coverage.names) for one in each])


def covered(running: Webhooks) -> list[float]:
    return [one.metric(COVERS) for one in running]


def test_a_gap_is_a_metric_and_a_line_and_what_is_managed_is_mended(
    namespace: Namespace, installed: Callable[..., Webhooks], upstream: Upstream
) -> None:
    api = namespace.api
    running = installed(managed=False)
    until("the gap is seen", lambda: covered(running) == [0, 0])
    for one in running:
        (line,) = [line for line in one.lines() if line["event"] == "registration gap"]
        assert f"webhook pods.moorage.dev does not see images of {upstream.host.partition(':')[0]}" in line["missing"]
    assert passing(api) == set(OTHER.names)

    api.patch(KIND, NAME, {"metadata": {"labels": {"moorage.dev/managed": "true"}}})
    for one in running:
        one.reload()
    until("all is covered", lambda: covered(running) == [1, 1])
    assert upstream.host.partition(":")[0] in passing(api)
    assert {*OTHER.names} < passing(api)


def test_a_registry_that_a_reload_adds_is_let_through(namespace: Namespace, installed: Callable[..., Webhooks]) -> None:
    running = installed(managed=True)
    until("all is covered", lambda: covered(running) == [1, 1])
    kept = {key: value for key, value in live(namespace.api).items() if key != "metadata"}
    running.configure(configuration("added.example.net"))
    until("the new registry is let through", lambda: "added.example.net" in passing(namespace.api))
    until("all is covered again", lambda: covered(running) == [1, 1])
    now = live(namespace.api)
    assert [{**one, "matchConditions": 0} for one in now["webhooks"]] == [
        {**one, "matchConditions": 0} for one in kept["webhooks"]
    ]


def test_one_that_was_deleted_is_told_and_nobody_is_in_the_way(
    namespace: Namespace, installed: Callable[..., Webhooks], upstream: Upstream
) -> None:
    digest = upstream.push("team/app", "stable")
    running = installed(managed=True)
    until("all is covered", lambda: covered(running) == [1, 1])
    namespace.api.delete(KIND, NAME)
    for one in running:
        one.reload()
    until("the gap is seen", lambda: covered(running) == [0, 0])
    image = upstream.image("team/app", "stable")
    assert images(namespace, "web", image) == placed(digest)


@pytest.mark.parametrize("how", [["apply"], ["apply", "--server-side"]], ids=" ".join)
def test_whoever_applies_the_file_again_leaves_the_conditions_alone(
    namespace: Namespace, webhooks: Callable[..., Webhooks], upstream: Upstream, tmp_path: Path, how: list[str]
) -> None:
    file = tmp_path / "registration.yaml"
    options = ("--managed", "--no-conditions", "--url", "https://127.0.0.1:9", "--only", namespace.name)
    file.write_text(ran("config", "registration", "--rule", "example.com/**=localhost:1", *options))
    namespace.kubectl(*how, "-f", str(file))
    try:
        running = webhooks(1, configuration(upstream.host), own=True)
        until("the conditions are made", lambda: upstream.host.partition(":")[0] in passing(namespace.api))
        made = [one["matchConditions"] for one in live(namespace.api)["webhooks"]]
        namespace.kubectl(*how, "-f", str(file))
        assert [one["matchConditions"] for one in live(namespace.api)["webhooks"]] == made
        assert covered(running) == [1]
    finally:
        namespace.api.delete(KIND, NAME)


def test_a_printed_registration_brings_what_the_rules_are_about_and_nothing_else(
    namespace: Namespace,
    webhooks: Callable[..., Webhooks],
    upstream: Upstream,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    digest = upstream.push("team/app", "stable")
    running = webhooks(1, configuration(upstream.host))
    # The processes are registered for this test's namespace by the fixture: this is about another one.
    name = f"{namespace.name}-b"
    namespace.api.create({"kind": "Namespace", "metadata": {"name": name}})
    until("the service account is there", lambda: namespace.api.find("ServiceAccount", "default", name))
    other = Namespace(namespace.api, name, namespace.kubeconfig, tmp_path)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    options = ("--url", running.url, "--ca-file", str(tmp_path / "ca.pem"), "--only", name)
    made = ran("config", "registration", "--config", str(running.folder / "moorage.yaml"), *options)
    other.kubectl("apply", "-f", "-", given=made)
    try:
        image = upstream.image("team/app", "stable")
        until("it is in force", lambda: images(other, "probe", image) == placed(digest))
        assert images(other, "web", "ghcr.io/team/side", image) == ["ghcr.io/team/side", *placed(digest)]
        running.forget()
        assert images(other, "web", "ghcr.io/team/app", "nginx") == ["ghcr.io/team/app", "nginx"]
        assert running.metric("moorage_admission_reviews_total") == 0
    finally:
        namespace.api.delete(KIND, NAME)
        namespace.api.delete("Namespace", name)


def images(namespace: Namespace, name: str, *texts: str) -> list[str]:
    return images_of(namespace.create(pod(name, *texts), dry_run=True).body)
