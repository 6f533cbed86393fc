"""What was asked for of each entry by name: the whole of it, or what a layout view needs."""

from __future__ import annotations

import sqlite3
from typing import Final

#: The wish for every file of the entry.
WHOLE: Final = ""
#: Stands with an entry of which a subscription made files wanted: they were not a wish for the whole. No view has such a name.
SUBSCRIBED: Final = "*"


def record_wish(conn: sqlite3.Connection, empiar_id: int, view: str, *, now: int) -> None:
    """The entry, or what `view` needs of it, has been asked for; the first time counts."""
    conn.execute("INSERT INTO wish VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (empiar_id, view, now))


def wishes_of(conn: sqlite3.Connection, empiar_id: int) -> tuple[str, ...]:
    """Views that were asked for, or `WHOLE` alone if the entry was, at whatever time; nothing if neither was.

    An entry that was asked for before wishes were recorded was asked for as a whole.
    """
    rows = conn.execute("SELECT view FROM wish WHERE empiar_id = ? ORDER BY view", (empiar_id,))
    wishes = tuple(view for (view,) in rows)
    if WHOLE in wishes:
        return (WHOLE,)
    if (
        not wishes
        and conn.execute(
            "SELECT 1 FROM copy_progress WHERE empiar_id = ? AND files > 0", (empiar_id,)
        ).fetchone()
    ):
        return (WHOLE,)
    return wishes
