"""What a token says of itself, and what is no token."""

import jwt as issuer
import pytest

from webhook.core.jwt import claims, life

NOW = 1_800_000_000.0


def token(**said: object) -> str:
    return issuer.encode(said, "k" * 32, algorithm="HS256")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"iat": NOW - 500, "exp": NOW + 9500}, 10_000.0),  # the issuer's clock alone counts
        ({"nbf": NOW, "exp": NOW + 60}, 60.0),
        ({"exp": NOW + 60}, 60.0),
        ({"exp": NOW - 60}, 0.0),
        ({"iat": NOW}, None),
    ],
)
def test_how_long_it_lives(said: dict[str, object], seconds: float | None) -> None:
    assert life(token(**said), NOW) == seconds


def test_who_issued_it() -> None:
    assert claims(token(tid="tenant"))["tid"] == "tenant"


@pytest.mark.parametrize(
    "text",
    ["", "a.b", "a.b.c", "a.bnVsbA.c", "a.WzFd.c", "a.eyJleHAiOnRydWV9.c", "a.eyJleHAiOiJ4In0.c", "." * 9, "é.é.é"],
)
def test_what_is_no_token_says_nothing(text: str) -> None:
    assert life(text, NOW) is None
