"""Roles on the way from a listing to a layout: headers and the configuration move files to where they belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from empiar_mirror.app import Mirror
from empiar_mirror.rehearsal.content import mrc_size
from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from mirrors import opened, rows, settings_for

ID = 10101
NAMES = [f"a_{n}.mrc" for n in range(6)]
STATED = '\n[[role]]\nentry = 10101\npath = "data/a_?.mrc"\nrole = "gain"\n'


def roles(mirror: Mirror) -> set[tuple[object, ...]]:
    return set(rows(mirror, "SELECT role, role_reason FROM files WHERE name LIKE 'a_%'"))


async def test_arrived_headers_settle_roles_and_listing_anew_keeps_them(tmp_path: Path) -> None:
    async with Rehearsal([big_entry(ID, dict.fromkeys(NAMES, mrc_size(96, 64, 1, 2)))]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.crawl([ID])
            assert roles(mirror) == {("micrograph", "image set category")}
            await mirror.sync([ID])
            assert roles(mirror) == {("micrograph", "header: one frame")}
            await mirror.crawl([ID])
            assert roles(mirror) == {("micrograph", "header: one frame")}


@pytest.mark.parametrize("step", ["crawl", "crawl of others", "sync", "arrange"])
async def test_a_changed_configuration_is_followed_at_the_next_step(tmp_path: Path, step: str) -> None:
    async with Rehearsal([big_entry(ID, dict.fromkeys(NAMES, mrc_size(96, 64, 1, 2)))]) as rehearsal:
        with opened(settings_for(rehearsal, tmp_path)) as mirror:
            await mirror.sync([ID])
        for more, expected, folder in (
            (STATED, ("gain", "override"), "gain"),
            ("", ("micrograph", "header: one frame"), "micrographs"),
        ):
            with opened(settings_for(rehearsal, tmp_path, more=more)) as mirror:
                if step == "crawl":
                    await mirror.crawl([ID])
                elif step == "crawl of others":
                    await mirror.crawl(None)
                elif step == "sync":
                    await mirror.sync([ID])
                else:
                    await mirror.arrange([ID])
                assert roles(mirror) == {expected}
                await mirror.arrange([ID])
                laid = mirror.folders.datasets / "cryoppp" / str(ID)
                assert {path.parent.name for path in laid.rglob("a_*.mrc")} == {folder}
