"""All that the catalogue knows of the files of an entry, folder by folder, for a statement of its completeness."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from empiar_schema.codes import STATES
from empiar_schema.states import CopyState


class ListingFact(NamedTuple):
    """The listing in force: by which source, and when it was complete, in seconds since the epoch."""

    source: str
    completed_at: int


class FileFact(NamedTuple):
    """A file that is or was listed. `size` is that of our copy once it is here, else the listed one; `state` is None where it was never asked for."""

    name: str
    size: int | None
    state: CopyState | None
    sha256: bytes | None
    verified_at: int | None
    gone: bool


def listing_of(conn: sqlite3.Connection, empiar_id: int) -> ListingFact | None:
    """The entry's current listing; None where it was never listed."""
    row = conn.execute(
        "SELECT s.name, l.completed_at FROM entry e JOIN listing l ON l.listing_id = e.current_listing"
        " JOIN source s ON s.source_id = l.source_id WHERE e.empiar_id = ?",
        (empiar_id,),
    ).fetchone()
    return None if row is None else ListingFact(*row)


def folders_of(conn: sqlite3.Connection, empiar_id: int) -> Iterator[tuple[str, list[FileFact]]]:
    """Every folder of the entry with its files, in no order; a folder at a time, because an entry can have a million files."""
    gone = {
        row[0]
        for row in conn.execute(
            "SELECT file_id FROM file_absence WHERE empiar_id = ? AND gone_at IS NOT NULL", (empiar_id,)
        )
    }
    folders = conn.execute(
        "SELECT directory_id, path FROM directory WHERE empiar_id = ?", (empiar_id,)
    ).fetchall()
    cursor = conn.cursor()
    cursor.row_factory = None  # plain tuples: a row by name costs more than all the rest
    for directory_id, path in folders:
        rows = cursor.execute(
            "SELECT f.name, ifnull(c.bytes, f.bytes), c.state, c.sha256, c.verified_at, f.file_id"
            " FROM file f LEFT JOIN copy c ON c.file_id = f.file_id WHERE f.directory_id = ?",
            (directory_id,),
        )
        yield (
            path,
            [
                FileFact(
                    name, size, None if state is None else STATES[state], sha256, verified_at, file_id in gone
                )
                for name, size, state, sha256, verified_at, file_id in rows
            ],
        )
