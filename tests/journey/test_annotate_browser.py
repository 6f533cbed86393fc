"""Labels by hand in a real browser: with the mouse, by keyboard, on a telephone, and what a colleague saves meanwhile.

With ``WEB_SCREENSHOTS`` set to a folder, the pictures of docs/annotate.md are made there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page

from browsers import chromium, needs_chromium
from by_hand import picks, saved
from empiar_imaging.labels.by_hand import HandVersion
from empiar_mirror.by_hand.versions import current, remote_of, versions_of
from empiar_schema.states import Role
from entry_here import ID, opened, put_here
from image_files import mrc_bytes
from labelled_entry import HEIGHT, PLACES, WIDTH, entry, finish, image, labels, picks_on, read_csv, relion
from web_site import settings_of, site

pytestmark = needs_chromium

TOKEN = "a-write-token-of-sixteen-or-more"
A = "data/a.mrc"
#: Of the test that lays out: what is made of it would be the labels before that of another test.
B = "data/b.mrc"
SIZES = {1280: 900, 390: 844}


def field_of_view() -> tuple[bytes, list[tuple[float, float]]]:
    """A micrograph for the documentation: rings in noise, and their places."""
    rng = np.random.default_rng(11)
    height, width = 900, 1000
    values = rng.normal(0, 1, (height, width)).astype("<f4")
    row, column = np.mgrid[:height, :width]
    places = [
        (float(x), float(y)) for x, y in rng.uniform((60, 60), (width - 60, height - 60), (40, 2)).round()
    ]
    for x, y in places:
        distance = np.hypot(column - x, row - y)
        values -= 0.9 * np.exp(-(((distance - 14) / 5) ** 2)).astype("<f4")
    return mrc_bytes(values.tobytes(), shape=(width, height, 1), mode=2), places


SHOWN, SHOWN_PLACES = field_of_view()


def arrange(root: Path) -> None:
    """Makers and layouts, in a thread: the browser's own loop is that of this one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(finish, root).result()


@dataclass
class Visit:
    """One open page, what the browser complained of, and whom it asked."""

    page: Page
    address: str
    root: Path
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, file_id: int) -> None:
        self.page.goto(f"{self.address}/entry/{ID}/micrograph/{file_id}")
        self.page.locator("#annotate[data-ready=yes]").wait_for()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where column and row stand on the screen while the whole picture is shown."""
        box = self.page.locator("#picks").bounding_box()
        assert box is not None
        scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
        left = (WIDTH - box["width"] / scale) / 2
        top = (HEIGHT - box["height"] / scale) / 2
        return box["x"] + (x + 0.5 - left) * scale, box["y"] + (HEIGHT - y - 0.5 - top) * scale

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def said(self, text: str) -> None:
        self.page.locator("#said").filter(has_text=text).wait_for()

    def counted(self, text: str) -> None:
        self.page.locator("#count").filter(has_text=text).wait_for()

    def save(self, author: str = "Ann") -> None:
        self.page.get_by_label("Your name").fill(author)
        self.page.get_by_role("button", name="Save as a new version").click()

    def version(self) -> HandVersion:
        one = current(versions_of(self.root, remote_of(ID, A)))
        assert one is not None
        return one.version


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    root = tmp_path_factory.mktemp("by_hand") / "mirror"
    root.mkdir()
    star = relion(
        [
            *picks_on("a.mrc", PLACES[:3]),
            *picks_on("b.mrc", PLACES[:3]),
            *picks_on("shown.mrc", SHOWN_PLACES[:34]),
        ]
    )
    files = {
        A: image(),
        B: image(seed=2),
        "data/shown.mrc": (Role.MICROGRAPH, SHOWN),
        "data/p.star": labels(star),
    }
    put_here(root, files, inspected=True)
    arrange(root)
    with opened(root, "") as opened_mirror, opened_mirror.catalogue.reader() as conn:
        return root, {row[1]: row[0] for row in conn.execute("SELECT file_id, path FROM files")}


@pytest.fixture(scope="module")
def address(mirror: tuple[Path, dict[str, int]]) -> Iterator[str]:
    with site(settings_of(mirror[0]), write_token=TOKEN) as where:
        yield where


@pytest.fixture
def visit(
    browser: Browser, address: str, mirror: tuple[Path, dict[str, int]], request: pytest.FixtureRequest
) -> Iterator[Visit]:
    width = getattr(request, "param", 1280)
    shutil.rmtree(mirror[0] / "labels", ignore_errors=True)
    page = browser.new_page(viewport={"width": width, "height": SIZES[width]}, has_touch=width < 1000)
    page.set_default_timeout(60_000)
    one = Visit(page, address, mirror[0])
    page.on(
        "console",
        lambda message: one.errors.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: one.errors.append(str(error)))
    page.on("request", lambda asked: one.asked.append(asked.url))
    page.goto(f"{address}/-/login?token={TOKEN}")
    yield one
    page.close()
    assert [url for url in one.asked if not url.startswith(f"{address}/")] == []


def test_a_pick_is_rejected_and_one_added_with_the_mouse_and_both_are_in_the_layout(
    visit: Visit, mirror: tuple[Path, dict[str, int]]
) -> None:
    root, ids = mirror
    visit.open(ids[B])
    visit.counted("3 kept, 0 rejected")
    visit.click(*PLACES[1])
    visit.page.get_by_role("button", name="Reject", exact=True).click()
    visit.page.get_by_label("Add").check()
    visit.click(80, 100)
    visit.counted("3 kept, 1 rejected")
    assert visit.page.get_by_text("Not saved yet").is_visible()
    visit.page.get_by_label("Diameter, pixels").fill("18")
    visit.save()
    visit.said("Saved as version 1.")
    assert visit.errors == []
    arrange(root)
    truth = entry(root) / "ground_truth"
    rows = [
        (float(row[0]), float(row[1]), row[2])
        for row in read_csv(truth / "particle_coordinates" / "b.csv")[1:]
    ]
    # Y counts from the bottom: Y = H − row.
    kept = [(*(float(n) for n in (x, HEIGHT - y)), "18") for x, y in (PLACES[0], PLACES[2])]
    assert rows[:2] == kept
    assert rows[2][0] == pytest.approx(80, abs=1)
    assert rows[2][1] == pytest.approx(HEIGHT - 100, abs=1)
    [rejected] = read_csv(truth / "false_positives" / "b_false_positives.csv")[1:]
    assert rejected[:2] == [str(PLACES[1][0]), str(HEIGHT - PLACES[1][1])]
    visit.open(ids[B])
    visit.counted("3 kept, 1 rejected")


def test_everything_is_done_by_keyboard(visit: Visit, mirror: tuple[Path, dict[str, int]]) -> None:
    visit.open(mirror[1][A])
    visit.page.locator("#picks").focus()
    press = visit.page.keyboard.press
    press("n")
    visit.said("1: column 20, row 15, kept")
    press("ArrowRight")
    press("Shift+ArrowUp")
    visit.said("Pick 1 at column 21, row 25.")
    press("n")
    press("Delete")
    visit.said("Pick 2 is rejected.")
    press("a")
    visit.said("Added a pick")
    press("Control+z")
    press("Control+z")
    visit.counted("3 kept, 0 rejected")
    press("Control+y")
    visit.counted("2 kept, 1 rejected")
    visit.page.locator("#list").focus()
    press("End")
    visit.said("3: column 100, row 50, kept")
    press("Delete")
    visit.page.get_by_label("Your name").fill("Kim")
    press("Enter")
    visit.said("Saved as version 1.")
    one = visit.version()
    assert [(pick.x, pick.y, pick.state) for pick in one.picks] == [
        (21, 25, "kept"),
        (*PLACES[1], "rejected"),
        (*PLACES[2], "rejected"),
    ]
    assert one.author == "Kim"
    assert visit.errors == []


def test_a_pick_is_moved_with_the_mouse_and_leaving_asks(
    visit: Visit, mirror: tuple[Path, dict[str, int]]
) -> None:
    visit.open(mirror[1][A])
    mouse, page = visit.page.mouse, visit.page
    mouse.move(*visit.at(*PLACES[0]))
    mouse.down()
    mouse.move(*visit.at(50, 80), steps=3)
    mouse.up()
    visit.said("Pick 1 at column")
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    page.evaluate("location.reload()")
    page.wait_for_function("document.getElementById('unsaved').textContent !== ''")
    assert asked == ["beforeunload"]
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Redo").click()
    visit.save()
    visit.said("Saved as version 1.")
    moved = visit.version().picks[0]
    assert moved.x == pytest.approx(50, abs=1)
    assert moved.y == pytest.approx(80, abs=1)
    assert moved.source == "imported"


def test_what_a_colleague_saved_meanwhile_is_shown_and_nothing_is_lost(
    visit: Visit, mirror: tuple[Path, dict[str, int]]
) -> None:
    root, ids = mirror
    visit.open(ids[A])
    visit.page.get_by_label("Add").check()
    visit.click(80, 100)
    saved(root, A, picks((5, 5)), author="Bob")
    visit.save()
    visit.page.get_by_text("Bob has saved version 1 meanwhile. Yours is kept as version 2, aside.").wait_for()
    assert visit.version().author == "Bob"
    visit.page.get_by_role("button", name="Make mine the current version").click()
    visit.said("Saved as version 3.")
    assert (visit.version().author, len(visit.version().picks)) == ("Ann", 4)
    visit.page.get_by_role("button", name="Show version 1").click()
    visit.counted("1 kept, 0 rejected")
    assert visit.page.get_by_text("Not saved yet").is_visible()
    assert [error for error in visit.errors if "409" not in error] == []


def test_without_the_token_one_can_look_and_is_told_how_to_save(
    visit: Visit, mirror: tuple[Path, dict[str, int]]
) -> None:
    visit.page.context.clear_cookies()
    visit.open(mirror[1][A])
    visit.said("To save, log in with the token")
    visit.page.get_by_label("Add").check()
    visit.click(80, 100)
    visit.save()
    visit.said("Not saved: saving needs the token")
    visit.counted("4 kept, 0 rejected")
    assert not (mirror[0] / "labels").exists()


@pytest.mark.parametrize("visit", [390], indirect=True)
def test_on_a_telephone_a_finger_adds_a_pick(visit: Visit, mirror: tuple[Path, dict[str, int]]) -> None:
    visit.open(mirror[1][A])
    visit.page.get_by_label("Add").check()
    visit.page.locator("#picks").scroll_into_view_if_needed()
    visit.page.touchscreen.tap(*visit.at(80, 100))
    visit.counted("4 kept, 0 rejected")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.errors == []


@pytest.mark.parametrize("visit", list(SIZES), indirect=True)
def test_the_page_has_no_serious_barrier_and_its_picture_is_taken(
    visit: Visit, mirror: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    visit.open(mirror[1]["data/shown.mrc"])
    page = visit.page
    width = page.viewport_size["width"] if page.viewport_size else 0
    page.get_by_label("Diameter, pixels").fill("50")
    page.locator("#lowpass").fill("20")
    page.get_by_label("Choose and move").check()
    page.locator("#picks").focus()
    page.keyboard.press("n")
    page.keyboard.press("Delete")
    page.keyboard.press("n")
    page.wait_for_load_state("networkidle")
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    picture = Path(os.environ.get("WEB_SCREENSHOTS", tmp_path)) / f"annotate-{width}.png"
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=picture, scale="css")
    assert picture.stat().st_size
    assert visit.errors == []
