"""Pins: what eviction never touches. Writing functions run inside a writer job."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from empiar_schema.faults import ConfigFault


@dataclass(frozen=True, slots=True)
class Pin:
    """Entries named one by one, or, with `sql`, whatever the query returns when an eviction is decided."""

    name: str
    sql: str | None
    entries: tuple[int, ...] = ()
    #: Whether it stands in the configuration file.
    declared: bool = False
    created_at: int = 0
    #: Rows of the query when it was last believed; None where the next result is, whatever its size.
    match_count: int | None = None


def pins(conn: sqlite3.Connection) -> list[Pin]:
    """All of them, by name."""
    rows = conn.execute(
        "SELECT name, sql, declared, created_at, match_count FROM pin ORDER BY name"
    ).fetchall()
    found = []
    for name, sql, declared, created_at, match_count in rows:
        query = "SELECT empiar_id FROM pin_entry WHERE name = ? ORDER BY empiar_id"
        entries = tuple(row[0] for row in conn.execute(query, (name,)))
        found.append(Pin(name, sql, entries, bool(declared), created_at, match_count))
    return found


def pin_named(conn: sqlite3.Connection, name: str) -> Pin:
    """The pin of this name.

    Raises:
        ConfigFault: there is none.
    """
    all_pins = pins(conn)
    for pin in all_pins:
        if pin.name == name:
            return pin
    names = ", ".join(pin.name for pin in all_pins)
    raise ConfigFault(
        f"there is no pin {name}", hint=f"there are {names}" if names else "`empiar-mirror pin` makes one"
    )


def add_pin(conn: sqlite3.Connection, pin: Pin, *, now: int) -> None:
    """The pin is in force.

    Raises:
        ConfigFault: there is one of this name.
    """
    if conn.execute("SELECT 1 FROM pin WHERE name = ?", (pin.name,)).fetchone():
        raise ConfigFault(
            f"there is a pin {pin.name} already",
            hint=f"choose another name, or end it first: `empiar-mirror unpin {pin.name}`",
        )
    conn.execute(
        "INSERT INTO pin (name, sql, declared, created_at, match_count) VALUES (?, ?, ?, ?, ?)",
        (pin.name, pin.sql, pin.declared, now, pin.match_count),
    )
    conn.executemany(
        "INSERT INTO pin_entry VALUES (?, ?) ON CONFLICT DO NOTHING", [(pin.name, i) for i in pin.entries]
    )


def remove_pin(conn: sqlite3.Connection, name: str) -> None:
    """The pin is no more; what it pinned may be evicted, by a command."""
    conn.execute("DELETE FROM pin_entry WHERE name = ?", (name,))
    conn.execute("DELETE FROM pin WHERE name = ?", (name,))


def believe_pin(conn: sqlite3.Connection, name: str, *, match_count: int | None) -> None:
    """The next result of the pin's query is compared with this one; with None, it is believed, whatever its size."""
    conn.execute("UPDATE pin SET match_count = ? WHERE name = ?", (match_count, name))


def declare_pins(conn: sqlite3.Connection, declared: Mapping[str, str], *, now: int) -> Sequence[str]:
    """Those of the configuration file, by name, are in force as they stand there, and no others that stood there; returns the names of what changed.

    One that was made by a command under the same name becomes the file's.
    """
    before = {pin.name: pin for pin in pins(conn)}
    changed = []
    for name, sql in declared.items():
        known = before.get(name)
        if known is not None and known.declared and known.sql == sql:
            continue
        if known is not None:
            remove_pin(conn, name)
        add_pin(conn, Pin(name, sql, declared=True), now=now)
        changed.append(name)
    for name, pin in before.items():
        if pin.declared and name not in declared:
            remove_pin(conn, name)
            changed.append(name)
    return changed
