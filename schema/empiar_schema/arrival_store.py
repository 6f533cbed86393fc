"""Copies that are here: their arrival, and every later proof or disproof."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from typing import Final

from empiar_schema import queue_store
from empiar_schema.codes import STATES, UNIT_CODES, state_list
from empiar_schema.copies import Arrival, HereFile, is_gone, move, state_of
from empiar_schema.eviction_store import note_return
from empiar_schema.faults import DEFECT, CatalogueFault
from empiar_schema.history_store import keep_files
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import RemotePath
from empiar_schema.states import HERE, CopyState
from empiar_schema.times import iso
from empiar_schema.view_definitions.columns import path_of

_SECOND: Final = UNIT_CODES[1]
_RE_READ: Final = HERE | {CopyState.DAMAGED}

_FACTS: Final = (
    "SELECT d.empiar_id, f.bytes, f.bytes_exact, f.modified_at, f.modified_unit, s.name, c.sha256"
    " FROM copy c JOIN file f ON f.file_id = c.file_id JOIN directory d ON d.directory_id = f.directory_id"
    " JOIN source s ON s.source_id = f.modified_source WHERE c.file_id = ?"
)


def record_arrivals(conn: sqlite3.Connection, arrivals: Sequence[Arrival], *, now: int) -> None:
    """The commit point: these files are here. Facts, size (now exact), sha256 and times stand; partial records are gone.

    A changed size or time against the listing becomes a row of `changes` only if the listing was exact; a time
    only if listing and arrival came from the same source, because servers' zones differ. A file that the
    archive has ceased to list meanwhile is withdrawn at once. An arrival that is recorded already changes nothing.

    Raises:
        CatalogueFault: a copy that is here with another sha256 would be overwritten, or the copy may not arrive
            from its state.
    """
    brought = [one for one in arrivals if _record_arrival(conn, one, now=now)]
    queue_store.charge(conn, ((one.file_id, one.size) for one in brought), now=now)


def _record_arrival(conn: sqlite3.Connection, arrival: Arrival, *, now: int) -> bool:
    """Whether it had not been recorded before."""
    file_id, found = arrival.file_id, arrival.validators
    if state_of(conn, file_id) in HERE:
        _require_same(conn, arrival)
        return False
    move(conn, file_id, CopyState.ARRIVED)
    _record_file_facts(conn, arrival, now=now)
    note_return(conn, file_id, sha256=arrival.sha256, now=now)
    conn.execute(
        "UPDATE copy SET bytes = ?2, bytes_here = ?2, bytes_credited = ?2, sha256 = ?3, channel = ifnull(?4, channel),"
        " arrived_at = ?5, verified_at = ?5, fruitless = 0, not_before = 0, error = NULL,"
        " v_size = ?6, v_modified_at = ?7, v_etag = ?8 WHERE file_id = ?1",
        (
            file_id, arrival.size, arrival.sha256, arrival.channel and arrival.channel.value, now,
            found and found.size, found and found.modified_at, found and found.etag,
        ),
    )  # fmt: skip
    conn.execute("DELETE FROM part_block WHERE file_id = ?", (file_id,))
    conn.execute("DELETE FROM globus_item WHERE file_id = ?", (file_id,))
    if arrival.image is not None:
        record_image(conn, file_id, arrival.image)
    if is_gone(conn, file_id):
        move(conn, file_id, CopyState.WITHDRAWN)
    return True


def _require_same(conn: sqlite3.Connection, arrival: Arrival) -> None:
    """A copy that is here is never replaced; the same arrival once more is fine."""
    row = conn.execute("SELECT sha256 FROM copy WHERE file_id = ?", (arrival.file_id,)).fetchone()
    if row[0] != arrival.sha256:
        raise CatalogueFault(
            f"the copy of file {arrival.file_id} is here already, with another sha256",
            hint="this is a defect of the program; nothing was overwritten",
        )


def _record_file_facts(conn: sqlite3.Connection, arrival: Arrival, *, now: int) -> None:
    """The file's listed size and time give way to those of the bytes that came.

    Other bytes than those that were here before are a change, too.
    """
    empiar_id, size, exact, modified_at, unit, source, before = conn.execute(
        _FACTS, (arrival.file_id,)
    ).fetchone()
    changes: list[tuple[str, str | None, str | None]] = []
    if exact and size not in (None, arrival.size):
        changes.append(("bytes", str(size), str(arrival.size)))
    found_at = None if arrival.validators is None else arrival.validators.modified_at
    same_clock = arrival.channel is not None and arrival.channel.value == source and unit == _SECOND
    if same_clock and exact and None not in (found_at, modified_at) and found_at != modified_at:
        changes.append(("modified_at", iso(modified_at), iso(found_at)))
    if changes:
        keep_files(conn, "SELECT ?2", arrival.file_id, now=now)
    if size != arrival.size or not exact:
        conn.execute(
            "UPDATE file SET bytes = ?, bytes_exact = 1 WHERE file_id = ?", (arrival.size, arrival.file_id)
        )
        if not is_gone(conn, arrival.file_id):
            conn.execute(
                "UPDATE entry SET file_bytes = file_bytes + ? WHERE empiar_id = ?",
                (arrival.size - (size or 0), empiar_id),
            )
    if any(field == "modified_at" for field, *_ in changes):
        conn.execute("UPDATE file SET modified_at = ? WHERE file_id = ?", (found_at, arrival.file_id))
    if before not in (None, arrival.sha256):
        changes.append(("sha256", before.hex(), arrival.sha256.hex()))
    conn.executemany(
        "INSERT INTO change (changed_at, empiar_id, file_id, kind, field, old, new) VALUES (?, ?, ?, 'changed', ?, ?, ?)",
        [(now, empiar_id, arrival.file_id, *change) for change in changes],
    )


# --- afterwards ---------------------------------------------------------------------------------------------


#: States in which bytes stand, or should, at the final path.
ONCE_HERE: Final = (CopyState.ARRIVED, CopyState.WITHDRAWN, CopyState.DAMAGED)


def here_ids(
    conn: sqlite3.Connection, empiar_id: int, *, states: Sequence[CopyState] = ONCE_HERE
) -> array[int]:
    """The file ids of the entry's copies in these states, in the order of the bytes of their stored paths.

    Eight bytes a file, so that an entry of a million can be gone through in parts (`here_files`, `only`).
    """
    rows = conn.execute(
        "SELECT c.file_id FROM directory d JOIN file f ON f.directory_id = d.directory_id"
        " JOIN copy c ON c.file_id = f.file_id"
        f" WHERE d.empiar_id = ? AND c.state IN ({state_list(states)}) AND c.sha256 IS NOT NULL"
        f" ORDER BY {path_of()}",
        (empiar_id,),
    )
    return array("q", (row[0] for row in rows))


def here_files(
    conn: sqlite3.Connection,
    empiar_id: int,
    *,
    states: Sequence[CopyState] = ONCE_HERE,
    only: Sequence[int] | None = None,
) -> Iterator[HereFile]:
    """The entry's copies in these states, in the order of the bytes of their stored paths; read as they are used.

    `only` names the file ids that count, a few hundred at most. `modified_at` is the time that came with the
    bytes, else the listed one.
    """
    chosen = "" if only is None else f" AND c.file_id IN ({','.join(str(int(i)) for i in only)})"
    # The ids come first when they are given: CROSS JOIN keeps SQLite from walking the whole entry for them.
    tables = (
        "directory d JOIN file f ON f.directory_id = d.directory_id JOIN copy c ON c.file_id = f.file_id"
        if only is None
        else "copy c CROSS JOIN file f ON f.file_id = c.file_id JOIN directory d ON d.directory_id = f.directory_id"
    )
    rows = conn.execute(
        "SELECT f.file_id, d.path, f.name, c.state, c.bytes, c.sha256, ifnull(c.v_modified_at, f.modified_at),"
        f" i.problems FROM {tables} LEFT JOIN image i ON i.file_id = f.file_id"
        f" WHERE d.empiar_id = ? AND c.state IN ({state_list(states)}) AND c.sha256 IS NOT NULL{chosen}"
        f" ORDER BY {path_of()}",
        (empiar_id,),
    )
    for file_id, directory, name, state, size, sha256, modified_at, problems in rows:
        remote = RemotePath(empiar_id, directory, name)
        codes = tuple(json.loads(problems)) if problems else ()
        yield HereFile(file_id, remote, STATES[state], size, sha256, modified_at, codes)


def record_verified(conn: sqlite3.Connection, file_ids: Sequence[int], *, now: int) -> None:
    """These copies were re-read and hold; a damaged one that holds again is arrived again (or withdrawn, if gone).

    Raises:
        CatalogueFault: a copy is not here.
    """
    for file_id in file_ids:
        state = state_of(conn, file_id)
        if state not in _RE_READ:
            raise CatalogueFault(
                f"the copy of file {file_id} is {state}: there is nothing to verify",
                hint=DEFECT,
            )
        if state is CopyState.DAMAGED:
            move(conn, file_id, CopyState.ARRIVED)
            if is_gone(conn, file_id):
                move(conn, file_id, CopyState.WITHDRAWN)
        conn.execute("UPDATE copy SET verified_at = ?, error = NULL WHERE file_id = ?", (now, file_id))


def record_damaged(conn: sqlite3.Connection, file_id: int, *, error: str, now: int) -> None:
    """A later verify found this copy changed or missing. `verified_at` stays: it is when the bytes last held.

    One that was evicted meanwhile is missing on purpose.
    """
    if state_of(conn, file_id) is CopyState.EVICTED:
        return
    move(conn, file_id, CopyState.DAMAGED)
    conn.execute("UPDATE copy SET error = ? WHERE file_id = ?", (error, file_id))


def record_image(conn: sqlite3.Connection, file_id: int, image: ImageFacts) -> None:
    """Header facts of a file here."""
    conn.execute(
        "INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            file_id, image.format, image.width, image.height, image.frames, image.mode,
            image.pixel_size_angstrom, json.dumps(image.problems) if image.problems else None,
            image.extended_header,
        ),
    )  # fmt: skip
