"""Secrets cannot print, and seals cannot be guessed."""

import copy
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.canary import marked
from webhook.core.credential import ANONYMOUS, Credential, candidates
from webhook.core.seal import Sealer
from webhook.core.secret import Secret

CANARY = marked("hunter2-canary")
CREDENTIAL = Credential("file", "robot", Secret(CANARY), Secret(CANARY + "t"))


def test_no_way_of_printing_shows_a_secret() -> None:
    secret = Secret(CANARY)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret}",
        repr(CREDENTIAL),
        str([CREDENTIAL]),
        f"{CREDENTIAL!r}",
    ]
    assert not any(CANARY in text for text in shown)


def test_no_way_of_writing_it_down_takes_a_secret() -> None:
    for attempt in (
        lambda: msgspec.json.encode(CREDENTIAL),
        lambda: pickle.dumps(Secret(CANARY)),
        lambda: copy.copy(Secret(CANARY)),
    ):
        with pytest.raises(TypeError):
            attempt()


def test_it_can_be_compared_and_revealed_on_purpose() -> None:
    assert Secret("a") == Secret("a") == "a"
    assert Secret("a") != Secret("b")
    assert Secret(CANARY).reveal() == CANARY
    assert not Secret("")


def test_a_fingerprint_tells_credentials_apart_and_hides_them() -> None:
    key = b"k" * 32
    one = candidates([CREDENTIAL, ANONYMOUS], key).fingerprint
    assert one == candidates([CREDENTIAL, ANONYMOUS], key).fingerprint
    others = [
        candidates([ANONYMOUS, CREDENTIAL], key),
        candidates([CREDENTIAL], key),
        candidates([CREDENTIAL, ANONYMOUS], b"x" * 32),
        candidates([Credential("file", "robot" + CANARY, Secret(""))], key),
        candidates([], key),
    ]
    assert one not in {other.fingerprint for other in others}


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=4), st.lists(st.binary(max_size=6), min_size=1, max_size=4))
def test_a_seal_belongs_to_its_parts_and_their_borders(one: list[bytes], other: list[bytes]) -> None:
    sealer = Sealer((Secret("k" * 32),))
    assert sealer.believes(sealer.seal(*one), *other) is (one == other)


def test_an_old_key_is_believed_while_the_new_one_signs() -> None:
    old, new = Secret("o" * 32), Secret("n" * 32)
    sealed = Sealer((old,)).seal(b"a")
    assert Sealer((new, old)).believes(sealed, b"a")
    assert not Sealer((new,)).believes(sealed, b"a")
    assert Sealer((new,)).believes(Sealer((new, old)).seal(b"a"), b"a")


@pytest.mark.parametrize("seal", ["", "0", "ü" * 32, "0" * 32])
def test_nonsense_is_no_seal(seal: str) -> None:
    assert not Sealer((Secret("k" * 32),)).believes(seal, b"a")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer((Secret("short"),))
