"""The views stand in the catalogue as this version defines them, each with its description, and make a page of documentation."""

from __future__ import annotations

import sqlite3
from typing import Final

from empiar_schema.view_definitions import FULL_TEXT, VIEWS

__all__ = ["FULL_TEXT", "VIEWS", "describe_markdown", "refresh_views"]


def refresh_views(conn: sqlite3.Connection) -> None:
    """The views and their descriptions are those of this version; writes nothing when they already are."""
    wanted = {view.name: view.sql for view in VIEWS}
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'view'"
    described = _descriptions()
    recorded = {
        tuple(row) for row in conn.execute('SELECT view, position, "column", description FROM description')
    }
    # Somebody else's views in the file are left alone.
    ours = wanted.keys() | {row[0] for row in recorded}
    found = {name: sql for name, sql in conn.execute(query) if name in ours}
    if found == wanted and set(described) == recorded:
        return
    conn.execute("BEGIN IMMEDIATE")
    try:
        for name in found:
            conn.execute(f'DROP VIEW IF EXISTS "{name}"')
        for view in VIEWS:
            conn.execute(view.sql)
        conn.execute("DELETE FROM description")
        conn.executemany("INSERT INTO description VALUES (?, ?, ?, ?)", described)
        conn.execute("COMMIT")
    except BaseException:
        conn.execute("ROLLBACK")
        raise


def _descriptions() -> list[tuple[str, int, str | None, str]]:
    rows: list[tuple[str, int, str | None, str]] = []
    for view in VIEWS:
        rows.append((view.name, 0, None, view.description))
        rows += [(view.name, n, c.name, c.description) for n, c in enumerate(view.columns, 1)]
    name, sentence, columns = FULL_TEXT
    rows.append((name, 0, None, sentence))
    rows += [(name, n, column, text) for n, (column, text) in enumerate(columns, 1)]
    return rows


_INTRODUCTION: Final = """# The catalogue in SQL

`empiar-mirror query "SELECT …"`, or any SQLite tool on `empiar.db` (opened read-only). The views below are the contract:
columns are added, never renamed. Tables are private and may change with any version. Times are UTC, ISO 8601; sizes are bytes;
other units stand in the name. Paths are stored texts: plain names as they are, bytes that are not UTF-8, control characters
and ambiguous percent signs as `%XX`.

This page is made from the catalogue's own view `descriptions`.
"""


def describe_markdown(conn: sqlite3.Connection) -> str:
    """The page ``docs/sql.md``: every view and column, from the catalogue's own descriptions."""
    lines = [_INTRODUCTION]
    query = 'SELECT view, "column", description FROM descriptions ORDER BY view, position'
    for view, column, description in conn.execute(query):
        text = description.replace("|", "\\|")
        if column is None:
            lines.append(f"\n## `{view}`\n\n{text}\n\n| column | meaning |\n| --- | --- |\n")
        else:
            lines.append(f"| `{column}` | {text} |\n")
    return "".join(lines)
