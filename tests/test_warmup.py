"""What a server learns from running Pods before it is ready."""

from typing import Any

import msgspec
import pytest

from tests.core.world import NOON, PRIVATE, SEALER, D, E
from tests.doors import Clock, Registries, Wallets, digest_ask, soon
from tests.support.api import FakeApi
from tests.support.secrets import login, put_secret, secret_path
from webhook.books import Books
from webhook.core.annotation import Entry, written
from webhook.core.ask import AskDigest, Failed
from webhook.core.credential import Keyrings
from webhook.core.freshness import Resolving
from webhook.core.hosts import Registries as Hosts
from webhook.core.hosts import Registry
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.core.rules import Requirement, RuleSet
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.core.subject import Audience, Owner, Subject
from webhook.credentials.pull_secrets import PullSecrets
from webhook.credentials.source import Credentials
from webhook.kube import Answer, ListBroke
from webhook.resolver import Memory, Resolver
from webhook.warmup import Learnt, warm

TAG = "registry.example.com/team/app:stable"
HOUR = 3_600_000
DOWN = Failed(Reason.UNAVAILABLE, "registry.example.com/team/app", "refused")


class World:
    """A cluster, a registry that is down, and a resolver that has just been started."""

    def __init__(self, credentials: Keyrings | None = None) -> None:
        self.api = FakeApi()
        self.clock = Clock()
        self.registries = Registries()
        self.registries.answers["registry.example.com"] = DOWN
        self.resolver = Resolver(
            self.registries,
            credentials or Wallets(),
            Hosts([Registry("registry.example.com")]),
            Resolving(),
            memory=Memory(100, self.clock),
            jitter=lambda: 0.5,
        )

    def pod(
        self,
        name: str,
        digest: str,
        at: int,
        *,
        by: Sealer = SEALER,
        born: int = NOON,
        source: str = "pin",
        **change: Any,
    ) -> None:
        owner = Owner("ReplicaSet", "web", "uid-1")
        subject = Subject("Pod", "default", name, "web", Audience("default"), (), owner=owner)
        entry = Entry(TAG, digest, rule="private", source=source, at=at)
        metadata = {
            "name": name,
            "namespace": "default",
            "annotations": {"moorage.dev/images": written({"containers/app": entry}, subject, by, born)},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": "uid-1", "controller": True}],
        }
        spec = {"containers": [{"name": "app", "image": f"localhost:30081/team/app@{digest}"}]}
        self.api.objects[f"/api/v1/namespaces/default/pods/{name}"] = {"metadata": metadata | change, "spec": spec}

    async def warm(self) -> Learnt:
        return await warm(self.api, RuleSet([PRIVATE]), SEALER, self.resolver, milliseconds=NOON)

    async def says(self) -> Any:
        return await self.resolver.fetch(digest_ask(), deadline=soon())


async def test_the_last_digest_of_a_tag_is_known_again_while_the_registry_is_down() -> None:
    world = World()
    world.pod("a", D, NOON - HOUR)
    assert await world.warm() == Learnt(1, 1)
    fact = await world.says()
    assert (fact.digest, fact.source, fact.trouble) == (D, "stale", Reason.UNAVAILABLE)
    assert fact.age == pytest.approx(3600)


async def test_a_digest_that_no_upstream_has_named_is_not_learnt() -> None:
    """It came from a lock, which may be another one by now."""
    world = World()
    world.pod("a", D, NOON - HOUR, source="locked")
    assert await world.warm() == Learnt(1, 0)
    assert await world.says() == DOWN


async def test_pull_secrets_are_read_before_what_was_told_to_them_is_learnt() -> None:
    clock, secrets = Clock(), FakeApi()
    books = Books(clock)
    pods = PullSecrets(secrets, books.secrets, books.accounts, now=clock)
    registry = Registry("registry.example.com")
    credentials = Credentials(Hosts([registry]), key=b"k" * 32, providers={"pod": pods}, now=clock)
    world = World(credentials)
    put_secret(secrets, "pull", {"registry.example.com": login("reader")}, namespace="default")
    world.pod("a", D, NOON - HOUR)
    world.api.objects["/api/v1/namespaces/default/pods/a"]["spec"]["imagePullSecrets"] = [{"name": "pull"}]
    assert await world.warm() == Learnt(1, 1)
    assert secrets.asked == [secret_path("pull", "default")]
    pulling, others = Audience("default", "", ("pull",)), Audience("default", "", ("other",))
    tag = Reference.parse(TAG)
    assert (await world.resolver.fetch(AskDigest((tag,), pulling), deadline=soon())).source == "stale"  # type: ignore[union-attr]
    assert isinstance(await world.resolver.fetch(AskDigest((tag,), others), deadline=soon()), Failed)


async def test_the_newest_answer_of_the_upstream_counts_not_the_youngest_pod() -> None:
    world = World()
    world.pod("old-rollout-new-pod", D, NOON - 24 * HOUR + 1, born=NOON)
    world.pod("new-rollout", E, NOON - HOUR, born=NOON - HOUR)
    assert await world.warm() == Learnt(2, 1)
    assert (await world.says()).digest == E


async def test_what_is_older_than_the_bound_for_stale_answers_is_not_learnt() -> None:
    world = World()
    world.pod("a", D, NOON - 24 * HOUR)
    assert await world.warm() == Learnt(1, 0)
    assert isinstance(await world.says(), Failed)


UNTOLD: list[tuple[str, dict[str, Any]]] = [
    ("an annotation that is not under our seal", {"by": Sealer((Secret("f" * 32),))}),
    ("one that was copied to another rollout", {"ownerReferences": [{"uid": "uid-2", "controller": True}]}),
    ("one that was copied to another namespace", {"namespace": "other"}),
    ("one that cannot be read", {"annotations": {"moorage.dev/images": "{"}}),
    ("none", {"annotations": None}),
    ("a Pod of another shape", {"labels": [1]}),
]


@pytest.mark.parametrize("change", [row[1] for row in UNTOLD], ids=[row[0] for row in UNTOLD])
async def test_is_not_believed(change: dict[str, Any]) -> None:
    world = World()
    world.pod("a", D, NOON, **change)
    assert await world.warm() == Learnt(1, 0)
    assert isinstance(await world.says(), Failed)


async def test_an_answer_of_the_upstream_goes_before_what_pods_show() -> None:
    world = World()
    world.registries.answers.clear()
    await world.says()
    world.pod("a", E, NOON)
    await world.warm()
    assert (await world.says()).digest == D


async def test_without_an_api_server_nothing_is_learnt_and_it_is_told() -> None:
    world = World()
    world.api.trouble = Answer(0, trouble="the API server refuses the connection")
    with pytest.raises(ListBroke, match="refuses the connection"):
        await world.warm()


async def test_rules_that_ask_for_labels_of_namespaces_learn_too() -> None:
    world = World()
    rule = msgspec.structs.replace(PRIVATE, namespace_selector=(Requirement("tier", "In", ("web",)),))
    world.pod("web-1", D, NOON)
    world.api.objects["/api/v1/namespaces/default"] = {"metadata": {"name": "default", "labels": {"tier": "web"}}}
    learnt = await warm(world.api, RuleSet([rule]), SEALER, world.resolver, milliseconds=NOON)
    assert learnt == Learnt(1, 1)
