"""What EMDB says, in the catalogue. Each function runs inside a writer job, or reads, and is idempotent."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from empiar_schema.crawl_store import CachedAnswer, record_contradiction
from empiar_schema.emdb import Doubt, EmdbEntry
from empiar_schema.faults import BadAnswer

#: What a contradiction about a reference to EMDB is called; its source is the EMDB entry.
REFERENCE: Final = "EMDB reference"

_NOT_COLUMNS: Final = ("emdb_id", "oddities", "pdb_ids", "empiar_ids")
_FACTS: Final = tuple(field.name for field in fields(EmdbEntry) if field.name not in _NOT_COLUMNS)


@dataclass(frozen=True, slots=True)
class Referenced:
    """An EMDB entry that an EMPIAR entry names, and when it was asked for; times are epoch seconds."""

    emdb_id: str
    asked_at: float | None
    absent: bool
    failures: int
    failed_at: float
    validators: CachedAnswer


def referenced(conn: sqlite3.Connection, empiar_ids: Sequence[int] | None) -> list[Referenced]:
    """The EMDB entries that these entries, or (None) all, name: those asked for longest ago in front."""
    chosen = "" if empiar_ids is None else " AND x.empiar_id IN (SELECT value FROM json_each(?))"
    rows = conn.execute(
        "SELECT x.accession, e.asked_at, e.absent_since IS NOT NULL, ifnull(e.failures, 0), ifnull(e.failed_at, 0),"
        " e.etag, e.last_modified FROM cross_reference x LEFT JOIN emdb_entry e ON e.emdb_id = x.accession"
        f" WHERE x.kind = 'EMDB' AND x.accession GLOB 'EMD-[0-9]*'{chosen}"
        " GROUP BY x.accession ORDER BY ifnull(e.asked_at, -1), x.accession",
        () if empiar_ids is None else (json.dumps(list(empiar_ids)),),
    )
    return [
        Referenced(emdb_id, asked_at, bool(absent), failures, failed_at, CachedAnswer(etag, modified))
        for emdb_id, asked_at, absent, failures, failed_at, etag, modified in rows
    ]


@dataclass(frozen=True, slots=True)
class EmdbStanding:
    """How much of EMDB the catalogue has, in numbers of EMDB entries that entries name. Each is in one of the states below `named`."""

    named: int = 0
    #: EMDB gave facts, which stand, and its last answer made sense.
    known: int = 0
    #: EMDB was not asked yet.
    waiting: int = 0
    #: EMDB serves none of this number; facts that it once gave stay.
    absent: int = 0
    #: The last answer made no sense; asked again by itself.
    failed: int = 0
    #: When EMDB last answered, epoch seconds.
    asked_at: int | None = None


def emdb_standing(conn: sqlite3.Connection) -> EmdbStanding:
    """How EMDB stands; a look at each reference."""
    row = conn.execute(
        "SELECT count(*), ifnull(sum(state = 'known'), 0), ifnull(sum(state = 'waiting'), 0), ifnull(sum(state = 'absent'), 0),"
        " ifnull(sum(state = 'failed'), 0), (SELECT max(asked_at) FROM emdb_entry) FROM"
        " (SELECT CASE WHEN e.failures > 0 THEN 'failed' WHEN e.asked_at IS NULL THEN 'waiting' WHEN e.absent_since IS NOT NULL"
        " THEN 'absent' ELSE 'known' END AS state FROM (SELECT DISTINCT accession FROM cross_reference WHERE kind = 'EMDB'"
        " AND accession GLOB 'EMD-[0-9]*') x LEFT JOIN emdb_entry e ON e.emdb_id = x.accession)"
    ).fetchone()
    return EmdbStanding(*row)


def naming(conn: sqlite3.Connection, emdb_id: str) -> list[int]:
    """The EMPIAR entries that name this EMDB entry."""
    query = "SELECT empiar_id FROM cross_reference WHERE accession = ? AND kind = 'EMDB' ORDER BY empiar_id"
    return [row[0] for row in conn.execute(query, (emdb_id,))]


def named_by(conn: sqlite3.Connection, emdb_id: str) -> tuple[int, ...]:
    """The EMPIAR entries that this EMDB entry names."""
    query = (
        "SELECT CAST(substr(accession, 8) AS INTEGER) FROM emdb_link WHERE emdb_id = ? AND kind = 'EMPIAR'"
    )
    return tuple(sorted(row[0] for row in conn.execute(query, (emdb_id,))))


def record_emdb(conn: sqlite3.Connection, entry: EmdbEntry, validators: CachedAnswer, *, now: int) -> bool:
    """What EMDB says of the entry stands in the catalogue; returns whether anything changed.

    Raises:
        BadAnswer: a value cannot be stored.
    """
    oddities = json.dumps(list(entry.oddities)) if entry.oddities else None
    values = (*(getattr(entry, name) for name in _FACTS), oddities)
    links = _links(entry)
    columns = ", ".join(_FACTS)
    before = conn.execute(
        f"SELECT {columns}, oddities, absent_since, answered_at FROM emdb_entry WHERE emdb_id = ?",
        (entry.emdb_id,),
    ).fetchone()
    known_links = {
        tuple(row)
        for row in conn.execute("SELECT kind, accession FROM emdb_link WHERE emdb_id = ?", (entry.emdb_id,))
    }
    same = before is not None and before[-1] is not None and before[-2] is None
    changed = not (same and tuple(before)[: len(values)] == values and known_links == links)
    try:
        _answered(conn, entry.emdb_id, validators, now=now)
        if changed:
            sets = ", ".join(f"{name} = ?" for name in (*_FACTS, "oddities"))
            conn.execute(
                f"UPDATE emdb_entry SET changed_at = ?, {sets} WHERE emdb_id = ?",
                (now, *values, entry.emdb_id),
            )
            if before is not None and before[-1] is not None:
                _record_changes(conn, entry.emdb_id, before, values, now=now)
            conn.execute("DELETE FROM emdb_link WHERE emdb_id = ?", (entry.emdb_id,))
            conn.executemany(
                "INSERT INTO emdb_link VALUES (?, ?, ?)", [(entry.emdb_id, *link) for link in sorted(links)]
            )
    except (OverflowError, ValueError) as error:
        raise BadAnswer(f"EMDB's answer for {entry.emdb_id} holds an impossible value: {error}") from error
    return changed


def _record_changes(
    conn: sqlite3.Connection, emdb_id: str, before: Sequence[object], after: Sequence[object], *, now: int
) -> None:
    """Each fact that is another one is a change of the entries that name the map."""
    found = [
        (f"{emdb_id} {name}", *(None if value is None else str(value) for value in (old, new)))
        for name, old, new in zip(_FACTS, before, after, strict=False)
        if old != new
    ]
    conn.executemany(
        "INSERT INTO change (changed_at, empiar_id, kind, field, old, new) VALUES (?, ?, 'changed', ?, ?, ?)",
        [(now, empiar_id, *change) for empiar_id in naming(conn, emdb_id) for change in found],
    )


def _links(entry: EmdbEntry) -> set[tuple[str, str]]:
    pdb = {("PDB", pdb_id) for pdb_id in entry.pdb_ids}
    return pdb | {("EMPIAR", f"EMPIAR-{empiar_id}") for empiar_id in entry.empiar_ids}


def _answered(conn: sqlite3.Connection, emdb_id: str, validators: CachedAnswer, *, now: int) -> None:
    conn.execute(
        "INSERT INTO emdb_entry (emdb_id, asked_at, answered_at, etag, last_modified) VALUES (?1, ?2, ?2, ?3, ?4)"
        " ON CONFLICT DO UPDATE SET asked_at = ?2, answered_at = ?2, etag = ?3, last_modified = ?4,"
        " absent_since = NULL, failures = 0, failed_at = NULL, error = NULL",
        (emdb_id, now, validators.etag, validators.last_modified),
    )


def confirm_emdb(conn: sqlite3.Connection, emdb_id: str, *, now: int) -> None:
    """EMDB says that its answer is still the one we have."""
    conn.execute(
        "UPDATE emdb_entry SET asked_at = ?1, answered_at = ?1, failures = 0, failed_at = NULL, error = NULL"
        " WHERE emdb_id = ?2",
        (now, emdb_id),
    )


def record_emdb_absent(conn: sqlite3.Connection, emdb_id: str, *, reason: str, now: int) -> None:
    """EMDB says that there is no such entry; facts that it once gave stay."""
    conn.execute(
        "INSERT INTO emdb_entry (emdb_id, asked_at, absent_since, error) VALUES (?1, ?2, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET asked_at = ?2, absent_since = ifnull(absent_since, ?2), error = ?3,"
        " failures = 0, failed_at = NULL, etag = NULL, last_modified = NULL",
        (emdb_id, now, reason),
    )


def record_emdb_failed(conn: sqlite3.Connection, emdb_id: str, *, reason: str, now: int) -> None:
    """EMDB gave no answer that makes sense; it is asked again later, and what it said before stands."""
    conn.execute(
        "INSERT INTO emdb_entry (emdb_id, failures, failed_at, error) VALUES (?1, 1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET failures = failures + 1, failed_at = ?2, error = ?3",
        (emdb_id, now, reason),
    )


def record_doubts(conn: sqlite3.Connection, emdb_id: str, doubts: Iterable[Doubt], *, now: int) -> None:
    """These are all contradictions about references to this EMDB entry."""
    known = {doubt.empiar_id: doubt for doubt in doubts}
    conn.execute(
        "DELETE FROM contradiction WHERE what = ? AND source = ?"
        " AND empiar_id NOT IN (SELECT value FROM json_each(?))",
        (REFERENCE, emdb_id, json.dumps(list(known))),
    )
    for doubt in known.values():
        record_contradiction(
            conn, doubt.empiar_id, None, what=REFERENCE, stated=doubt.stated, found=doubt.found, source=emdb_id, now=now,
        )  # fmt: skip


def forget_old_doubts(conn: sqlite3.Connection) -> None:
    """Contradictions about references that EMPIAR's entries make no longer are gone."""
    conn.execute(
        "DELETE FROM contradiction WHERE what = ? AND NOT EXISTS (SELECT 1 FROM cross_reference x"
        " WHERE x.empiar_id = contradiction.empiar_id AND x.kind = 'EMDB' AND x.accession = contradiction.source)",
        (REFERENCE,),
    )
