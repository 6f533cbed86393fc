"""Whatever the archive shows and however it changes: as of a time is what the catalogue said at that time."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from empiar_schema import crawl_store as crawl
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import Entry
from empiar_schema.files import ListedFile

IDS = (10017, 10018)
FILE = st.tuples(st.integers(0, 3), st.integers(0, 2).map(lambda day: day * 100_000))
LISTING = st.dictionaries(st.sampled_from(["a", "b", "é c", "d"]), FILE, min_size=1)
HAPPENING = st.one_of(
    st.tuples(st.just("listing"), st.sampled_from(IDS), st.sampled_from(["ftp", "https"]), LISTING),
    st.tuples(st.just("entry"), st.sampled_from(IDS), st.sampled_from(["x", "y"]), st.sampled_from(["REL", "OBS"])),
    st.tuples(st.just("absent"), st.sampled_from(IDS)),
)  # fmt: skip
#: Seconds to the next happening; often none.
PAUSE = st.sampled_from([0, 1, 3600, 86_400])


def happen(conn: sqlite3.Connection, what: tuple[object, ...], now: int) -> None:
    match what:
        case ("listing", int(empiar_id), str(source), dict(files)):
            listing = crawl.begin_listing(conn, empiar_id, source=source, now=now)
            found = [ListedFile(name, size, True, at, 1) for name, (size, at) in files.items()]
            crawl.add_to_listing(conn, listing, "data", found)
            crawl.complete_listing(conn, listing, now=now)
        case ("entry", int(empiar_id), str(title), str(status)):
            entry = Entry(empiar_id=empiar_id, title=title, status=status)
            crawl.record_entry(conn, entry, source="api", now=now)
        case ("absent", int(empiar_id)):
            crawl.record_entry_absent(conn, empiar_id, reason="404", now=now)


Snapshot = tuple[list[tuple[object, ...]], list[tuple[object, ...]]]
_FILES = "file_id, empiar_id, path, bytes, bytes_exact, modified_at, first_seen_at"
_ENTRIES = "empiar_id, title, status, withdrawn_at, discovered_at, listed_at"
#: What `entries` shows as 0 before the first listing is unknown then.
_COUNTS = (
    "CASE WHEN listed_at IS NOT NULL THEN file_count END, CASE WHEN listed_at IS NOT NULL THEN file_bytes END"
)


def snapshot(conn: sqlite3.Connection) -> Snapshot:
    files = conn.execute(f"SELECT {_FILES} FROM files WHERE gone_at IS NULL ORDER BY file_id")
    entries = conn.execute(f"SELECT {_ENTRIES}, {_COUNTS} FROM entries ORDER BY empiar_id")
    return files.fetchall(), entries.fetchall()


def as_of(conn: sqlite3.Connection, time: int) -> Snapshot:
    files = conn.execute(f"SELECT {_FILES} FROM files_as_of WHERE as_of = ? ORDER BY file_id", (time,))
    entries = conn.execute(
        f"SELECT {_ENTRIES}, file_count, file_bytes FROM entries_as_of WHERE as_of = ? ORDER BY 1", (time,)
    )
    return files.fetchall(), entries.fetchall()


def by_history(conn: sqlite3.Connection, time: int) -> Snapshot:
    """The same by comparing times, as any SQL can."""
    at = "valid_from <= ?1 AND (valid_to IS NULL OR valid_to > ?1)"
    text = conn.execute("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ?, 'unixepoch')", (time,)).fetchone()
    files = conn.execute(f"SELECT file_id, bytes, modified_at FROM files_history WHERE {at} ORDER BY 1", text)
    entries = conn.execute(
        f"SELECT empiar_id, title, withdrawn_at FROM entries_history WHERE {at} ORDER BY 1", text
    )
    return files.fetchall(), entries.fetchall()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(HAPPENING, PAUSE), min_size=1, max_size=14))
def test_as_of_equals_the_snapshot_of_that_time(happenings: list[tuple[tuple[object, ...], int]]) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Catalogue.open(Path(folder) / "empiar.db", create=True) as catalogue,
    ):
        snapshots: dict[int, Snapshot] = {}
        now = 1_000_000
        for what, pause in happenings:
            catalogue.write_now(lambda conn, w=what, n=now: happen(conn, w, n))  # type: ignore[misc]
            with catalogue.reader() as reader:
                reader.row_factory = None
                snapshots[now] = snapshot(reader)
            now += pause
        with catalogue.reader() as reader:
            reader.row_factory = None
            assert as_of(reader, 999_999) == ([], [])
            times = [*snapshots, now]
            for time, after in itertools.pairwise(times):
                for moment in {time, max(time, after - 1)}:
                    files, entries = as_of(reader, moment)
                    assert (files, entries) == snapshots[time], moment
                    history = ([(f[0], f[3], f[5]) for f in files], [(e[0], e[1], e[3]) for e in entries])
                    assert by_history(reader, moment) == history, moment
