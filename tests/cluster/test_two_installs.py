"""Two installs that are asked about the same Pods: Pods are right all the same, and the log says so."""

from collections.abc import Callable

from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import pod
from tests.support.until import until

Start = Callable[..., Webhooks]
KEYS = ("that-of-the-other-install" * 2,)


def warned(webhooks: Webhooks) -> list[str]:
    return [line["namespace"] for line in webhooks.lines() if line["event"] == "another install"]


def reviewed(webhooks: Webhooks) -> int:
    return sum(bool(line.get("decisions")) for line in webhooks.lines())


def test_pods_get_one_digest_and_the_one_that_is_asked_later_says_once_that_it_is_not_alone(
    namespace: Namespace, webhooks: Start, upstream: Upstream
) -> None:
    digest = upstream.push("team/app", "stable")
    webhooks(1, configuration(upstream.host), own=True)
    # The API server asks in the order of their names.
    later = webhooks(1, configuration(upstream.host), seal_keys=KEYS, beside="-too")
    for name in ("a", "b", "c"):
        made = namespace.create(pod(name, upstream.image("team/app", "stable")))
        assert [one["image"] for one in made.body["spec"]["containers"]] == [f"{CACHE}/team/app@{digest}"]
    until("it says so", lambda: warned(later))
    until("it tells of all Pods", lambda: reviewed(later) >= 3)
    assert warned(later) == [namespace.name]


def test_one_install_alone_says_nothing_of_another(namespace: Namespace, webhooks: Start, upstream: Upstream) -> None:
    upstream.push("team/app", "stable")
    alone = webhooks(3, configuration(upstream.host), own=True, spread="requests")
    for name in ("a", "b", "c"):
        namespace.create(pod(name, upstream.image("team/app", "stable")))
    until("it tells of all Pods", lambda: reviewed(alone) >= 3)
    assert warned(alone) == []
