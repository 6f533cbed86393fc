"""What the catalogue says of an earlier time: by views that work in any SQLite tool, and that find one entry without a search."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

import claims
from empiar_schema import crawl_store as crawl
from empiar_schema import transfer_store as transfer
from empiar_schema.catalogue import Catalogue
from empiar_schema.copies import Arrival
from empiar_schema.entry import Entry, ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.migrations import STEPS, migrate
from empiar_schema.states import Channel

ID, OTHER = 10017, 10018
#: Times at which something happens lie a day apart.
DAY = 86_400


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(tmp_path / "empiar.db", create=True) as opened:
        yield opened


def listed(
    catalogue: Catalogue, files: dict[str, int | None], *, now: int, empiar_id: int = ID, exact: bool = True
) -> None:
    def job(conn: sqlite3.Connection) -> None:
        listing = crawl.begin_listing(conn, empiar_id, source="ftp", now=now)
        found = [ListedFile(name, size, exact, 1_000_000, 1) for name, size in files.items()]
        crawl.add_to_listing(conn, listing, "data", found)
        crawl.complete_listing(conn, listing, now=now)

    catalogue.write_now(job)


def described(catalogue: Catalogue, entry: Entry, *, now: int) -> None:
    catalogue.write_now(lambda conn: crawl.record_entry(conn, entry, source="api", now=now))


def absent(catalogue: Catalogue, *looks: int) -> None:
    for now in looks:
        catalogue.write_now(partial(crawl.record_entry_absent, empiar_id=ID, reason="404", now=now))


def rows(catalogue: Catalogue, sql: str) -> list[tuple[object, ...]]:
    """Asked as by any other tool: no function of ours, no setting."""
    with closing(sqlite3.connect(f"file:{catalogue.path}?mode=ro", uri=True)) as conn:
        return conn.execute(sql).fetchall()


def files_at(catalogue: Catalogue, time: int) -> dict[object, object]:
    found = rows(catalogue, f"SELECT name, bytes FROM files_as_of WHERE as_of = {time}")
    return {row[0]: row[1] for row in found}


def test_sizes_gone_and_returned_files_are_those_of_the_time(catalogue: Catalogue) -> None:
    listed(catalogue, {"a": 1, "b": 2}, now=DAY)
    listed(catalogue, {"a": 10, "b": 2, "c": 3}, now=2 * DAY)
    listed(catalogue, {"a": 10, "c": 3}, now=3 * DAY)  # b is missing
    listed(catalogue, {"a": 10, "c": 3}, now=4 * DAY)  # and gone
    listed(catalogue, {"a": 10, "b": 7, "c": 3}, now=5 * DAY)  # and back, another
    for missing in (6, 7):
        listed(catalogue, {"a": 10, "c": 3}, now=missing * DAY)
    assert files_at(catalogue, DAY - 1) == {}
    assert files_at(catalogue, DAY) == files_at(catalogue, 2 * DAY - 1) == {"a": 1, "b": 2}
    assert files_at(catalogue, 2 * DAY) == files_at(catalogue, 4 * DAY - 1) == {"a": 10, "b": 2, "c": 3}
    assert files_at(catalogue, 4 * DAY) == {"a": 10, "c": 3}
    assert files_at(catalogue, 5 * DAY) == files_at(catalogue, 7 * DAY - 1) == {"a": 10, "b": 7, "c": 3}
    assert files_at(catalogue, 7 * DAY) == files_at(catalogue, 99 * DAY) == {"a": 10, "c": 3}
    history = "SELECT bytes, unixepoch(valid_from), unixepoch(valid_to) FROM files_history WHERE name = 'b' ORDER BY 2"
    assert rows(catalogue, history) == [(2, DAY, 4 * DAY), (7, 5 * DAY, 7 * DAY)]
    counts = "SELECT file_count, file_bytes FROM entries_as_of WHERE as_of = {}"
    assert rows(catalogue, counts.format(2 * DAY)) == [(3, 15)]
    assert rows(catalogue, counts.format(4 * DAY)) == [(2, 13)]


def test_a_time_can_be_written_as_a_number_or_as_text(catalogue: Catalogue) -> None:
    listed(catalogue, {"a": 1}, now=DAY)
    for time in ("unixepoch('1970-01-02')", "json_quote('1970-01-02')", "'\"1970-01-02T00:00:00Z\"'"):
        assert rows(catalogue, f"SELECT name FROM files_as_of WHERE as_of = {time}") == [("a",)]
    assert rows(catalogue, "SELECT name FROM files_as_of WHERE as_of = json_quote('soon')") == []


def test_an_entry_is_described_as_it_was_then(catalogue: Catalogue) -> None:
    first = Entry(empiar_id=ID, title="old", status="REL", dataset_bytes=5, imagesets=(ImageSet(position=0),))
    catalogue.write_now(
        lambda conn: crawl.record_enumeration(
            conn, [crawl.EnumeratedEntry(ID, title="announced")], source="search", complete=True, now=DAY
        )
    )
    described(catalogue, first, now=2 * DAY)
    obsolete = {"title": "new", "status": "OBS", "obsolete_date": "1970-01-04", "imagesets": ()}
    described(catalogue, first.model_copy(update=obsolete), now=3 * DAY)
    absent(catalogue, 4 * DAY, 5 * DAY)
    described(catalogue, first.model_copy(update=obsolete), now=6 * DAY)
    sql = "SELECT title, status, imageset_count, unixepoch(withdrawn_at), file_count FROM entries_as_of WHERE as_of = {}"
    expected = {
        0: [],
        1: [("announced", None, None, None, None)],
        2: [("old", "REL", 1, None, None)],
        3: [("new", "OBS", 0, None, None)],
        4: [("new", "OBS", 0, None, None)],
        5: [("new", "OBS", 0, 5 * DAY, None)],
        6: [("new", "OBS", 0, None, None)],
    }
    assert {day: rows(catalogue, sql.format(day * DAY)) for day in expected} == expected
    history = "SELECT title, unixepoch(valid_from) / 86400, unixepoch(valid_to) / 86400 FROM entries_history ORDER BY 2"
    assert rows(catalogue, history) == [
        ("announced", 1, 2), ("old", 2, 3), ("new", 3, 5), ("new", 5, 6), ("new", 6, None),
    ]  # fmt: skip


def test_a_size_that_is_only_known_better_was_always_so(catalogue: Catalogue) -> None:
    listed(catalogue, {"a": 2000}, now=DAY, exact=False)
    listed(catalogue, {"a": 2003}, now=2 * DAY)
    assert files_at(catalogue, DAY) == {"a": 2003}
    assert rows(catalogue, "SELECT count(*) FROM files_history") == [(1,)]


def test_what_a_transfer_finds_out_ends_what_was_listed(catalogue: Catalogue) -> None:
    listed(catalogue, {"a": 100}, now=DAY)
    catalogue.write_now(lambda conn: transfer.want_entry(conn, ID, now=DAY))
    [claim] = catalogue.write_now(lambda conn: claims.claim(conn, now=DAY, limit_files=1, limit_bytes=10**6))
    catalogue.write_now(
        lambda conn: transfer.record_arrivals(
            conn, [Arrival(claim.file_id, 120, b"\0" * 32, Channel.FTP, None)], now=2 * DAY
        )
    )
    assert files_at(catalogue, DAY) == {"a": 100}
    assert files_at(catalogue, 2 * DAY) == {"a": 120}


def test_two_changes_within_a_second_and_a_clock_that_goes_back_leave_one_history(
    catalogue: Catalogue,
) -> None:
    listed(catalogue, {"a": 1}, now=DAY)
    for size, now in ((2, 3 * DAY), (3, 3 * DAY), (4, 2 * DAY), (5, 4 * DAY)):
        listed(catalogue, {"a": size}, now=now)
    assert files_at(catalogue, 2 * DAY) == {"a": 1}
    assert files_at(catalogue, 3 * DAY) == {"a": 4}
    assert files_at(catalogue, 4 * DAY) == {"a": 5}


@pytest.mark.parametrize(
    ("sql", "searches"),
    [
        ("SELECT * FROM files_as_of WHERE as_of = 5 AND empiar_id = 10017", ("d USING", "f USING INDEX file_by_name", "p USING PRIMARY KEY")),
        ("SELECT path FROM files_as_of WHERE as_of = 5 AND file_id = 7", ("f USING INTEGER PRIMARY KEY", "d USING INTEGER PRIMARY KEY")),
        ("SELECT count(*), sum(bytes) FROM files_as_of WHERE as_of = 5", ("d USING INTEGER PRIMARY KEY", "p USING PRIMARY KEY")),
        ("SELECT * FROM entries_as_of WHERE as_of = 5 AND empiar_id = 10017", ("e USING INTEGER PRIMARY KEY", "p USING PRIMARY KEY")),
        ("SELECT * FROM files_history WHERE empiar_id = 10017 AND valid_to IS NULL", ("d USING", "f USING INDEX file_by_name", "p USING PRIMARY KEY")),
    ],
)  # fmt: skip
def test_a_time_is_looked_up_not_searched_for(
    catalogue: Catalogue, sql: str, searches: tuple[str, ...]
) -> None:
    plan = [str(row[3]) for row in rows(catalogue, f"EXPLAIN QUERY PLAN {sql}")]
    for search in searches:
        assert any(line.startswith(f"SEARCH {search}") for line in plan), (search, plan)
    once = () if "count(*)" in sql else ("SCAN f",)  # one pass over the files, where all are asked for
    assert not [line for line in plan if line.startswith(("SCAN p", "SCAN q", "MATERIALIZE", *once))], plan


def test_an_older_catalogue_has_its_history_made_of_its_changes(tmp_path: Path) -> None:
    """As the versions before wrote it, and as this one writes it: the same states."""
    new, old = tmp_path / "new.db", tmp_path / "old" / "empiar.db"
    old.parent.mkdir()
    with Catalogue.open(new, create=True) as catalogue:
        entry = Entry(empiar_id=ID, title="old", status="REL", dataset_bytes=5)
        described(catalogue, entry, now=DAY)
        listed(catalogue, {"a": 1, "b": 2}, now=DAY)
        described(catalogue, entry.model_copy(update={"title": "new", "dataset_bytes": 6}), now=2 * DAY)
        absent(catalogue, 3 * DAY, 4 * DAY)
        described(catalogue, entry.model_copy(update={"title": "new", "dataset_bytes": 7}), now=5 * DAY)
        for day, files in enumerate(
            ({"a": 9, "b": 2}, {"a": 9}, {"a": 9}, {"a": 8, "b": 3}, {"a": 8, "b": 4}), 6
        ):
            listed(catalogue, dict(files), now=day * DAY)
        listed(catalogue, {"z": 1}, now=3 * DAY, empiar_id=OTHER)
    with closing(sqlite3.connect(old, isolation_level=None)) as conn:
        migrate(conn, steps=STEPS[: [name for name, _ in STEPS].index("m008_history")])
        conn.execute("ATTACH ? AS new", (str(new),))
        for table in ("entry", "source", "listing", "directory", "file", "file_absence", "change"):
            columns = ", ".join(f'"{row[1]}"' for row in conn.execute(f"PRAGMA main.table_info({table})"))
            conn.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM new.{table}")
    facts = "title, status, dataset_bytes, withdrawn_at, file_count, file_bytes"
    with Catalogue.open(old) as upgraded, Catalogue.open(new) as kept:
        for time in range(0, 12 * DAY, DAY // 2):
            assert files_at(upgraded, time) == files_at(kept, time)
            sql = f"SELECT {facts} FROM entries_as_of WHERE as_of = {time}"
            assert rows(upgraded, sql) == rows(kept, sql)
        for view in ("files_history", "entries_history"):
            sql = f"SELECT valid_from, valid_to, {'bytes, name' if view[0] == 'f' else 'title'} FROM {view} ORDER BY 1, 2, 3"
            assert rows(upgraded, sql) == rows(kept, sql)
