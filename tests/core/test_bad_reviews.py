"""Reviews as nobody should send them: answered with 400, left as they are with a reason, or patched where images stand
and nowhere else. Nothing else may come of them, whatever stands in them."""

import copy
import json
import random
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.revisions import replica_set
from tests.core.test_admission import TAG, answer, patched, review
from tests.core.world import D, pod
from tests.support.examples import many
from webhook.core.admission import MAX_SLOTS, BadReview, decode, seconds_allowed
from webhook.core.annotation import IMAGES
from webhook.core.reference import parsed

WHOLE = '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"0b4a","namespace":"default","operation":"CREATE","resource":{"resource":"pods"},"object":%s}}'
INNER = (
    WHOLE
    % '{"metadata":{},"spec":{"strange":%s,"containers":[{"name":"c0","image":"registry.example.com/team/app:stable"}]}}'
)
"""A review whose Pod has a field that nobody reads."""

# What RFC 8259 leaves open, and what it forbids.
REFUSED: list[tuple[str, bytes]] = [
    ("NaN", (INNER % "NaN").encode()),
    ("Infinity", (INNER % "-Infinity").encode()),
    ("half of a pair of surrogates", (INNER % '"\\ud800"').encode()),
    ("an escape that is none", (INNER % '"\\q"').encode()),
    ("a byte order mark", b"\xef\xbb\xbf" + (INNER % "1").encode()),
    ("UTF-16", (INNER % "1").encode("utf-16")),
    ("text behind the end", (INNER % "1").encode() + b"x"),
    ("two documents", (INNER % "1").encode() * 2),
    ("nesting without end", (INNER % ("[" * 100_000)).encode()),
    ("deep nesting", (INNER % ("[" * 100_000 + "]" * 100_000)).encode()),
    ("a comma too many", (INNER % "[1,]").encode()),
    ("a comment", (INNER % "1 /* */").encode()),
    ("the request is a list", b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":[{"uid":"a"}]}'),
    ("the uid is half of a pair", (WHOLE % "{}").replace("0b4a", "\\udfff").encode()),
]


@pytest.mark.parametrize("body", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadReview):
        decode(body)


PATCHED: list[tuple[str, bytes]] = [
    ("a number of 5,000 digits", (INNER % ("9" * 5000)).encode()),
    ("a number beyond all floats", (INNER % "1e99999").encode()),
    ("a key twice", (INNER % "1").replace('"strange":1', '"strange":1,"strange":2').encode()),
    ("no letter but NUL", (INNER % '"\\u0000"').encode()),
    ("letters of every plane", (INNER % '"\\ud83d\\ude00 \\u00e9 \\u202e"').encode()),
    ("bytes that are no UTF-8 where nobody looks", (INNER % '"XX"').encode().replace(b"XX", b"\xff\xfe")),
]


@pytest.mark.parametrize("body", [row[1] for row in PATCHED], ids=[row[0] for row in PATCHED])
def test_what_is_strange_where_nobody_looks_does_not_matter(body: bytes) -> None:
    assert "patch" in answer(body)


def _revision() -> bytes:
    """A ReplicaSet as it is created."""
    whole = WHOLE.replace('{"resource":"pods"}', '{"group":"apps","version":"v1","resource":"replicasets"}')
    return (whole % json.dumps(replica_set())).encode()


def _update() -> bytes:
    """A Pod whose container had another name before."""
    whole = WHOLE.replace("CREATE", "UPDATE").replace('"object"', '"oldObject":%s,"object"')
    return (whole % (json.dumps(pod(TAG)).replace("c0", "NAME"), json.dumps(pod(TAG)))).encode()


LEFT: list[tuple[str, bytes]] = [
    ("bytes that are no UTF-8 in a name", (INNER % "1").encode().replace(b"c0", b"\xff\xfe")),
    ("bytes that are no UTF-8 in a template", _revision().replace(b"stable", b"\xff\xfe")),
    ("bytes that are no UTF-8 in what there was before", _update().replace(b"NAME", b"\xff\xfe")),
    ("the namespace is a number", (WHOLE % "{}").replace('"default"', "7").encode()),
    ("the operation is a number", (WHOLE % "{}").replace('"CREATE"', "7").encode()),
    ("the resource is a text", (WHOLE % "{}").replace('{"resource":"pods"}', '"pods"').encode()),
    ("the object is a list", (WHOLE % "[]").encode()),
    ("a thousand containers", review(pod(*[TAG] * 1000))),
    ("one image too many", review(pod(*[TAG] * (MAX_SLOTS + 1)))),
    ("a container's name without end", review({"metadata": {}, "spec": {"containers": [{"name": "n" * 5000, "image": TAG}]}})),
    ("a namespace without end", review(pod(TAG)).replace(b'"default"', b'"%b"' % (b"n" * 5000))),
]  # fmt: skip


@pytest.mark.parametrize("body", [row[1] for row in LEFT], ids=[row[0] for row in LEFT])
def test_what_cannot_be_meant_is_left_as_it_is_with_a_reason(body: bytes) -> None:
    response = answer(body)
    assert (response["allowed"], "patch" in response) == (True, False)
    (warning,) = response["warnings"]
    assert warning.startswith("moorage: left as it is: ")
    assert len(warning) <= 120


def test_of_two_equal_keys_the_last_one_counts_as_it_does_for_the_api_server() -> None:
    body = (INNER % "1").replace('"image":"', '"image":"docker.io/library/nginx:1","image":"').encode()
    document = json.loads(body)["request"]["object"]
    assert patched(document, answer(body))["spec"]["containers"] == [
        {"name": "c0", "image": f"localhost:30081/team/app@{D}"}
    ]


# Mutations

RICH: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "generateName": "web-7d9c5b8f6-",
        "namespace": "default",
        "labels": {"app": "web", "pod-template-hash": "7d9c5b8f6"},
        "annotations": {"a": "b"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7d9c5b8f6", "uid": "u", "controller": True}],
        "managedFields": [{"manager": "kcm", "fieldsV1": {"f:spec": {"f:containers": {}}}}],
    },
    "spec": {
        "serviceAccountName": "default",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [
            {"name": "app", "image": TAG, "env": [{"name": "A", "value": "1"}]},
            {"name": "side", "image": f"registry.example.com/side@{D}"},
        ],
        "initContainers": [{"name": "init", "image": "nginx"}],
        "ephemeralContainers": [{"name": "debug", "image": f"localhost:30081/team/app@{D}"}],
        "volumes": [{"name": "model", "image": {"reference": TAG}}, {"name": "tmp", "emptyDir": {}}],
    },
}

STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        [[], {}, [[]], [None], {"image": None}, {"name": 7}, "x" * 5000, TAG, "auto", "", -0.0, [{}] * 300]
    ),
)


def places(value: Any, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document, from the outside in."""
    found = [way] if way else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        found += places(child, (*way, key))
    return found


def put(document: Any, way: tuple[str | int, ...], value: Any) -> None:
    for key in way[:-1]:
        document = document[key]
    document[way[-1]] = value


def take(document: Any, way: tuple[str | int, ...]) -> None:
    for key in way[:-1]:
        document = document[key]
    del document[way[-1]]


REVIEW: dict[str, Any] = json.loads(review(RICH))
PLACES = places(REVIEW)


def bare(document: dict[str, Any]) -> dict[str, Any]:
    """A Pod without what may be patched: the values of images, and our annotation."""
    rest = copy.deepcopy(document)
    metadata = rest.get("metadata")
    if isinstance(metadata, dict):
        metadata["annotations"] = {
            key: value for key, value in (metadata.get("annotations") or {}).items() if key != IMAGES
        }
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for item in rest["spec"].get(field) or ():
            item.pop("image", None)
    for volume in rest["spec"].get("volumes") or ():
        (volume.get("image") or {}).pop("reference", None)
    return rest


@given(st.lists(st.tuples(st.sampled_from(PLACES), STRANGE, st.booleans()), min_size=1, max_size=3))
@many(150)
def test_a_review_that_was_changed_anywhere_is_patched_at_images_and_our_annotation_only(
    changes: list[tuple[tuple[str | int, ...], Any, bool]],
) -> None:
    changed = copy.deepcopy(REVIEW)
    for way, value, is_gone in changes:
        try:
            if is_gone:
                take(changed, way)
            else:
                put(changed, way, copy.deepcopy(value))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    body = json.dumps(changed).encode()
    try:
        response = whole_answer(body)
    except BadReview:
        return
    assert response["uid"] == changed["request"]["uid"]
    if "patch" in response:
        document = changed["request"]["object"]
        result = patched(copy.deepcopy(document), response)
        assert bare(result) == bare(document)


def whole_answer(body: bytes) -> dict[str, Any]:
    """As `answer`, for reviews of any uid."""
    uid = decode(body).uid
    response = answer(body.replace(json.dumps(uid).encode(), b'"0b4a"')) if uid != "0b4a" else answer(body)
    return {**response, "uid": uid}


@given(st.integers(0, 2**32), st.sampled_from(["cut", "flip", "insert", "double"]))
@many(150)
def test_bytes_that_were_damaged_on_the_way_are_refused_or_answered(seed: int, damage: str) -> None:
    chance = random.Random(seed)
    body = bytearray(review(RICH))
    at = chance.randrange(len(body))
    if damage == "cut":
        del body[at:]
    elif damage == "flip":
        body[at] ^= 1 << chance.randrange(8)
    elif damage == "insert":
        body[at:at] = chance.randbytes(4)
    else:
        body[at:at] = body[at : at + 40]
    try:
        read = decode(bytes(body))
    except BadReview:
        return
    if read.subject is not None and read.uid == "0b4a":
        answer(bytes(body))


@pytest.mark.parametrize("length", [8, 24, 32])
@pytest.mark.parametrize("text", ["1" * 32, "1." * 16, "1s" * 16, "1m1" * 11, "." * 32])
def test_no_timeout_takes_long_to_read(text: str, length: int) -> None:
    # (a+)+ over 24 digits took seconds, over 32 it would not have ended.
    for end in ("x", "", "s!"):
        assert 0.1 <= seconds_allowed(f"timeout={text[:length]}{end}", 4.0) <= 4.0


# Memory


def most_held(work: Callable[[bytes], object], bodies: Sequence[bytes]) -> int:
    """The most bytes that are held at once while all of them are worked on."""
    tracemalloc.start()
    try:
        for body in bodies:
            work(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def labelled(number: int) -> bytes:
    labels = {f"{index:x}-{number}": "" for index in range(1800)}
    return review({"metadata": {"name": str(number), "labels": labels}, "spec": {"containers": [{"image": "a"}]}})


def with_container(name: str, image: str) -> bytes:
    return review({"metadata": {}, "spec": {"containers": [{"name": name, "image": image}]}})


def test_a_flood_of_reviews_that_all_differ_does_not_fill_memory() -> None:
    assert most_held(decode, [labelled(number) for number in range(300)]) < 60_000_000


@pytest.mark.parametrize("length", [25_000, 1_000_000])
def test_images_that_are_too_long_to_be_names_are_not_kept(length: int) -> None:
    count = 12_000_000 // length
    assert most_held(answer, [with_container("c", "x" * length + f"{number}") for number in range(count)]) < 10_000_000


@pytest.mark.parametrize("length", [25_000, 1_000_000])
def test_names_of_containers_that_are_too_long_are_not_kept(length: int) -> None:
    count = 12_000_000 // length
    assert most_held(answer, [with_container("x" * length + f"{number}", TAG) for number in range(count)]) < 10_000_000


def test_a_reference_without_end_is_not_kept() -> None:
    texts = [f"registry.example.com/{number}" + "x" * 100_000 for number in range(100)]
    assert most_held(lambda text: parsed(text.decode()), [text.encode() for text in texts]) < 1_000_000
