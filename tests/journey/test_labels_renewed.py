"""The service lays an entry out anew when somebody has saved labels of it, though nobody tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from by_hand import picks, saved
from empiar_mirror.root_guard import RootGuard
from empiar_mirror.service.layouts import Layouts
from empiar_mirror.service.rests import Rests
from entry_here import opened, put_here
from labelled_entry import coordinates, image, makers

A = "data/a.mrc"


async def test_a_save_is_noticed_also_one_from_before_the_start(tmp_path: Path) -> None:
    put_here(tmp_path, {A: image()}, inspected=True)
    saved(tmp_path, A, picks((10, 20)))
    saved(tmp_path, "data/of_nobody.mrc", picks((1, 1)))
    (tmp_path / "labels" / "99999999").mkdir()
    with opened(tmp_path, "", built_in=[makers]) as mirror:
        rests = Rests(mirror, RootGuard.of(tmp_path), asyncio.Event(), 0.1)
        layouts = Layouts(mirror, rests, 0.1)
        task = asyncio.create_task(layouts.run())
        try:
            async with asyncio.timeout(120):
                while coordinates(tmp_path) != {"a": [(10, 20)]}:
                    await asyncio.sleep(0.05)
                saved(tmp_path, A, picks((30, 40)), base=1)
                while coordinates(tmp_path) != {"a": [(30, 40)]}:
                    await asyncio.sleep(0.05)
        finally:
            rests.stopped.set()
            mirror.stop()
            layouts.wake()
            await task
        with mirror.catalogue.reader() as conn:
            found = conn.execute(
                "SELECT version_number, is_current FROM label_versions WHERE path = ? ORDER BY 1", (A,)
            )
            assert [tuple(row) for row in found] == [(1, 0), (2, 1)]
