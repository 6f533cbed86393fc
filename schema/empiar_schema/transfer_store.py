"""What the mirror writes: wishes, claims, proofs, arrivals. Each function runs inside a writer job and is idempotent.

Every change of state goes through `empiar_schema.states.TRANSITIONS`; a forbidden one raises `CatalogueFault`.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from empiar_schema import queue_store
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
from empiar_schema.queues import Wish
from empiar_schema.states import FAILED, Channel, CopyState

__all__ = [
    "ANY_PRIORITY",
    "GONE",
    "LONGEST_WAIT_S",
    "Arrival",
    "Attempt",
    "Block",
    "HereFile",
    "Taken",
    "Turn",
    "Work",
    "claim",
    "claim_from",
    "claimed_files",
    "follow_listing",
    "forget_blocks",
    "forget_impossible_waits",
    "give_back",
    "here_files",
    "here_ids",
    "next_brought",
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
    conn: sqlite3.Connection, empiar_id: int, *, now: int, priority: int = 0, subscription: int | None = None
) -> int:
    """Every listed file of the entry that is not gone is wanted; returns how many are newly so. Copies that exist keep their state.

    Asked for by name with this priority, or by the `subscription` of this number. A later wish raises the priority of what
    waits, never lowers it.
    """
    wish = Wish(priority, subscription)
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
    subscription: int | None = None,
) -> int:
    """As `want_entry`, of these files. Gone and unknown files are passed over."""
    by_entry: dict[int, list[int]] = {}
    query = (
        "SELECT d.empiar_id, f.file_id FROM json_each(?) j CROSS JOIN file f ON f.file_id = j.value"
        " JOIN directory d ON d.directory_id = f.directory_id"
    )
    for empiar_id, file_id in conn.execute(query, (json.dumps(list(file_ids)),)).fetchall():
        by_entry.setdefault(empiar_id, []).append(file_id)
    wish, new = Wish(priority, subscription), 0
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
    """Up to so many files and bytes (at least one file) go from wanted or partial to claimed, by priority, then entry, then as in `claim_from`.

    Queues below `least_priority` wait; shares, quotas and pauses are not looked at: that is the business of whoever decides on turns.
    """
    works: list[Work] = []
    for queue in queue_store.waiting_queues(conn, empiar_ids=empiar_ids, least_priority=least_priority):
        if len(works) >= limit_files or (works and limit_bytes <= 0):
            break
        turn = Turn(
            queue.queue_id,
            limit_files - len(works),
            limit_bytes,
            at_least_one=not works,
            delivered_only=delivered_only,
        )
        taken = claim_from(conn, turn, now=now)
        works += taken.works
        limit_bytes -= taken.bytes
        if taken.cut:
            break
    return works


@dataclass(frozen=True, slots=True)
class Turn:
    """How much may be claimed from one queue now."""

    queue_id: int
    files: int
    bytes: int
    #: The first file may be larger than `bytes`.
    at_least_one: bool = True
    #: No file may be claimed beyond this, in whole bytes: what quotas leave. None means no limit.
    room: int | None = None
    #: Only what Globus has brought into staging; with `or_given_back`, also what it has given back.
    delivered_only: bool = False
    or_given_back: bool = False
    #: By which channel alone its files may come.
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What one turn claimed."""

    queue_id: int
    works: list[Work]
    #: Missing bytes of the files claimed, and their bytes in all.
    bytes: int
    whole_bytes: int
    #: A file was left because of its size.
    cut: bool
    #: It holds no more that may be tried now, or that there is room for.
    exhausted: bool


def claim_from(conn: sqlite3.Connection, turn: Turn, *, now: int) -> Taken:
    """Files of the queue, as many as the turn allows, go from wanted or partial to claimed: by rank, then in the order of the listing.

    Those whose `not_before` has not passed are left. Bytes already kept do not count. Listing order is that of the entry's
    first listing; files listed later follow.
    """
    delivered = ""
    if turn.delivered_only:
        delivered = f" AND ({_GIVEN_BACK if turn.or_given_back else _IS_DELIVERED})"
    rows = conn.execute(
        "SELECT file_id, max(ifnull(bytes, 0) - bytes_here, 0), ifnull(bytes, 0) FROM copy INDEXED BY copy_claimable"
        f" WHERE state <= 1 AND queue_id = ? AND not_before <= ?{delivered} ORDER BY rank, file_id LIMIT ?",
        (turn.queue_id, now, turn.files),
    ).fetchall()
    chosen: list[int] = []
    left, whole, cut, full = turn.bytes, 0, False, False
    for file_id, missing, size in rows:
        first = turn.at_least_one and not chosen
        # What is delivered is on the disk already.
        if missing > left and not first and not turn.delivered_only:
            cut = True
            break
        if turn.room is not None and whole + size > turn.room:
            full = True
            break
        chosen.append(file_id)
        left -= missing
        whole += size
    conn.executemany(
        f"UPDATE copy SET state = {_CLAIMED} WHERE file_id = ?", [(file_id,) for file_id in chosen]
    )
    if chosen:
        conn.execute("UPDATE queue SET served_at = ? WHERE queue_id = ?", (now, turn.queue_id))
    works = work_of(conn, chosen)
    if turn.channel is not None:
        works = [replace(work, only_channel=turn.channel) for work in works]
    return Taken(
        turn.queue_id,
        works,
        turn.bytes - left,
        whole,
        cut,
        exhausted=full or (not cut and len(rows) < turn.files),
    )


_IS_DELIVERED: Final = (
    "EXISTS (SELECT 1 FROM globus_item g WHERE g.file_id = copy.file_id"
    f" AND g.state = {ITEM_CODES[ItemState.DELIVERED]})"
)
#: Delivered, or given back by the service for other channels.
_GIVEN_BACK: Final = (
    "EXISTS (SELECT 1 FROM globus_item g WHERE g.file_id = copy.file_id"
    f" AND (g.state = {ITEM_CODES[ItemState.DELIVERED]} OR g.state = {ITEM_CODES[ItemState.FREED]}))"
)
#: What Globus has delivered, from the few items in that state.
_DELIVERED: Final = (
    " FROM globus_item g JOIN copy c ON c.file_id = g.file_id JOIN queue q ON q.queue_id = c.queue_id"
    " WHERE g.bundle_id IN (SELECT bundle_id FROM globus_bundle)"
    f" AND g.state = {ITEM_CODES[ItemState.DELIVERED]} AND c.state <= 1 AND q.priority >= :least"
    " AND (:ids IS NULL OR c.empiar_id IN (SELECT value FROM json_each(:ids)))"
)


def give_back(conn: sqlite3.Connection, file_ids: Iterable[int]) -> None:
    """Claimed copies of which nothing was begun wait as before; others stay as they are."""
    rows = conn.execute(
        f"UPDATE copy SET state = iif(bytes_here > 0, {STATE_CODES[_S.PARTIAL]}, {_WANTED})"
        f" WHERE state = {_CLAIMED} AND file_id IN (SELECT value FROM json_each(?)) RETURNING file_id",
        (json.dumps(list(file_ids)),),
    ).fetchall()
    for (file_id,) in rows:
        if is_gone(conn, file_id):
            park(conn, file_id, error=GONE)


def next_brought(conn: sqlite3.Connection, queue_id: int) -> int | None:
    """When the earliest file of the queue may be tried that Globus has brought or given back; None if there is none."""
    row = conn.execute(
        "SELECT min(c.not_before) FROM globus_item g JOIN copy c ON c.file_id = g.file_id WHERE c.queue_id = ? AND c.state <= 1"
        f" AND (g.state = {ITEM_CODES[ItemState.DELIVERED]} OR g.state = {ITEM_CODES[ItemState.FREED]})",
        (queue_id,),
    ).fetchone()
    return None if row[0] is None else int(row[0])


def waiting_entries(
    conn: sqlite3.Connection, *, empiar_ids: Sequence[int] | None = None, least_priority: int = ANY_PRIORITY
) -> list[int]:
    """Entries of which something waits for its turn, those with the highest priority first."""
    queues = queue_store.waiting_queues(conn, empiar_ids=empiar_ids, least_priority=least_priority)
    return list(dict.fromkeys(queue.empiar_id for queue in queues if queue.files))


def next_not_before(
    conn: sqlite3.Connection,
    *,
    empiar_ids: Sequence[int] | None = None,
    least_priority: int = ANY_PRIORITY,
    delivered_only: bool = False,
) -> int | None:
    """When the earliest claimable copy may be tried; None if there is none. Queues below `least_priority` do not count."""
    if delivered_only:
        ids = None if empiar_ids is None else json.dumps(list(empiar_ids))
        row = conn.execute(
            f"SELECT min(c.not_before){_DELIVERED}", {"ids": ids, "least": least_priority}
        ).fetchone()
        return None if row[0] is None else int(row[0])
    queues = queue_store.waiting_queues(conn, empiar_ids=empiar_ids, least_priority=least_priority)
    query = "SELECT min(not_before) FROM copy INDEXED BY copy_waiting WHERE state <= 1 AND empiar_id = ? AND queue_id = ?"
    times = (conn.execute(query, (queue.empiar_id, queue.queue_id)).fetchone()[0] for queue in queues)
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
