"""What is known of our copy of one file, and the one way by which it goes from state to state."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from empiar_schema.codes import STATE_CODES, STATES
from empiar_schema.faults import DEFECT, CatalogueFault
from empiar_schema.files import Validators
from empiar_schema.globus_states import ITEM_CODES, ItemState
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import RemotePath
from empiar_schema.states import Channel, CopyState, may_follow

#: Why a copy that is not here is parked when the archive ceases to list its file.
GONE: Final = "EMPIAR no longer lists this file"


@dataclass(frozen=True, slots=True)
class Block:
    """A proven stretch of a part file: `length` bytes at `start` with this XXH3-128 digest."""

    start: int
    length: int
    xxh3: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A file that the Globus service has brought into staging, and that waits to be verified: when it was asked for, when it was there."""

    submitted_at: int
    delivered_at: int


@dataclass(frozen=True, slots=True)
class Before:
    """What was here of a file before it was lost or removed, in the version that the archive still lists."""

    sha256: bytes
    #: Finding codes of those bytes.
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """One claimed copy: all that the engine needs to fetch it."""

    file_id: int
    remote: RemotePath
    #: Listed size; an estimate unless `size_exact`.
    size: int | None
    size_exact: bool
    modified_at: int | None
    #: Attempts without progress so far, and in all.
    fruitless: int
    attempts: int
    #: The channel of the last attempt, None before the first.
    last_channel: Channel | None
    #: Recorded with the first byte of the partial that is kept; None means start over.
    validators: Validators | None
    #: Bytes of proven blocks in the part file (`part_blocks`).
    bytes_kept: int
    #: Set where all its bytes stand in staging by the word of Globus.
    delivery: Delivery | None = None
    #: The queue from which it was claimed, and the only channel by which whoever wants it lets it come; None for any.
    queue_id: int = 0
    only_channel: Channel | None = None
    #: Set where this version was here already.
    before: Before | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt, for `transfers`."""

    file_id: int
    channel: Channel
    started_at: float
    ended_at: float
    start_offset: int
    bytes_moved: int
    #: ``done``, ``failed``, ``stalled``, ``changed``, ``damaged``, ``stopped``.
    outcome: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is durable at its final path."""

    file_id: int
    size: int
    sha256: bytes
    channel: Channel | None
    validators: Validators | None
    #: Header facts, as far as known: format, width, height, frames, mode, pixel_size_angstrom.
    image: ImageFacts | None = None


@dataclass(frozen=True, slots=True)
class HereFile:
    """A copy that is, or should be, at its final path."""

    file_id: int
    remote: RemotePath
    state: CopyState
    size: int
    sha256: bytes
    modified_at: int | None
    #: Finding codes on record (`images.problems`).
    problems: tuple[str, ...] = ()


# --- states -------------------------------------------------------------------------------------------------


def state_of(conn: sqlite3.Connection, file_id: int) -> CopyState:
    """The state of the copy.

    Raises:
        CatalogueFault: the file is not wanted here.
    """
    row = conn.execute("SELECT state FROM copy WHERE file_id = ?", (file_id,)).fetchone()
    if row is None:
        raise CatalogueFault(f"file {file_id} was never asked for", hint=DEFECT)
    return STATES[row[0]]


def move(conn: sqlite3.Connection, file_id: int, after: CopyState) -> CopyState:
    """The copy is in state `after`; returns the one before, which may be the same.

    Raises:
        CatalogueFault: the file is not wanted here, or `after` may not follow (`empiar_schema.states`).
    """
    before = state_of(conn, file_id)
    if before == after:
        return before
    if not may_follow(before, after):
        raise CatalogueFault(
            f"the copy of file {file_id} is {before} and cannot become {after}",
            hint=DEFECT,
        )
    conn.execute("UPDATE copy SET state = ? WHERE file_id = ?", (STATE_CODES[after], file_id))
    return before


def is_gone(conn: sqlite3.Connection, file_id: int) -> bool:
    """Whether the archive has ceased to list the file."""
    query = "SELECT 1 FROM file_absence WHERE file_id = ? AND gone_at IS NOT NULL"
    return conn.execute(query, (file_id,)).fetchone() is not None


def forget_partial(conn: sqlite3.Connection, file_id: int) -> None:
    """Nothing of the part file counts any more."""
    conn.execute("DELETE FROM part_block WHERE file_id = ?", (file_id,))
    conn.execute(
        "UPDATE copy SET bytes_here = 0, v_size = NULL, v_modified_at = NULL, v_etag = NULL WHERE file_id = ?",
        (file_id,),
    )


def park(conn: sqlite3.Connection, file_id: int, *, error: str) -> None:
    """The copy is given up until somebody asks again; its partial counts no more."""
    _give_up(conn, file_id, CopyState.PARKED, error)


def quarantine(conn: sqlite3.Connection, file_id: int, *, error: str) -> None:
    """The fetched bytes are proven wrong and kept aside."""
    _give_up(conn, file_id, CopyState.QUARANTINED, error)


def _give_up(conn: sqlite3.Connection, file_id: int, state: CopyState, error: str) -> None:
    move(conn, file_id, state)
    forget_partial(conn, file_id)
    conn.execute("UPDATE copy SET error = ?, not_before = 0 WHERE file_id = ?", (error, file_id))


_WORK: Final = (
    "SELECT d.empiar_id, d.path, f.name, f.bytes, f.bytes_exact, f.modified_at, c.fruitless,"
    " c.attempts, c.channel, c.v_size, c.v_modified_at, c.v_etag, c.bytes_here, c.queue_id, b.submitted_at, g.delivered_at,"
    # The listing has changed since: another version may have any bytes.
    " iif(c.sha256 IS NULL OR EXISTS (SELECT 1 FROM file_past p WHERE p.file_id = c.file_id AND p.until > c.arrived_at),"
    " NULL, c.sha256), i.problems"
    " FROM copy c JOIN file f ON f.file_id = c.file_id JOIN directory d ON d.directory_id = f.directory_id"
    f" LEFT JOIN globus_item g ON g.file_id = c.file_id AND g.state = {ITEM_CODES[ItemState.DELIVERED]}"
    " LEFT JOIN globus_bundle b ON b.bundle_id = g.bundle_id"
    " LEFT JOIN image i ON i.file_id = c.file_id"
    " WHERE c.file_id = ?"
)


def work_of(conn: sqlite3.Connection, file_ids: Iterable[int]) -> list[Work]:
    """All that the engine needs to fetch these copies, in the order given."""
    return [_work(conn, file_id) for file_id in file_ids]


def _work(conn: sqlite3.Connection, file_id: int) -> Work:
    (
        empiar_id, directory, name, size, exact, modified_at, fruitless, attempts, channel,
        v_size, v_modified_at, v_etag, bytes_here, queue_id, submitted_at, delivered_at,
        sha256, problems,
    ) = conn.execute(_WORK, (file_id,)).fetchone()  # fmt: skip
    known = Validators(v_size, v_modified_at, v_etag)
    return Work(
        file_id=file_id,
        remote=RemotePath(empiar_id, directory, name),
        size=size,
        size_exact=bool(exact) and size is not None,
        modified_at=modified_at,
        fruitless=fruitless,
        attempts=attempts,
        last_channel=None if channel is None else Channel(channel),
        validators=None if known == Validators() else known,
        bytes_kept=bytes_here,
        delivery=None if delivered_at is None else Delivery(submitted_at or delivered_at, delivered_at),
        queue_id=queue_id,
        before=None if sha256 is None else Before(sha256, tuple(json.loads(problems)) if problems else ()),
    )


def part_blocks(conn: sqlite3.Connection, file_id: int) -> tuple[Block, ...]:
    """The proven stretches of the copy's part file, in rising order. A large file has hundreds of thousands."""
    query = "SELECT start, length, xxh3 FROM part_block WHERE file_id = ? ORDER BY start"
    return tuple(Block(*row) for row in conn.execute(query, (file_id,)))
