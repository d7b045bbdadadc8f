"""How an image stands in a live rollout: pin, siblings, and what undo would do."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.core.revisions import BORN, HASH, NAME, controller_revision, job, replica_set, stored
from tests.core.world import NOON, PRIVATE, SEALER, D, E
from webhook.core.annotation import Entry
from webhook.core.annotation import written as images_written
from webhook.core.current import Kept, kept
from webhook.core.pins import Pinned, written
from webhook.core.reason import Reason
from webhook.core.revision import CONTROLLER_REVISION, REPLICA_SET, Revision
from webhook.core.seal import Sealer
from webhook.core.secret import Secret
from webhook.core.siblings import Sibling
from webhook.core.standing import Run, Standing, Undo, own_revision, runs_of, standing, undo
from webhook.core.subject import Audience, Owner, Subject

OTHER = "7f6d5c4b3"
FOREIGN = Sealer((Secret("f" * 32),))
OWNER = Owner("ReplicaSet", f"web-{HASH}", f"uid-{HASH}", HASH, "apps")


def rs(
    hash_: str,
    number: int,
    digest: str = "",
    *,
    image: str = NAME,
    by: Sealer = SEALER,
    more: Mapping[str, str] | None = None,
) -> Kept:
    """A ReplicaSet, pinned where a digest is given."""
    made = stored(replica_set(image))
    revision = Revision("ReplicaSet", "shop", f"web-{hash_}", hash_, f"uid-{hash_}", NOON)
    pins = dict([written({NAME: digest}, revision, by, NOON)]) if digest else {}
    made["metadata"] |= {
        "name": f"web-{hash_}",
        "uid": f"uid-{hash_}",
        "labels": {"pod-template-hash": hash_},
        "annotations": {"deployment.kubernetes.io/revision": str(number), **pins, **(more or {})},
    }
    return kept(REPLICA_SET, made)


def stands(*revisions: Kept, current: str = f"web-{HASH}", sealer: Sealer = SEALER) -> Standing:
    return standing(NAME, current, revisions, "shop", sealer)


def test_a_pin_stands_on_the_current_revision_since_a_moment() -> None:
    found = stands(rs(OTHER, 1, E), rs(HASH, 2, D))
    assert found.pinned == Pinned(D, True, NOON)
    assert found.revision is not None
    assert (found.revision.name, found.number, found.revision.created) == (f"web-{HASH}", 2, NOON)


def test_a_pin_under_another_key_is_not_sealed() -> None:
    assert stands(rs(HASH, 1, D, by=FOREIGN)).pinned == Pinned(D, False, NOON)


def test_pins_that_do_not_hold_are_told_with_their_reason() -> None:
    copied = {f"pins.moorage.dev/{OTHER}.{NOON}": "{}"}
    found = stands(rs(HASH, 1, D, more=copied))
    assert found.judged.ignored == ((Reason.PIN_IGNORED, f"{OTHER}.{NOON}", "it is another revision's"),)


def test_where_no_revision_is_current_nothing_stands() -> None:
    found = stands(rs(HASH, 1, D), current="")
    assert (found.revision, found.pinned, found.before) == (None, None, None)


def test_a_job_stands_for_itself() -> None:
    made = stored(job())
    revision = Revision("Job", "shop", "nightly-29370", "job", "uid-1", NOON)
    made["metadata"]["annotations"] = dict([written({NAME: D}, revision, SEALER, NOON)])
    own = own_revision(made, "batch", "Job")
    assert standing(NAME, "nightly-29370", own, "shop", SEALER).pinned == Pinned(D, True, NOON)
    assert own_revision({}, "apps", "Deployment") == ()


def test_a_controller_revision_is_read_with_its_template() -> None:
    def cr(hash_: str, number: int) -> Kept:
        made = stored(controller_revision())
        made["metadata"]["name"] = f"db-{hash_}"
        return kept(CONTROLLER_REVISION, {**made, "revision": number})

    found = standing(NAME, f"db-{HASH}", [cr(HASH, 2), cr(OTHER, 1)], "shop", SEALER)
    assert found.before is not None
    assert (found.before.name, found.names_it) == (f"db-{OTHER}", True)


def sibling(name: str, digest: str, *, born: int, by: Sealer = SEALER) -> Sibling:
    subject = Subject("Pod", "shop", name, "web", Audience("shop"), (), owner=OWNER)
    text = images_written({"containers/app": Entry(NAME, digest, source="pin")}, subject, by, NOON)
    return Sibling(name, born, {"moorage.dev/images": text})


def test_siblings_are_told_from_the_oldest_on() -> None:
    every = [
        sibling("b", E, born=2),
        sibling("a", D, born=1),
        Sibling("c", 0, {}),
        sibling("f", D, born=3, by=FOREIGN),
    ]
    assert runs_of(NAME, every, OWNER, "shop", SEALER) == (
        Run("a", Pinned(D, True, NOON)),
        Run("b", Pinned(E, True, NOON)),
        Run("f", Pinned(D, False, NOON)),
    )


FRESH: dict[str, Any] = {"on_reuse": "fresh"}
SHOWN = f"ReplicaSet web-{OTHER}"
NO_PIN = "it has no pin of ours, and gets none: its Pods decide, else the registry"
KEEPS = "it keeps its pin"
MOVED = f"{KEEPS}; the tag names another, which is warned about"
BACK = [
    ("keeps its pin", rs(OTHER, 1, E), {}, E, Undo(SHOWN, E, KEEPS)),
    ("keeps it though the tag moved", rs(OTHER, 1, E), {}, D, Undo(SHOWN, E, MOVED)),
    ("keeps it while the tag is unknown", rs(OTHER, 1, E), {}, "", Undo(SHOWN, E, KEEPS)),
    ("fresh", rs(OTHER, 1, E), FRESH, D, Undo(SHOWN, D, "it is pinned to what the tag names then")),
    ("without a pin", rs(OTHER, 1), {}, D, Undo(SHOWN, "", NO_PIN)),
    ("with a forged pin", rs(OTHER, 1, E, by=FOREIGN), {}, D, Undo(SHOWN, "", NO_PIN)),
    (
        "another image",
        rs(OTHER, 1, E, image="registry.example.com/team/app:old"),
        {},
        D,
        Undo(SHOWN, "", "its template names other images"),
    ),
]


@pytest.mark.parametrize(("before", "rule", "now", "expected"), [row[1:] for row in BACK], ids=[row[0] for row in BACK])
def test_undo_does_what_on_reuse_says(before: Kept, rule: dict[str, Any], now: str, expected: Undo) -> None:
    found = stands(before, rs(HASH, 2, D))
    chosen = msgspec.structs.replace(PRIVATE, **rule)
    assert undo(NAME, found, chosen, now, SEALER, knows_seals=True) == expected


def test_undo_goes_to_the_highest_number_below_the_current_one() -> None:
    found = stands(rs("a", 1, D), rs(HASH, 9, D), rs(OTHER, 7, E), rs("b", 5, D))
    undone = undo(NAME, found, PRIVATE, "", SEALER, knows_seals=True)
    assert undone is not None
    assert undone.revision == SHOWN


def test_without_an_earlier_revision_there_is_nothing_to_undo() -> None:
    assert undo(NAME, stands(rs(HASH, 1, D)), PRIVATE, D, SEALER, knows_seals=True) is None


def test_who_has_no_key_takes_a_pin_at_its_word() -> None:
    found = stands(rs(OTHER, 1, E, by=FOREIGN), rs(HASH, 2, D))
    undone = undo(NAME, found, PRIVATE, E, SEALER, knows_seals=False)
    assert undone == Undo(SHOWN, E, KEEPS)


def test_born_as_the_api_server_writes_it_is_noon() -> None:
    assert BORN == "2027-01-15T08:00:00Z"
    assert stands(rs(HASH, 1, D)).judged.images == {NAME: Pinned(D, True, NOON)}
