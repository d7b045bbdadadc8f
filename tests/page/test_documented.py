"""docs/page.md, held against what it promises."""

import re
from pathlib import Path
from typing import Final

from tests.page.asking import paged
from webhook.page.application import MOST, SHAPES
from webhook.page.guard import MOST as LONGEST_ADDRESS
from webhook.page.recent import MOST as KEPT
from webhook.page.recent import WEIGHT
from webhook.page.rendering import NAVIGATION
from webhook.server import PAGE_CROWD

PAGE: Final = (Path(__file__).parents[2] / "docs" / "page.md").read_text()


def test_each_page_has_its_row_and_no_other_has() -> None:
    assert re.findall(r"^\| `(/\S*)` \|", PAGE, re.MULTILINE) == [path for path, _ in NAVIGATION]


def test_each_answer_of_the_api_is_named() -> None:
    (line,) = re.findall(r"^The same as JSON: ([^.]*)\.", PAGE, re.MULTILINE)
    assert re.findall(r"`([^`]+)`", line) == [f"/api/{name}" for name, _, _ in SHAPES]


def test_bounds_are_those_of_the_code() -> None:
    for promise in (
        f"The last {KEPT:,} reviews",
        f"no more than {WEIGHT // 1024**2} MiB",
        f"{LONGEST_ADDRESS:,} bytes long",
        f"{MOST} reviews at most",
        f"{PAGE_CROWD}\nconnections",
    ):
        assert promise in PAGE


async def test_the_request_that_it_shows_is_answered(tmp_path: Path) -> None:
    (url,) = re.findall(r"curl --silent 'http://localhost:8081([^']+)'", PAGE)
    async with paged(tmp_path) as shown:
        answer = await shown.get(url)
        assert (answer.status, answer.data["reviews"]) == (200, [])
