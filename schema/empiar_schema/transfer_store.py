"""What the mirror writes of copies: progress, proofs, recovery; with wishes, claims and arrivals, each from a module of its own. Each function runs inside a writer job and is idempotent.

Every change of state goes through `empiar_schema.states.TRANSITIONS`; a forbidden one raises `CatalogueFault`.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from empiar_schema.arrival_store import (
    here_files,
    here_ids,
    record_arrivals,
    record_damaged,
    record_image,
    record_verified,
)
from empiar_schema.claim_store import (
    ANY_PRIORITY,
    LONGEST_WAIT_S,
    Taken,
    Turn,
    claim_from,
    forget_impossible_waits,
    give_back,
    next_brought,
    next_delivered,
    waiting_entries,
)
from empiar_schema.codes import STATE_CODES
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
    park,
    part_blocks,
    quarantine,
    state_of,
    work_of,
)
from empiar_schema.faults import DEFECT, CatalogueFault
from empiar_schema.files import Validators
from empiar_schema.globus_states import ITEM_CODES, ItemState
from empiar_schema.states import Channel, CopyState
from empiar_schema.want_store import follow_listing, retry_failed, unfinished, want_entry, want_files

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
    "claim_from",
    "claimed_files",
    "follow_listing",
    "forget_blocks",
    "forget_impossible_waits",
    "give_back",
    "here_files",
    "here_ids",
    "next_brought",
    "next_delivered",
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

_S = CopyState
_CLAIMED: Final = STATE_CODES[_S.CLAIMED]

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
