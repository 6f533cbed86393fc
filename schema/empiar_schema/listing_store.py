"""Listings: read into temporary tables, merged by set in one transaction.

A listing being read stands in tables of the writing connection's TEMP database: nothing of it shows, a crash
forgets it, and it costs no WAL. `complete_listing` compares it with the files known and writes only differences.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Final
from zlib import crc32

from empiar_schema.codes import UNIT_CODES, state_list
from empiar_schema.faults import BadAnswer, CatalogueFault
from empiar_schema.files import ListedFile
from empiar_schema.history_store import keep_files
from empiar_schema.states import CopyState
from empiar_schema.transfer_store import follow_listing

#: How far two sources' clocks may be apart, seconds: listings do not name their zone (UTC-12 to UTC+14).
ZONES_S: Final = 26 * 3600
_ON_DISK: Final = state_list((CopyState.ARRIVED, CopyState.WITHDRAWN, CopyState.DAMAGED))
_UNIT_S: Final = "CASE {} WHEN 0 THEN 60 WHEN 1 THEN 1 ELSE 86400 END"


@dataclass(frozen=True, slots=True)
class ListingDiff:
    """How a complete listing compares with the one before."""

    files: int
    bytes: int
    added: int
    changed: int
    #: Not in this listing; not yet believed to be gone.
    missing: int
    #: Missing from two looks in a row: `gone_at` is set.
    gone: int
    #: Was missing or gone and is listed again.
    returned: int


@dataclass(frozen=True, slots=True)
class _Reading:
    listing: int
    empiar_id: int
    source_id: int
    started_at: int
    #: JSON of the `ListingDiff`, once completed.
    diff: str | None


# --- reading ------------------------------------------------------------------------------------------------


def begin_listing(conn: sqlite3.Connection, empiar_id: int, *, source: str, now: int) -> int:
    """Room for a listing that is being read; returns its number. Nothing of it shows until `complete_listing`; a crash forgets it."""
    conn.execute(
        "CREATE TEMP TABLE IF NOT EXISTS reading (listing INTEGER PRIMARY KEY AUTOINCREMENT,"
        " empiar_id INTEGER, source_id INTEGER, started_at INTEGER, diff TEXT)"
    )
    # From 0, see the table `source`.
    conn.execute(
        "INSERT INTO source SELECT (SELECT count(*) FROM source), ?1"
        " WHERE NOT EXISTS (SELECT 1 FROM source WHERE name = ?1)",
        (source,),
    )
    row = conn.execute(
        "INSERT INTO temp.reading (empiar_id, source_id, started_at)"
        " SELECT ?, source_id, ? FROM source WHERE name = ? RETURNING listing",
        (empiar_id, now, source),
    ).fetchone()
    listing = int(row[0])
    conn.execute(
        f"CREATE TEMP TABLE listed_directory_{listing} (number INTEGER PRIMARY KEY, path TEXT UNIQUE, odd INTEGER)"
    )
    conn.execute(
        f"CREATE TEMP TABLE listed_{listing} (directory INTEGER, name TEXT, name_hash INTEGER, bytes INTEGER,"
        " bytes_exact INTEGER, modified_at INTEGER, modified_unit INTEGER,"
        " PRIMARY KEY (directory, name)) WITHOUT ROWID"
    )
    return listing


def add_to_listing(
    conn: sqlite3.Connection, listing: int, directory: str, files: Sequence[ListedFile]
) -> None:
    """A batch of one directory's files is kept for `listing`. The same directory may come in many batches; a name that comes twice in one listing counts once (last wins).

    Raises:
        BadAnswer: a size is negative, a size or time beyond 64 bits, a grain unknown, or a name no stored text.
    """
    if not files:
        return
    names, sizes, exact, times, units = zip(*files, strict=True)
    try:
        number = _directory_number(conn, listing, directory, odd=_PLAIN.fullmatch("".join(names)) is None)
        if unknown := set(units) - UNIT_CODES.keys():
            raise BadAnswer(f"the listing of {directory or 'the entry'} has times of grain {unknown.pop()} s")
        if min(filter(None, sizes), default=0) < 0:
            raise BadAnswer(f"the listing of {directory or 'the entry'} has a negative size")
        # Column by column, so that no Python runs for each row: an entry can have a million.
        hashes = map(crc32, map(str.encode, names))
        rows = zip(repeat(number), names, hashes, sizes, exact, times, units)
        conn.executemany(_LISTED_ROW.format(listing), rows)
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadAnswer(
            f"the listing of {directory or 'the entry'} holds an impossible value: {error}"
        ) from error


#: Names that a URL shows as they are.
_PLAIN: Final = re.compile("[A-Za-z0-9_.~-]*")
_LISTED_ROW: Final = (
    "INSERT OR REPLACE INTO temp.listed_{} VALUES"
    " (?1, ?2, (?3 & 0xFFFFFF) - 0x800000, ?4, ?5 AND ?4 IS NOT NULL, ?6,"
    f" CASE ?7 {' '.join(f'WHEN {unit_s} THEN {code}' for unit_s, code in UNIT_CODES.items())} END)"
)


def _directory_number(conn: sqlite3.Connection, listing: int, directory: str, *, odd: bool) -> int:
    row = conn.execute(
        f"INSERT INTO temp.listed_directory_{listing} (path, odd) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET odd = max(odd, excluded.odd) RETURNING number",
        (directory, odd),
    ).fetchone()
    return int(row[0])


def drop_listing(conn: sqlite3.Connection, listing: int) -> None:
    """The unfinished listing is forgotten."""
    for table in ("listed", "listed_directory", "placed", "difference", "lacking"):
        conn.execute(f"DROP TABLE IF EXISTS temp.{table}_{listing}")
    if conn.execute("SELECT 1 FROM sqlite_temp_schema WHERE name = 'reading'").fetchone():
        conn.execute("DELETE FROM temp.reading WHERE listing = ? AND diff IS NULL", (listing,))


def _reading(conn: sqlite3.Connection, listing: int) -> _Reading:
    row = None
    if conn.execute("SELECT 1 FROM sqlite_temp_schema WHERE name = 'reading'").fetchone():
        row = conn.execute("SELECT * FROM temp.reading WHERE listing = ?", (listing,)).fetchone()
    if row is None:
        raise CatalogueFault(
            f"listing {listing} is not being read", hint="begin it again; an unfinished listing is forgotten"
        )
    return _Reading(*row)


# --- merging ------------------------------------------------------------------------------------------------


def complete_listing(conn: sqlite3.Connection, listing: int, *, now: int) -> ListingDiff:
    """The listing is the entry's current one, by one transaction; its differences stand in `changes`.

    What is not in it is marked missing at the first look and gone at the second (a later complete
    listing that lacks it too); rows are never deleted. Where a wanted copy is not here and its file is gone, nothing more is tried;
    where it is here its state becomes withdrawn. A size or time counts as changed only beyond the coarser of both
    grains; between different sources times may differ by up to 26 hours (unknown zones).
    An empty listing of an entry that had files is refused. A second call gives the same answer and does nothing.

    Raises:
        BadAnswer: the listing is empty though the entry had files.
        CatalogueFault: no such listing is being read.
    """
    reading = _reading(conn, listing)
    if reading.diff is not None:
        return ListingDiff(**json.loads(reading.diff))
    files, size = conn.execute(
        f"SELECT count(*), CAST(total(bytes) AS INTEGER) FROM temp.listed_{listing}"
    ).fetchone()
    conn.execute(
        "INSERT OR IGNORE INTO entry (empiar_id, discovered_at) VALUES (?, ?)", (reading.empiar_id, now)
    )
    known, previous = conn.execute(
        "SELECT e.file_count, l.completed_at FROM entry e"
        " LEFT JOIN listing l ON l.listing_id = e.current_listing WHERE e.empiar_id = ?",
        (reading.empiar_id,),
    ).fetchone()
    if files == 0 and known:
        raise BadAnswer(f"the listing of entry {reading.empiar_id} is empty, though it had {known} files")
    number = _record_listing(conn, reading, now=now, files=files, size=size)
    _place_directories(conn, reading)
    if previous is None:
        diff = _first_listing(conn, reading, number, now=now, files=files, size=size)
    else:
        diff = _later_listing(conn, reading, number, (known, previous), now=now, totals=(files, size))
    conn.execute(
        "UPDATE listing SET added = ?, changed = ?, missing = ?, gone = ?, returned = ?,"
        " (known_files, known_bytes) = (SELECT file_count, file_bytes FROM entry WHERE empiar_id = ?)"
        " WHERE listing_id = ?",
        (diff.added, diff.changed, diff.missing, diff.gone, diff.returned, reading.empiar_id, number),
    )
    conn.execute("UPDATE entry SET current_listing = ? WHERE empiar_id = ?", (number, reading.empiar_id))
    conn.execute("UPDATE temp.reading SET diff = ? WHERE listing = ?", (json.dumps(asdict(diff)), listing))
    drop_listing(conn, listing)
    return diff


def _record_listing(conn: sqlite3.Connection, reading: _Reading, *, now: int, files: int, size: int) -> int:
    row = conn.execute(
        "INSERT INTO listing (empiar_id, source_id, started_at, completed_at, file_count, byte_count,"
        " added, changed, missing, gone, returned) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0) RETURNING listing_id",
        (reading.empiar_id, reading.source_id, reading.started_at, now, files, size),
    ).fetchone()
    return int(row[0])


def _place_directories(conn: sqlite3.Connection, reading: _Reading) -> None:
    """Every listed directory has a row, in the order of paths; ``placed_N`` maps it to the listing's number."""
    listing, empiar_id = reading.listing, reading.empiar_id
    inserted = conn.execute(
        "INSERT INTO directory (empiar_id, path, url_path)"
        f" SELECT ?1, path, nullif(url_of_text(path), path) FROM temp.listed_directory_{listing} t"
        " WHERE NOT EXISTS (SELECT 1 FROM directory d WHERE d.empiar_id = ?1 AND d.path = t.path)"
        " ORDER BY path",
        (empiar_id,),
    ).rowcount
    conn.execute(
        f"CREATE TEMP TABLE placed_{listing} (directory_id INTEGER PRIMARY KEY, number INTEGER NOT NULL)"
    )
    conn.execute(
        f"INSERT INTO temp.placed_{listing} SELECT d.directory_id, t.number FROM temp.listed_directory_{listing} t"
        " JOIN directory d ON d.empiar_id = ? AND d.path = t.path ORDER BY d.directory_id",
        (empiar_id,),
    )
    if inserted:
        assign_imagesets(conn, empiar_id)


def assign_imagesets(conn: sqlite3.Connection, empiar_id: int) -> None:
    """Every directory of the entry knows the image set with the longest directory that is it or holds it."""
    conn.execute(
        "UPDATE directory SET imageset = found.position FROM ("
        " SELECT directory_id, (SELECT s.position FROM imageset s WHERE s.empiar_id = d.empiar_id"
        "  AND (s.directory IN ('', d.path) OR substr(d.path, 1, length(s.directory) + 1) = s.directory || '/')"
        "  ORDER BY length(s.directory) DESC, s.position LIMIT 1) AS position"
        " FROM directory d WHERE d.empiar_id = ?1) found"
        " WHERE directory.directory_id = found.directory_id AND directory.imageset IS NOT found.position",
        (empiar_id,),
    )


_NEW_FILE: Final = (
    "INSERT INTO file (directory_id, name, name_hash, bytes, bytes_exact, modified_at, modified_unit,"
    " modified_source, first_listing) "
)


def _record_urls(conn: sqlite3.Connection, listing: int, *, after: int) -> None:
    """New names with characters that a URL encodes get their encoded form; files up to `after` have theirs."""
    conn.execute(
        f"INSERT INTO file_url SELECT f.file_id, url_of_text(f.name) FROM temp.listed_directory_{listing} t"
        f" CROSS JOIN temp.placed_{listing} p ON p.number = t.number"
        " CROSS JOIN file f ON f.directory_id = p.directory_id"
        " WHERE t.odd AND f.file_id > ? AND f.name GLOB '*[^A-Za-z0-9_.~-]*'",
        (after,),
    )


def _last_file_id(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT ifnull(max(file_id), 0) FROM file").fetchone()[0])


def _first_listing(
    conn: sqlite3.Connection, reading: _Reading, number: int, *, now: int, files: int, size: int
) -> ListingDiff:
    before = _last_file_id(conn)
    # CROSS JOIN fixes the order of the loops: then the rows come sorted without a sort.
    conn.execute(
        _NEW_FILE + "SELECT p.directory_id, l.name, l.name_hash, l.bytes, l.bytes_exact, l.modified_at,"
        f" l.modified_unit, ?, ? FROM temp.placed_{reading.listing} p"
        f" CROSS JOIN temp.listed_{reading.listing} l ON l.directory = p.number"
        " ORDER BY p.directory_id, l.name",
        (reading.source_id, number),
    )
    _record_urls(conn, reading.listing, after=before)
    conn.execute(
        "UPDATE entry SET file_count = ?, file_bytes = ? WHERE empiar_id = ?",
        (files, size, reading.empiar_id),
    )
    if files:
        conn.execute(
            "INSERT INTO change (changed_at, empiar_id, kind, field, new) VALUES (?, ?, 'added', 'files', ?)",
            (now, reading.empiar_id, str(files)),
        )
    return ListingDiff(files, size, files, 0, 0, 0, 0)


# What Apache's rounding can hide: plain bytes below 973, else a tenth of the unit below ten units, else one unit.
_ROUNDED: Final = """CASE
    WHEN {0} < 973 THEN 0
    WHEN {0} < 10240 THEN 103 WHEN {0} < 996352 THEN 1024
    WHEN {0} < 10485760 THEN 104858 WHEN {0} < 1020264448 THEN 1048576
    WHEN {0} < 10737418240 THEN 107374183 WHEN {0} < 1044750794752 THEN 1073741824
    WHEN {0} < 10995116277760 THEN 109951162778 ELSE 1099511627776 END"""
_SIZE_CHANGED: Final = f"""ifnull(abs(l.bytes - f.bytes) > CASE WHEN l.bytes_exact AND f.bytes_exact THEN 0
    ELSE {_ROUNDED.format("max(l.bytes, f.bytes)")} END, 0)"""
_SIZE_BETTER: Final = "(l.bytes IS NOT NULL AND (f.bytes IS NULL OR l.bytes_exact > f.bytes_exact))"
_COARSER: Final = f"max({_UNIT_S.format('l.modified_unit')}, {_UNIT_S.format('f.modified_unit')})"
_TIME_CHANGED: Final = f"""ifnull(abs(l.modified_at - f.modified_at) >=
    {_COARSER} + CASE WHEN f.modified_source = ?1 THEN 0 ELSE {ZONES_S} END, 0)"""
_TIME_BETTER: Final = f"""(l.modified_at IS NOT NULL AND (f.modified_at IS NULL
    OR {_UNIT_S.format("l.modified_unit")} < {_UNIT_S.format("f.modified_unit")}))"""


def _find_differences(conn: sqlite3.Connection, reading: _Reading) -> None:
    """``difference_N`` holds every listed file that is new, was absent, or says something else than its row."""
    n = reading.listing
    conn.execute(
        f"CREATE TEMP TABLE difference_{n} (file_id INTEGER, directory_id INTEGER, name TEXT, name_hash INTEGER,"
        " bytes INTEGER, bytes_exact INTEGER, modified_at INTEGER, modified_unit INTEGER,"
        " old_bytes INTEGER, old_modified_at INTEGER, size_changed INTEGER, size_better INTEGER,"
        " time_changed INTEGER, time_better INTEGER, missing_at INTEGER, gone_at INTEGER)"
    )
    conn.execute(
        f"INSERT INTO temp.difference_{n} SELECT f.file_id, p.directory_id, l.name, l.name_hash,"
        " l.bytes, l.bytes_exact, l.modified_at, l.modified_unit, f.bytes, f.modified_at,"
        f" {_SIZE_CHANGED}, {_SIZE_BETTER}, {_TIME_CHANGED}, {_TIME_BETTER}, a.missing_at, a.gone_at"
        f" FROM temp.placed_{n} p CROSS JOIN temp.listed_{n} l ON l.directory = p.number"
        " LEFT JOIN file f INDEXED BY file_by_name"
        " ON f.directory_id = p.directory_id AND f.name_hash = l.name_hash AND f.name = l.name"
        " LEFT JOIN file_absence a ON a.file_id = f.file_id"
        # The first terms settle nearly every row of a listing that has not changed.
        " WHERE f.file_id IS NULL OR a.file_id IS NOT NULL"
        "  OR ((l.bytes IS NOT f.bytes OR l.bytes_exact <> f.bytes_exact"
        "    OR l.modified_at IS NOT f.modified_at OR l.modified_unit <> f.modified_unit)"
        f"   AND ({_SIZE_CHANGED} OR {_SIZE_BETTER} OR {_TIME_CHANGED} OR {_TIME_BETTER}))"
        " ORDER BY p.directory_id, l.name",
        (reading.source_id,),
    )


def _later_listing(
    conn: sqlite3.Connection,
    reading: _Reading,
    number: int,
    before: tuple[int, int],
    *,
    now: int,
    totals: tuple[int, int],
) -> ListingDiff:
    """The merge of a listing into an entry listed `before` (files not gone, and when)."""
    n = reading.listing
    known, previous = before
    files, size = totals
    _find_differences(conn, reading)
    different, added, changed, returned, revived = conn.execute(
        "SELECT count(*), count(*) FILTER (WHERE file_id IS NULL),"
        " count(*) FILTER (WHERE size_changed OR time_changed),"
        " count(*) FILTER (WHERE missing_at IS NOT NULL), count(*) FILTER (WHERE gone_at IS NOT NULL)"
        f" FROM temp.difference_{n}"
    ).fetchone()
    missing = gone = 0
    # Fewer of the files not gone are listed than are known: only then some lack, and a search is worth its time.
    if files - added - revived < known:
        missing, gone = _mark_absent(conn, reading, previous=previous, now=now)
    if different:
        keep_files(
            conn,
            f"SELECT file_id FROM temp.difference_{n} WHERE size_changed OR time_changed OR gone_at IS NOT NULL",
            now=now,
        )
        _record_changes(conn, reading, now=now)
        _update_known(conn, reading)
        _add_new(conn, reading, number, now=now)
    if different or gone:
        follow_listing(conn, reading.empiar_id)
        _count_files(conn, reading.empiar_id)
    return ListingDiff(files, size, added, changed, missing, gone, returned)


def _mark_absent(conn: sqlite3.Connection, reading: _Reading, *, previous: int, now: int) -> tuple[int, int]:
    """Known files that the listing lacks are missing, or gone if they were missing already; returns how many."""
    n, empiar_id = reading.listing, reading.empiar_id
    conn.execute(
        f"CREATE TEMP TABLE lacking_{n} (file_id INTEGER PRIMARY KEY, missing_at INTEGER, gone_at INTEGER)"
    )
    conn.execute(
        f"INSERT INTO temp.lacking_{n} SELECT f.file_id, a.missing_at, a.gone_at"
        " FROM directory d JOIN file f ON f.directory_id = d.directory_id"
        f" LEFT JOIN temp.placed_{n} p ON p.directory_id = d.directory_id"
        " LEFT JOIN file_absence a ON a.file_id = f.file_id"
        f" WHERE d.empiar_id = ? AND a.gone_at IS NULL AND NOT EXISTS (SELECT 1 FROM temp.listed_{n} l"
        "  WHERE l.directory = p.number AND l.name = f.name)",
        (empiar_id,),
    )
    second_look = f"(SELECT file_id FROM temp.lacking_{n} WHERE missing_at IS NOT NULL)"
    keep_files(conn, second_look[1:-1], now=now)
    gone = conn.execute(
        f"UPDATE file_absence SET gone_at = ? WHERE file_id IN {second_look}", (now,)
    ).rowcount
    conn.execute(
        "INSERT INTO change (changed_at, empiar_id, file_id, kind)"
        f" SELECT ?, ?, file_id, 'removed' FROM {second_look}",
        (now, empiar_id),
    )
    missing = conn.execute(
        "INSERT INTO file_absence (file_id, empiar_id, last_seen_at, missing_at)"
        f" SELECT file_id, ?, ?, ? FROM temp.lacking_{n} WHERE missing_at IS NULL",
        (empiar_id, previous, now),
    ).rowcount
    return missing, gone


def _record_changes(conn: sqlite3.Connection, reading: _Reading, *, now: int) -> None:
    changes = (
        ("changed", "'bytes'", "old_bytes", "bytes", "size_changed"),
        (
            "changed",
            "'modified_at'",
            "strftime('%Y-%m-%dT%H:%M:%SZ', old_modified_at, 'unixepoch')",
            "strftime('%Y-%m-%dT%H:%M:%SZ', modified_at, 'unixepoch')",
            "time_changed",
        ),
        ("returned", "NULL", "NULL", "NULL", "gone_at IS NOT NULL"),
    )
    for kind, field, old, new, condition in changes:
        conn.execute(
            "INSERT INTO change (changed_at, empiar_id, file_id, kind, field, old, new)"
            f" SELECT ?, ?, file_id, ?, {field}, {old}, {new} FROM temp.difference_{reading.listing}"
            f" WHERE file_id IS NOT NULL AND {condition}",
            (now, reading.empiar_id, kind),
        )


def _update_known(conn: sqlite3.Connection, reading: _Reading) -> None:
    n = reading.listing
    conn.execute(
        "UPDATE file SET bytes = x.bytes, bytes_exact = x.bytes_exact"
        f" FROM temp.difference_{n} x WHERE file.file_id = x.file_id AND (x.size_changed OR x.size_better)"
    )
    conn.execute(
        "UPDATE file SET modified_at = x.modified_at, modified_unit = x.modified_unit, modified_source = ?"
        f" FROM temp.difference_{n} x WHERE file.file_id = x.file_id AND (x.time_changed OR x.time_better)",
        (reading.source_id,),
    )
    # A copy that is here has a size of its own.
    conn.execute(
        f"UPDATE copy SET bytes = x.bytes FROM temp.difference_{n} x WHERE copy.file_id = x.file_id"
        f" AND (x.size_changed OR x.size_better) AND copy.state NOT IN ({_ON_DISK})"
    )
    conn.execute(
        "DELETE FROM file_absence WHERE file_id IN"
        f" (SELECT file_id FROM temp.difference_{n} WHERE missing_at IS NOT NULL)"
    )


def _add_new(conn: sqlite3.Connection, reading: _Reading, number: int, *, now: int) -> None:
    before = _last_file_id(conn)
    conn.execute(
        _NEW_FILE
        + "SELECT directory_id, name, name_hash, bytes, bytes_exact, modified_at, modified_unit, ?, ?"
        f" FROM temp.difference_{reading.listing} WHERE file_id IS NULL ORDER BY rowid",
        (reading.source_id, number),
    )
    _record_urls(conn, reading.listing, after=before)
    conn.execute(
        "INSERT INTO change (changed_at, empiar_id, file_id, kind)"
        " SELECT ?, ?, file_id, 'added' FROM file WHERE file_id > ?",
        (now, reading.empiar_id, before),
    )


def _count_files(conn: sqlite3.Connection, empiar_id: int) -> None:
    conn.execute(
        "UPDATE entry SET (file_count, file_bytes) = ("
        " SELECT count(*), ifnull(sum(f.bytes), 0) FROM directory d"
        " JOIN file f ON f.directory_id = d.directory_id LEFT JOIN file_absence a ON a.file_id = f.file_id"
        " WHERE d.empiar_id = ?1 AND a.gone_at IS NULL) WHERE empiar_id = ?1",
        (empiar_id,),
    )


# --- what is known ------------------------------------------------------------------------------------------


def known_exact_sizes(
    conn: sqlite3.Connection, empiar_id: int, directory: str
) -> dict[str, tuple[int, int | None]]:
    """Per name of a directory already in the catalogue with an exact size: that size and its modification time; so that a rounded listing needs no HEAD for what has not changed."""
    rows = conn.execute(
        "SELECT f.name, f.bytes, f.modified_at FROM directory d JOIN file f ON f.directory_id = d.directory_id"
        " LEFT JOIN file_absence a ON a.file_id = f.file_id"
        " WHERE d.empiar_id = ? AND d.path = ? AND f.bytes_exact AND f.bytes IS NOT NULL AND a.gone_at IS NULL",
        (empiar_id, directory),
    )
    return {name: (size, modified_at) for name, size, modified_at in rows}
