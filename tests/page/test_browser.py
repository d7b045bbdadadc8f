"""The page in a real browser, as people have it: narrow and wide, light and dark, by keyboard, and for those who do not see."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from tests.page.asking import Paged, paged
from tests.page.test_page import PAGES, STRANGE
from tests.parts import MissingPart
from tests.support.faults import with_status

pytestmark = pytest.mark.parts

NARROW: Final = 360
WIDE: Final = 1280
LOOKS: Final = ((NARROW, "light"), (NARROW, "dark"), (WIDE, "light"), (WIDE, "dark"))
SEARCHED: Final = {(NARROW, "light"), (WIDE, "dark")}
"""Where axe looks, too: each width and each scheme once, as it takes a second."""


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Debian's own; `make packages` installs it."""
    program = shutil.which("chromium")
    if program is None:
        raise MissingPart("chromium", "packages")
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=program)
        try:
            yield made
        finally:
            await made.close()


class Eyes:
    """One window onto the page. What it complains of, and what it asks for elsewhere, is kept."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("request", self._asked)

    def _failed(self, request: Any) -> None:
        # A page that is left takes no more of its icon.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url}: {request.failure}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(f"{self.url}/"):
            self.elsewhere.append(request.url)

    async def open(self, path: str) -> None:
        answer = await self.page.goto(f"{self.url}{path}")
        assert answer is not None
        assert answer.status == 200

    async def problems(self) -> list[str]:
        """What axe-core finds fault with: names, roles, contrast, headings, labels, the order of the keyboard."""
        found = await Axe().run(self.page)
        return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html']}" for one in found.response["violations"]]

    async def overhang(self) -> int:
        """Pixels by which something is wider than the window."""
        wide: int = await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return wide


@asynccontextmanager
async def looking(shown: Paged, using: Browser, *, width: int = WIDE, scheme: Any = "light") -> AsyncIterator[Eyes]:
    context = await using.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    try:
        eyes = Eyes(await context.new_page(), shown.url)
        yield eyes
        assert eyes.complaints == []
        assert eyes.elsewhere == []
    finally:
        await context.close()


async def fill(shown: Paged) -> None:
    """Reviews of each kind, and a registry that is left alone."""
    await shown.server.ask(shown.image, "envoyproxy/envoy:v1.36", namespace="shop")
    for text in STRANGE:
        await shown.server.ask(text, "x" * 400, namespace="n" * 63)
    shown.registry.faults["manifest"] = with_status(429, ("Retry-After", "60"))
    await shown.server.ask(f"{shown.registry.host}/{'long-path/' * 12}app:stable")


# A browser loads 26 pages, and axe looks through 14 of them.
async def test_each_page_is_readable_in_any_look_and_has_no_faults(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown, browser() as using:
        async with looking(shown, using) as eyes:
            for path in ("/", "/decisions"):
                await eyes.open(path)
                assert await eyes.problems() == [], f"{path}, empty"
        await fill(shown)
        grounds = set()
        for width, scheme in LOOKS:
            async with looking(shown, using, width=width, scheme=scheme) as eyes:
                for path in PAGES:
                    await eyes.open(path)
                    for summary in await eyes.page.query_selector_all("summary"):
                        await summary.click()
                    if (width, scheme) in SEARCHED:
                        assert await eyes.problems() == [], f"{path} {width} {scheme}"
                    assert await eyes.overhang() == 0, f"{path} {width} {scheme}"
                ground = await eyes.page.evaluate("getComputedStyle(document.body).backgroundColor")
                grounds.add((scheme, ground))
        assert len(grounds) == 2


async def test_all_of_it_is_reached_by_keyboard(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown, browser() as using, looking(shown, using) as eyes:
        await shown.server.ask(shown.image, namespace="shop")
        await shown.server.ask("nginx", namespace="bank")
        await eyes.open("/decisions")
        page = eyes.page
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await page.get_by_label("Namespace").focus()
        await page.keyboard.type("shop")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**namespace=shop**")
        assert await page.locator("ol.reviews > li").count() == 1
        assert await page.get_by_label("Namespace").input_value() == "shop"
        trace = page.get_by_text("target localhost:30081 taken")
        assert not await trace.is_visible()
        await page.locator("summary").focus()
        await page.keyboard.press("Enter")
        assert await trace.is_visible()


async def test_what_strangers_wrote_does_nothing_in_a_browser(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown, browser() as using, looking(shown, using) as eyes:
        dialogs: list[str] = []
        eyes.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        await fill(shown)
        await eyes.open("/decisions")
        assert await eyes.page.get_by_text(STRANGE[0], exact=True).first.is_visible()
        assert await eyes.page.locator("main script, main img").count() == 0
        assert dialogs == []


async def test_a_page_of_another_site_cannot_show_it_in_a_frame(tmp_path: Path) -> None:
    async with paged(tmp_path) as shown, browser() as using:
        context = await using.new_context()
        page = await context.new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        await page.set_content(f'<iframe src="{shown.url}/"></iframe>', wait_until="networkidle")
        assert [one for one in refused if "frame-ancestors" in one]
        assert await page.frames[-1].get_by_role("heading", name="Status").count() == 0
        await context.close()
