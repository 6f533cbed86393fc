"""What is wanted here: wishes, second chances, and what a new listing means for both. Writing functions run inside a writer job."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from empiar_schema import queue_store
from empiar_schema.codes import STATE_CODES, state_list
from empiar_schema.copies import GONE
from empiar_schema.faults import CatalogueFault
from empiar_schema.queues import Wish
from empiar_schema.states import FAILED, CopyState

_S = CopyState
_WANTED: Final = STATE_CODES[_S.WANTED]
_UNFINISHED: Final = state_list((_S.WANTED, _S.PARTIAL, _S.CLAIMED))
#: Files of an entry of which nobody wanted a copy so far.
_UNASKED: Final = (
    " FROM directory d JOIN file f ON f.directory_id = d.directory_id LEFT JOIN file_absence a ON a.file_id = f.file_id"
    " WHERE d.empiar_id = ?1 AND a.gone_at IS NULL AND NOT EXISTS (SELECT 1 FROM copy c WHERE c.file_id = f.file_id)"
)
_LISTED: Final = (
    " FROM directory d JOIN file f ON f.directory_id = d.directory_id"
    " LEFT JOIN file_absence a ON a.file_id = f.file_id WHERE a.gone_at IS NULL AND "
)
_WANT: Final = (
    "INSERT INTO copy (file_id, empiar_id, state, bytes, wanted_at, queue_id, rank)"
    f" SELECT f.file_id, d.empiar_id, {_WANTED}, f.bytes, ?2, ?3, {queue_store.RANK}{_LISTED}{{}} ON CONFLICT DO NOTHING"
)


def want_entry(
    conn: sqlite3.Connection,
    empiar_id: int,
    *,
    now: int,
    priority: int = 0,
    subscriptions: Collection[int] = (),
) -> int:
    """Every listed file of the entry that is not gone is wanted; returns how many are newly so. Copies that exist keep their state.

    Asked for by name with this priority, or by the `subscriptions` of these numbers. A later wish raises the priority of what
    waits, never lowers it.
    """
    wish = Wish(priority, frozenset(subscriptions))
    queue_store.join(conn, empiar_id, wish, now=now)
    listed = conn.execute(f"SELECT EXISTS (SELECT 1 {_UNASKED})", (empiar_id,)).fetchone()[0]
    if not listed:
        return 0
    queue = queue_store.queue_of(conn, empiar_id, wish, now=now)
    return conn.execute(_WANT.format("d.empiar_id = ?1 ORDER BY f.file_id"), (empiar_id, now, queue)).rowcount


def want_files(
    conn: sqlite3.Connection,
    file_ids: Iterable[int],
    *,
    now: int,
    priority: int = 0,
    subscriptions: Collection[int] = (),
) -> int:
    """As `want_entry`, of these files. Gone and unknown files are passed over."""
    by_entry: dict[int, list[int]] = {}
    query = (
        "SELECT d.empiar_id, f.file_id FROM json_each(?) j CROSS JOIN file f ON f.file_id = j.value"
        " JOIN directory d ON d.directory_id = f.directory_id"
    )
    for empiar_id, file_id in conn.execute(query, (json.dumps(list(file_ids)),)).fetchall():
        by_entry.setdefault(empiar_id, []).append(file_id)
    wish, new = Wish(priority, frozenset(subscriptions)), 0
    for empiar_id, of_entry in by_entry.items():
        queue_store.join(conn, empiar_id, wish, now=now, file_ids=of_entry)
        chosen = json.dumps(of_entry)
        unasked = (
            "SELECT EXISTS (SELECT 1 FROM json_each(?) j LEFT JOIN file_absence a ON a.file_id = j.value"
            " WHERE a.gone_at IS NULL AND NOT EXISTS (SELECT 1 FROM copy c WHERE c.file_id = j.value))"
        )
        if not conn.execute(unasked, (chosen,)).fetchone()[0]:
            continue
        queue = queue_store.queue_of(conn, empiar_id, wish, now=now)
        those = "f.file_id IN (SELECT value FROM json_each(?1)) ORDER BY f.file_id"
        new += conn.execute(_WANT.format(those), (chosen, now, queue)).rowcount
    return new


def unasked_files(conn: sqlite3.Connection, empiar_id: int) -> array[int]:
    """Listed files of the entry that are not gone and of which nobody wanted a copy so far, rising."""
    rows = conn.execute(f"SELECT f.file_id{_UNASKED} ORDER BY f.file_id", (empiar_id,))
    return array("q", (row[0] for row in rows))


def retry_failed(
    conn: sqlite3.Connection,
    empiar_ids: Sequence[int] | None,
    *,
    now: int,
    states: Sequence[CopyState],
    file_ids: Collection[int] | None = None,
) -> int:
    """Copies in these states (parked, quarantined, damaged) are wanted again with a fresh budget; returns how many.

    With `file_ids`, only theirs. Copies whose files the archive no longer lists stay as they are: there is nothing to fetch.

    Raises:
        CatalogueFault: a state that is none of the three.
    """
    if wrong := set(states) - FAILED:
        raise CatalogueFault(f"copies that are {', '.join(sorted(wrong))} have not failed")
    entries = entries_with(conn, states) if empiar_ids is None else sorted(set(empiar_ids))
    only = None if file_ids is None else json.dumps(sorted(file_ids))
    renewed = 0
    for empiar_id in entries:
        chosen = (
            f"empiar_id = :entry AND state >= 4 AND state IN ({state_list(states)}) AND file_id NOT IN"
            " (SELECT file_id FROM file_absence WHERE empiar_id = copy.empiar_id AND gone_at IS NOT NULL)"
            " AND (:files IS NULL OR file_id IN (SELECT value FROM json_each(:files)))"
        )
        named = {"entry": empiar_id, "now": now, "files": only}
        conn.execute(
            f"DELETE FROM part_block WHERE file_id IN (SELECT file_id FROM copy WHERE {chosen})", named
        )
        renewed += conn.execute(
            f"UPDATE copy SET state = {_WANTED}, fruitless = 0, bytes_credited = 0, bytes_here = 0, not_before = 0,"
            " error = NULL, v_size = NULL, v_modified_at = NULL, v_etag = NULL, wanted_at = :now"
            f" WHERE {chosen}",
            named,
        ).rowcount
        queue_store.woken(conn, empiar_id)
    return renewed


def follow_listing(conn: sqlite3.Connection, empiar_id: int) -> None:
    """Copies follow what a new listing says of their files.

    Gone: what is here is withdrawn, what is waiting is parked; what is being fetched right now is left to
    its worker (`release` and `record_arrivals` look again). Listed again: the reverse.
    """
    gone = "(SELECT file_id FROM file_absence WHERE empiar_id = ?1 AND gone_at IS NOT NULL)"
    conn.execute(
        f"DELETE FROM part_block WHERE file_id IN {gone} AND file_id IN (SELECT file_id FROM copy WHERE state <= 1)",
        (empiar_id,),
    )
    conn.execute(
        f"UPDATE copy SET state = {STATE_CODES[_S.PARKED]}, error = ?2, bytes_here = 0, v_size = NULL,"
        f" v_modified_at = NULL, v_etag = NULL WHERE state <= 1 AND file_id IN {gone}",
        (empiar_id, GONE),
    )
    here, withdrawn = STATE_CODES[_S.ARRIVED], STATE_CODES[_S.WITHDRAWN]
    conn.execute(
        f"UPDATE copy SET state = {withdrawn} WHERE state = {here} AND file_id IN {gone}", (empiar_id,)
    )
    conn.execute(
        f"UPDATE copy SET state = {here} WHERE empiar_id = ?1 AND state >= 4 AND state = {withdrawn}"
        f" AND file_id NOT IN {gone}",
        (empiar_id,),
    )
    conn.execute(
        f"UPDATE copy SET state = {_WANTED}, error = NULL, fruitless = 0, not_before = 0 WHERE empiar_id = ?1"
        f" AND state >= 4 AND state = {STATE_CODES[_S.PARKED]} AND error = ?2 AND file_id NOT IN {gone}",
        (empiar_id, GONE),
    )


def unfinished(conn: sqlite3.Connection, *, empiar_ids: Sequence[int] | None = None) -> tuple[int, int]:
    """Files and bytes wanted, claimed or partial."""
    query = f"SELECT ifnull(sum(files), 0), ifnull(sum(bytes), 0) FROM copy_progress WHERE state IN ({_UNFINISHED})"
    if empiar_ids is None:
        files, size = conn.execute(query).fetchone()
        return files, size
    rows = [conn.execute(f"{query} AND empiar_id = ?", (i,)).fetchone() for i in sorted(set(empiar_ids))]
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def entries_with(conn: sqlite3.Connection, states: Iterable[CopyState]) -> list[int]:
    """Entries that have copies in these states, rising."""
    query = (
        f"SELECT DISTINCT empiar_id FROM copy_progress WHERE files > 0 AND state IN ({state_list(states)})"
    )
    return sorted(int(row[0]) for row in conn.execute(query))
