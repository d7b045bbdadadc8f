"""The registration that is made from a configuration, as the API server takes it: who is asked about what.

Nobody listens where these registrations lead, and their failurePolicy is Fail: what the API server asks about it refuses,
and all else it lets be.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.cluster.namespace import Namespace
from tests.cluster.real.api import JSON_PATCH, ApiError
from tests.cluster.workloads import job, pod, replica_set
from tests.core.test_conditions import many
from tests.support.until import until
from webhook.core.conditions import MAX_HOST, MAX_IMAGE, MAX_ITEMS, needed
from webhook.core.globs import Globs
from webhook.core.registration import Reached, registration
from webhook.core.rules import Rule, RuleSet
from webhook.core.subject import IMAGE_FIELDS
from webhook.core.targets import Target

NOBODY: Final = Reached(url="https://127.0.0.1:9")
KRAKEN: Final = Target.of_host("localhost:30081")
ASKED: Final = "failed calling webhook"
D: Final = "sha256:" + "d" * 64

Registering = Callable[..., None]


def rules_for(*patterns: str) -> RuleSet:
    return RuleSet([Rule("private", Globs.of(patterns), targets=(KRAKEN,))])


@pytest.fixture
def registered(namespace: Namespace) -> Iterator[Registering]:
    """Registers for this namespace with the conditions that rules need, and waits until that is in force."""
    with ExitStack() as ending:

        def register(known: RuleSet) -> None:
            document = registration(NOBODY, only=[namespace.name], failure_policy="Fail", coverage=needed(known))
            name = document["metadata"]["name"] = f"moorage-{namespace.name}"
            namespace.api.create(document)
            ending.callback(namespace.api.delete, document["kind"], name)
            probe = pod("probe", "auto")
            until("the registration is in force", lambda: is_asked(lambda: namespace.create(probe, dry_run=True)))

        yield register


def is_asked(act: Callable[[], Any]) -> bool:
    """Whether the API server asks the webhook; any other trouble is the test's."""
    try:
        act()
    except ApiError as error:
        if ASKED in error.message:
            return True
        raise
    return False


def reaches(namespace: Namespace, manifest: dict[str, Any]) -> bool:
    return is_asked(lambda: namespace.create(manifest, dry_run=True))


REACHING: Final = [
    pod("a", "registry.example.com/team/app:1"),
    pod("a", "ghcr.io/a/b", "registry.example.com:5000/app"),
    pod("a", "Registry.EXAMPLE.com/app"),
    pod("a", "eu-1.mirror.example.net/app"),
    pod("a", "nginx"),
    pod("a", "library/nginx:1.27"),
    pod("a", f"nginx@{D}"),
    pod("a", "docker.io/team/app"),
    pod("a", "index.docker.io/team/app"),
    pod("a", f"localhost:30081/team/app@{D}"),
    pod("a", f"127.0.0.1:30081/team/app@{D}"),
    pod("a", f"127.1:030081/team/app@{D}"),
    pod("a", f"0x7f000001:30081/team/app@{D}"),
    pod("a", f"[::1]:30081/team/app@{D}"),
    pod("a", f"cache.localhost:30081/team/app@{D}"),
    pod("a", "ghcr.io/a/b", initContainers=[{"name": "i", "image": "registry.example.com/i"}]),
    pod("a", "ghcr.io/a/b", volumes=[{"name": "v", "image": {"reference": "registry.example.com/v"}}]),
    pod("a", "ghcr.io/a/b", volumes=[{"name": "v", "emptyDir": {}}, {"name": "w", "image": {"reference": "nginx"}}]),
    pod("a", "ghcr.io/a/b", "auto"),
    pod("a", "registry.example.com/a", labels={"moorage.dev/skip": "true"}),
    {**pod("a", "ghcr.io/a/b"), "metadata": {"name": "a", "annotations": {"moorage.dev/images": "{}"}}},
    replica_set("a", "registry.example.com/app"),
    replica_set("a", "ghcr.io/a/b", "nginx"),
    job("a", "registry.example.com/app"),
    {
        "kind": "ControllerRevision",
        "metadata": {"name": "a-1"},
        "data": {"spec": {"template": {"$patch": "replace", "spec": pod("a", "registry.example.com/app")["spec"]}}},
        "revision": 1,
    },
]  # fmt: skip

OF_OTHERS: Final[list[Any]] = [
    {},
    {"spec": 5},
    {"spec": {"template": []}},
    {"spec": {"template": {"spec": {"containers": 5}}}},
]
"""What controllers that we do not know keep in a ControllerRevision."""

PASSING: Final = [
    pod("a", "ghcr.io/team/app:1"),
    pod("a", "registry.example.com.evil.io/app"),
    pod("a", "mirror.example.org/nginx"),
    pod("a", "ghcr.io/a/b", volumes=[{"name": "v", "emptyDir": {}}], initContainers=[{"name": "i", "image": "quay.io/a"}]),
    pod("a", "ghcr.io/a/b", labels={"moorage.dev/skip": "true"}),
    {**pod("a", "ghcr.io/a/b"), "metadata": {"name": "a", "annotations": {"other": "{}"}}},
    replica_set("a", "ghcr.io/team/app"),
    job("a", "ghcr.io/team/app"),
    *({"kind": "ControllerRevision", "metadata": {"name": "a-1"}, "data": data, "revision": 1} for data in OF_OTHERS),
]  # fmt: skip


def test_what_rules_and_guards_are_about_is_asked_about_and_nothing_else(
    namespace: Namespace, registered: Registering
) -> None:
    registered(rules_for("registry.example.com/**", "*.mirror.example.net/*", "docker.io/**", "!docker.io/library/**"))
    assert [one for one in REACHING if not reaches(namespace, one)] == []
    assert [one for one in PASSING if reaches(namespace, one)] == []


def test_without_a_rule_for_it_docker_io_passes_by(namespace: Namespace, registered: Registering) -> None:
    registered(rules_for("registry.example.com/**"))
    short = [pod("a", name) for name in ("nginx", "team/app", "docker.io/nginx", "index.docker.io/a/b")]
    assert [one for one in short if reaches(namespace, one)] == []


def test_updates_are_asked_about_where_they_can_matter(namespace: Namespace, registered: Registering) -> None:
    namespace.create(pod("web", "registry.example.com/app:1"))
    namespace.create(replica_set("rs", "registry.example.com/app:1", replicas=0))
    namespace.create(job("run", "registry.example.com/app:1", suspend=True))
    registered(rules_for("registry.example.com/**"))

    def asked(kind: str, name: str, patch: Any) -> bool:
        return is_asked(lambda: namespace.patch(kind, name, patch))

    image = {"spec": {"containers": [{"name": "c0", "image": "localhost:30081/app:1"}]}}
    assert not asked("Pod", "web", {"metadata": {"labels": {"tier": "web"}}})
    assert asked("Pod", "web", image)
    assert not asked("ReplicaSet", "rs", {"spec": {"minReadySeconds": 5}})
    assert not asked(
        "ReplicaSet", "rs", {"metadata": {"annotations": {"deployment.kubernetes.io/desired-replicas": "2"}}}
    )
    assert asked("ReplicaSet", "rs", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}})
    assert not asked("Job", "run", {"metadata": {"labels": {"tier": "web"}}})
    assert asked("Job", "run", {"spec": {"suspend": False}})
    debugger = [
        {"op": "add", "path": "/spec/ephemeralContainers", "value": [{"name": "e", "image": "localhost:30081/e"}]}
    ]
    assert is_asked(
        lambda: namespace.patch("Pod", "web", debugger, subresource="ephemeralcontainers", content_type=JSON_PATCH)
    )


def worst(host: str) -> dict[str, Any]:
    """The Pod that takes the API server longest: each list as long as is looked at, each text too, and none fits."""
    first = f"{host[:MAX_HOST].ljust(MAX_HOST - 4, 'a')}.zz"
    image = f"{first}/".ljust(MAX_IMAGE, "a")
    # The token would be one volume more than is looked at.
    spec: dict[str, Any] = {"automountServiceAccountToken": False}
    for field, way in IMAGE_FIELDS:
        names = range(MAX_ITEMS)
        spec[field] = [{"name": f"{field.lower()[:4]}{number}", "image": image} for number in names]
        if len(way) > 1:
            spec[field] = [{"name": f"v{number}", "image": {"reference": image}} for number in names]
    spec.pop("ephemeralContainers")  # none may stand in a new Pod
    return {"kind": "Pod", "metadata": {"name": "worst"}, "spec": spec}


@pytest.mark.parametrize(
    "known",
    [
        many(1_000, "registry-{0}.team-{0}.example.com/**"),
        many(2_000, "r-{0}.t-{0}.io/**"),
        many(90, "registry-*.team-{}.com/**"),
        many(5_000, "registry-{}.private.example.com/**"),
    ],
    ids=["1000 hosts", "2000 hosts", "90 globs", "5000 hosts of a domain"],
)
def test_the_api_server_bears_a_thousand_rules_and_the_worst_pod(
    namespace: Namespace, registered: Registering, known: RuleSet
) -> None:
    registered(known)
    pattern = known.rules[-1].images.patterns[0]
    assert reaches(namespace, pod("a", pattern.replace("*", "x").removesuffix("/xx") + "/app"))
    assert not reaches(namespace, worst("registry-"))
    assert not reaches(namespace, pod("a", "ghcr.io/team/app"))


def test_what_has_more_than_is_looked_at_is_asked_about(namespace: Namespace, registered: Registering) -> None:
    registered(rules_for("registry.example.com/**"))
    assert reaches(namespace, pod("many", *["ghcr.io/a/b"] * (MAX_ITEMS + 1)))
    assert reaches(namespace, pod("long", "ghcr.io/" + "a" * MAX_IMAGE))
