"""What a registry is asked beyond a tag: digests, the platforms of an image, and whether a place holds it."""

import json
from typing import Any, Final

import pytest

from tests.core.world import D, E
from tests.doors import Clock, soon
from tests.support import wire
from tests.support.asking import READER, asking, known_as
from tests.support.door import plain
from tests.support.faults import bombed, redirected, sent_as, together, with_body, with_header, with_status
from tests.support.registry import (
    CANARY,
    PATH,
    Document,
    FakeRegistry,
    Fault,
    fake_registry,
    image_document,
    trap_socket,
)
from webhook.core.ask import Absent, Failed, Known, Passed
from webhook.core.credential import ANONYMOUS, Credential
from webhook.core.hosts import Registry
from webhook.core.manifest import DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_BODY, OCI_INDEX, OCI_MANIFEST
from webhook.core.reason import Reason
from webhook.core.reference import Reference
from webhook.flights import MAX_WAIT, Breaker

NO_DIGEST: Final = with_header("Docker-Content-Digest")
ANOTHER: Final = with_body(image_document("another").body)


def index_document(children: dict[str, str], media_type: str = OCI_INDEX) -> Document:
    entries: list[dict[str, Any]] = [{"digest": E, "platform": {"os": "unknown", "architecture": "unknown"}}]
    for platform, digest in children.items():
        name, architecture = platform.split("/")
        entries.append({"digest": digest, "platform": {"os": name, "architecture": architecture}})
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    return Document(media_type, body)


def push_index(fake: FakeRegistry) -> tuple[str, dict[str, str]]:
    """An index of two platforms under the usual tag; its digest and those of its children."""
    children = {name: fake.push(name[-5:], image_document(name)) for name in ("linux/amd64", "linux/arm64")}
    return fake.push("stable", index_document(children)), children


@pytest.mark.parametrize("media_type", [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST])
@pytest.mark.parametrize("faults", [{}, {"manifest": NO_DIGEST}], ids=["by HEAD", "by GET"])
async def test_every_type_is_accepted_and_told(media_type: str, faults: dict[str, Fault]) -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        is_index = media_type in {OCI_INDEX, DOCKER_LIST}
        document = index_document({}, media_type) if is_index else image_document(media_type=media_type)
        digest = fake.push(document=document)
        fake.faults.update(faults)
        found = await asked.digest()
        assert isinstance(found, Known)
        assert (found.digest, found.media_type) == (digest, media_type)


ROWS: list[tuple[str, dict[str, Fault], Reason | None, list[str]]] = [
    ("confirmed", {}, None, ["HEAD"]),
    ("confirmed by its body", {"manifest HEAD": NO_DIGEST}, None, ["HEAD", "GET"]),
    ("HEAD names another one", {"manifest HEAD": with_header("Docker-Content-Digest", D)}, None, ["HEAD", "GET"]),
    (
        "the header names another one, the body is right",
        {"manifest": with_header("Docker-Content-Digest", D)},
        None,
        ["HEAD", "GET"],
    ),
    ("the body is another one", {"manifest": together(NO_DIGEST, ANOTHER)}, Reason.BAD_REGISTRY, ["HEAD", "GET"]),
    (
        "so are body and header",
        {"manifest": together(ANOTHER, with_header("Docker-Content-Digest", image_document("another").digest))},
        Reason.BAD_REGISTRY,
        ["HEAD", "GET"],
    ),
]


@pytest.mark.parametrize(("faults", "reason", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_a_digest_is_confirmed_or_not(faults: dict[str, Fault], reason: Reason | None, said: list[str]) -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        digest = fake.push()
        fake.faults.update(faults)
        found = await asked.digest(digest=digest)
        if reason is None:
            assert isinstance(found, Known), found
            assert found.digest == digest
        else:
            expected = "it answers with a document of another digest"
            assert found == Failed(reason, f"{fake.host}/{PATH}", expected)
        assert asked.said() == said


async def test_a_well_formed_head_is_believed() -> None:
    """The price of one request a tag: what a registry says of its own documents is not checked again."""
    async with fake_registry() as fake, asking(fake) as asked:
        fake.push()
        fake.faults["manifest HEAD"] = with_header("Docker-Content-Digest", D)
        found = await asked.digest()
        assert isinstance(found, Known)
        assert found.digest == D


async def test_a_host_that_is_not_listed_gets_no_packet() -> None:
    with trap_socket() as trap:
        async with fake_registry() as fake, asking(fake) as asked:
            image = Reference(trap.host, PATH, "stable")
            found = await asked.client.digest_of(image, known_as(), deadline=soon())
        advice = f"add registries.{trap.host}: {{}} to allow it"
        assert found == Failed(Reason.HOST_NOT_LISTED, f"{trap.host}/{PATH}", advice)
        assert trap.connections == 0


async def test_a_listed_host_on_loopback_that_was_not_meant_to_be_there_gets_no_packet() -> None:
    with trap_socket() as trap:
        async with fake_registry() as fake, asking(fake, [Registry(trap.host, plain_http=True)]) as asked:
            image = Reference(trap.host, PATH, "stable")
            found = await asked.client.digest_of(image, known_as(), deadline=soon())
        assert isinstance(found, Failed)
        assert (found.reason, found.what) == (Reason.ADDRESS_REFUSED, f"{trap.host}/{PATH}")
        assert trap.connections == 0


@pytest.mark.parametrize("wait", ["9" * 300, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_however_long_a_registry_asks_to_wait_the_gate_waits_no_longer_than_it_wants(wait: str) -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        fake.faults["manifest"] = with_status(429, ("Retry-After", wait))
        found = await asked.digest()
    breaker = Breaker(Clock())
    with breaker.asking() as heard:
        heard(found)
    assert breaker.seconds_left == MAX_WAIT


def push_image(fake: FakeRegistry) -> None:
    """A single image with its configuration, under the usual tag."""
    config = '{"os": "linux", "architecture": "arm64"}'
    fake.push(document=image_document(config))
    kept = Document("application/json", config.encode())
    fake.documents[PATH, kept.digest] = kept


async def platforms_of(fake: FakeRegistry) -> tuple[str, ...] | Absent | Failed:
    async with asking(fake) as asked:
        image = Reference(fake.host, PATH, "stable")
        return await asked.client.platforms_of(image, known_as(), deadline=soon())


async def test_lists_the_platforms_of_an_index_or_of_a_single_image() -> None:
    async with fake_registry() as fake:
        push_index(fake)
        assert await platforms_of(fake) == ("unknown/unknown", "linux/amd64", "linux/arm64")
        push_image(fake)
        assert await platforms_of(fake) == ("linux/arm64",)


BLOBS: list[tuple[str, Fault, Reason, str]] = [
    ("a page", with_body(CANARY.encode()), Reason.BAD_REGISTRY, "it answers with a configuration of another digest"),
    ("a bomb", bombed, Reason.BAD_REGISTRY, "it compresses its answer although that was not asked for"),
    ("no end", sent_as(wire.endless_body), Reason.BAD_REGISTRY, f"its answer has more than {MANIFEST_BODY} bytes"),
    ("half", sent_as(wire.half), Reason.UNAVAILABLE, "the connection broke in the middle of the answer"),
    ("500", with_status(500), Reason.UNAVAILABLE, "it answers 500"),
    (
        "elsewhere",
        redirected("https://storage.example.com/blob?sig=secret"),
        Reason.HOST_NOT_LISTED,
        "it redirects to storage.example.com, which is not listed; to allow it add registries.storage.example.com: {}",
    ),
]


@pytest.mark.parametrize(("fault", "reason", "detail"), [row[1:] for row in BLOBS], ids=[row[0] for row in BLOBS])
async def test_a_configuration_that_is_broken_is_told(fault: Fault, reason: Reason, detail: str) -> None:
    async with fake_registry() as fake:
        push_image(fake)
        fake.faults["blob"] = fault
        assert await platforms_of(fake) == Failed(reason, f"{fake.host}/{PATH}", detail)


HELD: list[tuple[str, tuple[str, ...], str, Fault | None, type, list[str]]] = [
    ("itself", (), "", None, Passed, ["HEAD"]),
    ("with a child", ("linux/arm64",), "", None, Passed, ["HEAD", "GET", "HEAD"]),
    ("with both", ("linux/amd64", "linux/arm64"), "", None, Passed, ["HEAD", "GET", "HEAD", "HEAD"]),
    ("not with this one", ("linux/s390x",), "", None, Absent, ["HEAD", "GET"]),
    ("without itself", (), "stable", with_status(404), Absent, ["HEAD"]),
    (
        "without a child",
        ("linux/amd64", "linux/arm64"),
        "linux/arm64",
        with_status(404),
        Absent,
        ["HEAD", "GET", "HEAD", "HEAD"],
    ),
    ("with a broken child", ("linux/amd64",), "linux/amd64", with_status(500), Failed, ["HEAD", "GET", "HEAD", "HEAD"]),
]


@pytest.mark.parametrize(
    ("platforms", "at", "fault", "expected", "said"), [row[1:] for row in HELD], ids=[row[0] for row in HELD]
)
async def test_a_place_holds_a_digest(
    platforms: tuple[str, ...], at: str, fault: Fault | None, expected: type, said: list[str]
) -> None:
    async with fake_registry() as fake, asking(fake, [Registry(fake.host, allow_loopback=True)]) as asked:
        digest, children = push_index(fake)
        broken = {"stable": digest, **children}.get(at, "nothing")
        fake.faults["manifest"] = lambda request, answer: (
            fault(request, answer) if fault is not None and request.path.endswith(broken) else answer
        )
        image = Reference(fake.host, PATH, "stable", digest)
        found = await asked.client.holds(image, known_as(), scheme="http", platforms=platforms, deadline=soon())
        assert isinstance(found, expected), found
        assert asked.said() == said


@pytest.mark.parametrize(
    ("who", "login", "expected"),
    [
        ((READER, ANONYMOUS), "", Passed),
        ((READER, ANONYMOUS), "basic", Failed),
        ((READER,), "", Passed),
        ((READER,), "basic", Failed),
        ((ANONYMOUS,), "basic", Absent),
    ],
    ids=["a cache that asks for none", "one that does", "asks for none, nobody else", "does, nobody else", "nobody"],
)
async def test_no_login_goes_over_plain_http_to_a_place_unless_the_registry_is_said_to_be_plain(
    who: tuple[Credential, ...], login: str, expected: type
) -> None:
    async with fake_registry() as fake:
        image = Reference(fake.host, PATH, None, fake.push())
        fake.login = login
        async with asking(fake, [Registry(fake.host, allow_loopback=True)]) as asked:
            for _ in range(2):
                found = await asked.client.holds(image, known_as(*who), scheme="http", platforms=(), deadline=soon())
                assert isinstance(found, expected), found
            assert "plainHTTP" in found.detail if isinstance(found, Failed) else True
            assert [one for one in fake.asked if one.header("Authorization")] == []
        async with asking(fake) as asked:
            found = await asked.client.holds(image, known_as(*who), scheme="http", platforms=(), deadline=soon())
            assert isinstance(found, Passed if READER in who or not login else Absent), found


async def test_a_place_that_answers_with_another_index_does_not_hold_it() -> None:
    async with fake_registry() as fake, asking(fake, [plain(fake)]) as asked:
        digest, _ = push_index(fake)
        fake.faults["manifest GET"] = with_body(index_document({"linux/amd64": D}).body)
        image = Reference(fake.host, PATH, None, digest)
        found = await asked.client.holds(image, known_as(), scheme="", platforms=("linux/amd64",), deadline=soon())
        assert found == Failed(
            Reason.BAD_REGISTRY, f"{fake.host}/{PATH}", "it answers with a document of another digest"
        )
