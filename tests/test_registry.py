"""One reference to a typed answer, against a registry on loopback with every fault that one was seen to have."""

import json
from typing import Final

import pytest
from msgspec.structs import replace

from tests.core.world import D, E
from tests.support import wire
from tests.support.asking import READER, SECRETS, WRONG, asking
from tests.support.door import plain
from tests.support.faults import (
    bombed,
    first,
    redirected,
    sent_as,
    together,
    with_body,
    with_header,
    with_status,
)
from tests.support.registry import (
    CANARY,
    PATH,
    Fault,
    fake_registry,
    image_document,
)
from webhook.core.ask import Absent, Failed, Known
from webhook.core.credential import ANONYMOUS, Credential
from webhook.core.manifest import MANIFEST_BODY, OCI_INDEX, OCI_MANIFEST
from webhook.core.reason import Reason

SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
SOCKET_BUFFERS: Final = 8 * 1024 * 1024
NO_DIGEST: Final = with_header("Docker-Content-Digest")
LATE: Final = (Reason.OUT_OF_TIME, "no answer in time")
HTML: Final = with_body(f"<html>{CANARY}</html>".encode(), "text/html")
OLD: Final = with_body(json.dumps({"schemaVersion": 1, "name": CANARY, "fsLayers": []}).encode(), SCHEMA1)

Faults = dict[str, Fault]
FOUND: list[tuple[str, Faults, list[str]]] = [
    ("all is well", {}, ["HEAD"]),
    ("no digest header: ECR", {"manifest": NO_DIGEST}, ["HEAD", "GET"]),
    ("two digest headers", {"manifest": with_header("Docker-Content-Digest", D, E)}, ["HEAD", "GET"]),
    ("a malformed digest: kaniko#298", {"manifest": with_header("Docker-Content-Digest", "d" * 64)}, ["HEAD", "GET"]),
    (
        "a digest of another document, where only the body is asked",
        {"manifest HEAD": NO_DIGEST, "manifest GET": with_header("Docker-Content-Digest", D)},
        ["HEAD", "GET"],
    ),
    ("length 0: wharf#11", {"manifest HEAD": with_header("Content-Length", "0")}, ["HEAD", "GET"]),
    ("no length: harbor#13793", {"manifest HEAD": with_header("Transfer-Encoding", "chunked")}, ["HEAD", "GET"]),
    ("no type for HEAD", {"manifest HEAD": with_header("Content-Type")}, ["HEAD", "GET"]),
    ("a page for HEAD", {"manifest HEAD": HTML}, ["HEAD", "GET"]),
    ("405 for HEAD: docker-registry-util#3", {"manifest HEAD": with_status(405)}, ["HEAD", "GET"]),
    ("501 for HEAD", {"manifest HEAD": with_status(501)}, ["HEAD", "GET"]),
    ("a HEAD that says it is compressed", {"manifest HEAD": with_header("Content-Encoding", "gzip")}, ["HEAD"]),
    ("500 once", {"manifest": first(1, with_status(500))}, ["HEAD", "HEAD"]),
    ("503 once", {"manifest": first(1, with_status(503, ("Retry-After", "3600")))}, ["HEAD", "HEAD"]),
    ("408 once", {"manifest": first(1, with_status(408))}, ["HEAD", "HEAD"]),
    ("429 once", {"manifest": first(1, with_status(429))}, ["HEAD", "HEAD"]),
    ("429 once, come again", {"manifest": first(1, with_status(429, ("Retry-After", "0")))}, ["HEAD", "HEAD"]),
    ("closed once", {"manifest": first(1, sent_as(wire.closed))}, ["HEAD", "HEAD"]),
    ("reset once", {"manifest": first(1, sent_as(wire.reset))}, ["HEAD", "HEAD"]),
    (
        "half a body once",
        {"manifest HEAD": NO_DIGEST, "manifest GET": first(1, sent_as(wire.half))},
        ["HEAD", "GET", "GET"],
    ),
    ("moved within the host", {"manifest HEAD": first(1, redirected(lambda asked: asked.target))}, ["HEAD", "HEAD"]),
]


@pytest.mark.parametrize(("faults", "said"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
async def test_finds_the_digest(faults: Faults, said: list[str]) -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        digest = fake.push()
        fake.faults.update(faults)
        found = await asked.digest()
        assert isinstance(found, Known), found
        assert (found.digest, found.media_type, found.source) == (digest, OCI_MANIFEST, "fresh")
        assert (found.host, found.credential) == (fake.host, "anonymous")
        assert asked.said() == said


@pytest.mark.parametrize(("is_cache", "said"), [(True, ["HEAD", "GET"]), (False, ["HEAD"])])
async def test_a_cache_that_is_flagged_is_asked_by_get_before_its_404_is_believed(
    is_cache: bool, said: list[str]
) -> None:
    async with fake_registry() as fake, asking(fake, [plain(fake, proxy_cache=is_cache)]) as asked:
        digest = fake.push()
        fake.faults["manifest HEAD"] = with_status(404)
        found = await asked.digest()
        assert asked.said() == said
        assert (found.digest == digest) if isinstance(found, Known) else not is_cache
        fake.faults["manifest GET"] = with_status(404)
        assert await asked.digest() == Absent(fake.host, f"{fake.host}/{PATH}:stable")


async def test_a_body_after_a_head_is_no_answer_to_the_next_question() -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        other = b"HTTP/1.1 200 OK\r\nDocker-Content-Digest: " + D.encode() + b"\r\nContent-Length: 7\r\nContent-Type: "
        smuggled = other + OCI_MANIFEST.encode() + b"\r\n\r\n"
        digests = [fake.push("one"), fake.push("two", image_document("two"))]
        fake.faults["manifest HEAD"] = together(
            with_header("Content-Length", "7"),
            with_body(smuggled * 3),
            lambda _, answer: replace(answer, is_headless=False),
        )
        found = [await asked.digest(tag=tag) for tag in ("one", "two", "one")]
        assert [one.digest for one in found if isinstance(one, Known)] == [digests[0], digests[1], digests[0]]


async def test_where_one_of_many_servers_hangs_another_one_answers_in_time() -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        digest = fake.push()
        fake.faults["manifest"] = first(1, sent_as(wire.silence))
        found = await asked.digest(seconds=0.8)
        assert isinstance(found, Known), found
        assert (found.digest, found.requests, asked.said()) == (digest, 2, ["HEAD", "HEAD"])


def failed(reason: Reason, detail: str, retry_after: float | None = None) -> tuple[Reason, str, float | None]:
    return reason, detail, retry_after


def bad(detail: str) -> tuple[Reason, str, float | None]:
    return failed(Reason.BAD_REGISTRY, detail)


def down(detail: str) -> tuple[Reason, str, float | None]:
    return failed(Reason.UNAVAILABLE, detail)


ASKS_TO_WAIT: Final = "it asks to wait (429)"
BROKEN: list[tuple[str, Faults, tuple[Reason, str, float | None], list[str]]] = [
    ("a page with 200", {"manifest": HTML}, bad("it answers with something that is no manifest"), ["HEAD", "GET"]),
    (
        "nothing with 200",
        {"manifest": with_body(b"")},
        bad("it answers with something that is no manifest"),
        ["HEAD", "GET"],
    ),
    (
        "schema 1",
        {"manifest": OLD},
        bad("it answers with a schema 1 manifest or something that is none"),
        ["HEAD", "GET"],
    ),
    (
        "an image and an index",
        {"manifest": together(NO_DIGEST, with_body(image_document(manifests=[]).body))},
        bad("it answers with a document that is both an index and an image"),
        ["HEAD", "GET"],
    ),
    (
        "another type than it says",
        {"manifest": together(NO_DIGEST, with_header("Content-Type", OCI_INDEX))},
        bad("Content-Type and mediaType contradict each other"),
        ["HEAD", "GET"],
    ),
    (
        "a bomb",
        {"manifest": together(NO_DIGEST, bombed)},
        bad("it compresses its answer although that was not asked for"),
        ["HEAD", "GET"],
    ),
    (
        "a body without end",
        {"manifest": together(NO_DIGEST, sent_as(wire.endless_body))},
        bad(f"its answer has more than {MANIFEST_BODY} bytes"),
        ["HEAD", "GET"],
    ),
    (
        "headers without end",
        {"manifest": sent_as(wire.endless_headers)},
        bad("it answers something that is not HTTP"),
        ["HEAD"],
    ),
    (
        "another protocol",
        {"manifest": sent_as(wire.other_protocol)},
        bad("it answers something that is not HTTP"),
        ["HEAD"],
    ),
    ("400", {"manifest": with_status(400)}, bad("it answers 400"), ["HEAD"]),
    ("406", {"manifest": with_status(406)}, bad("it answers 406"), ["HEAD"]),
    ("304", {"manifest": with_status(304, body="")}, bad("it answers 304"), ["HEAD"]),
    ("405 always", {"manifest": with_status(405)}, bad("it answers 405"), ["HEAD", "GET"]),
    ("429 always", {"manifest": with_status(429)}, failed(Reason.THROTTLED, ASKS_TO_WAIT), ["HEAD", "HEAD"]),
    (
        "429, seconds",
        {"manifest": with_status(429, ("Retry-After", "30"))},
        failed(Reason.THROTTLED, ASKS_TO_WAIT, 30.0),
        ["HEAD"],
    ),
    (
        "429, a date that is past",
        {"manifest": with_status(429, ("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"))},
        failed(Reason.THROTTLED, ASKS_TO_WAIT, 0.0),
        ["HEAD", "HEAD"],
    ),
    (
        "429 for the body",
        {"manifest HEAD": NO_DIGEST, "manifest GET": with_status(429, ("Retry-After", "7"))},
        failed(Reason.THROTTLED, ASKS_TO_WAIT, 7.0),
        ["HEAD", "GET"],
    ),
    ("500 always", {"manifest": with_status(500)}, down("it answers 500"), ["HEAD", "HEAD"]),
    ("503 always", {"manifest": with_status(503)}, down("it answers 503"), ["HEAD", "HEAD"]),
    (
        "503 always, and asks to wait",
        {"manifest": with_status(503, ("Retry-After", "30"))},
        failed(Reason.UNAVAILABLE, "it answers 503", 30.0),
        ["HEAD", "HEAD"],
    ),
    ("599", {"manifest": with_status(599)}, down("it answers 599"), ["HEAD"]),
    # Ours dials twice, and so does the client library below it.
    (
        "closed always",
        {"manifest": sent_as(wire.closed)},
        down("it closed the connection without an answer"),
        ["HEAD"] * 4,
    ),
    ("reset always", {"manifest": sent_as(wire.reset)}, down("the connection broke"), ["HEAD"] * 4),
    (
        "half a body always",
        {"manifest HEAD": NO_DIGEST, "manifest GET": sent_as(wire.half)},
        down("the connection broke in the middle of the answer"),
        ["HEAD", "GET", "GET"],
    ),
    (
        "a reset in the body",
        {"manifest HEAD": NO_DIGEST, "manifest GET": sent_as(wire.reset_in_body)},
        down("the connection broke in the middle of the answer"),
        ["HEAD", "GET", "GET"],
    ),
    ("silence", {"manifest": sent_as(wire.silence)}, failed(*LATE), ["HEAD"]),
    (
        "silence in the body",
        {"manifest HEAD": NO_DIGEST, "manifest GET": sent_as(wire.silence_in_body)},
        failed(*LATE),
        ["HEAD", "GET"],
    ),
    (
        "a loop",
        {"manifest": redirected(lambda asked: asked.target)},
        bad("it redirects more than 3 times"),
        ["HEAD"] * 4,
    ),
    (
        "metadata",
        {"manifest": redirected("http://169.254.169.254/latest/meta-data/")},
        failed(
            Reason.HOST_NOT_LISTED,
            "it redirects to 169.254.169.254, which is never contacted",
        ),
        ["HEAD"],
    ),
]


@pytest.mark.parametrize(("faults", "expected", "said"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_what_is_broken_is_told_without_a_word_of_the_upstreams(
    faults: Faults, expected: tuple[Reason, str, float | None], said: list[str]
) -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        fake.push()
        fake.faults.update(faults)
        found = await asked.digest(seconds=0.4 if expected[0] is Reason.OUT_OF_TIME else 5)
        reason, detail, retry_after = expected
        assert found == Failed(reason, f"{fake.host}/{PATH}", detail, retry_after)
        assert not any(word in repr(found) for word in SECRETS)
        assert asked.said() == said
        assert fake.most_taken <= MANIFEST_BODY + SOCKET_BUFFERS


ABSENT: list[tuple[str, Faults, bool, list[str]]] = [
    ("404", {"manifest": with_status(404)}, False, ["HEAD"]),
    ("404 for the body", {"manifest HEAD": NO_DIGEST, "manifest GET": with_status(404)}, False, ["HEAD", "GET"]),
    ("403", {"manifest": with_status(403)}, True, ["HEAD"]),
    ("401 that does not say how", {"manifest": with_status(401)}, True, ["HEAD", "GET ping"]),
    (
        "401 for ever, anonymous",
        {"manifest": with_status(401, ("WWW-Authenticate", "Basic"))},
        True,
        ["HEAD"],
    ),
    (
        "a login that is not ours",
        {"manifest": with_status(401, ("WWW-Authenticate", "Negotiate"))},
        True,
        ["HEAD", "GET ping"],
    ),
]


@pytest.mark.parametrize(("faults", "denied", "said"), [row[1:] for row in ABSENT], ids=[row[0] for row in ABSENT])
async def test_what_is_not_there_or_not_for_us_is_absent(faults: Faults, denied: bool, said: list[str]) -> None:
    async with fake_registry() as fake, asking(fake) as asked:
        fake.push()
        fake.faults.update(faults)
        assert await asked.digest() == Absent(fake.host, f"{fake.host}/{PATH}:stable", denied)
        assert asked.said() == said


LACKING = Credential("ecr", principal="eu-west-1", lacks="no ecr login: AWS cannot be reached")


async def test_a_login_that_is_missing_is_told_unless_another_one_is_accepted() -> None:
    async with fake_registry() as fake, asking(fake) as here:
        fake.push()
        fake.login = "basic"
        for others in ((), (ANONYMOUS,), (WRONG,), (WRONG, ANONYMOUS)):
            answer = await here.digest(LACKING, *others)
            assert answer == Failed(Reason.NO_LOGIN, f"{fake.host}/{PATH}", "no ecr login: AWS cannot be reached")
        assert isinstance(await here.digest(LACKING, READER), Known)
        fake.login = ""
        assert isinstance(await here.digest(LACKING, ANONYMOUS), Known)
        # Not found by somebody who may not look is no answer.
        assert isinstance(await here.digest(LACKING, ANONYMOUS, tag="none"), Failed)
        assert isinstance(await here.digest(READER, ANONYMOUS, tag="none"), Absent)
