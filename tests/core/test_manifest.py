"""What an answer about a manifest proves: rows of what registries were seen to answer."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import D, E
from tests.support.canary import marked
from webhook.core.challenge import Response, Trouble
from webhook.core.manifest import (
    ACCEPT,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_PARTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Child,
    Contents,
    Platform,
    Proof,
    body_proof,
    contents_of,
    head_proof,
    platform_of,
)
from webhook.core.reason import Reason
from webhook.core.reference import is_digest

D512: Final = "sha512:" + "d" * 128
SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
CANARY: Final = marked("canary-of-the-upstream")
CONFIG: Final = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": D, "size": 7}
LAYER: Final = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": E, "size": 7}


def answer(media_type: str | None = OCI_INDEX, *digests: str, length: str | None = "7", body: bytes = b"") -> Response:
    headers: dict[str, tuple[str, ...]] = {"docker-content-digest": digests} if digests else {}
    if media_type is not None:
        headers["content-type"] = (media_type,)
    if length is not None:
        headers["content-length"] = (length,)
    return Response(200, headers, body)


@pytest.mark.parametrize(
    ("given", "wanted", "media_type"),
    [
        (answer(OCI_INDEX, D), None, OCI_INDEX),
        (answer(OCI_MANIFEST, D), None, OCI_MANIFEST),
        (answer(DOCKER_LIST, D), None, DOCKER_LIST),
        (answer(DOCKER_MANIFEST, D), None, DOCKER_MANIFEST),
        (answer(f"{OCI_INDEX}; charset=utf-8", D), None, OCI_INDEX),
        (answer(OCI_INDEX.upper(), D), None, OCI_INDEX),
        (answer(OCI_INDEX, D, D), None, OCI_INDEX),
        (answer(OCI_INDEX, D), D, OCI_INDEX),
        (answer(OCI_INDEX, D512), D512, OCI_INDEX),
    ],
    ids=["index", "manifest", "list", "docker", "parameters", "case", "twice the same", "asked for", "sha512"],
)
def test_a_head_may_be_enough(given: Response, wanted: str | None, media_type: str) -> None:
    (digest,) = set(given.headers["docker-content-digest"])
    assert head_proof(given, wanted) == Proof(digest, media_type)


@pytest.mark.parametrize(
    ("given", "wanted", "why"),
    [
        (answer(OCI_INDEX), None, "no digest: ECR (distribution#3792), Red Hat (regclient#363)"),
        (answer(OCI_INDEX, D, E), None, "two digests"),
        (answer(OCI_INDEX, f"{D}, {E}"), None, "two digests in a line"),
        (answer(OCI_INDEX, ""), None, "empty digest"),
        (answer(OCI_INDEX, "d" * 64), None, "no algorithm: kaniko#298"),
        (answer(OCI_INDEX, "md5:" + "d" * 32), None, "unknown algorithm"),
        (answer(OCI_INDEX, D.upper()), None, "upper case"),
        (answer(OCI_INDEX, D[:-1]), None, "too short"),
        (answer(OCI_INDEX, f'"{D}"'), None, "quoted, as an ETag is"),
        (answer(OCI_INDEX, f"{D}/../x"), None, "CVE-2024-3727"),
        (answer(OCI_INDEX, E), D, "another digest than asked for: distribution#2395"),
        (answer(OCI_INDEX, D512), D, "another algorithm than asked for"),
        (answer(OCI_INDEX, D512), None, "another algorithm than the usual one, to be verified"),
        (answer(OCI_INDEX, D, length=None), None, "no length: harbor#13793"),
        (answer(OCI_INDEX, D, length="0"), None, "length 0: wharf#11"),
        (answer(OCI_INDEX, D, length="00"), None, "length 0"),
        (answer(OCI_INDEX, D, length="-1"), None, "no length at all"),
        (answer(OCI_INDEX, D, length="seven"), None, "no length at all"),
        (answer(None, D), None, "no type"),
        (answer("", D), None, "empty type"),
        (answer("text/html", D), None, "a sign-in page"),
        (answer("text/plain", D), None, "a file server"),
        (answer(SCHEMA1, D), None, "schema 1"),
    ],
    ids=lambda value: value if isinstance(value, str) and not value.startswith("sha") else "",
)
def test_or_it_is_not(given: Response, wanted: str | None, why: str) -> None:
    assert head_proof(given, wanted) is None


def index(**more: Any) -> dict[str, Any]:
    children = [{"digest": D, "platform": {"os": "linux", "architecture": "amd64"}}, {"digest": E}]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, **more}


def image(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER], **more}


def without(document: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}


def served(document: Any, media_type: str | None = OCI_INDEX, *digests: str) -> Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return answer(media_type, *digests, length=str(len(body)), body=body)


def sha(algorithm: str, response: Response) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, response.body).hexdigest()}"


OLD_LIST: Final = index(mediaType=DOCKER_LIST)
GOOD: list[tuple[Response, str, str]] = [
    (served(index()), OCI_INDEX, "index"),
    (served(image(), OCI_MANIFEST), OCI_MANIFEST, "image"),
    (served(OLD_LIST, DOCKER_LIST), DOCKER_LIST, "docker list"),
    (served(image(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST), DOCKER_MANIFEST, "docker image"),
    (served(index(), f"{OCI_INDEX};charset=utf-8"), OCI_INDEX, "parameters of the type"),
    (served(without(index(), "mediaType")), OCI_INDEX, "no mediaType: OCI before 1.1 leaves it out"),
    (served(index(), None), OCI_INDEX, "no Content-Type"),
    (served(index(), "application/json"), OCI_INDEX, "a Content-Type that says nothing"),
    (served(index(), "application/octet-stream"), OCI_INDEX, "a file server"),
    (served(index(), "text/plain; charset=utf-8"), OCI_INDEX, "a file server"),
    (served(index(manifests=[])), OCI_INDEX, "an empty index"),
    (served(image(layers=[]), OCI_MANIFEST), OCI_MANIFEST, "an image without layers"),
    (served(image(layers=[LAYER] * 1000), OCI_MANIFEST), OCI_MANIFEST, "an artifact of a thousand files"),
    (served(index(config=None, layers=None)), OCI_INDEX, "null is nothing"),
    (served(index(annotations={CANARY: CANARY}, subject={"digest": D})), OCI_INDEX, "more keys"),
    (served(index(), OCI_INDEX, E), OCI_INDEX, "a header of another document: distribution#2395, ggcr#56"),
    (served(index(), OCI_INDEX, "d" * 64), OCI_INDEX, "a malformed header"),
    (served(index(), OCI_INDEX, D, E), OCI_INDEX, "two headers"),
    (served(index(), OCI_INDEX, D512), OCI_INDEX, "a header of another document, by another algorithm"),
    (served(json.dumps(index(), indent=3).encode() + b"\n"), OCI_INDEX, "the very bytes count"),
]


@pytest.mark.parametrize(("given", "media_type", "why"), GOOD, ids=[row[2] for row in GOOD])
def test_a_body_proves_its_own_hash(given: Response, media_type: str, why: str) -> None:
    assert body_proof(given, None) == Proof(sha("sha256", given), media_type)
    assert body_proof(given, sha("sha256", given)) == Proof(sha("sha256", given), media_type)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_by_the_algorithm_that_was_asked_for_or_that_the_registry_proves_to_use(algorithm: str) -> None:
    digest = sha(algorithm, served(index()))
    assert body_proof(served(index()), digest) == Proof(digest, OCI_INDEX)
    assert body_proof(served(index(), OCI_INDEX, digest), None) == Proof(digest, OCI_INDEX)


BAD: list[tuple[Response, str, str]] = [
    (served(index(manifests=[{}] * (MAX_PARTS + 1))), "more parts", "an index of endless children"),
    (served(image(layers=[{}] * (MAX_PARTS + 1)), OCI_MANIFEST), "more parts", "an image of endless layers"),
    (served(b"", OCI_INDEX), "no manifest", "empty"),
    (served(b"<html>" + CANARY.encode(), "text/html"), "no manifest", "a sign-in page with 200"),
    (served(b"<html>" + CANARY.encode(), OCI_INDEX), "no manifest", "the same with a good type"),
    (served(b"\xff\xfe\x00", OCI_INDEX), "no manifest", "bytes"),
    (served(b"[" * 100_000, OCI_INDEX), "no manifest", "deeply nested"),
    (served(b"null", OCI_INDEX), "no manifest", "null"),
    (served([], OCI_INDEX), "no manifest", "a list"),
    (served(index(manifests=CANARY)), "no manifest", "children of another type"),
    (served(index(manifests=[CANARY])), "no manifest", "a child of another type"),
    (served(index(manifests=[{"digest": 7}])), "no manifest", "a digest of another type"),
    (served(index(mediaType=7)), "no manifest", "a mediaType of another type"),
    (served({}), "schema 1", "an empty document"),
    (served({"errors": [{"code": CANARY}]}), "schema 1", "an error with 200"),
    (served(without(index(), "schemaVersion")), "schema 1", "no version"),
    (served({"schemaVersion": 1, "name": CANARY, "fsLayers": [], "history": []}, SCHEMA1), "schema 1", "schema 1"),
    (served({"schemaVersion": 1, "fsLayers": []}, OCI_MANIFEST), "schema 1", "schema 1 under another type"),
    (served(image(fsLayers=[]), OCI_MANIFEST), "schema 1", "both schemas"),
    (served(index(schemaVersion=3)), "schema 1", "a version to come"),
    (served(index(layers=[LAYER])), "both an index and an image", "CVE-2021-41190"),
    (served(index(config=CONFIG)), "both an index and an image", "CVE-2021-41190"),
    (served(image(manifests=[]), OCI_MANIFEST), "both an index and an image", "CVE-2021-41190"),
    (served(index(), OCI_MANIFEST), "contradict", "CVE-2021-41190"),
    (served(image(), OCI_INDEX), "contradict", "CVE-2021-41190"),
    (served(index(), DOCKER_LIST), "contradict", "index under the type of a list"),
    (served(index(), SCHEMA1), "contradict", "index under the type of schema 1"),
    (served(index(), "text/html"), "contradict", "index under the type of a page"),
    (served(index(mediaType=OCI_MANIFEST)), "contradict", "index that calls itself an image"),
    (served(index(mediaType=OCI_MANIFEST), OCI_MANIFEST), "another type", "index that calls itself an image"),
    (served(without(index(), "mediaType"), OCI_MANIFEST), "another type", "index under the type of an image"),
    (served(without(image(), "mediaType"), OCI_INDEX), "another type", "image under the type of an index"),
    (served(index(mediaType=CANARY), "application/json"), "another type", "a mediaType that nobody knows"),
    (served(without(index(), "mediaType"), "application/json"), "another type", "no type at all"),
    (served(without(index(), "mediaType"), None), "another type", "no type at all"),
    (served(without(index(), "manifests")), "another type", "an index without its list"),
    (served(without(image(), "config", "layers"), OCI_MANIFEST), "another type", "an image without anything"),
]


@pytest.mark.parametrize(("given", "words", "why"), BAD, ids=[f"{row[1]}: {row[2]}" for row in BAD])
def test_what_no_node_should_take_is_refused(given: Response, words: str, why: str) -> None:
    for refused in (body_proof(given, None), body_proof(given, sha("sha256", given)), contents_of(given)):
        assert isinstance(refused, Trouble)
        assert refused.reason is Reason.BAD_REGISTRY
        assert words in refused.detail
        assert CANARY not in refused.detail


@pytest.mark.parametrize("wanted", [D, D512, "sha384:" + "d" * 96])
def test_a_body_of_another_digest_than_asked_for_is_refused(wanted: str) -> None:
    expected = Trouble(Reason.BAD_REGISTRY, "it answers with a document of another digest")
    assert body_proof(served(index(), OCI_INDEX, wanted), wanted) == expected


@given(st.binary(), st.sampled_from([None, OCI_INDEX, OCI_MANIFEST, "text/html"]))
def test_whatever_is_served_reading_it_ends(body: bytes, media_type: str | None) -> None:
    assert isinstance(body_proof(served(body, media_type), None), Trouble | Proof)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([D, E, OCI_INDEX, OCI_MANIFEST]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["schemaVersion", "mediaType", "manifests", "config", "layers", "fsLayers", "subject"]),
    VALUES | st.just(2) | st.just([{"digest": D, "platform": {"os": "linux", "architecture": "arm64"}}]),
    max_size=7,
)


@given(
    DOCUMENTS, st.sampled_from([None, OCI_INDEX, OCI_MANIFEST, "application/json", SCHEMA1]), st.sampled_from([None, D])
)
def test_whatever_a_document_holds_what_it_proves_is_its_own_hash(
    document: dict[str, Any], media_type: str | None, wanted: str | None
) -> None:
    response = served(document, media_type, D)
    for told in (body_proof(response, wanted), contents_of(response)):
        if isinstance(told, Proof):
            assert told.digest == sha("sha256", response)
            assert "fsLayers" not in document or document["fsLayers"] is None
        elif isinstance(told, Contents):
            assert told.config == "" or is_digest(told.config)
            assert told.child_for("linux/arm64") in {"", D, E}
        else:
            assert told.reason is Reason.BAD_REGISTRY


def test_lists_children_or_the_configuration() -> None:
    amd64 = Platform("linux", "amd64")
    assert contents_of(served(index())) == Contents((Child(D, amd64), Child(E)))
    assert contents_of(served(image(), OCI_MANIFEST)) == Contents(config=D)


@pytest.mark.parametrize(
    ("listed", "asked", "is_there"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        # Docker's own images name the variant of arm64, buildx leaves it out; both are the same to containerd.
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/amd64/v1", "linux/amd64", True),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/amd64", "linux/amd64/v3", False),
        ("unknown/unknown", "linux/amd64", False),
    ],
)
def test_a_child_is_found_by_what_people_call_its_platform(listed: str, asked: str, is_there: bool) -> None:
    contents = Contents((Child(E), Child(D, Platform(*listed.split("/")))))
    assert contents.child_for(asked) == (D if is_there else "")


def test_a_child_whose_digest_is_none_is_not_there() -> None:
    assert Contents((Child("../etc/passwd", Platform("linux", "amd64")),)).child_for("linux/amd64") == ""


@pytest.mark.parametrize("digest", ["", "x", "../../etc/passwd", f"{D}/..", "sha256:" + "D" * 64])
def test_a_configuration_is_named_by_a_digest_or_not_at_all(digest: str) -> None:
    assert contents_of(served(image(config={"digest": digest}), OCI_MANIFEST)) == Contents()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"os": "linux", "architecture": "arm64", "variant": "v8", "config": {}}', "linux/arm64/v8"),
        (b'{"os": "linux", "architecture": "amd64"}', "linux/amd64"),
        (b"{}", ""),
    ],
)
def test_a_configuration_names_its_platform(body: bytes, expected: str) -> None:
    found = platform_of(body, sha("sha256", served(body)))
    assert isinstance(found, Platform)
    assert str(found) == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b'{"os": 7}', b"[" * 100_000])
def test_what_is_no_configuration_is_refused(body: bytes) -> None:
    assert platform_of(body, sha("sha256", served(body))) == Trouble(
        Reason.BAD_REGISTRY, "it answers with something that is no image configuration"
    )


def test_a_configuration_of_another_digest_is_refused() -> None:
    expected = Trouble(Reason.BAD_REGISTRY, "it answers with a configuration of another digest")
    assert platform_of(b'{"os": "linux"}', D) == expected


def test_all_types_are_accepted_in_one_line() -> None:
    assert ACCEPT.split(", ") == [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST]
