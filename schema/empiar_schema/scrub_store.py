"""What scrubbing asks of the catalogue and writes into it: whose proof is oldest, what held, what did not.

A page is read before its files are: by the time a result is recorded, the copy may have been replaced. So nothing
here is recorded of a copy that is no longer the one that was read.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from empiar_schema import transfer_store
from empiar_schema.codes import STATE_CODES, state_list
from empiar_schema.copies import HereFile, is_gone, state_of
from empiar_schema.states import HERE, CopyState

_HERE: Final = sorted(HERE)
_DAMAGED: Final = STATE_CODES[CopyState.DAMAGED]
_OF_ENTRIES: Final = "(:ids IS NULL OR empiar_id IN (SELECT value FROM json_each(:ids)))"
#: Beyond every time.
END_OF_TIME: Final = 2**62


class Proof(NamedTuple):
    """When a copy was last proven: a place in the order of scrubbing."""

    verified_at: int
    empiar_id: int
    file_id: int


#: Before every proof.
BEFORE_ALL: Final = Proof(-END_OF_TIME, 0, 0)


def next_proofs(
    conn: sqlite3.Connection,
    *,
    after: Proof,
    until: int,
    limit: int,
    empiar_ids: Sequence[int] | None = None,
) -> list[Proof]:
    """The copies here whose proofs come next behind `after`, oldest first, none later than `until`."""
    rows = conn.execute(
        "SELECT verified_at, empiar_id, file_id FROM copy INDEXED BY copy_by_proof WHERE state IN (3, 4)"
        " AND (verified_at, empiar_id, file_id) > (:at, :entry, :file) AND verified_at <= :until"
        f" AND {_OF_ENTRIES} ORDER BY verified_at, empiar_id, file_id LIMIT :limit",
        {
            "at": after.verified_at,
            "entry": after.empiar_id,
            "file": after.file_id,
            "until": until,
            "limit": limit,
            "ids": _json(empiar_ids),
        },
    )
    return [Proof(*row) for row in rows]


def files_of(conn: sqlite3.Connection, proofs: Sequence[Proof]) -> list[HereFile]:
    """The copies of these proofs, in the same order, without those that are here no more."""
    found: dict[int, HereFile] = {}
    for empiar_id in sorted({proof.empiar_id for proof in proofs}):
        only = [proof.file_id for proof in proofs if proof.empiar_id == empiar_id]
        for file in transfer_store.here_files(conn, empiar_id, states=_HERE, only=only):
            found[file.file_id] = file
    return [found[proof.file_id] for proof in proofs if proof.file_id in found]


def damaged_files(conn: sqlite3.Connection, empiar_ids: Sequence[int] | None = None) -> list[HereFile]:
    """The damaged copies whose files the archive still lists, entry by entry."""
    entries = conn.execute(
        f"SELECT empiar_id FROM copy_progress WHERE state = {_DAMAGED} AND files > 0 AND {_OF_ENTRIES}"
        " ORDER BY empiar_id",
        {"ids": _json(empiar_ids)},
    ).fetchall()
    damaged = (CopyState.DAMAGED,)
    found: list[HereFile] = []
    for (empiar_id,) in entries:
        files = transfer_store.here_files(conn, empiar_id, states=damaged)
        found += [file for file in files if not is_gone(conn, file.file_id)]
    return found


def bytes_to_scrub(conn: sqlite3.Connection, empiar_ids: Sequence[int] | None = None) -> int:
    """Bytes of all copies here: what one pass reads."""
    row = conn.execute(
        "SELECT ifnull(sum(bytes), 0) FROM copy_progress"
        f" WHERE state IN ({state_list(_HERE)}) AND {_OF_ENTRIES}",
        {"ids": _json(empiar_ids)},
    ).fetchone()
    return int(row[0])


def oldest_proof(conn: sqlite3.Connection, empiar_ids: Sequence[int] | None = None) -> int | None:
    """When the copy that waits longest was last proven; None where nothing is here."""
    first = next_proofs(conn, after=BEFORE_ALL, until=END_OF_TIME, limit=1, empiar_ids=empiar_ids)
    return first[0].verified_at if first else None


def more_beside(conn: sqlite3.Connection, file_id: int) -> bool:
    """Whether the record has other copies here in the folder of this file."""
    row = conn.execute(
        "SELECT 1 FROM file f JOIN copy c ON c.file_id = f.file_id"
        " WHERE f.directory_id = (SELECT directory_id FROM file WHERE file_id = ?1)"
        f" AND f.file_id <> ?1 AND c.state IN ({state_list(_HERE)}) LIMIT 1",
        (file_id,),
    ).fetchone()
    return row is not None


def record_sound(conn: sqlite3.Connection, files: Iterable[HereFile], *, now: int) -> None:
    """These copies were read through and hold; a damaged one is here again."""
    same = [file.file_id for file in files if is_same(conn, file)]
    transfer_store.record_verified(conn, same, now=now)


def record_unsound(conn: sqlite3.Connection, file: HereFile, *, error: str, now: int) -> bool:
    """The copy is damaged; False where it is another one by now, of which nothing is recorded."""
    if not is_same(conn, file):
        return False
    transfer_store.record_damaged(conn, file.file_id, error=error, now=now)
    return True


def want_again(conn: sqlite3.Connection, file: HereFile, *, now: int) -> bool:
    """The damaged copy is wanted again; False where the archive lists its file no longer, so that nothing can replace it."""
    entries = [file.remote.empiar_id]
    states = [CopyState.DAMAGED]
    return bool(transfer_store.retry_failed(conn, entries, now=now, states=states, file_ids=[file.file_id]))


def is_same(conn: sqlite3.Connection, file: HereFile) -> bool:
    """Whether the copy is still the one that was read from the catalogue, here or damaged."""
    row = conn.execute("SELECT sha256 FROM copy WHERE file_id = ?", (file.file_id,)).fetchone()
    in_place = HERE | {CopyState.DAMAGED}
    return row is not None and row[0] == file.sha256 and state_of(conn, file.file_id) in in_place


def _json(empiar_ids: Sequence[int] | None) -> str | None:
    return None if empiar_ids is None else json.dumps(list(empiar_ids))
