"""The tables of the catalogue, as append-only steps. Tables are private; `empiar_schema.views` is the contract.

A step is never edited once released: a new one is added. Times are whole seconds since the epoch unless said
otherwise. Widths were measured with a million rows (``benchmarks/catalogue.py``).
"""

from __future__ import annotations

import sqlite3
from typing import Final

from empiar_schema.faults import CatalogueFault
from empiar_schema.migrations import (
    content,
    emdb,
    eviction,
    globus,
    history,
    labels_by_hand,
    lease,
    order,
    scrub,
    subscriptions,
    tables,
)

#: Name of the migration set, and the mark by which a file is known as a catalogue (``EMPI``).
MIGRATION_SET: Final = "empiar"
APPLICATION_ID: Final = 0x454D5049

#: Name and statements of every step, in order.
STEPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("m001_tables", tables.STEP),
    ("m002_content", content.STEP),
    ("m003_globus", globus.STEP),
    ("m004_subscriptions", subscriptions.STEP),
    ("m005_scrub", scrub.STEP),
    ("m006_order", order.STEP),
    ("m007_eviction", eviction.STEP),
    ("m008_history", history.STEP),
    ("m009_lease", lease.STEP),
    ("m010_emdb", emdb.STEP),
    ("m011_labels_by_hand", labels_by_hand.STEP),
)


def applied_steps(conn: sqlite3.Connection) -> list[str]:
    """Names of the steps that the catalogue has seen; none for an empty file."""
    found = conn.execute("SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'").fetchone()
    if not found:
        return []
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY id"
    return [name for (name,) in conn.execute(query, (MIGRATION_SET,))]


def migrate(conn: sqlite3.Connection, *, steps: tuple[tuple[str, tuple[str, ...]], ...] = STEPS) -> None:
    """Every step stands in the catalogue; each pending one is applied in a transaction of its own.

    Raises:
        CatalogueFault: the catalogue has steps that this version does not know, or the file holds
            somebody else's tables.
    """
    known = [name for name, _ in steps]
    applied = applied_steps(conn)
    if unknown := [name for name in applied if name not in known]:
        raise CatalogueFault(
            f"the catalogue was written by a newer empiar-mirror (it has the step {unknown[0]})",
            hint="install that version or a later one; this one has changed nothing",
        )
    if applied == known:
        return
    # Their own table alone is what a kill in mid-creation leaves.
    others = "SELECT count(*) FROM sqlite_schema WHERE tbl_name <> '_sqlite_migrations'"
    if not applied and conn.execute(others).fetchone()[0]:
        raise CatalogueFault(
            "the file is an SQLite database but no catalogue of empiar-mirror",
            hint="point `root` at the mirror's own folder, or move that file away",
        )
    _apply(conn, steps)


def _apply(conn: sqlite3.Connection, steps: tuple[tuple[str, tuple[str, ...]], ...]) -> None:
    # Costs 100 ms to import, and is needed once in the life of a catalogue and version.
    from sqlite_utils import Database, Migrations

    migrations = Migrations(MIGRATION_SET)

    def step(name: str, statements: tuple[str, ...]) -> None:
        @migrations(name=name)
        def run(db: Database) -> None:
            for statement in statements:
                db.execute(statement)

    for name, statements in steps:
        step(name, statements)
    migrations.apply(Database(conn))
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
