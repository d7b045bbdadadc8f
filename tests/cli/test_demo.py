"""The demo is the product's shortest proof: a real server, a real registry on loopback, three Pods."""

import pytest

from webhook.cli.main import run


def test_the_demo_pins_follows_the_tag_and_survives_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2] for line in lines[1:]] == ["fresh", "fresh", "stale"]
    assert all("localhost:30081/team/app@sha256:" in line for line in lines[1:])
