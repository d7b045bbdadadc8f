"""Which live objects are read, with which owner of their next Pods, and what is said where the API server gives none."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.core.revisions import HASH, controller_revision, replica_set, template
from tests.core.test_current import OTHER
from tests.core.world import pod, subject
from tests.support.api import FakeApi
from tests.support.living import OF_KIND, owner, put, put_deployment
from webhook.core.subject import TEMPLATES
from webhook.core.workload import Named, Resource, guessed
from webhook.kube import Answer
from webhook.live import Live, Look, Unread, selector_text

ROLLOUT = {"Rollout.argoproj.io": "/spec/template"}
DEPLOYMENTS = OF_KIND["Deployment"]


class World:
    """An API server with objects, and a reader."""

    def __init__(self, templates: Mapping[str, str] = TEMPLATES) -> None:
        self.api = FakeApi()
        self.templates = templates
        self.counted: list[int] = []
        self.look = Look(self.api, templates, seen=self.counted.append)

    def put(self, kind: str | Resource, name: str, namespace: str = "shop", **more: Any) -> None:
        put(self.api, kind, name, namespace, **more)

    def deployment(self, name: str = "web", namespace: str = "shop", **metadata: Any) -> None:
        put_deployment(self.api, name, namespace=namespace, metadata=metadata)

    async def every(self, namespace: str = "", selector: str = "") -> list[str]:
        return [shown(one) for one in await self.look.every(namespace, selector)]


def shown(one: Live | Unread) -> str:
    if isinstance(one, Unread):
        return f"{one.name} in {one.namespace}: {one.message}"
    by = one.subject.owner
    return f"{one.resource.kind} {one.subject.namespace}/{one.subject.name}" + (f" by {by.kind}" if by else "")


async def test_all_that_makes_pods_is_read_and_nothing_twice() -> None:
    world = World()
    world.deployment()
    spec = {"template": template()}
    world.put("StatefulSet", "db", spec=spec, status={"updateRevision": f"db-{HASH}"})
    world.put("ReplicaSet", "bare", spec=spec)
    world.put("DaemonSet", "agent", spec=spec)
    world.put("CronJob", "nightly", spec={"jobTemplate": {"spec": spec}})
    world.put("Job", "nightly-1", spec=spec, metadata={"ownerReferences": [owner("CronJob", "nightly", "batch/v1")]})
    world.put("Job", "once", spec=spec)
    world.put("ReplicationController", "old", spec=spec)
    world.put("Pod", "alone", spec=pod("nginx")["spec"])
    world.put("Pod", "of-web", spec=pod("nginx")["spec"], metadata={"ownerReferences": [owner("ReplicaSet", "w")]})
    world.put("PodTemplate", "unused", template=template())
    assert await world.every() == [
        "Deployment shop/web by ReplicaSet",
        "StatefulSet shop/db",
        "DaemonSet shop/agent",
        "CronJob shop/nightly",
        "Job shop/once by Job",
        "ReplicaSet shop/bare by ReplicaSet",
        "ReplicationController shop/old by ReplicationController",
        "Pod shop/alone",
    ]
    assert world.counted[-1] == max(world.counted) > 8


async def test_revisions_are_listed_once_for_all() -> None:
    world = World()
    for number in range(5):
        world.deployment(f"web-{number}")
    await world.every()
    assert world.api.asked.count("/apis/apps/v1/replicasets") == 2


async def test_one_namespace_and_labels_narrow_it() -> None:
    world = World()
    world.deployment(labels={"tier": "front"})
    world.deployment("other", labels={"tier": "back"})
    world.deployment("web", "elsewhere", labels={"tier": "front"})
    assert await world.every("shop") == [
        "Deployment shop/other by ReplicaSet",
        "Deployment shop/web by ReplicaSet",
    ]
    # Its ReplicaSet does not carry the workload's own label, and is found all the same.
    assert await world.every("shop", "tier=front") == ["Deployment shop/web by ReplicaSet"]


@pytest.mark.parametrize("replicas", [0, 1])
async def test_of_workloads_that_nobody_knows_what_they_made_is_shown_but_no_old_revision(replicas: int) -> None:
    world = World()
    made = replica_set()
    by = {"ownerReferences": [owner("Rollout", "web", "argoproj.io/v1alpha1")]}
    world.put("ReplicaSet", f"web-{HASH}", spec={**made["spec"], "replicas": replicas}, metadata=by)
    stateful = {"ownerReferences": [owner("Prometheus", "p", "monitoring.coreos.com/v1")]}
    world.put("StatefulSet", "prometheus-p", spec={"template": template()}, metadata=stateful)
    expected = ["StatefulSet shop/prometheus-p", "ReplicaSet shop/web-5d4f8c7b9 by ReplicaSet"]
    assert await world.every() == expected[: 1 + replicas]


async def test_mirror_pods_are_left_out() -> None:
    world = World()
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner("Node", "n", "v1")]}
    world.put("Pod", "kube-proxy-n", spec=pod("nginx")["spec"], metadata=mirror)
    assert await world.every() == []


async def test_pods_of_system_namespaces_never_come_to_moorage() -> None:
    world = World()
    for namespace in ("kube-system", "moorage-system", "shop"):
        world.put("Pod", "alone", namespace, spec=pod("nginx")["spec"])
    found = [one for one in await world.look.every("") if isinstance(one, Live)]
    assert {one.subject.namespace: bool(one.unseen) for one in found} == {
        "kube-system": True,
        "moorage-system": True,
        "shop": False,
    }


async def test_an_object_is_as_the_api_server_gives_it_without_status_and_managed_fields() -> None:
    world = World()
    world.deployment()
    (found,) = await world.look.named([Named(DEPLOYMENTS, ("web",))], "shop")
    assert isinstance(found, Live)
    assert (found.manifest["apiVersion"], found.manifest["kind"]) == ("apps/v1", "Deployment")
    assert "status" not in found.manifest
    assert "managedFields" not in found.manifest["metadata"]
    (listed,) = await world.look.named([Named(DEPLOYMENTS)], "shop")
    assert listed == found


async def test_a_named_one_takes_two_questions_and_its_own_revisions_only() -> None:
    world = World()
    world.deployment()
    await world.look.named([Named(DEPLOYMENTS, ("web",))], "shop")
    folder = "/apis/apps/v1/namespaces/shop"
    assert world.api.asked == [f"{folder}/deployments/web", f"{folder}/replicasets"]


async def test_what_is_not_there_is_told_in_the_api_servers_words_and_the_others_are_read() -> None:
    world = World()
    world.deployment()
    found = await world.look.named([Named(DEPLOYMENTS, ("nosuch", "web"))], "shop")
    assert sorted(map(shown, found)) == [
        "Deployment shop/web by ReplicaSet",
        'deployment/nosuch in shop: deployments.apps "nosuch" not found',
    ]
    assert [one.is_missing for one in found if isinstance(one, Unread)] == [True]


async def test_a_kind_that_this_user_may_not_list_is_told_and_the_others_are_read() -> None:
    world = World()
    world.put("Pod", "alone", spec=pod("nginx")["spec"])
    world.api.forbidden.add("cronjobs.batch")
    found = await world.look.every("shop")
    assert list(map(shown, found)) == [
        "Pod shop/alone",
        'cronjobs.batch in shop: cronjobs.batch is forbidden: User "reader" cannot read resource "cronjobs.batch"',
    ]
    assert [one.is_missing for one in found if isinstance(one, Unread)] == [False]


async def test_a_workload_whose_revisions_are_forbidden_is_not_guessed_at() -> None:
    """Without its revision a Deployment would look like a new rollout."""
    world = World()
    world.deployment()
    world.api.forbidden.add("replicasets.apps")
    (found,) = await world.look.named([Named(DEPLOYMENTS, ("web",))], "shop")
    assert isinstance(found, Unread)
    assert found.message.startswith("its revisions cannot be read: replicasets.apps is forbidden")
    assert not found.is_missing


async def test_an_api_server_that_does_not_answer_is_told() -> None:
    world = World()
    world.api.trouble = Answer(0, trouble="the API server refuses the connection")
    (found,) = await world.look.named([Named(DEPLOYMENTS, ("web",))], "shop")
    assert shown(found) == "deployment/web in shop: the API server refuses the connection"
    every = await world.look.every("")
    assert {one.message for one in every if isinstance(one, Unread)} == {"the API server refuses the connection"}
    assert len(every) == 8


ROLLOUTS = Resource("Rollout", "argoproj.io", "v1alpha1", "rollouts")


def with_argo(world: World) -> None:
    group = {"preferredVersion": {"version": "v1alpha1"}}
    kinds = {"resources": [{"name": "rollouts/scale", "kind": "Rollout"}, {"name": "rollouts", "kind": "Rollout"}]}
    world.api.objects["/apis/argoproj.io"] = group
    world.api.objects["/apis/argoproj.io/v1alpha1"] = kinds


async def test_kinds_of_the_configuration_are_asked_for_where_the_api_server_knows_them() -> None:
    world = World({**TEMPLATES, **ROLLOUT})
    with_argo(world)
    made = replica_set(label="rollouts-pod-template-hash")
    by = {"ownerReferences": [owner("Rollout", "web", "argoproj.io/v1alpha1")], "labels": made["metadata"]["labels"]}
    world.put("ReplicaSet", f"web-{HASH}", spec=made["spec"], metadata=by)
    world.put(ROLLOUTS, "web", spec={"template": template()}, status={"currentPodHash": HASH})
    assert await world.every() == ["Rollout shop/web by ReplicaSet"]
    (guess,) = guessed(world.templates)
    (named,) = await world.look.named([Named(guess, ("web",))], "shop")
    assert shown(named) == "Rollout shop/web by ReplicaSet"


async def test_kinds_that_are_not_installed_make_no_pods_and_cannot_be_named() -> None:
    world = World({**TEMPLATES, **ROLLOUT})
    assert await world.every() == []
    (guess,) = guessed(world.templates)
    (found,) = await world.look.named([Named(guess, ("web",))], "shop")
    assert isinstance(found, Unread)
    assert (found.message, found.is_missing) == (
        'the server doesn\'t have a resource type "rollouts.argoproj.io"',
        True,
    )


async def test_a_template_of_another_shape_is_told() -> None:
    world = World({**TEMPLATES, **ROLLOUT})
    with_argo(world)
    world.put(ROLLOUTS, "odd", spec={"template": {"spec": {"containers": "none"}}})
    (found,) = await world.look.every("shop")
    assert isinstance(found, Unread)
    assert found.name == "rollout/odd"


async def test_a_daemon_set_is_by_the_newest_of_its_revisions() -> None:
    world = World()
    world.put("DaemonSet", "db", spec={"template": template()})
    for number, hash_ in ((1, HASH), (2, OTHER)):
        made = controller_revision(owner="DaemonSet")
        made["metadata"]["ownerReferences"][0] |= {"name": "db", "uid": "uid-db"}
        made["metadata"] |= {"name": f"db-{hash_}", "uid": hash_}
        path = f"/apis/apps/v1/namespaces/shop/controllerrevisions/db-{hash_}"
        world.api.objects[path] = {**made, "revision": number}
    (found,) = await world.look.every("shop")
    assert isinstance(found, Live)
    assert found.next is not None
    assert (found.next.owner.hash, found.subject.labels["controller-revision-hash"]) == (OTHER, OTHER)


async def test_a_manifest_that_changes_nothing_has_a_twin() -> None:
    world = World()
    world.deployment()
    live = world.api.objects["/apis/apps/v1/namespaces/shop/deployments/web"]
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": live["spec"]}
    twin = await world.look.twin(manifest, subject(manifest, "shop"))
    assert isinstance(twin, Live)
    assert twin.next is not None
    assert twin.next.revision == f"web-{HASH}"


@pytest.mark.parametrize(
    ("kind", "name", "image"),
    [("Deployment", "web", "registry.example.com/team/app:next"), ("Deployment", "nosuch", ""), ("Pod", "web", "")],
    ids=["another image", "not live", "a Pod"],
)
async def test_a_manifest_that_changes_something_has_none(kind: str, name: str, image: str) -> None:
    world = World()
    world.deployment()
    made = template(*[image] if image else [], labels={"app": "web"})
    manifest = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {"template": made}}
    if kind == "Pod":
        manifest = {**pod("nginx"), "metadata": {"name": name}}
    assert await world.look.twin(manifest, subject(manifest, "shop")) is None


SELECTORS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"matchLabels": {"app": "web", "tier": "front"}}, "app=web,tier=front"),
    (
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["x", "y"]},
                {"key": "b", "operator": "NotIn", "values": ["z"]},
                {"key": "c", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        },
        "app=web,a in (x,y),b notin (z),c,!d",
    ),
    ({"app": "web"}, ""),
    ({"matchLabels": "web", "matchExpressions": None}, ""),
    ({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}, "b"]}, ""),
]


@pytest.mark.parametrize(("selector", "text"), SELECTORS)
def test_a_selector_stands_in_a_query_as_kubectl_writes_it(selector: dict[str, Any], text: str) -> None:
    assert selector_text(selector) == text
