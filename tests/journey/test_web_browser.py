"""The web page in a real browser: from the overview to a CSV file, with nothing asked of anybody else, and without serious barriers.

With ``WEB_SCREENSHOTS`` set to a folder, the pictures of docs/web.md are made there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from web_site import HOSTILE, make_web_mirror, settings_of, site

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is missing: apt-get install chromium")

if CHROMIUM is not None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, Page, sync_playwright

#: Sizes of a screen and of a telephone.
SIZES = {1280: 900, 390: 844}
PAGES = (
    "/",
    "/entries?q=galactosidase",
    "/entry/10017",
    f"/entry/{HOSTILE}",
    "/entry/10017/files?folder=data/micrographs",
    "/file/1",
    "/subscriptions",
    "/charts",
    "/catalogue",
    "/catalogue/files",
    "/catalogue?sql=SELECT+*+FROM+entries",
    "/entry/4",
)


@dataclass
class Seen:
    """What a browser complained of, and whom it asked."""

    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on(
            "console",
            lambda message: (
                self.errors.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("browser") / "empiar"
    make_web_mirror(root)
    with site(settings_of(root, sql_time="60s")) as where:
        yield where


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # As root, as in containers, Chromium has no sandbox; it opens nothing but our own page.
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=120_000
        )
        try:
            yield running
        finally:
            running.close()


@pytest.fixture
def seen() -> Seen:
    return Seen()


def open_page(browser: Browser, seen: Seen, *, width: int = 1280, dark: bool = False) -> Page:
    page = browser.new_page(
        viewport={"width": width, "height": SIZES[width]},
        color_scheme="dark" if dark else "light",
        bypass_csp=False,
    )
    page.set_default_timeout(120_000)
    seen.watch(page)
    return page


def test_from_the_overview_to_a_csv_file(browser: Browser, address: str, seen: Seen, tmp_path: Path) -> None:
    page = open_page(browser, seen)
    page.goto(address)
    assert page.get_by_role("heading", name="At a glance").is_visible()
    page.get_by_label("Search entries").fill("galactosidase 10017")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="EMPIAR-10017").click()
    assert page.url == f"{address}/entry/10017"
    picture = page.locator(".gallery img").first
    picture.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.gallery img').naturalWidth === 160")
    picture.click()
    page.get_by_role("heading", name="a_arrived.mrc").wait_for()
    page.get_by_role("link", name="SQL", exact=True).click()
    page.get_by_label("SQL, one statement").fill("SELECT empiar_id, title FROM entries WHERE empiar_id = :id")
    page.get_by_role("button", name="Run").click()
    page.get_by_label("id", exact=True).fill("10017")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("link", name="10017").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    saved = tmp_path / "result.csv"
    download.value.save_as(saved)
    assert saved.read_text().split("\n")[1].startswith("10017,")
    page.close()
    assert not seen.errors
    assert [url for url in seen.asked if not url.startswith(f"{address}/")] == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_no_page_has_a_serious_barrier_or_is_wider_than_the_screen(
    browser: Browser, address: str, seen: Seen, width: int, dark: bool
) -> None:
    page = open_page(browser, seen, width=width, dark=dark)
    barriers = []
    for path in PAGES:
        page.goto(address + path)
        # The tool itself is a script; the page's own policy would not let it in, so it is run by the debugger.
        # The pages are the same on a telephone; of what a tool can see only colours differ, which all pages share.
        if width == 1280 or path in ("/", "/entry/10017"):
            found = Axe().run(page).response["violations"]
            barriers += [
                (path, one["id"], one["nodes"][0]["html"][:200])
                for one in found
                if one["impact"] in ("serious", "critical")
            ]
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            barriers.append((path, "wider than the screen", str(wide)))
        assert page.title() != "owned"
    page.close()
    assert barriers == []
    # A page that is not there is a complaint of the browser, too.
    assert [error for error in seen.errors if "404" not in error] == []
    assert [url for url in seen.asked if not url.startswith(f"{address}/")] == []


def test_the_keyboard_reaches_the_content(browser: Browser, address: str, seen: Seen) -> None:
    page = open_page(browser, seen)
    page.goto(f"{address}/entries")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.close()
    assert not seen.errors


@pytest.mark.parametrize(("name", "path"), [("front", "/"), ("entry", "/entry/10017")])
@pytest.mark.parametrize("width", list(SIZES))
def test_pictures_of_the_documentation(
    browser: Browser, address: str, seen: Seen, tmp_path: Path, name: str, path: str, width: int
) -> None:
    picture = Path(os.environ.get("WEB_SCREENSHOTS", tmp_path)) / f"{name}-{width}.png"
    page = open_page(browser, seen, width=width)
    page.goto(address + path)
    page.screenshot(path=picture, scale="css")
    page.close()
    assert picture.stat().st_size
    assert not seen.errors
