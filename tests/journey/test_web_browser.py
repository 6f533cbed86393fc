"""The web page in a real browser: from the overview to a CSV file, with nothing asked of anybody else, and without serious barriers.

With ``WEB_SCREENSHOTS`` set to a folder, the pictures of docs/web.md are made there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from browsers import chromium, needs_chromium
from small_mirror import ENTRY
from web_site import HOSTILE, make_web_mirror, settings_of, site

pytestmark = needs_chromium

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
    "/queries",
    "/query/micrographs",
    "/query/micrographs?id=nonsense",
    f"/query/micrographs?id={ENTRY}",
    "/query/largest-entries?limit=2",
)
#: The tool is half a megabyte of script. It is let in once, and has the pages' documents put before it one after the other.
JUDGE = """async path => {
    const text = await (await fetch(path)).text();
    const html = document.adoptNode(new DOMParser().parseFromString(text, "text/html").documentElement);
    document.replaceChild(html, document.documentElement);
    const sheets = [...document.querySelectorAll("link[rel=stylesheet]")];
    await Promise.all(sheets.map(link => link.sheet || new Promise(done => link.onload = done)));
    const found = await axe.run(document, {resultTypes: ["violations"]});
    return found.violations.map(one => [one.id, one.impact, one.nodes[0].html.slice(0, 200)]);
}"""


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
    with chromium() as running:
        yield running


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


def test_a_saved_query_from_its_form_to_sql(browser: Browser, address: str, seen: Seen) -> None:
    page = open_page(browser, seen, width=390)
    page.goto(f"{address}/queries")
    page.get_by_role("link", name="Micrographs and movies of an entry").click()
    page.get_by_label("id the entry").fill(f"EMPIAR-{ENTRY}")
    page.keyboard.press("Enter")
    page.get_by_role("link", name=str(ENTRY)).first.wait_for()
    assert page.url == f"{address}/query/micrographs?id=EMPIAR-{ENTRY}"
    rows = page.locator("tbody tr").count()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert len(download.value.path().read_text().splitlines()) == rows + 1
    page.get_by_role("link", name="Edit as SQL").click()
    page.get_by_label("SQL, one statement").wait_for()
    assert page.locator("tbody tr").count() == rows
    page.close()
    assert not seen.errors


def test_no_page_is_wider_than_the_screen_or_makes_the_browser_complain(
    browser: Browser, address: str, seen: Seen
) -> None:
    page = open_page(browser, seen)
    wide = []
    for path in PAGES:
        page.goto(address + path)
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            needed = page.evaluate("document.documentElement.scrollWidth")
            if needed > width:
                wide.append((path, width, needed))
        assert page.title() != "owned"
    page.close()
    assert wide == []
    # A page that is not there, or a question that makes no sense, is a complaint of the browser, too.
    assert [error for error in seen.errors if "404" not in error and "400" not in error] == []
    assert [url for url in seen.asked if not url.startswith(f"{address}/")] == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_no_page_has_a_serious_barrier(browser: Browser, address: str, width: int, dark: bool) -> None:
    page = open_page(browser, Seen(), width=width, dark=dark)
    page.goto(address)
    # The page's own policy would not let a script in, so it is run by the debugger.
    page.evaluate(Axe().axe_script)
    barriers = []
    # The pages are the same on a telephone; of what a tool can see only colours differ, which all pages share.
    for path in PAGES if width == 1280 else ("/", "/entry/10017", "/query/micrographs?id=nonsense"):
        found = page.evaluate(JUDGE, path)
        assert page.locator("main h1").count() == 1
        barriers += [(path, *one) for one in found if one[1] in ("serious", "critical")]
    page.close()
    assert barriers == []


def test_the_tool_sees_barriers_in_a_page_that_is_put_before_it(browser: Browser, address: str) -> None:
    page = open_page(browser, Seen())
    barred = "<html><head><link rel=stylesheet href=/static/style.css></head><body><main><h1 class=unseen>x</h1><input><img src=x></main></body></html>"
    page.route("**/barred", lambda route: route.fulfill(body=barred, content_type="text/html"))
    page.goto(address)
    page.evaluate(Axe().axe_script)
    found = {one[0] for one in page.evaluate(JUDGE, "/barred")}
    page.close()
    assert {"label", "image-alt", "html-has-lang", "document-title"} <= found


def test_the_keyboard_reaches_the_content(browser: Browser, address: str, seen: Seen) -> None:
    page = open_page(browser, seen)
    page.goto(f"{address}/entries")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.close()
    assert not seen.errors


@pytest.mark.parametrize("width", list(SIZES))
def test_pictures_of_the_documentation(
    browser: Browser, address: str, seen: Seen, tmp_path: Path, width: int
) -> None:
    folder = Path(os.environ.get("WEB_SCREENSHOTS", tmp_path))
    page = open_page(browser, seen, width=width)
    for name, path in (("front", "/"), ("entry", "/entry/10017")):
        page.goto(address + path)
        page.screenshot(path=folder / f"{name}-{width}.png", scale="css")
        assert (folder / f"{name}-{width}.png").stat().st_size
    page.close()
    assert not seen.errors
