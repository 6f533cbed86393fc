"""How files leave the ledger of the Globus channel without arriving: given back, planned once more, abandoned; and how bundles end.

Each function runs inside a writer job and is idempotent.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from empiar_schema import transfer_store
from empiar_schema.codes import STATE_CODES
from empiar_schema.globus_states import BUNDLE_CODES, ITEM_CODES, NEVER_AGAIN, BundleState, ItemState
from empiar_schema.globus_store import bundle_entries, bundle_files, open_bundles
from empiar_schema.listing_reads import file_id_of
from empiar_schema.paths import RemotePath
from empiar_schema.states import CopyState

_UNDER_WAY: Final = ITEM_CODES[ItemState.UNDER_WAY]
_DELIVERED: Final = ITEM_CODES[ItemState.DELIVERED]
_FREED: Final = ITEM_CODES[ItemState.FREED]
_ABANDONED: Final = BUNDLE_CODES[BundleState.ABANDONED]
_ENDED: Final = BUNDLE_CODES[BundleState.ENDED]
_WANTED: Final = STATE_CODES[CopyState.WANTED]
_CLAIMED: Final = STATE_CODES[CopyState.CLAIMED]
_UNVERIFIED: Final = STATE_CODES[CopyState.UNVERIFIED]


def free(
    conn: sqlite3.Connection,
    file_ids: Iterable[int],
    *,
    error: str,
    for_good: bool = False,
    not_before: int = 0,
) -> int:
    """These files are no longer with the service, nor delivered by it; returns how many were.

    They are wanted again, for another channel or a later bundle (never one, if `for_good`).
    """
    rows = conn.execute(
        f"UPDATE globus_item SET state = {_FREED}, error = ?1, delivered_at = NULL,"
        f" tries = CASE WHEN ?2 THEN {NEVER_AGAIN} ELSE tries END"
        f" WHERE state <> {_FREED} AND file_id IN (SELECT value FROM json_each(?3)) RETURNING file_id",
        (error, for_good, json.dumps(list(file_ids))),
    )
    freed = [row[0] for row in rows.fetchall()]
    # Nearly all: claimed, listed still, and nothing of them kept. By set, since a task has thousands.
    plain = conn.execute(
        f"UPDATE copy SET state = {_WANTED}, not_before = ?1, error = ?2 WHERE state = {_CLAIMED}"
        " AND file_id IN (SELECT value FROM json_each(?3)) AND bytes_here = 0 AND v_size IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM file_absence a WHERE a.file_id = copy.file_id) RETURNING file_id",
        (not_before, error, json.dumps(freed)),
    )
    for file_id in set(freed).difference(row[0] for row in plain.fetchall()):
        transfer_store.release(conn, file_id, not_before=not_before, error=error, keep_partial=False)
        conn.execute("UPDATE copy SET error = ? WHERE file_id = ? AND error IS NULL", (error, file_id))
    return len(freed)


def free_rest(conn: sqlite3.Connection, bundle_id: int, *, error: str, for_good: bool = False) -> int:
    """As `free`, for all files of the bundle that are under way."""
    rows = conn.execute(
        f"SELECT file_id FROM globus_item WHERE bundle_id = ? AND state = {_UNDER_WAY}", (bundle_id,)
    ).fetchall()
    return free(conn, [row[0] for row in rows], error=error, for_good=for_good)


def free_path(conn: sqlite3.Connection, bundle_id: int, remote: RemotePath, *, error: str) -> int:
    """As `free`, for good, for this file or everything below this folder, as far as it is under way in the bundle."""
    file_id = file_id_of(conn, remote)
    if file_id is not None:
        rows = conn.execute(
            f"SELECT file_id FROM globus_item WHERE file_id = ? AND bundle_id = ? AND state = {_UNDER_WAY}",
            (file_id, bundle_id),
        ).fetchall()
    else:
        rows = conn.execute(
            "SELECT g.file_id FROM globus_item g CROSS JOIN file f ON f.file_id = g.file_id"
            " JOIN directory d ON d.directory_id = f.directory_id"
            f" WHERE g.bundle_id = ? AND g.state = {_UNDER_WAY} AND d.empiar_id = ?"
            " AND (d.path = ? OR substr(d.path, 1, ?) = ?)",
            (bundle_id, remote.empiar_id, remote.path, len(remote.path) + 1, remote.path + "/"),
        ).fetchall()
    return free(conn, [row[0] for row in rows], error=error, for_good=True)


def plan_again(
    conn: sqlite3.Connection,
    bundle_id: int,
    *,
    label: Callable[[Sequence[int], int, int], str],
    most_tries: int,
    sync_level: str,
    now: int,
) -> int:
    """What is under way in the bundle, and was in fewer than `most_tries`, is planned as a bundle of its own; returns how many files.

    `label` is given the entries, files and bytes. Between the two no other channel can take a file.
    """
    chosen = (
        "FROM globus_item g CROSS JOIN copy c ON c.file_id = g.file_id"
        f" WHERE g.bundle_id = ? AND g.state = {_UNDER_WAY} AND g.tries < ?"
    )
    named = (bundle_id, most_tries)
    files, size = conn.execute(f"SELECT count(*), ifnull(sum(c.bytes), 0) {chosen}", named).fetchone()
    if files == 0:
        return 0
    entries = [row[0] for row in conn.execute(f"SELECT DISTINCT c.empiar_id {chosen} ORDER BY 1", named)]
    (again,) = conn.execute(
        "INSERT INTO globus_bundle (label, files, bytes, sync_level, planned_at) VALUES (?, ?, ?, ?, ?) RETURNING bundle_id",
        (label(entries, files, size), files, size, sync_level, now),
    ).fetchone()
    conn.execute(
        f"UPDATE globus_item SET bundle_id = ?, tries = tries + 1 WHERE bundle_id = ? AND state = {_UNDER_WAY} AND tries < ?",
        (again, bundle_id, most_tries),
    )
    return int(files)


def cancelling(conn: sqlite3.Connection, bundle_id: int, *, reason: str) -> None:
    """The service is about to be told to cancel the bundle's task, because of this."""
    conn.execute(
        "UPDATE globus_bundle SET cancelled_because = ifnull(cancelled_because, ?) WHERE bundle_id = ?",
        (reason, bundle_id),
    )


def end_bundle(conn: sqlite3.Connection, bundle_id: int, *, status: str, error: str | None, now: int) -> None:
    """Nothing more is to be done about the bundle."""
    conn.execute(
        f"UPDATE globus_bundle SET state = {_ENDED}, status = ?, error = ?, ended_at = ? WHERE bundle_id = ?",
        (status, error, now, bundle_id),
    )


def abandon(
    conn: sqlite3.Connection, *, error: str, now: int, empiar_ids: Collection[int] | None = None
) -> int:
    """Files of these entries (all, if None) that the service has are wanted by other channels; returns how many.

    A bundle of which nothing is waited for any more is abandoned: its task is cancelled when the service can be reached
    again. One that the service never heard of ends.
    """
    freed = 0
    for bundle in open_bundles(conn):
        files = [
            file.file_id
            for file in bundle_files(conn, bundle.bundle_id)
            if empiar_ids is None or file.remote.empiar_id in empiar_ids
        ]
        freed += free(conn, files, error=error)
        if bundle.state is not BundleState.ABANDONED and not bundle_entries(conn, bundle.bundle_id):
            if bundle.submission_id is None:
                end_bundle(conn, bundle.bundle_id, status="DISSOLVED", error=error, now=now)
            else:
                give_up_bundle(conn, bundle.bundle_id, reason=error)
    return freed


def give_up_bundle(conn: sqlite3.Connection, bundle_id: int, *, reason: str) -> None:
    """Nothing of the bundle is waited for: its task is to be cancelled, whenever the service can be reached."""
    cancelling(conn, bundle_id, reason=reason)
    conn.execute(f"UPDATE globus_bundle SET state = {_ABANDONED} WHERE bundle_id = ?", (bundle_id,))


def fresh_tries(conn: sqlite3.Connection, empiar_ids: Sequence[int]) -> None:
    """Somebody has asked for these entries again: their files may go by Globus as if for the first time."""
    for empiar_id in empiar_ids:
        conn.execute(
            "UPDATE globus_item SET tries = 0 WHERE"
            f" state = {_FREED} AND file_id IN (SELECT file_id FROM copy WHERE empiar_id = ?)",
            (empiar_id,),
        )


# --- storage elsewhere --------------------------------------------------------------------------------------


def unverified_entries(conn: sqlite3.Connection) -> list[int]:
    """Entries of which files were transferred to storage that was not visible where that was done."""
    rows = conn.execute(
        f"SELECT DISTINCT empiar_id FROM copy_progress WHERE state = {_UNVERIFIED} AND files > 0 ORDER BY 1"
    )
    return [row[0] for row in rows]


def await_verification(conn: sqlite3.Connection, empiar_id: int, *, now: int) -> list[int]:
    """The entry's unverified copies wait for the engine to verify them, as delivered ones do; returns their files."""
    chosen = f"empiar_id = ?1 AND state >= 4 AND state = {_UNVERIFIED}"
    conn.execute(
        f"UPDATE globus_item SET state = {_DELIVERED}, delivered_at = ifnull(delivered_at, ?2)"
        f" WHERE file_id IN (SELECT file_id FROM copy WHERE {chosen})",
        (empiar_id, now),
    )
    rows = conn.execute(f"UPDATE copy SET state = {_WANTED} WHERE {chosen} RETURNING file_id", (empiar_id,))
    return [row[0] for row in rows.fetchall()]
