"""Claims: which files of a queue are taken up next, and given back. Writing functions run inside a writer job."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from empiar_schema import queue_store
from empiar_schema.codes import STATE_CODES
from empiar_schema.copies import GONE, Work, is_gone, park, work_of
from empiar_schema.globus_states import ITEM_CODES, ItemState
from empiar_schema.states import Channel, CopyState
from empiar_schema.want_store import entries_with

#: No copy waits for its next attempt longer than this, whatever a server asks for. What waits longer was put off by a clock that was wrong.
LONGEST_WAIT_S: Final = 3600
#: Below every priority.
ANY_PRIORITY: Final = -(2**63)

_S = CopyState
_WANTED: Final = STATE_CODES[_S.WANTED]
_CLAIMED: Final = STATE_CODES[_S.CLAIMED]


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


def next_delivered(
    conn: sqlite3.Connection, *, empiar_ids: Collection[int] | None, least_priority: int
) -> int | None:
    """When the earliest file may be tried that Globus has delivered; None if there is none. Queues below `least_priority` do not count."""
    ids = None if empiar_ids is None else json.dumps(sorted(empiar_ids))
    row = conn.execute(
        f"SELECT min(c.not_before){_DELIVERED}", {"ids": ids, "least": least_priority}
    ).fetchone()
    return None if row[0] is None else int(row[0])


def forget_impossible_waits(conn: sqlite3.Connection, *, now: int) -> int:
    """Copies that wait longer than any may, because the clock was ahead when they were put off, may be tried at once; returns how many."""
    forgotten = 0
    for empiar_id in entries_with(conn, (_S.WANTED, _S.PARTIAL)):
        forgotten += conn.execute(
            "UPDATE copy INDEXED BY copy_waiting SET not_before = 0 WHERE state <= 1 AND empiar_id = ? AND not_before > ?",
            (empiar_id, now + LONGEST_WAIT_S),
        ).rowcount
    return forgotten
