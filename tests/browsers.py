"""Debian's Chromium, driven by Playwright, and the mark of tests that need it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM: Final = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is missing: apt-get install chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, which opens nothing but our own page."""
    with sync_playwright() as playwright:
        # As root, as in containers, Chromium has no sandbox.
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=120_000
        )
        try:
            yield running
        finally:
            running.close()
