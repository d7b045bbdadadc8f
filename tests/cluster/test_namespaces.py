"""Labels of namespaces on a real API server: rules that ask for them, and namespaces that ask to be left alone."""

from collections.abc import Callable

import pytest

from tests.cluster.account import Account
from tests.cluster.configuration import CACHE, configuration
from tests.cluster.namespace import Namespace
from tests.cluster.upstream import Upstream
from tests.cluster.webhooks import Webhooks
from tests.cluster.workloads import deployment

pytestmark = pytest.mark.usefixtures("kwok")

Start = Callable[..., Webhooks]


def test_a_rule_decides_for_the_namespaces_that_its_selector_selects(
    namespace: Namespace, upstream: Upstream, webhooks: Start, account: Account
) -> None:
    digest = upstream.push("team/app", "stable")
    image = upstream.image("team/app", "stable")
    namespace.kubectl("label", "namespace", namespace.name, "tier=web")
    webhooks(1, configuration(upstream.host, rule={"namespaceSelector": {"matchLabels": {"tier": "web"}}}))
    namespace.create(deployment("app", image, replicas=8))
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == [f"{CACHE}/team/app@{digest}"]
    assert len([call for call in account.calls("namespaces") if call.name == namespace.name]) == 1


def test_a_namespace_that_asks_to_be_left_alone_is(namespace: Namespace, upstream: Upstream, webhooks: Start) -> None:
    upstream.push("team/app", "stable")
    image = upstream.image("team/app", "stable")
    namespace.kubectl("label", "namespace", namespace.name, "moorage.dev/skip=true")
    started = webhooks(1, configuration(upstream.host))
    namespace.create(deployment("app", image, replicas=2))
    namespace.await_rollout("Deployment", "app")
    assert namespace.images("app") == [image]
    (replica_set,) = namespace.objects("ReplicaSet")
    assert not [key for key in replica_set["metadata"]["annotations"] if key.startswith("pins.moorage.dev")]
    assert started.metric("moorage_images_total", reason="OptedOut") >= 2
