"""What the mirror writes: wishes, claims, proofs, arrivals. Each function runs inside a writer job and is idempotent.

Every change of state goes through `empiar_schema.states.TRANSITIONS`; a forbidden one raises `CatalogueFault`.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from empiar_schema.arrival_store import (
    here_files,
    here_ids,
    record_arrivals,
    record_damaged,
    record_image,
    record_verified,
)
from empiar_schema.codes import STATE_CODES, state_list
from empiar_schema.copies import (
    GONE,
    Arrival,
    Attempt,
    Block,
    HereFile,
    Work,
    forget_partial,
    is_gone,
    move,
    part_blocks,
    state_of,
    work_of,
)
from empiar_schema.faults import DEFECT, CatalogueFault
from empiar_schema.files import Validators
from empiar_schema.globus_states import ITEM_CODES, ItemState
from empiar_schema.states import FAILED, Channel, CopyState

__all__ = [
    "ANY_PRIORITY",
    "GONE",
    "LONGEST_WAIT_S",
    "Arrival",
    "Attempt",
    "Block",
    "HereFile",
    "Work",
    "claim",
    "claimed_files",
    "follow_listing",
    "forget_blocks",
    "forget_impossible_waits",
    "here_files",
    "here_ids",
    "next_not_before",
    "park",
    "part_blocks",
    "partial_file_ids",
    "quarantine",
    "record_arrivals",
    "record_attempts",
    "record_blocks",
    "record_damaged",
    "record_first_byte",
    "record_image",
    "record_verified",
    "release",
    "retry_failed",
    "unfinished",
    "waiting_entries",
    "want_entry",
    "want_files",
]

#: No copy waits for its next attempt longer than this, whatever a server asks for. What waits longer was put off by a clock that was wrong.
LONGEST_WAIT_S: Final = 3600
#: Below every priority.
ANY_PRIORITY: Final = -(2**63)

_S = CopyState
_WANTED: Final = STATE_CODES[_S.WANTED]
_CLAIMED: Final = STATE_CODES[_S.CLAIMED]
_UNFINISHED: Final = state_list((_S.WANTED, _S.PARTIAL, _S.CLAIMED))

# --- wishes -------------------------------------------------------------------------------------------------

_LISTED: Final = (
    " FROM directory d JOIN file f ON f.directory_id = d.directory_id"
    " LEFT JOIN file_absence a ON a.file_id = f.file_id WHERE a.gone_at IS NULL AND "
)
_WANT: Final = (
    "INSERT INTO copy (file_id, empiar_id, state, priority, bytes, wanted_at)"
    f" SELECT f.file_id, d.empiar_id, {_WANTED}, ?2, f.bytes, ?3{_LISTED}{{}} ON CONFLICT DO NOTHING"
)
#: A later wish may raise the priority of what is not here yet, never lower it.
_HURRY: Final = f"UPDATE copy SET priority = ?2 WHERE state IN ({_UNFINISHED}) AND priority < ?2 AND file_id "


def want_entry(conn: sqlite3.Connection, empiar_id: int, *, now: int, priority: int = 0) -> int:
    """Every listed file of the entry that is not gone is wanted; returns how many are newly so. Copies that exist keep their state."""
    waiting_before, _ = unfinished(conn, empiar_ids=[empiar_id])
    new = conn.execute(
        _WANT.format("d.empiar_id = ?1 ORDER BY f.file_id"), (empiar_id, priority, now)
    ).rowcount
    if waiting_before:
        conn.execute(f"{_HURRY} IN (SELECT f.file_id {_LISTED} d.empiar_id = ?1)", (empiar_id, priority))
    return new


def want_files(conn: sqlite3.Connection, file_ids: Iterable[int], *, now: int, priority: int = 0) -> int:
    """These files are wanted; returns how many are newly so. Gone and unknown files are passed over."""
    new = 0
    for file_id in file_ids:
        new += conn.execute(_WANT.format("f.file_id = ?1"), (file_id, priority, now)).rowcount
        conn.execute(f"{_HURRY} = ?1", (file_id, priority))
    return new


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
    entries = _entries_with(conn, states) if empiar_ids is None else sorted(set(empiar_ids))
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


def _entries_with(conn: sqlite3.Connection, states: Iterable[CopyState]) -> list[int]:
    """Entries that have copies in these states, rising."""
    query = (
        f"SELECT DISTINCT empiar_id FROM copy_progress WHERE files > 0 AND state IN ({state_list(states)})"
    )
    return sorted(int(row[0]) for row in conn.execute(query))


# --- claims -------------------------------------------------------------------------------------------------


def claim(
    conn: sqlite3.Connection,
    *,
    now: int,
    limit_files: int,
    limit_bytes: int,
    empiar_ids: Sequence[int] | None = None,
    least_priority: int = ANY_PRIORITY,
    delivered_only: bool = False,
) -> list[Work]:
    """Up to so many files and bytes (at least one file) go from wanted or partial to claimed, by priority, then entry, then path order, those whose `not_before` has passed.

    Bytes already kept do not count. Copies below `least_priority` wait. Path order is that of the entry's first listing; files listed later follow.
    With `delivered_only`, only what Globus has brought into staging.
    """
    chosen: list[int] = []
    room = limit_bytes
    claimable = _claimable(
        conn,
        empiar_ids,
        now=now,
        limit=limit_files,
        least_priority=least_priority,
        delivered_only=delivered_only,
    )
    for file_id, missing_bytes in claimable:
        if chosen and missing_bytes > room and not delivered_only:
            break
        chosen.append(file_id)
        room -= missing_bytes
    conn.executemany(
        f"UPDATE copy SET state = {_CLAIMED} WHERE file_id = ?", [(file_id,) for file_id in chosen]
    )
    return work_of(conn, chosen)


def _claimable(
    conn: sqlite3.Connection,
    empiar_ids: Sequence[int] | None,
    *,
    now: int,
    limit: int,
    least_priority: int,
    delivered_only: bool,
) -> Iterator[tuple[int, int]]:
    """File and missing bytes of what may be claimed, in order."""
    # In the order of the index also then: where only Globus may bring files, nearly all that waits has been delivered.
    delivered = _IS_DELIVERED if delivered_only else ""
    query = (
        "SELECT file_id, max(ifnull(bytes, 0) - bytes_here, 0) FROM copy INDEXED BY copy_claimable"
        f" WHERE state <= 1 AND not_before <= ? {delivered} {{}} LIMIT ?"
    )
    if empiar_ids is None:
        order = "AND priority >= ? ORDER BY priority DESC, empiar_id, file_id"
        yield from conn.execute(query.format(order), (now, least_priority, limit)).fetchall()
        return
    entries = sorted(set(empiar_ids) & set(_entries_with(conn, (_S.WANTED, _S.PARTIAL))))
    condition = "AND priority = ? AND empiar_id = ? ORDER BY file_id"
    for priority in _priorities(conn):
        if priority < least_priority:
            return
        for empiar_id in entries:
            found = conn.execute(query.format(condition), (now, priority, empiar_id, limit)).fetchall()
            yield from found
            limit -= len(found)
            if limit <= 0:
                return


_IS_DELIVERED: Final = (
    "AND EXISTS (SELECT 1 FROM globus_item g WHERE g.file_id = copy.file_id"
    f" AND g.state = {ITEM_CODES[ItemState.DELIVERED]})"
)
#: What Globus has delivered, from the few items in that state.
_DELIVERED: Final = (
    " FROM globus_item g JOIN copy c ON c.file_id = g.file_id WHERE g.bundle_id IN (SELECT bundle_id FROM globus_bundle)"
    f" AND g.state = {ITEM_CODES[ItemState.DELIVERED]} AND c.state <= 1 AND c.priority >= :least"
    " AND (:ids IS NULL OR c.empiar_id IN (SELECT value FROM json_each(:ids)))"
)


def _priorities(conn: sqlite3.Connection) -> Iterator[int]:
    """Priorities of what may be claimed, falling; each found by one step in the index."""
    query = "SELECT max(priority) FROM copy INDEXED BY copy_claimable WHERE state <= 1"
    (priority,) = conn.execute(query).fetchone()
    while priority is not None:
        yield priority
        (priority,) = conn.execute(f"{query} AND priority < ?", (priority,)).fetchone()


def waiting_entries(
    conn: sqlite3.Connection, *, empiar_ids: Sequence[int] | None = None, least_priority: int = ANY_PRIORITY
) -> list[int]:
    """Entries of which something waits for its turn, those with the highest priority first."""
    rows = conn.execute(
        "SELECT empiar_id, max(priority) FROM copy INDEXED BY copy_claimable WHERE state <= 1 AND priority >= ?"
        " GROUP BY empiar_id ORDER BY 2 DESC, 1",
        (least_priority,),
    )
    only = None if empiar_ids is None else set(empiar_ids)
    return [empiar_id for empiar_id, _ in rows if only is None or empiar_id in only]


def next_not_before(
    conn: sqlite3.Connection,
    *,
    empiar_ids: Sequence[int] | None = None,
    least_priority: int = ANY_PRIORITY,
    delivered_only: bool = False,
) -> int | None:
    """When the earliest claimable copy may be tried; None if there is none. Copies below `least_priority` do not count."""
    if delivered_only:
        ids = None if empiar_ids is None else json.dumps(list(empiar_ids))
        row = conn.execute(
            f"SELECT min(c.not_before){_DELIVERED}", {"ids": ids, "least": least_priority}
        ).fetchone()
        return None if row[0] is None else int(row[0])
    entries = _entries_with(conn, (_S.WANTED, _S.PARTIAL))
    if empiar_ids is not None:
        entries = sorted(set(entries) & set(empiar_ids))
    query = "SELECT min(not_before) FROM copy INDEXED BY copy_waiting WHERE state <= 1 AND empiar_id = ? AND priority >= ?"
    times = (conn.execute(query, (empiar_id, least_priority)).fetchone()[0] for empiar_id in entries)
    return min((when for when in times if when is not None), default=None)


def forget_impossible_waits(conn: sqlite3.Connection, *, now: int) -> int:
    """Copies that wait longer than any may, because the clock was ahead when they were put off, may be tried at once; returns how many."""
    forgotten = 0
    for empiar_id in _entries_with(conn, (_S.WANTED, _S.PARTIAL)):
        forgotten += conn.execute(
            "UPDATE copy INDEXED BY copy_waiting SET not_before = 0 WHERE state <= 1 AND empiar_id = ? AND not_before > ?",
            (empiar_id, now + LONGEST_WAIT_S),
        ).rowcount
    return forgotten


def unfinished(conn: sqlite3.Connection, *, empiar_ids: Sequence[int] | None = None) -> tuple[int, int]:
    """Files and bytes wanted, claimed or partial."""
    query = f"SELECT ifnull(sum(files), 0), ifnull(sum(bytes), 0) FROM copy_progress WHERE state IN ({_UNFINISHED})"
    if empiar_ids is None:
        files, size = conn.execute(query).fetchone()
        return files, size
    rows = [conn.execute(f"{query} AND empiar_id = ?", (i,)).fetchone() for i in sorted(set(empiar_ids))]
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


# --- progress -----------------------------------------------------------------------------------------------


def _require_unfinished(conn: sqlite3.Connection, file_id: int) -> None:
    state = state_of(conn, file_id)
    if state not in (_S.WANTED, _S.PARTIAL, _S.CLAIMED):
        raise CatalogueFault(
            f"the copy of file {file_id} is {state}: it has no part file",
            hint=DEFECT,
        )


def record_first_byte(
    conn: sqlite3.Connection, file_id: int, found: Validators, *, channel: Channel, now: int
) -> None:
    """The validators under which the part file is begun; blocks of an earlier partial are forgotten.

    Raises:
        CatalogueFault: the copy is here, or failed.
    """
    _require_unfinished(conn, file_id)
    forget_partial(conn, file_id)
    conn.execute(
        "UPDATE copy SET v_size = ?, v_modified_at = ?, v_etag = ?, channel = ? WHERE file_id = ?",
        (found.size, found.modified_at, found.etag, channel.value, file_id),
    )


def record_blocks(conn: sqlite3.Connection, file_id: int, blocks: Sequence[Block]) -> None:
    """These stretches of the part file are proven; `bytes_here` follows.

    Raises:
        CatalogueFault: the copy is here, or failed.
    """
    _require_unfinished(conn, file_id)
    added = 0
    for block in blocks:
        before = conn.execute(
            "SELECT length FROM part_block WHERE file_id = ? AND start = ?", (file_id, block.start)
        ).fetchone()
        added += block.length - (before[0] if before else 0)
        conn.execute(
            "INSERT OR REPLACE INTO part_block VALUES (?, ?, ?, ?)",
            (file_id, block.start, block.length, block.xxh3),
        )
    conn.execute("UPDATE copy SET bytes_here = bytes_here + ? WHERE file_id = ?", (added, file_id))


def forget_blocks(conn: sqlite3.Connection, file_id: int, starts: Sequence[int]) -> None:
    """These stretches turned out not to hold on disk."""
    removed = 0
    for start in starts:
        query = "DELETE FROM part_block WHERE file_id = ? AND start = ? RETURNING length"
        removed += sum(row[0] for row in conn.execute(query, (file_id, start)).fetchall())
    conn.execute("UPDATE copy SET bytes_here = bytes_here - ? WHERE file_id = ?", (removed, file_id))


def record_attempts(conn: sqlite3.Connection, attempts: Sequence[Attempt]) -> None:
    """One row of `transfers` each; the copy's counters follow (progress resets `fruitless`).

    Progress means that more proven bytes are kept than ever before: bytes that are thrown away again, however
    many, do not renew the budget. An attempt that was ``stopped`` costs nothing of it.
    """
    for attempt in attempts:
        new = conn.execute(
            "INSERT OR IGNORE INTO attempt (file_id, started_at, channel, start_offset, ended_at, bytes_moved,"
            " outcome, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                attempt.file_id, attempt.started_at, attempt.channel.value, attempt.start_offset,
                attempt.ended_at, attempt.bytes_moved, attempt.outcome, attempt.error,
            ),
        ).rowcount  # fmt: skip
        if new:
            conn.execute(
                "UPDATE copy SET attempts = attempts + 1, channel = ?2, fruitless = CASE"
                " WHEN ?3 = 'done' OR bytes_here > bytes_credited THEN 0"
                " WHEN ?3 = 'stopped' THEN fruitless ELSE fruitless + 1 END,"
                " bytes_credited = max(bytes_credited, bytes_here) WHERE file_id = ?1",
                (attempt.file_id, attempt.channel.value, attempt.outcome),
            )


def release(
    conn: sqlite3.Connection, file_id: int, *, not_before: int, error: str | None, keep_partial: bool
) -> None:
    """A claimed copy goes back to partial (or to wanted without its partial) until `not_before`.

    If the archive has ceased to list its file meanwhile, it is parked. A copy released already stays as it is.

    Raises:
        CatalogueFault: the copy is here, or failed.
    """
    if state_of(conn, file_id) in (_S.WANTED, _S.PARTIAL):
        return
    move(conn, file_id, _S.PARTIAL if keep_partial else _S.WANTED)
    conn.execute("UPDATE copy SET not_before = ?, error = ? WHERE file_id = ?", (not_before, error, file_id))
    if not keep_partial:
        forget_partial(conn, file_id)
    if is_gone(conn, file_id):
        park(conn, file_id, error=GONE)


def park(conn: sqlite3.Connection, file_id: int, *, error: str) -> None:
    """The copy is given up until somebody asks again; its partial counts no more."""
    _give_up(conn, file_id, _S.PARKED, error)


def quarantine(conn: sqlite3.Connection, file_id: int, *, error: str) -> None:
    """The fetched bytes are proven wrong and kept aside."""
    _give_up(conn, file_id, _S.QUARANTINED, error)


def _give_up(conn: sqlite3.Connection, file_id: int, state: CopyState, error: str) -> None:
    move(conn, file_id, state)
    forget_partial(conn, file_id)
    conn.execute("UPDATE copy SET error = ?, not_before = 0 WHERE file_id = ?", (error, file_id))


# --- recovery -----------------------------------------------------------------------------------------------


def claimed_files(conn: sqlite3.Connection) -> list[Work]:
    """Copies that a process which is gone had claimed; those that are with the Globus service stay claimed and do not count."""
    query = (
        f"SELECT file_id FROM copy WHERE state IN (1, 2) AND state = {_CLAIMED} AND file_id NOT IN (SELECT file_id"
        f" FROM globus_item WHERE state = {ITEM_CODES[ItemState.UNDER_WAY]}) ORDER BY file_id"
    )
    return work_of(conn, [row[0] for row in conn.execute(query).fetchall()])


def partial_file_ids(conn: sqlite3.Connection) -> set[int]:
    """Copies that may own a part file in staging (claimed or partial)."""
    return {row[0] for row in conn.execute("SELECT file_id FROM copy WHERE state IN (1, 2)")}
