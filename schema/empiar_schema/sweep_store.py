"""The slow sweep, in which every listing is read anew though nothing speaks of a change; and the mirror's own number."""

from __future__ import annotations

import sqlite3
from typing import Final

from empiar_schema.times import iso

#: Under this name the catalogue keeps up to when the sweep has done its share.
_SWEEP: Final = "sweep"
# Entries that are served and listed; the others are due for reasons of their own.
_LISTED: Final = (
    "FROM entry e JOIN listing l ON l.listing_id = e.current_listing WHERE e.absent_since IS NULL"
)


def listed_oldest_first(conn: sqlite3.Connection, *, listed_before: int) -> list[int]:
    """Entries whose files were last listed at that time or before, the longest ago first."""
    query = f"SELECT e.empiar_id {_LISTED} AND l.completed_at <= ? ORDER BY l.completed_at, e.empiar_id"
    return [row[0] for row in conn.execute(query, (listed_before,))]


def listings(conn: sqlite3.Connection) -> tuple[int, int | None]:
    """How many entries have a listing, and when the oldest of those was made (None: there is none)."""
    count, oldest = conn.execute(f"SELECT count(*), min(l.completed_at) {_LISTED}").fetchone()
    return count, oldest


def swept_until(conn: sqlite3.Connection) -> int | None:
    """Up to when the sweep has done its share; None before the first crawl."""
    row = conn.execute("SELECT recorded_at FROM harvest WHERE source = ?", (_SWEEP,)).fetchone()
    return None if row is None else int(row[0])


def record_swept(conn: sqlite3.Connection, until: int) -> None:
    """The sweep has done its share up to then."""
    day = (iso(until) or "")[:10]
    conn.execute("INSERT OR REPLACE INTO harvest VALUES (?, ?, ?)", (_SWEEP, day, until))


def mirror_seed(conn: sqlite3.Connection) -> int:
    """A number from 0 to 2**32 that is this mirror's own, and the same for ever."""
    return int(conn.execute("SELECT seed FROM mirror").fetchone()[0])
