"""Copies that are given up for their space: the intent, what became of it, and the way back. Writing functions run inside a writer job.

An intent is recorded before anything of the file is touched. From then on the copy counts as evicted, so that no layout and no
manifest goes on naming it; `empiar_mirror.recover` settles what a kill left, by what is on the disk, and removes nothing.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from empiar_schema import queue_store
from empiar_schema.codes import STATE_CODES
from empiar_schema.copies import is_gone, move
from empiar_schema.faults import CatalogueFault
from empiar_schema.paths import RemotePath
from empiar_schema.queues import Wish
from empiar_schema.states import CopyState

_ARRIVED: Final = STATE_CODES[CopyState.ARRIVED]
_EVICTED: Final = STATE_CODES[CopyState.EVICTED]
_WANTED: Final = STATE_CODES[CopyState.WANTED]
_INTENDED: Final = "removed_at IS NULL AND error IS NULL"


class Chosen(NamedTuple):
    """A copy that is to be evicted: proven by this sha256, listed by a complete listing of that time."""

    file_id: int
    sha256: bytes
    listed_at: int


class Intended(NamedTuple):
    """A copy that counts as evicted and whose file may still be there."""

    eviction_id: int
    file_id: int
    remote: RemotePath
    size: int


class Evicted(NamedTuple):
    """The latest eviction of a file."""

    reason: str
    removed_at: int | None
    recalled_at: int | None
    returned_at: int | None
    #: Whether other bytes came back; None while nothing did.
    changed: bool | None


class Recalled(NamedTuple):
    """What recalling made wanted, and what it could not."""

    files: int = 0
    bytes: int = 0
    #: Evicted files that EMPIAR lists no longer.
    gone: int = 0


def begin_run(conn: sqlite3.Connection, *, reason: str, sql: str, now: int) -> int:
    """An eviction is decided; returns its number."""
    row = conn.execute("SELECT https_url, ftp_url, globus_url FROM archive_address").fetchone()
    if row is None:
        raise CatalogueFault(
            "the catalogue does not know where the archive is", hint="run `empiar-mirror crawl` once"
        )
    query = (
        "INSERT INTO eviction_run (decided_at, reason, sql, https_url, ftp_url, globus_url)"
        " VALUES (?, ?, ?, ?, ?, ?) RETURNING run_id"
    )
    return int(conn.execute(query, (now, reason, sql, *tuple(row))).fetchone()[0])


def intend(conn: sqlite3.Connection, run_id: int, chosen: Iterable[Chosen]) -> int:
    """These copies count as evicted; returns how many. One that is no longer the arrived one that was chosen is passed over."""
    count = 0
    for one in chosen:
        new = conn.execute(
            "INSERT INTO eviction (run_id, file_id, empiar_id, bytes, sha256, channel, v_size, v_modified_at, v_etag,"
            " arrived_at, verified_at, listed_at) SELECT ?, file_id, empiar_id, bytes, sha256, channel, v_size,"
            f" v_modified_at, v_etag, arrived_at, verified_at, ? FROM copy WHERE file_id = ? AND state = {_ARRIVED}"
            " AND sha256 = ?",
            (run_id, one.listed_at, one.file_id, one.sha256),
        ).rowcount
        if new:
            move(conn, one.file_id, CopyState.EVICTED)
            conn.execute("UPDATE copy SET bytes_here = 0, error = NULL WHERE file_id = ?", (one.file_id,))
            count += 1
    return count


def intended_entries(conn: sqlite3.Connection) -> list[int]:
    """Entries with intents that nothing is known of yet, rising."""
    rows = conn.execute(f"SELECT DISTINCT empiar_id FROM eviction WHERE {_INTENDED} ORDER BY empiar_id")
    return [row[0] for row in rows]


def intended_files(
    conn: sqlite3.Connection, empiar_id: int, *, after: int = 0, limit: int = 1_000
) -> list[Intended]:
    """The entry's intents whose file numbers come next behind `after`, rising."""
    rows = conn.execute(
        "SELECT v.eviction_id, v.file_id, d.path, f.name, v.bytes FROM eviction v JOIN file f ON f.file_id = v.file_id"
        " JOIN directory d ON d.directory_id = f.directory_id"
        " WHERE v.removed_at IS NULL AND v.error IS NULL AND v.empiar_id = ? AND v.file_id > ?"
        " ORDER BY v.file_id LIMIT ?",
        (empiar_id, after, limit),
    )
    return [Intended(e, f, RemotePath(empiar_id, path, name), size) for e, f, path, name, size in rows]


def record_removed(conn: sqlite3.Connection, intents: Sequence[Intended], *, now: int) -> None:
    """The files of these intents are gone from the disk, durably."""
    conn.executemany(
        "UPDATE eviction SET removed_at = ? WHERE eviction_id = ? AND removed_at IS NULL",
        [(now, one.eviction_id) for one in intents],
    )


def take_back(conn: sqlite3.Connection, intents: Sequence[Intended]) -> None:
    """The files of these intents are still there: their copies are here as before (withdrawn, if the archive has ceased to list them)."""
    for one in intents:
        if not conn.execute(
            f"DELETE FROM eviction WHERE eviction_id = ? AND {_INTENDED}", (one.eviction_id,)
        ).rowcount:
            continue
        move(conn, one.file_id, CopyState.ARRIVED)
        conn.execute("UPDATE copy SET bytes_here = bytes WHERE file_id = ?", (one.file_id,))
        if is_gone(conn, one.file_id):
            move(conn, one.file_id, CopyState.WITHDRAWN)


def record_left(conn: sqlite3.Connection, one: Intended, *, error: str) -> None:
    """What stands at the file's path is not what is on record, and was left there: the copy is damaged."""
    done = conn.execute(
        f"UPDATE eviction SET error = ? WHERE eviction_id = ? AND {_INTENDED}", (error, one.eviction_id)
    )
    if done.rowcount:
        move(conn, one.file_id, CopyState.DAMAGED)
        conn.execute("UPDATE copy SET error = ? WHERE file_id = ?", (error, one.file_id))


def note_evicted(conn: sqlite3.Connection, empiar_id: int, *, files: int, now: int) -> None:
    """A row of `changes` says how many files of the entry were evicted."""
    conn.execute(
        "INSERT INTO change (changed_at, empiar_id, kind, field, new) VALUES (?, ?, 'evicted', 'files', ?)",
        (now, empiar_id, str(files)),
    )


def end_run(conn: sqlite3.Connection, run_id: int, *, now: int) -> None:
    """Nothing more will be removed by this decision."""
    conn.execute("UPDATE eviction_run SET ended_at = ? WHERE run_id = ?", (now, run_id))


# --- the way back -------------------------------------------------------------------------------------------


def entries_with_evicted(conn: sqlite3.Connection) -> list[int]:
    """Entries of which something is evicted, rising."""
    rows = conn.execute(
        f"SELECT empiar_id FROM copy_progress WHERE state = {_EVICTED} AND files > 0 ORDER BY empiar_id"
    )
    return [row[0] for row in rows]


def recall(
    conn: sqlite3.Connection,
    empiar_ids: Iterable[int],
    *,
    file_ids: Collection[int] | None = None,
    priority: int = 0,
    now: int,
) -> Recalled:
    """Evicted files of these entries (with `file_ids`, only those) are wanted again, with at least this priority.

    What EMPIAR lists no longer stays evicted: there is nothing to fetch. So does what is being removed at this moment.
    """
    only = None if file_ids is None else json.dumps(sorted(file_ids))
    files = size = gone = 0
    for empiar_id in empiar_ids:
        named = {"entry": empiar_id, "files": only, "now": now}
        evicted = (
            f"empiar_id = :entry AND state >= 4 AND state = {_EVICTED}"
            " AND (:files IS NULL OR file_id IN (SELECT value FROM json_each(:files)))"
        )
        absent = "(SELECT file_id FROM file_absence WHERE empiar_id = :entry AND gone_at IS NOT NULL)"
        gone += conn.execute(
            f"SELECT count(*) FROM copy WHERE {evicted} AND file_id IN {absent}", named
        ).fetchone()[0]
        wanted = conn.execute(
            f"UPDATE copy SET state = {_WANTED}, fruitless = 0, bytes_credited = 0,"
            " bytes_here = 0, not_before = 0, error = NULL, v_size = NULL, v_modified_at = NULL, v_etag = NULL,"
            f" wanted_at = :now WHERE {evicted} AND file_id NOT IN {absent} AND file_id NOT IN"
            f" (SELECT file_id FROM eviction WHERE {_INTENDED} AND empiar_id = :entry) RETURNING file_id, bytes",
            named,
        ).fetchall()
        conn.executemany(
            "UPDATE eviction SET recalled_at = ? WHERE file_id = ? AND returned_at IS NULL AND error IS NULL",
            [(now, file_id) for file_id, _ in wanted],
        )
        if wanted:
            recalled = [file_id for file_id, _ in wanted]
            queue_store.join(conn, empiar_id, Wish(priority), now=now, file_ids=recalled)
            queue_store.woken(conn, empiar_id)
        files += len(wanted)
        size += sum(row[1] or 0 for row in wanted)
    return Recalled(files, size, gone)


def note_return(conn: sqlite3.Connection, file_id: int, *, sha256: bytes, now: int) -> None:
    """The file is here again, if it had been evicted; `evictions` says with which bytes."""
    conn.execute(
        "UPDATE eviction SET returned_at = ?1, returned_sha256 = ?2 WHERE file_id = ?3 AND returned_at IS NULL"
        " AND removed_at IS NOT NULL",
        (now, sha256, file_id),
    )


def latest_eviction(conn: sqlite3.Connection, file_id: int) -> Evicted | None:
    """The file's latest eviction; None if it was never evicted."""
    row = conn.execute(
        "SELECT r.reason, v.removed_at, v.recalled_at, v.returned_at, v.returned_sha256 <> v.sha256 FROM eviction v"
        " JOIN eviction_run r ON r.run_id = v.run_id WHERE v.file_id = ? ORDER BY v.eviction_id DESC LIMIT 1",
        (file_id,),
    ).fetchone()
    if row is None:
        return None
    reason, removed_at, recalled_at, returned_at, changed = row
    return Evicted(reason, removed_at, recalled_at, returned_at, None if changed is None else bool(changed))
