"""Under which names the page answers."""

import pytest

from webhook.page.names import Names

GOOD = [
    "localhost",
    "localhost:9000",
    "LocalHost.",
    "127.0.0.1:8081",
    "127.8.9.10",
    "[::1]",
    "[::1]:8081",
    "10.0.0.7:8081",
    "moorage.example.com",
    "MOORAGE.example.com.:80",
]
BAD = [
    "",
    ":8081",
    "evil.example",
    "evil.example:8081",
    "localhost.evil.example",
    "evil.localhost",
    "localhost:8081@evil.example",
    "localhost:x",
    "localhost:8081:8081",
    "user@localhost",
    "localhost/",
    "127.0.0.1.nip.io",
    "10.0.0.8",
    "0.0.0.0",
    "[::1",
    "[::1]8081",
    "[]",
    "2130706433",
    "more.moorage.example.com",
    "localhost, evil.example",
    " localhost",
]


@pytest.mark.parametrize("host", GOOD)
def test_names_that_it_answers_to(host: str) -> None:
    assert Names(["Moorage.example.com"]).have(host, "10.0.0.7")


@pytest.mark.parametrize("host", BAD)
def test_names_that_somebody_else_may_have_led_here(host: str) -> None:
    assert not Names(["Moorage.example.com"]).have(host, "10.0.0.7")
