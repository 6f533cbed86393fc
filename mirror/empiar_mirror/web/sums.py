"""Sums over files and attempts that a page needs at once: tables of a snapshot, never of the catalogue.

Twenty million files take seconds to add up. What a listing's files add up to stays true until the next listing, so it is taken over
from the snapshot before; only entries that were listed since are added up.
"""

# ruff: noqa: S608
# SQL is put together from our own constants; values are always bound.

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from empiar_schema.view_definitions.of_files import suffix_sql

#: Days of transfers that are shown.
DAYS: Final = 60
_DAY_S: Final = 86_400

_TABLES: Final = """
CREATE TABLE web_listed (empiar_id INTEGER PRIMARY KEY, listing_id INTEGER NOT NULL) STRICT;
CREATE TABLE web_folder (
    directory_id INTEGER PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL
) STRICT;
CREATE TABLE web_suffix (
    empiar_id INTEGER NOT NULL, suffix TEXT NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (empiar_id, suffix)
) STRICT, WITHOUT ROWID;
CREATE TABLE web_day (
    day TEXT NOT NULL, channel TEXT NOT NULL, attempts INTEGER NOT NULL, failures INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (day, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE web_same (
    sha256 BLOB NOT NULL, bytes INTEGER NOT NULL, files INTEGER NOT NULL, entries INTEGER NOT NULL, empiar_ids TEXT NOT NULL,
    first_file INTEGER NOT NULL, PRIMARY KEY (sha256, bytes)
) STRICT, WITHOUT ROWID;
CREATE TABLE web_format (
    empiar_id INTEGER NOT NULL, data_format TEXT NOT NULL, PRIMARY KEY (empiar_id, data_format)
) STRICT, WITHOUT ROWID;
CREATE TABLE web_entry (
    empiar_id INTEGER PRIMARY KEY, title TEXT, experiment_type TEXT, scale TEXT, status TEXT, release_date TEXT,
    year TEXT, state TEXT NOT NULL, dataset_bytes INTEGER, file_count INTEGER, file_bytes INTEGER,
    wanted_files INTEGER, wanted_bytes INTEGER, here_files INTEGER, here_bytes INTEGER, failed_files INTEGER, pictures INTEGER
) STRICT;
"""
_STILL_TRUE: Final = (
    "SELECT o.empiar_id, o.listing_id FROM before.web_listed o JOIN entry e ON e.empiar_id = o.empiar_id"
    " AND e.current_listing = o.listing_id"
)
_TAKEN_OVER: Final = (
    f"INSERT INTO web_listed {_STILL_TRUE}",
    (
        "INSERT INTO web_folder SELECT f.* FROM before.web_folder f"
        " JOIN directory d ON d.directory_id = f.directory_id JOIN web_listed l ON l.empiar_id = d.empiar_id"
    ),
    "INSERT INTO web_suffix SELECT s.* FROM before.web_suffix s JOIN web_listed l ON l.empiar_id = s.empiar_id",
    # The latest day was not over; the one before it may have had attempts that were on record late.
    (
        "INSERT INTO web_day SELECT * FROM before.web_day WHERE day < (SELECT date(max(day), '-1 day') FROM before.web_day)"
        " AND day >= ?"
    ),
)
_LISTED_SINCE: Final = (
    "SELECT empiar_id, current_listing FROM entry WHERE current_listing IS NOT NULL"
    " AND empiar_id NOT IN (SELECT empiar_id FROM web_listed)"
)
#: Each file is looked at once, for both sums. `INDEXED BY` would fail where an index is renamed; CROSS JOIN keeps the order that uses it.
_LISTED: Final = (
    "f.file_id NOT IN (SELECT file_id FROM file_absence WHERE empiar_id = :entry AND gone_at IS NOT NULL)"
)
_COUNTED: Final = (
    f"INSERT INTO counted SELECT d.directory_id, :entry, {suffix_sql('f.name')} AS suffix, sum({_LISTED}),"
    f" ifnull(sum(f.bytes) FILTER (WHERE {_LISTED}), 0), min(f.file_id), max(f.file_id)"
    " FROM directory d CROSS JOIN file f ON f.directory_id = d.directory_id WHERE d.empiar_id = :entry"
    " GROUP BY d.directory_id, suffix"
)
_SUMMED: Final = (
    "INSERT INTO web_folder SELECT directory_id, sum(files), sum(bytes), min(first), max(last) FROM counted GROUP BY 1",
    "INSERT INTO web_suffix SELECT empiar_id, suffix, sum(files), sum(bytes) FROM counted GROUP BY 1, 2 HAVING sum(files) > 0",
    "DROP TABLE counted",
)
#: Files that are equal, in several entries. Nearly all are like no other, which one look at the checksums tells.
_SAME: Final = """
INSERT INTO web_same
SELECT sha256, bytes, count(*), count(DISTINCT empiar_id), group_concat(DISTINCT empiar_id), min(file_id) FROM copy
WHERE bytes IS NOT NULL AND sha256 IN (SELECT sha256 FROM copy WHERE sha256 IS NOT NULL GROUP BY sha256 HAVING min(empiar_id) < max(empiar_id))
GROUP BY sha256, bytes HAVING min(empiar_id) < max(empiar_id)
"""
_FORMATS: Final = "INSERT INTO web_format SELECT DISTINCT empiar_id, data_format FROM imageset WHERE data_format IS NOT NULL"
_ENTRIES: Final = """
INSERT INTO web_entry SELECT e.empiar_id, e.title, e.experiment_type, e.scale, e.status, e.release_date,
    CASE WHEN e.release_date GLOB '[12][0-9][0-9][0-9]*' THEN substr(e.release_date, 1, 4) END, p.state,
    e.dataset_bytes, e.file_count, e.file_bytes, p.wanted_files, p.wanted_bytes, p.here_files, p.here_bytes, p.failed_files,
    (SELECT count(*) FROM product t WHERE t.empiar_id = e.empiar_id AND t.kind = 'thumbnail')
FROM entry e JOIN entry_progress p ON p.empiar_id = e.empiar_id
"""


def add_up(connection: sqlite3.Connection, before: Path | None, *, now: float) -> None:
    """The snapshot on `connection`, which may be written, has its sums; `before` is the snapshot before, if there is one.

    Raises:
        sqlite3.Error: the disk refused.
    """
    connection.executescript(_TABLES)
    oldest = connection.execute("SELECT date(?, 'unixepoch')", (now - DAYS * _DAY_S,)).fetchone()[0]
    if before is not None:
        connection.execute("ATTACH ? AS before", (str(before),))
        try:
            for statement in _TAKEN_OVER:
                connection.execute(statement, (oldest,) if "?" in statement else ())
        finally:
            connection.execute("DETACH before")
    connection.execute(
        "CREATE TEMP TABLE counted (directory_id INTEGER, empiar_id INTEGER, suffix TEXT, files INTEGER, bytes INTEGER,"
        " first INTEGER, last INTEGER)"
    )
    for empiar_id, listing in connection.execute(_LISTED_SINCE).fetchall():
        connection.execute(_COUNTED, {"entry": empiar_id})
        connection.execute("INSERT INTO web_listed VALUES (?, ?)", (empiar_id, listing))
    for statement in _SUMMED:
        connection.execute(statement)
    begin = connection.execute(
        "SELECT unixepoch(max(ifnull((SELECT date(max(day), '+1 day') FROM web_day), ''), ?))", (oldest,)
    ).fetchone()[0]
    connection.execute(
        "INSERT INTO web_day SELECT date(ended_at, 'unixepoch'), channel, count(*), sum(outcome NOT IN ('done', 'stopped')),"
        " sum(bytes_moved) FROM attempt WHERE ended_at >= ? GROUP BY 1, 2",
        (begin,),
    )
    connection.execute(_SAME)
    connection.execute(_FORMATS)
    connection.execute(_ENTRIES)
