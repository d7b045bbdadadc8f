"""Whoever keeps the Secret and the registration right, against an API server that refuses, forgets and is written to by
others. What the API server makes of it all is tested on a real one (tests/cluster/test_certificates.py)."""

import json
from base64 import b64decode, b64encode
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from tests.doors import Clock
from tests.support.api import FakeApi
from webhook.certificates import Stored, held, kept_in, made, names_of, stored_of
from webhook.core.keeping import Begin, Complete, Forget, Issue, Register
from webhook.core.registration import Reached, registration
from webhook.keeper import DONE, Keeper
from webhook.kube import Answer
from webhook.tls import utc_now
from webhook.upkeep import PATH
from webhook.vault import Unread, Vault

SECRET: Final = "/api/v1/namespaces/moorage-system/secrets/moorage-certs"
NAMES: Final = names_of("moorage-system", "moorage")


class World:
    """A cluster, and one who keeps."""

    def __init__(self, *, annotations: dict[str, str] | None = None) -> None:
        self.api = FakeApi()
        self.clock = Clock()
        self.start = utc_now().replace(microsecond=0)
        self.did: list[str] = []
        self.install(annotations or {})
        self.keeper = self.another()

    def install(self, annotations: dict[str, str]) -> None:
        document = registration(Reached(authority=b""))
        for one in document["webhooks"]:
            del one["clientConfig"]["service"]["path"]
        metadata = {**document["metadata"], "uid": "u", "resourceVersion": "1"}
        metadata["annotations"] = {**metadata["annotations"], **annotations}
        self.api.objects[PATH] = {**document, "metadata": metadata}

    def another(self) -> Keeper:
        return Keeper(
            self.api,
            Vault(self.api, "moorage-system", "moorage-certs"),
            now=self.clock,
            wall=self.wall,
            did=self.did.append,
            settle=30.0,
        )

    def wall(self) -> datetime:
        return self.start + timedelta(seconds=self.clock() - 1000.0)

    async def later(self, **more: float) -> str:
        """Time passes, and what stands has stood for a while."""
        self.clock.forward(timedelta(**more).total_seconds())
        trouble = ""
        for _ in range(12):
            trouble = await self.keeper.round()
            self.clock.forward(60)
        return trouble

    @property
    def secret(self) -> Stored:
        found = self.api.objects[SECRET]
        return Stored.of_data(found["data"], found["metadata"].get("labels"), found["metadata"].get("annotations"))

    def registered(self) -> list[tuple[str, str]]:
        """Whom each webhook trusts, and where it calls."""
        each = [one["clientConfig"] for one in self.api.objects[PATH]["webhooks"]]
        return [(b64decode(one.get("caBundle", "")).decode(), one["service"].get("path", "")) for one in each]

    def told(self) -> list[tuple[str, str]]:
        """What the registration should say."""
        entries = self.secret.entries
        path = f"/mutate/{entries['path.secret'].decode().split()[0]}" if entries["path.secret"] else "/mutate"
        return [(entries["ca.crt"].decode(), path)] * 2


async def test_the_first_one_makes_the_secret_and_tells_the_registration() -> None:
    world = World()
    assert await world.keeper.round() == ""
    assert held(world.secret, name=NAMES[0], now=world.wall()).problems == ()
    assert world.registered() == world.told()
    assert world.did == [DONE[Begin], DONE[Register], DONE[Issue]]
    assert world.api.objects[SECRET]["metadata"]["labels"] == {"moorage.dev/managed": "true"}
    asked = len(world.api.asked)
    assert await world.keeper.round() == ""
    assert world.api.asked[asked:] == [SECRET, PATH]


async def test_a_certificate_is_another_after_two_thirds_of_its_life() -> None:
    world = World()
    await world.keeper.round()
    first = world.secret.entries["tls.crt"]
    await world.later(days=19)
    assert world.secret.entries["tls.crt"] == first
    await world.later(days=1)
    assert world.secret.entries["tls.crt"] != first
    assert world.registered() == world.told()


async def test_a_year_later_all_of_it_is_another() -> None:
    world = World()
    await world.keeper.round()
    first = world.secret.entries
    for _ in range(30):
        assert await world.later(days=10) == ""
    second = world.secret.entries
    assert all(first[name] != second[name] for name in first)
    assert world.registered() == world.told()
    assert {DONE[one] for one in (Begin, Register, Issue, Forget)} == {*world.did}


async def test_two_at_once_come_to_one_secret() -> None:
    world = World()
    other = world.another()
    for _ in range(3):
        await world.keeper.round()
        await other.round()
    assert world.did.count(DONE[Begin]) == 1
    assert world.registered() == world.told()


class Meddled(FakeApi):
    """Somebody else writes between the read and the write."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def send(self, method: str, path: str, body: Any, **more: Any) -> Answer:
        if self.times and path in self.objects:
            self.times -= 1
            self._version += 1
            self.objects[path]["metadata"]["resourceVersion"] = f"meddled-{self.times}"
        return await super().send(method, path, body, **more)


async def test_what_was_written_meanwhile_is_not_written_over() -> None:
    world = World()
    world.api = Meddled(3)
    world.install({})
    world.keeper = world.another()
    assert await world.keeper.round() == ""
    assert world.registered() == world.told()


@pytest.mark.parametrize(
    ("entry", "content"),
    [("tls.key", "bm9uZQ=="), ("tls.crt", None), ("ca.key", None), ("seal.key", "c2hvcnQ="), ("path.secret", None)],
)
async def test_a_spoilt_entry_is_mended(entry: str, content: str | None) -> None:
    world = World()
    await world.keeper.round()
    data = world.api.objects[SECRET]["data"]
    if content is None:
        del data[entry]
    else:
        data[entry] = content
    await world.later(seconds=1)
    assert held(world.secret, name=NAMES[0], now=world.wall()).problems == ()
    assert world.registered() == world.told()


async def test_a_path_secret_that_is_lost_is_the_one_that_callers_use() -> None:
    world = World()
    await world.keeper.round()
    before = world.secret.entries["path.secret"]
    del world.api.objects[SECRET]["data"]["path.secret"]
    await world.keeper.round()
    assert world.secret.entries["path.secret"] == before


async def test_where_the_registration_may_not_be_read_or_changed_the_secret_is_kept_all_the_same() -> None:
    world = World()
    world.api.forbidden = {"mutatingwebhookconfigurations.admissionregistration.k8s.io"}
    trouble = await world.keeper.round()
    assert "mutatingwebhookconfigurations.admissionregistration.k8s.io is forbidden" in trouble
    assert held(world.secret, name=NAMES[0], now=world.wall()).problems == ()
    first = world.secret.entries["tls.crt"]
    await world.later(days=21)
    assert world.secret.entries["tls.crt"] != first


class Frozen(FakeApi):
    """Patches are refused."""

    async def send(self, method: str, path: str, body: Any, **more: Any) -> Answer:
        if method == "PATCH":
            return Answer(403, json.dumps({"message": "you may not patch"}).encode())
        return await super().send(method, path, body, **more)


async def test_a_registration_that_may_not_be_changed_is_told_and_certificates_are_renewed() -> None:
    world = World()
    world.api = Frozen()
    world.install({})
    world.keeper = world.another()
    trouble = await world.keeper.round()
    assert trouble == "mutatingwebhookconfiguration moorage could not be written: you may not patch"
    first = world.secret.entries["tls.crt"]
    await world.later(days=21)
    assert world.secret.entries["tls.crt"] != first


@pytest.mark.parametrize(
    "annotation",
    [
        {"moorage.dev/ca-bundle": "elsewhere"},
        {"cert-manager.io/inject-ca-from": "moorage-system/moorage"},
        {"moorage.dev/registered-by-url": "https://127.0.0.1:8443"},
    ],
)
async def test_a_registration_that_somebody_else_keeps_is_never_written(annotation: dict[str, str]) -> None:
    world = World(annotations=annotation)
    before = json.dumps(world.api.objects[PATH])
    trouble = await world.keeper.round()
    assert (
        "does not trust who signed the certificate: put ca.crt of secret moorage-system/moorage-certs into" in trouble
    )
    assert json.dumps(world.api.objects[PATH]) == before
    # What stands in Git is no secret, so none is wanted in the path.
    assert held(world.secret, name=NAMES[0], now=world.wall()).paths == ()
    for one in world.api.objects[PATH]["webhooks"]:
        one["clientConfig"]["caBundle"] = b64encode(world.secret.entries["ca.crt"]).decode()
        one["clientConfig"]["service"]["path"] = "/mutate"
    assert await world.keeper.round() == ""


async def test_somebody_elses_secret_is_told_to_callers_and_never_written() -> None:
    world = World()
    theirs = stored_of(made(NAMES, world.start))
    metadata = {"name": "moorage-certs", "resourceVersion": "1"}
    world.api.objects[SECRET] = {"metadata": metadata, "data": theirs.data()}
    assert await world.later(days=1) == ""
    assert world.api.objects[SECRET]["data"] == theirs.data()
    assert world.registered() == world.told()
    assert kept_in(world.secret).is_ours is False


UNUSABLE: dict[str, dict[str, str]] = {
    "half a pair": {"tls.key": ""},
    "a foreign authority": {"ca.crt": made(NAMES, utc_now()).authorities[0].certificate},
    "no text": {"ca.crt": "\0", "tls.crt": "\0"},
    "a path that cannot be one": {"path.secret": "a/b"},
}


@pytest.mark.parametrize("spoilt", UNUSABLE)
async def test_somebody_elses_secret_that_cannot_be_used_takes_nothing_from_those_who_serve_by_the_one_before(
    spoilt: str,
) -> None:
    world = World()
    theirs = stored_of(made(NAMES, world.start)).data()
    world.api.objects[SECRET] = {"metadata": {"name": "moorage-certs", "resourceVersion": "1"}, "data": theirs}
    await world.later(minutes=1)
    good = world.told()
    broken = {**theirs, **{name: b64encode(text.encode()).decode() for name, text in UNUSABLE[spoilt].items()}}
    world.api.objects[SECRET] = {"metadata": {"name": "moorage-certs", "resourceVersion": "2"}, "data": broken}
    assert held(world.secret, name=NAMES[0], now=world.wall()).problems
    await world.later(hours=1)
    for (trusted, path), (trusted_before, path_before) in zip(world.registered(), good, strict=True):
        assert trusted_before in trusted
        assert path == path_before
    world.api.objects[SECRET] = {"metadata": {"name": "moorage-certs", "resourceVersion": "3"}, "data": theirs}
    await world.later(minutes=1)
    assert world.registered() == good


async def test_somebody_elses_secret_without_a_path_is_called_without_one() -> None:
    world = World()
    theirs = {name: text for name, text in stored_of(made(NAMES, world.start)).data().items() if name != "path.secret"}
    world.api.objects[SECRET] = {"metadata": {"name": "moorage-certs", "resourceVersion": "1"}, "data": theirs}
    await world.later(minutes=1)
    assert [path for _, path in world.registered()] == ["/mutate", "/mutate"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda api: api.objects.pop(PATH), "there is no mutatingwebhookconfiguration moorage"),
        (
            lambda api: api.objects[PATH].update(webhooks=[]),
            "mutatingwebhookconfiguration moorage holds no webhook of Moorage",
        ),
    ],
)
async def test_a_registration_that_is_not_there_is_told(spoil: Any, why: str) -> None:
    world = World()
    spoil(world.api)
    assert why in await world.keeper.round()


async def test_another_installs_registration_is_left_alone() -> None:
    world = World()
    for one in world.api.objects[PATH]["webhooks"]:
        one["clientConfig"]["service"]["namespace"] = "other"
    before = json.dumps(world.api.objects[PATH])
    assert await world.keeper.round() == (
        "mutatingwebhookconfiguration moorage leads to service other/moorage, and not to moorage.moorage-system.svc"
    )
    assert json.dumps(world.api.objects[PATH]) == before


async def test_what_the_api_server_refuses_is_told_without_what_was_sent() -> None:
    world = World()

    async def refused(method: str, path: str, body: Any, **_more: Any) -> Answer:
        return Answer(422, json.dumps({"message": f"invalid: {body}"}).encode())

    world.api.send = refused  # type: ignore[method-assign]
    assert await world.keeper.round() == (
        "secret moorage-system/moorage-certs cannot be written: the API server answers 422"
    )


async def test_a_secret_that_cannot_be_read_is_no_reason_to_make_another() -> None:
    world = World()
    world.api.forbidden = {"secrets"}
    with pytest.raises(Unread, match="secret moorage-system/moorage-certs cannot be read: secrets is forbidden"):
        await world.keeper.round()
    assert SECRET not in world.api.objects


def test_every_step_has_its_words() -> None:
    assert {*DONE} == {Begin, Complete, Register, Issue, Forget}
