"""Pins: written, read and judged. Where annotations are copied to was seen on the controllers of Kubernetes 1.36."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.world import NOON, SEALER, D, E
from webhook.core.pins import MAX_ANNOTATIONS, NEAR, PREFIX, Judged, fits, judge, needs_seal, written
from webhook.core.reason import Reason
from webhook.core.revision import Revision
from webhook.core.seal import Sealer
from webhook.core.secret import Secret

NAME = "registry.example.com/team/app:stable"
OTHER = "registry.example.com/team/side:1"
HASH = "5d4f8c7b9"
AT_BIRTH = Revision("ReplicaSet", "shop", f"web-{HASH}", HASH, created=NOON)
FOREIGN = Sealer((Secret("f" * 32),))


def revision(**change: Any) -> Revision:
    return msgspec.structs.replace(AT_BIRTH, uid="uid-1", **change)


def with_pins(*pins: tuple[str, str], **change: Any) -> Revision:
    return revision(annotations=dict(pins), **change)


def pin(
    digest: str = D, *, at: int = NOON, of: Revision = AT_BIRTH, by: Sealer = SEALER, uid: str = ""
) -> tuple[str, str]:
    return written({NAME: digest}, of, by, at, uid=uid)


def held(found: Revision, sealer: Sealer = SEALER) -> dict[str, tuple[str, bool]]:
    """Digest and whether it is under our seal, by image."""
    return {name: (one.digest, one.sealed) for name, one in judge(found, sealer).images.items()}


def test_a_pin_is_one_annotation_that_people_can_read() -> None:
    key, value = pin()
    assert key == f"pins.moorage.dev/{HASH}.{NOON}"
    assert json.loads(value) == {"images": {NAME: D}, "seal": json.loads(value)["seal"]}
    assert len(json.loads(value)["seal"]) == 32


def moved(one: tuple[str, str], key: str, before: str = "", after: str = "") -> tuple[str, str]:
    """A pin under another key, with a word of its value changed: what an author can do with one that he has seen."""
    return f"{PREFIX}{key}", one[1].replace(before, after) if before else one[1]


HOLDS = [
    ("written at creation", with_pins(pin()), (D, True)),
    ("creation is stamped in whole seconds", with_pins(pin(at=NOON + 999)), (D, True)),
    ("clocks differ by a minute", with_pins(pin(at=NOON - NEAR)), (D, True)),
    ("written later, for this very object", with_pins(pin(at=NOON + 10 * NEAR, uid="uid-1")), (D, True)),
    ("the newest wins", with_pins(pin(E, at=NOON + 5), pin(D, at=NOON + 7)), (D, True)),
    (
        "a newer one with a uid wins over that of the creation (repinned, onReuse: fresh)",
        with_pins(pin(E), pin(D, at=NOON + 10 * NEAR, uid="uid-1")),
        (D, True),
    ),
    ("without our seal a hint", with_pins(pin(by=FOREIGN)), (D, False)),
    ("a newer hint does not outdo a seal", with_pins(pin(D), pin(E, at=NOON + 5, by=FOREIGN)), (D, True)),
    (
        "the seal of another namespace is none",
        with_pins(pin(of=revision(namespace="other"))),
        (D, False),
    ),
    (
        "the seal of another kind is none",
        with_pins(pin(of=revision(kind="ControllerRevision"))),
        (D, False),
    ),
    (
        "the seal of another revision's pin is none",
        with_pins(moved(pin(of=revision(hash="7c9d")), f"{HASH}.{NOON}")),
        (D, False),
    ),
    ("the seal of another time is none", with_pins(moved(pin(), f"{HASH}.{NOON + 1}")), (D, False)),
    (
        "the seal of another object's pin is none",
        with_pins(moved(pin(uid="uid-0"), f"{HASH}.{NOON}", "uid-0", "uid-1")),
        (D, False),
    ),
    ("the seal of another digest is none", with_pins(moved(pin(), f"{HASH}.{NOON}", D, E)), (E, False)),
]


@pytest.mark.parametrize(("found", "expected"), [row[1:] for row in HOLDS], ids=[row[0] for row in HOLDS])
def test_holds(found: Revision, expected: tuple[str, bool]) -> None:
    assert held(found)[NAME] == expected


IGNORED = [
    (
        "a copy, seen after undo: its time is another's",
        pin(at=NOON - NEAR - 1),
        "it was not made for this object: a copy",
    ),
    ("a copy with the uid of another", pin(uid="uid-0"), "it was not made for this object: a copy"),
    ("another revision's", pin(of=revision(hash="7c9d")), "it is another revision's"),
    ("no time", (f"{PREFIX}{HASH}", "{}"), "its key is no hash with a time"),
    ("a time that is none", (f"{PREFIX}{HASH}.soon", "{}"), "its key is no hash with a time"),
    ("not JSON", (f"{PREFIX}{HASH}.{NOON}", "{"), "it cannot be read"),
    ("a list", (f"{PREFIX}{HASH}.{NOON}", "[]"), "it cannot be read"),
    ("nested", (f"{PREFIX}{HASH}.{NOON}", "[" * 100_000), "it cannot be read"),
    (
        "no digest",
        (f"{PREFIX}{HASH}.{NOON}", json.dumps({"images": {NAME: "latest"}})),
        "it holds something that is no digest",
    ),
    (
        "a shell's idea of a digest",
        (f"{PREFIX}{HASH}.{NOON}", json.dumps({"images": {NAME: D + "\n"}})),
        "it holds something that is no digest",
    ),
]


@pytest.mark.parametrize(("one", "why"), [row[1:] for row in IGNORED], ids=[row[0] for row in IGNORED])
def test_is_ignored_with_a_reason(one: tuple[str, str], why: str) -> None:
    judged = judge(with_pins(one), SEALER)
    assert judged == Judged({}, ((Reason.PIN_IGNORED, one[0].removeprefix(PREFIX), why),))


def test_of_many_that_are_ignored_few_are_told() -> None:
    copies = [pin(at=NOON - NEAR - number) for number in range(1, 40)]
    judged = judge(with_pins(*copies, pin()), SEALER)
    assert judged.images.keys() == {NAME}
    assert len(judged.ignored) == 3


def test_annotations_of_others_are_no_pins() -> None:
    assert judge(revision(annotations={"deployment.kubernetes.io/revision": "3", "x": "y" * 2000}), SEALER) == Judged(
        {}
    )


def test_what_one_pin_lacks_another_may_hold() -> None:
    both = with_pins(
        written({NAME: D}, AT_BIRTH, SEALER, NOON), written({OTHER: E}, AT_BIRTH, SEALER, NOON + 1, uid="uid-1")
    )
    assert held(both)[NAME] == (D, True)
    # The second was sealed for an object that had no uid yet: what is sealed is what stands there.
    assert held(both)[OTHER] == (E, True)


def test_old_keys_are_believed_until_they_are_gone_and_seals_are_renewed_before() -> None:
    old, new = Secret("k" * 32), Secret("n" * 32)
    found = with_pins(pin(by=Sealer((old,))))
    assert held(found, Sealer((new, old))) == {NAME: (D, True)}
    assert needs_seal(found, Sealer((new, old)))
    assert not needs_seal(found, Sealer((old, new)))
    assert not needs_seal(found, Sealer((new,)))
    renewed = with_pins(pin(by=Sealer((old,))), pin(at=NOON + 1, by=Sealer((new, old))))
    assert not needs_seal(renewed, Sealer((new, old)))


digests = st.sampled_from((D, E))
names = st.from_regex(r"[a-z]{1,8}\.example\.com/[a-z]{1,8}:[a-z0-9]{1,8}", fullmatch=True)
revisions = st.builds(
    Revision,
    st.sampled_from(("ReplicaSet", "ControllerRevision", "Job")),
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    st.just("name"),
    st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True),
    uid=st.just("uid-1"),
    created=st.just(NOON),
)


@given(revisions, st.dictionaries(names, digests, max_size=5), st.integers(-NEAR, NEAR))
def test_what_is_written_is_read_back(made: Revision, images: dict[str, str], late: int) -> None:
    key, value = written(images, made, SEALER, NOON + late)
    again = msgspec.structs.replace(made, annotations={key: value})
    assert held(again) == {name: (digest, True) for name, digest in images.items()}
    assert judge(again, SEALER).ignored == ()
    assert all(one.at == NOON + late for one in judge(again, SEALER).images.values())


@given(st.text(), st.text())
def test_nothing_in_an_annotation_is_a_surprise(key: str, value: str) -> None:
    judged = judge(revision(annotations={PREFIX + key: value, f"{PREFIX}{HASH}.{NOON}": value}), SEALER)
    assert not any(one.sealed for one in judged.images.values())


@pytest.mark.parametrize(("others", "expected"), [(MAX_ANNOTATIONS - 20, True), (MAX_ANNOTATIONS - 19, False)])
def test_annotations_have_a_limit(others: int, *, expected: bool) -> None:
    assert fits({"key": "x" * (others - 3)}, "k" * 10, "v" * 10) is expected


def test_what_is_replaced_makes_room() -> None:
    assert fits({"key": "x" * (MAX_ANNOTATIONS - 3)}, "key", "y" * (MAX_ANNOTATIONS - 3))
