"""What stood in the catalogue before it changed: of files and of entries, each state with the time until which it stood.

A state is kept when a change of the archive ends it. What only makes a fact better (an estimated size that becomes exact)
ends none: then the catalogue knows more of the state that stands.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import sqlite3
from typing import Final

#: Facts of an entry that have a column each.
ENTRY_FACTS: Final = (
    "title", "status", "experiment_type", "scale", "deposition_date", "release_date", "update_date",
    "obsolete_date", "dataset_size", "dataset_bytes", "doi",
)  # fmt: skip
# A clock that was set back must not put a later state before an earlier one. Of two states that end in the same second the
# first is kept: the other stood for no time.
_UNTIL: Final = "max(?1, ifnull((SELECT max(until) FROM {0}_past p WHERE p.{1} = {0}.{1}), 0))"


def keep_files(conn: sqlite3.Connection, chosen: str, *values: object, now: int) -> None:
    """The states of the files that the query `chosen` names by number end at `now`. To be called before they are changed.

    `values` are those of `chosen`, whose first is ``?2``.
    """
    conn.execute(
        "INSERT OR IGNORE INTO file_past (file_id, until, bytes, bytes_exact, modified_at, modified_unit, gone)"
        f" SELECT file_id, {_UNTIL.format('file', 'file_id')}, bytes, bytes_exact, modified_at, modified_unit,"
        "  EXISTS (SELECT 1 FROM file_absence a WHERE a.file_id = file.file_id AND a.gone_at IS NOT NULL)"
        f" FROM file WHERE file_id IN ({chosen})",
        (now, *values),
    )


def keep_entry(conn: sqlite3.Connection, empiar_id: int, *, now: int) -> None:
    """The entry's state ends at `now`. To be called before it is changed; does nothing of an entry that is not known."""
    facts = ", ".join(ENTRY_FACTS)
    conn.execute(
        f"INSERT OR IGNORE INTO entry_past (empiar_id, until, {facts}, record, withdrawn_at)"
        f" SELECT empiar_id, {_UNTIL.format('entry', 'empiar_id')}, {facts}, record, withdrawn_at"
        " FROM entry WHERE empiar_id = ?2",
        (now, empiar_id),
    )
