"""What headers say: probes of files not here yet, and the headers of an entry's files in groups.

Each function that writes runs inside a writer job and is idempotent.
"""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from empiar_schema.codes import ROLES
from empiar_schema.files import RoledFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.states import Role


@dataclass(frozen=True, slots=True)
class Probe:
    """What the first bytes of one file of a family say. `facts` None: no known image."""

    file_id: int
    #: Folder and name that the family's files share, digits as 0.
    family: str
    family_files: int
    family_bytes: int
    bytes_read: int
    probed_at: int
    #: Size and time as listed when it was probed: while they stand, the probe holds.
    listed_bytes: int | None
    listed_at: int | None
    facts: ImageFacts | None


@dataclass(frozen=True, slots=True)
class HeaderGroup:
    """Files of one folder, role and last suffix whose headers say the same."""

    directory: str
    role: Role
    facts: ImageFacts
    files: int
    #: Path of one of them below the entry.
    example: str
    probed: bool


def roled_files(conn: sqlite3.Connection, empiar_id: int) -> Iterator[RoledFile]:
    """The entry's files that are not gone; read as they are used."""
    rows = conn.execute(
        "SELECT f.file_id, d.path, f.name, f.bytes, f.bytes_exact, f.modified_at, ifnull(f.role, 11)"
        " FROM directory d JOIN file f ON f.directory_id = d.directory_id"
        " LEFT JOIN file_absence a ON a.file_id = f.file_id"
        " WHERE d.empiar_id = ? AND a.gone_at IS NULL",
        (empiar_id,),
    )
    for file_id, directory, name, size, exact, modified_at, role in rows:
        yield RoledFile(file_id, directory, name, size, bool(exact), modified_at, ROLES[role])


_FACTS = "format, width, height, frames, mode, pixel_size_angstrom, extended_header, problems"


def image_of(conn: sqlite3.Connection, file_id: int) -> ImageFacts | None:
    """The header facts of a file that is here."""
    row = conn.execute(f"SELECT {_FACTS} FROM image WHERE file_id = ?", (file_id,)).fetchone()
    return None if row is None else _facts(*row)


def probes_of(conn: sqlite3.Connection, empiar_id: int) -> list[Probe]:
    """The entry's probes, by family."""
    rows = conn.execute(
        "SELECT file_id, family, family_files, family_bytes, bytes_read, probed_at, listed_bytes, listed_at,"
        f" {_FACTS} FROM probe WHERE empiar_id = ? ORDER BY family, file_id",
        (empiar_id,),
    )
    return [
        Probe(number, family, files, size, read, at, listed, listed_at, _facts(*facts) if facts[0] else None)
        for number, family, files, size, read, at, listed, listed_at, *facts in rows
    ]


def _facts(
    form: str,
    width: int | None,
    height: int | None,
    frames: int | None,
    mode: str | None,
    pixel_size_angstrom: float | None,
    extended_header: str | None = None,
    problems: str | None = None,
) -> ImageFacts:
    codes = tuple(json.loads(problems)) if problems else ()
    return ImageFacts(form, width, height, frames, mode, pixel_size_angstrom, codes, extended_header)


def record_probes(conn: sqlite3.Connection, empiar_id: int, probes: Sequence[Probe]) -> None:
    """These are the entry's probes; others are gone."""
    conn.execute("DELETE FROM probe WHERE empiar_id = ?", (empiar_id,))
    conn.executemany(
        "INSERT INTO probe (file_id, empiar_id, probed_at, bytes_read, family, family_files, family_bytes,"
        f" listed_bytes, listed_at, {_FACTS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                p.file_id, empiar_id, p.probed_at, p.bytes_read, p.family, p.family_files, p.family_bytes,
                p.listed_bytes, p.listed_at, *_columns(p.facts),
            )
            for p in probes
        ],
    )  # fmt: skip


def _columns(facts: ImageFacts | None) -> tuple[object, ...]:
    if facts is None:
        return (None,) * 8
    return (
        facts.format, facts.width, facts.height, facts.frames, facts.mode, facts.pixel_size_angstrom,
        facts.extended_header, json.dumps(facts.problems) if facts.problems else None,
    )  # fmt: skip


#: What follows the last dot of a name, so that groups do not mix suffixes.
_LAST = "substr(f.name, length(rtrim(f.name, replace(f.name, '.', ''))) + 1)"
_SAME = "d.path, f.role, format, width, height, frames, mode, pixel_size_angstrom"
_HERE = (
    f"SELECT {_SAME}, lower({_LAST}) AS last, count(*), min(f.name)"
    " FROM directory d JOIN file f ON f.directory_id = d.directory_id JOIN image i ON i.file_id = f.file_id"
    " LEFT JOIN file_absence a ON a.file_id = f.file_id"
    " WHERE d.empiar_id = ? AND a.gone_at IS NULL AND i.width IS NOT NULL"
    f" GROUP BY {_SAME}, last ORDER BY {_SAME}, last"
)
_PROBED = (
    f"SELECT {_SAME}, lower({_LAST}) AS last, p.family_files, f.name"
    " FROM probe p JOIN file f ON f.file_id = p.file_id JOIN directory d ON d.directory_id = f.directory_id"
    " LEFT JOIN file_absence a ON a.file_id = f.file_id"
    " WHERE p.empiar_id = ? AND a.gone_at IS NULL AND p.width IS NOT NULL"
    f" ORDER BY {_SAME}, last, f.name"
)


def header_groups(conn: sqlite3.Connection, empiar_id: int) -> list[HeaderGroup]:
    """What headers of the entry say, files alike in groups; of a folder and suffix with files here, probes count no more."""
    groups: list[HeaderGroup] = []
    covered: set[tuple[str, str]] = set()
    for sql, probed in ((_HERE, False), (_PROBED, True)):
        seen: set[tuple[str, str]] = set()
        for directory, role, *facts, last, files, example in conn.execute(sql, (empiar_id,)):
            seen.add((directory, last))
            if (directory, last) not in covered:
                path = f"{directory}/{example}" if directory else example
                kind = Role.OTHER if role is None else ROLES[role]
                groups.append(HeaderGroup(directory, kind, _facts(*facts), files, path, probed))
        covered |= seen
    return groups


def told_otherwise(conn: sqlite3.Connection, *, since: int) -> list[int]:
    """Entries whose metadata are known to have changed since then, epoch seconds."""
    rows = conn.execute(
        "SELECT DISTINCT empiar_id FROM change WHERE changed_at >= ? AND kind = 'changed' AND file_id IS NULL AND ifnull(field, '') NOT GLOB 'EMD-*'",
        (since,),
    )
    return [row[0] for row in rows]
