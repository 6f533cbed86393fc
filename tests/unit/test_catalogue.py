"""The catalogue file: opening, the writing thread, readers, errors."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from empiar_schema.catalogue import Catalogue, fault_of, is_catalogue
from empiar_schema.crawl_store import last_harvest, record_harvest
from empiar_schema.faults import CatalogueFault, StorageFault
from empiar_schema.settings import ArchiveSettings


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as opened:
        yield opened


def test_a_missing_catalogue_is_not_made_by_accident(tmp_path: Path) -> None:
    with pytest.raises(CatalogueFault, match="no catalogue") as caught:
        Catalogue.open(tmp_path / "empiar.db")
    assert "init" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_creating_makes_the_folder_and_marks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new folder #1?" / "empiar.db"
    Catalogue.open(path, create=True).close()
    assert is_catalogue(path)
    assert not is_catalogue(tmp_path / "nothing")


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    with Catalogue.open(path, create=True) as catalogue:
        catalogue.write_now(lambda c: record_harvest(c, "search", day="2026-11-22", now=1))
    assert not Path(f"{path}-wal").exists()
    with Catalogue.open(path) as catalogue, catalogue.reader() as reader:
        assert last_harvest(reader, "search") == "2026-11-22"


def test_the_writer_is_durable_and_in_wal_mode(catalogue: Catalogue) -> None:
    pragmas = catalogue.write_now(
        lambda c: [
            c.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "temp_store")
        ]
    )
    assert pragmas == ["wal", 2, 1]


def test_opening_a_current_catalogue_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    before = path.read_bytes()
    with Catalogue.open(path):
        pass
    assert path.read_bytes() == before


def test_a_failed_job_is_undone_and_its_neighbours_stay(catalogue: Catalogue) -> None:
    gate = threading.Event()

    def fail(conn: sqlite3.Connection) -> None:
        record_harvest(conn, "failed", day="2026-01-01", now=1)
        raise RuntimeError("in the job")

    # The first job holds the thread, so that the others wait and share one group.
    held = catalogue.submit(lambda _: gate.wait(10))
    before = catalogue.submit(lambda c: record_harvest(c, "before", day="2026-01-01", now=1))
    failing = catalogue.submit(fail)
    after = catalogue.submit(lambda c: record_harvest(c, "after", day="2026-01-01", now=1))
    gate.set()
    held.result(10), before.result(10), after.result(10)
    with pytest.raises(RuntimeError, match="in the job"):
        failing.result(10)
    with catalogue.reader() as reader:
        known = {s: last_harvest(reader, s) is not None for s in ("before", "failed", "after")}
    assert known == {"before": True, "failed": False, "after": True}


def test_a_result_is_given_only_after_it_is_durable(catalogue: Catalogue) -> None:
    """Whoever holds a result finds it through another connection."""
    for n in range(200):
        catalogue.write_now(partial(record_harvest, source=f"s{n}", day="2026-01-01", now=1))
        with catalogue.reader() as reader:
            assert last_harvest(reader, f"s{n}")


async def test_many_waiting_jobs_are_all_done(catalogue: Catalogue) -> None:
    await asyncio.gather(
        *(
            catalogue.write(partial(record_harvest, source=f"s{n}", day="2026-01-01", now=1))
            for n in range(500)
        )
    )
    count = await catalogue.read(lambda c: c.execute("SELECT count(*) FROM harvest").fetchone()[0])
    assert count == 500


async def test_cancelling_an_await_harms_nothing(catalogue: Catalogue) -> None:
    gate = threading.Event()
    held = catalogue.submit(lambda _: gate.wait(10))
    waiting = asyncio.ensure_future(
        catalogue.write(lambda c: record_harvest(c, "cancelled", day="2026-01-01", now=1))
    )
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    await asyncio.wrap_future(held)
    await catalogue.write(lambda c: record_harvest(c, "later", day="2026-01-01", now=1))
    assert await catalogue.read(lambda c: last_harvest(c, "later")) == "2026-01-01"
    assert await catalogue.read(lambda c: last_harvest(c, "cancelled")) is None


def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    catalogue = Catalogue.open(tmp_path / "empiar.db", create=True)
    futures = [
        catalogue.submit(partial(record_harvest, source=f"s{n}", day="2026-01-01", now=1)) for n in range(100)
    ]
    catalogue.close()
    catalogue.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(CatalogueFault, match="closed"):
        catalogue.submit(lambda c: None)


def test_a_reader_cannot_write(catalogue: Catalogue) -> None:
    with catalogue.reader() as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM harvest")


def test_an_error_in_ones_own_sql_stays_what_it_is(catalogue: Catalogue) -> None:
    with catalogue.reader() as reader, pytest.raises(sqlite3.OperationalError, match="no such table"):
        reader.execute("SELECT * FROM nowhere")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        catalogue.write_now(lambda c: c.execute("SELECT * FROM nowhere"))


def test_a_read_only_catalogue_reads_and_refuses_jobs(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    with Catalogue.open(path, create=True) as writer:
        writer.write_now(lambda c: record_harvest(c, "search", day="2026-11-22", now=1))
        with Catalogue.open(path, read_only=True) as opened:
            with opened.reader() as reader:
                assert last_harvest(reader, "search") == "2026-11-22"
            with pytest.raises(CatalogueFault, match="read-only"):
                opened.submit(lambda c: None)


def test_a_second_writer_waits_for_the_first_and_then_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    monkeypatch.setattr("empiar_schema.catalogue.BUSY_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with Catalogue.open(path) as catalogue:
            future = catalogue.submit(lambda c: record_harvest(c, "s", day="2026-01-01", now=1))
            with pytest.raises(CatalogueFault, match="another process") as caught:
                future.result(10)
            assert caught.value.hint
            other.execute("COMMIT")
            catalogue.write_now(lambda c: record_harvest(c, "s", day="2026-01-01", now=1))
    finally:
        other.close()


def test_a_full_disk_is_a_full_disk_and_work_goes_on_when_there_is_room(catalogue: Catalogue) -> None:
    def fill(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO harvest VALUES (?, '2026-01-01', 1)", ("x" * 1_000_000,))

    pages = catalogue.write_now(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    catalogue.write_now(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())
    with pytest.raises(StorageFault) as caught:
        catalogue.write_now(fill)
    assert caught.value.full
    assert "space" in caught.value.hint
    catalogue.write_now(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())
    catalogue.write_now(fill)
    with catalogue.reader() as reader:
        assert reader.execute("SELECT count(*) FROM harvest").fetchone()[0] == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"this is no database, but long enough to look at" * 40, "no SQLite database"),
        (None, "no catalogue of"),
    ],
)
def test_another_file_in_its_place_is_refused_and_left_alone(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "empiar.db"
    if content is None:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE notes (text)")
        other.commit()
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(CatalogueFault, match=says) as caught:
        Catalogue.open(path)
    assert caught.value.hint
    assert path.read_bytes() == before


def test_damage_is_named_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    Catalogue.open(path, create=True).close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 8)
    with pytest.raises(CatalogueFault, match="damaged"), Catalogue.open(path) as catalogue:
        catalogue.write_now(lambda c: c.execute("PRAGMA integrity_check").fetchall())
        catalogue.write_now(lambda c: c.execute("SELECT * FROM entry, file, copy").fetchall())


def test_errors_of_the_disk_become_storage_faults() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_WRITE"
    fault = fault_of(error, Path("empiar.db"))
    assert isinstance(fault, StorageFault)
    assert not fault.full
    assert fault_of(KeyError("x"), Path("empiar.db")).args == ("x",)


def test_a_large_wal_is_emptied_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("empiar_schema.catalogue.WAL_LIMIT_BYTES", 1_000_000)
    path = tmp_path / "empiar.db"
    with Catalogue.open(path, create=True) as catalogue:
        for n in range(12):
            catalogue.write_now(partial(record_harvest, source=f"{n}" * 400_000, day="2026-01-01", now=1))
        catalogue.write_now(lambda c: None)
        assert Path(f"{path}-wal").stat().st_size < 2_000_000


def test_addresses_follow_the_settings_and_are_kept_without_them(tmp_path: Path) -> None:
    path = tmp_path / "empiar.db"
    archive = ArchiveSettings(
        https_url="http://127.0.0.1:1/tree", globus_path="/a/b/", globus_collection="UUID"
    )
    query = "SELECT https_url, ftp_url, globus_url, root FROM archive_address"
    for settings in (archive, None):
        with Catalogue.open(path, create=True, archive=settings) as catalogue, catalogue.reader() as reader:
            assert tuple(reader.execute(query).fetchone()) == (
                "http://127.0.0.1:1/tree",
                "ftp://ftp.ebi.ac.uk/empiar/world_availability",
                "globus://UUID/a/b",
                str(tmp_path),
            )
