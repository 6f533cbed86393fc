"""What docs/operations.md says of copies, moves and upgrades holds: nothing is lost, and nothing is fetched over without need."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from empiar_mirror.rehearsal.entries import big_entry
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.events import Event, FileArrived
from independent import assert_manifest, assert_mirrored
from mirrors import opened, rows, settings_for

EARLY, LATE = 10101, 10102
SIZE = 1_049_600


def archive() -> Rehearsal:
    return Rehearsal([big_entry(EARLY, {"a.mrc": SIZE}), big_entry(LATE, {"b.mrc": SIZE, "c.mrc": SIZE})])


def copy_catalogue(root: Path, backup: Path) -> None:
    """As `sqlite3` does it, beside whoever has the catalogue open."""
    with closing(sqlite3.connect(root / "empiar.db")) as connection:
        connection.execute("VACUUM INTO ?", (str(backup),))


def restore_catalogue(root: Path, backup: Path) -> None:
    for suffix in ("-wal", "-shm"):
        root.joinpath(f"empiar.db{suffix}").unlink(missing_ok=True)
    shutil.copyfile(backup, root / "empiar.db")


def inodes(root: Path) -> dict[str, int]:
    """Which bytes stand at which path below the archive."""
    return {
        str(path.relative_to(root)): path.stat().st_ino
        for path in (root / "archive").rglob("*")
        if path.is_file()
    }


async def test_a_restored_catalogue_learns_again_of_what_has_arrived_since(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        settings = settings_for(rehearsal, tmp_path)
        root, backup = settings.root, tmp_path / "backup.db"
        with opened(settings) as mirror:
            await mirror.sync([EARLY])
            copy_catalogue(root, backup)  # while the mirror works
            await mirror.sync([LATE])
        here = inodes(root)
        restore_catalogue(root, backup)
        with opened(settings) as mirror:
            assert rows(mirror, "SELECT count(*) FROM copies WHERE empiar_id = ?", [LATE]) == [(0,)]
            assert (await mirror.verify(None, quick=True)).damaged == ()
            report = (await mirror.sync([LATE])).transfer
        assert report.failed == ()
        assert inodes(root) == here  # the very files: nothing that had arrived was written over
        for empiar_id in (EARLY, LATE):
            assert_mirrored(rehearsal, root, empiar_id)
            assert_manifest(root, empiar_id)


async def test_a_mirror_works_wherever_its_folder_is_moved(tmp_path: Path) -> None:
    async with archive() as rehearsal:
        settings = settings_for(rehearsal, tmp_path)
        with opened(settings) as mirror:
            await mirror.sync([EARLY, LATE])
        moved = settings.model_copy(update={"root": tmp_path / "elsewhere" / "empiar"})
        moved.root.parent.mkdir()
        settings.root.rename(moved.root)
        events: list[Event] = []
        with opened(moved, events) as mirror:
            assert (await mirror.verify(None)).damaged == ()
            report = (await mirror.sync([EARLY, LATE])).transfer
            paths = [Path(str(path)) for (path,) in rows(mirror, "SELECT local_path FROM copies")]
        assert report.failed == ()
        assert not [event for event in events if isinstance(event, FileArrived)]
        assert paths
        assert all(path.is_file() and path.is_relative_to(moved.root) for path in paths)
        views = [path for path in (moved.root / "datasets").rglob("*") if path.is_file()]
        assert views
        assert all(path.read_bytes() for path in views)
