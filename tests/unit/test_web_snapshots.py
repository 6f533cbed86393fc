"""Snapshots of the catalogue: what readers see while they are replaced, and what is left on the disk."""

from __future__ import annotations

import functools
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from empiar_mirror.web.of_entry import read_folder
from empiar_mirror.web.snapshots import Snapshots, Stopped
from empiar_schema.catalogue import Catalogue
from empiar_schema.crawl_store import record_entry
from empiar_schema.entry import Entry
from empiar_schema.faults import CatalogueFault, StorageFault
from empiar_schema.files import ListedFile
from empiar_schema.listing_store import add_to_listing, begin_listing, complete_listing
from small_mirror import DIRECTORY, ENTRY, NOW, make_small_mirror
from web_site import snapshot_files


def count_entries(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
    return count


def snapshots(root: Path) -> Snapshots[int]:
    return Snapshots(root, count_entries, now=lambda: float(NOW))


def add_entry(root: Path, number: int) -> None:
    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(
            lambda conn: record_entry(
                conn, Entry(empiar_id=number, title="new", status="REL"), source="api", now=NOW
            )
        )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_small_mirror(tmp_path / "empiar")
    return tmp_path / "empiar"


def test_a_reader_keeps_its_state_while_the_snapshot_is_replaced(root: Path) -> None:
    with snapshots(root) as kept:
        assert kept.renew()
        with kept.lease(seconds=60) as (old, before):
            rows = before.execute("SELECT empiar_id FROM entries")
            first = rows.fetchone()
            add_entry(root, 20001)
            assert kept.renew()
            with kept.lease(seconds=60) as (new, after):
                assert (old.summary, new.summary) == (3, 4)
                assert count_entries(after) == 4
            assert count_entries(before) == 3
            assert len([first, *rows]) == 3
            assert len(snapshot_files(root)) == 2
        assert snapshot_files(root) == [new.path.name]
    assert snapshot_files(root) == []


def test_readers_in_threads_see_whole_states_only(root: Path) -> None:
    wrong: list[object] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            with kept.lease(seconds=60) as (snapshot, connection):
                if count_entries(connection) != snapshot.summary:
                    wrong.append(snapshot)

    with snapshots(root) as kept:
        kept.renew()
        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(5):
                add_entry(root, 20001 + number)
                assert kept.renew()
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert len(snapshot_files(root)) == 1


def test_an_unchanged_catalogue_is_not_copied_again(root: Path) -> None:
    with snapshots(root) as kept:
        assert kept.renew()
        assert not kept.renew()


def test_sums_are_those_of_the_listing_and_follow_it(root: Path) -> None:
    sums = "SELECT sum(files), sum(bytes) FROM web_folder JOIN directory USING (directory_id) WHERE empiar_id = ?"
    listed = "SELECT count(*), sum(bytes) FROM files WHERE empiar_id = ? AND gone_at IS NULL"
    with snapshots(root) as kept:
        for round_ in range(3):
            assert kept.renew()
            with kept.lease(seconds=60) as (_, connection):
                for entry in (ENTRY, 10028):
                    assert tuple(connection.execute(sums, (entry,)).fetchone()) == tuple(
                        connection.execute(listed, (entry,)).fetchone()
                    )
                suffixes = connection.execute(
                    "SELECT sum(files) FROM web_suffix WHERE empiar_id = ?", (ENTRY,)
                ).fetchone()[0]
                assert suffixes == connection.execute(listed, (ENTRY,)).fetchone()[0]
                assert connection.execute("SELECT count(*) FROM web_day").fetchone()[0] == 1
            with Catalogue.open(root / "empiar.db") as catalogue:
                catalogue.write_now(functools.partial(relist, extra=round_))


def relist(conn: sqlite3.Connection, extra: int) -> None:
    """The entry is listed anew with one more file, and without those that it had."""
    listing = begin_listing(conn, ENTRY, source="ftp", now=NOW + 10 + extra)
    add_to_listing(
        conn, listing, DIRECTORY, [ListedFile(f"new{n}.mrc", 7, True, NOW, 1) for n in range(extra + 1)]
    )
    complete_listing(conn, listing, now=NOW + 10 + extra)


def test_what_a_killed_process_left_is_removed_and_only_one_serves(root: Path) -> None:
    (root / "snapshot").mkdir()
    for name in ("catalogue-7.db", "catalogue-8.part", "catalogue-8.part-journal"):
        (root / "snapshot" / name).write_bytes(b"left")
    with snapshots(root) as kept:
        assert snapshot_files(root) == []
        with pytest.raises(CatalogueFault, match="another `empiar-mirror serve`"), snapshots(root):
            pass
        assert kept.renew()


def test_without_room_the_snapshot_before_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=10**9, used=10**9, free=100)
    with snapshots(root) as kept:
        kept.renew()
        add_entry(root, 20001)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(StorageFault, match="no room for a snapshot"):
            kept.renew()
        assert kept.current.summary == 3
        assert len(snapshot_files(root)) == 1
        monkeypatch.undo()
        assert kept.renew()
        assert kept.current.summary == 4


def test_a_snapshot_is_given_up_when_all_is_to_stop(root: Path) -> None:
    with snapshots(root) as kept:
        kept.renew()
        add_entry(root, 20001)
        kept.stop()
        with pytest.raises(Stopped):
            kept.renew()
        assert kept.current.summary == 3


def test_a_mirror_without_a_catalogue_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFault, match="there is no catalogue") as caught, snapshots(tmp_path):
        pass
    assert "empiar-mirror init" in caught.value.hint


def test_a_reader_can_neither_write_nor_attach(root: Path) -> None:
    with snapshots(root) as kept:
        kept.renew()
        with kept.lease(seconds=60) as (_, connection):
            for statement in (
                "DELETE FROM entry",
                "ATTACH ':memory:' AS x",
                "PRAGMA query_only = OFF",
                "CREATE TABLE t (a)",
            ):
                with pytest.raises(sqlite3.DatabaseError):
                    connection.execute(statement)


def test_a_query_ends_with_its_time(root: Path) -> None:
    with snapshots(root) as kept:
        kept.renew()
        with (
            kept.lease(seconds=0.05) as (_, connection),
            pytest.raises(sqlite3.OperationalError, match="interrupted"),
        ):
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
            ).fetchone()


def test_whoever_asks_for_long_is_interrupted_when_all_is_to_stop(root: Path) -> None:
    begun = threading.Event()

    def ask() -> str:
        with kept.lease(seconds=300) as (_, connection):
            begun.set()
            with pytest.raises(sqlite3.OperationalError, match="interrupted"):
                connection.execute(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
                )
            return "interrupted"

    with snapshots(root) as kept, ThreadPoolExecutor(1) as thread:
        kept.renew()
        reader = thread.submit(ask)
        begun.wait()
        kept.stop()
        assert reader.result() == "interrupted"


@pytest.mark.parametrize("apart", [False, True], ids=["lie together", "lie apart"])
def test_pages_of_a_folder_show_each_file_once_also_those_that_are_gone(root: Path, apart: bool) -> None:
    def listed(conn: sqlite3.Connection, numbers: range, now: int) -> None:
        listing = begin_listing(conn, ENTRY, source="ftp", now=now)
        add_to_listing(
            conn, listing, DIRECTORY, [ListedFile(f"n{n:04}.mrc", 7, True, NOW, 1) for n in numbers]
        )
        complete_listing(conn, listing, now=now)

    with Catalogue.open(root / "empiar.db") as catalogue:
        catalogue.write_now(lambda conn: listed(conn, range(450), NOW + 10))
        if apart:
            catalogue.write_now(
                lambda conn: conn.execute(
                    "UPDATE file SET file_id = file_id + 900000 WHERE name = 'n0449.mrc'"
                )
            )
        # What two listings in a row lack is gone.
        for later in (20, 30):
            catalogue.write_now(functools.partial(listed, numbers=range(1, 450), now=NOW + later))
    with snapshots(root) as kept:
        kept.renew()
        with kept.lease(seconds=60) as (_, connection):
            pages = [read_folder(connection, ENTRY, DIRECTORY, page=page) for page in (1, 2, 3)]
    shown = [file["file_id"] for page in pages if page is not None for file in page.files]
    assert shown == sorted(set(shown))
    assert len(shown) >= 450
    assert {page.file_count for page in pages if page is not None} == {449}
