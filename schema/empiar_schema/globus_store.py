"""The ledger of the Globus channel: which files were handed to the service in which bundle, and what became of each.

Each function runs inside a writer job and is idempotent. A file that is under way is *claimed*, so that no other channel
begins it; a delivered one is *wanted* again, for the engine to verify.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from empiar_schema.codes import STATE_CODES
from empiar_schema.copies import forget_partial, move
from empiar_schema.globus_bundles import Bundle, BundleFile, Candidate, NewBundle
from empiar_schema.globus_states import (
    BUNDLE_CODES,
    BUNDLE_STATES,
    ITEM_CODES,
    BundleState,
    ItemState,
)
from empiar_schema.listing_reads import file_id_of, file_ids_of
from empiar_schema.paths import RemotePath
from empiar_schema.states import CopyState

_UNDER_WAY: Final = ITEM_CODES[ItemState.UNDER_WAY]
_DELIVERED: Final = ITEM_CODES[ItemState.DELIVERED]
_FREED: Final = ITEM_CODES[ItemState.FREED]
_PLANNED: Final = BUNDLE_CODES[BundleState.PLANNED]
_SUBMITTED: Final = BUNDLE_CODES[BundleState.SUBMITTED]
_ABANDONED: Final = BUNDLE_CODES[BundleState.ABANDONED]
_ENDED: Final = BUNDLE_CODES[BundleState.ENDED]
_WANTED: Final = STATE_CODES[CopyState.WANTED]
_CLAIMED: Final = STATE_CODES[CopyState.CLAIMED]
_UNVERIFIED: Final = STATE_CODES[CopyState.UNVERIFIED]
#: Which of an entry's waiting copies another channel has not begun.
_FRESH: Final = "state = 0 AND bytes_here = 0 AND not_before <= :now"
_COLUMNS: Final = (
    "bundle_id, state, label, files, bytes, sync_level, planned_at, submission_id, task_id, submitted_at,"
    " progressed_at, status, nice_status, bytes_transferred, files_transferred, faults, moved_marker, cancelled_because"
)


# --- planning -----------------------------------------------------------------------------------------------


def candidates(
    conn: sqlite3.Connection,
    empiar_id: int,
    *,
    least_priority: int,
    now: int,
    begun_too: bool = False,
    queues: Collection[int] | None = None,
) -> Iterator[Candidate]:
    """The entry's wanted files that are in no bundle, in the order of the listing, of these `queues` alone if given; read as they are used.

    Without `begun_too`, files that another channel has begun, or that rest after a failure, are left out.
    """
    # Numbers are sorted, not rows, and the loops run in their order; without a limit SQLite would pass over the sorting.
    rows = conn.execute(
        "WITH waiting AS MATERIALIZED (SELECT file_id FROM copy WHERE empiar_id = :entry AND state <= 1"
        f" AND queue_id IN (SELECT queue_id FROM queue WHERE empiar_id = :entry AND priority >= :least) AND (:queues IS NULL OR queue_id IN (SELECT value FROM json_each(:queues))) AND (:begun_too OR {_FRESH}) ORDER BY file_id LIMIT -1)"
        " SELECT f.file_id, d.empiar_id, d.path, f.name, f.bytes, ifnull(g.tries, 0) FROM waiting w"
        " CROSS JOIN file f ON f.file_id = w.file_id CROSS JOIN directory d ON d.directory_id = f.directory_id"
        f" LEFT JOIN globus_item g ON g.file_id = w.file_id WHERE ifnull(g.state, {_FREED}) = {_FREED}",
        {
            "entry": empiar_id,
            "least": least_priority,
            "now": now,
            "begun_too": begun_too,
            "queues": None if queues is None else json.dumps(sorted(queues)),
        },
    )
    return (Candidate(*row) for row in rows)


def item_error(conn: sqlite3.Connection, file_id: int) -> str:
    """Why Globus gave the file back last."""
    row = conn.execute("SELECT error FROM globus_item WHERE file_id = ?", (file_id,)).fetchone()
    return (row and row[0]) or "Globus did not bring it"


def plan_bundle(conn: sqlite3.Connection, new: NewBundle, *, now: int) -> int:
    """The files are claimed for one task of the service, which is to be submitted; returns the bundle's number.

    Files that something else has claimed meanwhile are passed over. What was kept of a partial counts no more.
    """
    (bundle_id,) = conn.execute(
        "INSERT INTO globus_bundle (label, files, bytes, sync_level, planned_at) VALUES (?, 0, 0, ?, ?) RETURNING bundle_id",
        (new.label, new.sync_level, now),
    ).fetchone()
    ids = json.dumps(list(new.file_ids))
    chosen = "file_id IN (SELECT value FROM json_each(?1)) AND state <= 1"
    for (file_id,) in conn.execute(
        f"SELECT file_id FROM copy WHERE {chosen} AND (bytes_here > 0 OR v_size IS NOT NULL)", (ids,)
    ).fetchall():
        forget_partial(conn, file_id)
    taken = conn.execute(
        "INSERT INTO globus_item (file_id, bundle_id) SELECT file_id, ?2 FROM copy WHERE file_id IN"
        " (SELECT value FROM json_each(?1)) AND state <= 1 ON CONFLICT (file_id) DO UPDATE SET"
        f" bundle_id = ?2, state = {_UNDER_WAY}, tries = tries + 1, delivered_at = NULL",
        (ids, bundle_id),
    ).rowcount
    conn.execute(f"UPDATE copy SET state = {_CLAIMED}, not_before = 0 WHERE {chosen}", (ids,))
    conn.execute(
        "UPDATE globus_bundle SET files = ?1, bytes = (SELECT ifnull(sum(c.bytes), 0) FROM globus_item g"
        " CROSS JOIN copy c ON c.file_id = g.file_id WHERE g.bundle_id = ?2) WHERE bundle_id = ?2",
        (taken, bundle_id),
    )
    if taken == 0:
        conn.execute("DELETE FROM globus_bundle WHERE bundle_id = ?", (bundle_id,))
    return int(bundle_id)


def record_submission_id(conn: sqlite3.Connection, bundle_id: int, submission_id: str) -> None:
    """From now on the service may know the bundle by this id."""
    conn.execute(
        f"UPDATE globus_bundle SET submission_id = ?, state = {_SUBMITTED} WHERE bundle_id = ? AND state <= {_SUBMITTED}",
        (submission_id, bundle_id),
    )


def record_task(conn: sqlite3.Connection, bundle_id: int, task_id: str, *, now: int) -> None:
    """The service has made this task of the bundle."""
    conn.execute(
        "UPDATE globus_bundle SET task_id = ?, submitted_at = ifnull(submitted_at, ?), progressed_at = ifnull(progressed_at, ?)"
        " WHERE bundle_id = ?",
        (task_id, now, now, bundle_id),
    )


# --- following ----------------------------------------------------------------------------------------------


def open_bundles(conn: sqlite3.Connection) -> list[Bundle]:
    """Bundles of which something is still to be done, the oldest first."""
    rows = conn.execute(f"SELECT {_COLUMNS} FROM globus_bundle WHERE state <= 2 ORDER BY bundle_id")
    return [_bundle(row) for row in rows]


def _bundle(row: Sequence[object]) -> Bundle:
    number, state, *rest = row
    assert isinstance(state, int)
    return Bundle(number, BUNDLE_STATES[state], *rest)  # type: ignore[arg-type]  # STRICT tables keep their types


def bundle_files(conn: sqlite3.Connection, bundle_id: int) -> list[BundleFile]:
    """The files of the bundle that are under way, in the order of the listing."""
    rows = conn.execute(
        "SELECT g.file_id, d.empiar_id, d.path, f.name, f.bytes FROM globus_item g"
        " CROSS JOIN file f ON f.file_id = g.file_id JOIN directory d ON d.directory_id = f.directory_id"
        f" WHERE g.bundle_id = ? AND g.state = {_UNDER_WAY} ORDER BY g.file_id",
        (bundle_id,),
    )
    return [BundleFile(i, RemotePath(entry, path, name), size) for i, entry, path, name, size in rows]


def bundle_entries(conn: sqlite3.Connection, bundle_id: int) -> list[int]:
    """Entries that have files under way in the bundle."""
    rows = conn.execute(
        "SELECT DISTINCT c.empiar_id FROM globus_item g JOIN copy c ON c.file_id = g.file_id"
        f" WHERE g.bundle_id = ? AND g.state = {_UNDER_WAY} ORDER BY 1",
        (bundle_id,),
    )
    return [row[0] for row in rows]


def listed_folders(
    conn: sqlite3.Connection, bundle_id: int, empiar_id: int, *, most_others: int
) -> dict[str, tuple[str, ...] | None]:
    """Every folder of the entry that lists files: the names of those that are not under way in the bundle.

    They are None where they are more than `most_others`, or where nothing of the folder is in the bundle.
    """
    listed = (
        " FROM file f LEFT JOIN file_absence a ON a.file_id = f.file_id"
        " WHERE f.directory_id = d.directory_id AND a.gone_at IS NULL"
    )
    folders = conn.execute(
        f"SELECT path FROM directory d WHERE empiar_id = ? AND EXISTS (SELECT 1{listed})", (empiar_id,)
    )
    found: dict[str, tuple[str, ...] | None] = {path: None for (path,) in folders}
    used = conn.execute(
        "SELECT DISTINCT d.directory_id, d.path FROM globus_item g CROSS JOIN file f ON f.file_id = g.file_id"
        " JOIN directory d ON d.directory_id = f.directory_id"
        f" WHERE g.bundle_id = ? AND g.state = {_UNDER_WAY} AND d.empiar_id = ?",
        (bundle_id, empiar_id),
    )
    others = (
        f"SELECT f.name{listed.replace('d.directory_id', '?1')} AND NOT EXISTS (SELECT 1 FROM globus_item g"
        f" WHERE g.file_id = f.file_id AND g.bundle_id = ?2 AND g.state = {_UNDER_WAY}) LIMIT ?3"
    )
    for number, path in used.fetchall():
        names = tuple(row[0] for row in conn.execute(others, (number, bundle_id, most_others + 1)))
        found[path] = names if len(names) <= most_others else None
    return found


def entries_under_way(conn: sqlite3.Connection) -> set[int]:
    """Entries that have files with the service now, or planned for it."""
    rows = conn.execute(
        "SELECT DISTINCT c.empiar_id FROM globus_bundle b JOIN globus_item g ON g.bundle_id = b.bundle_id"
        f" JOIN copy c ON c.file_id = g.file_id WHERE b.state <= 2 AND g.state = {_UNDER_WAY}"
    )
    return {row[0] for row in rows}


def spent_bundles(conn: sqlite3.Connection) -> set[int]:
    """Bundles whose task has not ended by our record, though nothing of them is waited for any more."""
    rows = conn.execute(
        f"SELECT bundle_id FROM globus_bundle b WHERE state = {_SUBMITTED} AND NOT EXISTS"
        f" (SELECT 1 FROM globus_item g WHERE g.bundle_id = b.bundle_id AND g.state = {_UNDER_WAY})"
    )
    return {row[0] for row in rows}


def record_progress(
    conn: sqlite3.Connection,
    bundle_id: int,
    *,
    status: str,
    nice_status: str | None,
    bytes_transferred: int,
    files_transferred: int,
    faults: int,
    now: int,
) -> None:
    """How the task stands, by the service's word; `progressed_at` moves when bytes or files have grown, or it was in the queue until now."""
    conn.execute(
        "UPDATE globus_bundle SET status = ?2, nice_status = ?3, faults = ?6,"
        " progressed_at = CASE WHEN ?4 > bytes_transferred OR ?5 > files_transferred OR nice_status = 'Queued' THEN ?7 ELSE progressed_at END,"
        " bytes_transferred = max(bytes_transferred, ?4), files_transferred = max(files_transferred, ?5)"
        " WHERE bundle_id = ?1",
        (bundle_id, status, nice_status, bytes_transferred, files_transferred, faults, now),
    )


def record_moved(
    conn: sqlite3.Connection,
    bundle_id: int,
    moved: Iterable[RemotePath],
    *,
    marker: str | None,
    now: int,
    visible: bool = True,
) -> int:
    """These files of the bundle are at the destination; returns how many are newly so. Paths that are not of the bundle are passed over.

    `marker` is that of the page they stand on, with which the reading goes on. Where the destination is not
    `visible` here, the copies become unverified instead of waiting for the engine.
    """
    new = deliver(conn, bundle_id, file_ids_of(conn, moved), now=now, visible=visible)
    conn.execute("UPDATE globus_bundle SET moved_marker = ? WHERE bundle_id = ?", (marker, bundle_id))
    return new


def deliver(
    conn: sqlite3.Connection, bundle_id: int, file_ids: Iterable[int], *, now: int, visible: bool = True
) -> int:
    """These files of the bundle, so far under way, are at the destination; returns how many."""
    rows = conn.execute(
        f"UPDATE globus_item SET state = {_DELIVERED}, delivered_at = ?1, error = NULL WHERE bundle_id = ?2"
        f" AND state = {_UNDER_WAY} AND file_id IN (SELECT value FROM json_each(?3)) RETURNING file_id",
        (now, bundle_id, json.dumps(list(file_ids))),
    )
    new = [row[0] for row in rows.fetchall()]
    after = CopyState.WANTED if visible else CopyState.UNVERIFIED
    moved = conn.execute(
        f"UPDATE copy SET state = ? WHERE state = {_CLAIMED} AND file_id IN (SELECT value FROM json_each(?))",
        (STATE_CODES[after], json.dumps(new)),
    ).rowcount
    if moved < len(new):
        for file_id in new:
            move(conn, file_id, after)
    return len(new)


# --- questions ----------------------------------------------------------------------------------------------


def is_awaited(conn: sqlite3.Connection, remote: RemotePath) -> bool:
    """Whether the file is with the service, or has been delivered and waits to be verified."""
    file_id = file_id_of(conn, remote)
    if file_id is None:
        return False
    query = (
        "SELECT 1 FROM globus_item g JOIN copy c ON c.file_id = g.file_id"
        f" WHERE g.file_id = ? AND g.state <> {_FREED} AND (c.state <= 2 OR c.state = {_UNVERIFIED})"
    )
    return conn.execute(query, (file_id,)).fetchone() is not None


def latest_endings(conn: sqlite3.Connection, *, since: int, limit: int) -> list[str]:
    """How the latest tasks that ended since then did, by the service's word, the latest first."""
    rows = conn.execute(
        f"SELECT status FROM globus_bundle WHERE state = {_ENDED} AND task_id IS NOT NULL AND ended_at >= ?"
        " AND status NOT IN ('ABANDONED', 'DISSOLVED')"
        " ORDER BY ended_at DESC, bundle_id DESC LIMIT ?",
        (since, limit),
    )
    return [row[0] for row in rows]


def archive_base(conn: sqlite3.Connection, collection: str) -> str | None:
    """Under which path the archive's tree was found in this collection; None before."""
    row = conn.execute("SELECT path FROM globus_base WHERE collection = ?", (collection,)).fetchone()
    return None if row is None else str(row[0])


def remember_archive_base(conn: sqlite3.Connection, collection: str, path: str, *, now: int) -> None:
    """The archive's tree is at this path of the collection."""
    conn.execute("INSERT OR REPLACE INTO globus_base VALUES (?, ?, ?)", (collection, path, now))
