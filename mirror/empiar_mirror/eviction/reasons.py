"""What `why` says of a file that was evicted, or came back."""

from __future__ import annotations

import sqlite3

from empiar_schema.eviction_store import latest_eviction
from empiar_schema.times import iso


def why_evicted(conn: sqlite3.Connection, file_id: int, *, gone_at: str | None) -> str:
    """The whole sentence about a file that is evicted now."""
    evicted = latest_eviction(conn, file_id)
    by = f" by {evicted.reason}" if evicted is not None else ""
    when = f" at {iso(evicted.removed_at)}" if evicted is not None and evicted.removed_at else ""
    if gone_at is not None:
        return f"it was evicted{when}{by}; EMPIAR has not listed it since {gone_at}, so that nothing can be fetched"
    return f"it was evicted{when}{by}; `empiar-mirror recall` has it fetched again"


def came_back(conn: sqlite3.Connection, file_id: int) -> str:
    """What is to be added about a file that was evicted before; empty where there is nothing."""
    evicted = latest_eviction(conn, file_id)
    if evicted is None or evicted.returned_at is None:
        recalled = evicted is not None and evicted.recalled_at is not None
        return f"; recalled at {iso(evicted.recalled_at)}, after an eviction" if evicted and recalled else ""
    if evicted.changed:
        return (
            f"; it came back at {iso(evicted.returned_at)} with other bytes than those that had been evicted"
            " (see the view changes)"
        )
    return f"; it was evicted before, and came back at {iso(evicted.returned_at)} with the same bytes"
