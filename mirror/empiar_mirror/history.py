"""The catalogue as it was at one time: which time that is, and the views that show it."""

from __future__ import annotations

import sqlite3
from typing import Final

from empiar_schema.faults import ConfigFault
from empiar_schema.times import epoch, iso
from empiar_schema.view_definitions import AS_OF_VIEWS
from empiar_schema.view_definitions.of_history import AT

#: The line of a query plan which says that no time was given to a view.
NO_TIME: Final = f"SCAN {AT} VIRTUAL TABLE INDEX 0:"


def parse_time(text: str, *, now: float) -> int:
    """``2026-03-01`` (its first second, UTC) or ``2026-03-01T12:00:00Z`` as epoch seconds.

    Raises:
        ConfigFault: it is no time, or lies in the future.
    """
    try:
        moment = epoch(text.strip())
    except (ValueError, OverflowError):
        raise ConfigFault(
            f"--as-of: {text!r} is no time", hint="write a day, 2026-03-01, or a time, 2026-03-01T12:00:00Z"
        ) from None
    if moment > now:
        raise ConfigFault(f"--as-of: {iso(moment)} lies in the future", hint="name a time up to now")
    return moment


def look_at(connection: sqlite3.Connection, moment: int) -> None:
    """The as-of views of this connection show that time, without a condition. Nothing in the catalogue changes."""
    connection.execute("PRAGMA query_only = OFF")  # the file itself is open for reading alone
    connection.execute("PRAGMA temp_store = MEMORY")
    for view in AS_OF_VIEWS:
        columns = ", ".join(f'"{column.name}"' for column in view.columns[1:])
        connection.execute(
            f"CREATE TEMP VIEW {view.name} AS SELECT '{iso(moment)}' AS as_of, {columns}"  # noqa: S608 - our own names
            f" FROM main.{view.name} WHERE as_of = {moment}"
        )
    connection.execute("PRAGMA query_only = ON")


def known_since(connection: sqlite3.Connection) -> str | None:
    """The first time of which the catalogue can tell anything, ISO 8601; None while it knows nothing."""
    row = connection.execute("SELECT min(discovered_at) FROM entries").fetchone()
    return None if row is None else row[0]
