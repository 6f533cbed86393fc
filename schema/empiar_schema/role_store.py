"""What is judged and recorded of roles: an entry's files by folder, with what their headers say and the roles that stand."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_schema.codes import ROLE_CODES, ROLE_REASON_CODES, ROLES, UNITS_S
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.role_reasons import UNSURE, Judgement, RoleReason
from empiar_schema.states import Role

#: Files of one folder that are judged together, and rows written together.
PART: Final = 20_000

#: A judgement as the catalogue holds it: codes of role and reason, per cent.
Coded = tuple[int | None, int | None, int | None]

_FACTS: Final = (
    "SELECT f.file_id, x.format, x.width, x.height, x.frames, x.mode, x.pixel_size_angstrom, x.extended_header"
    " FROM {table} x JOIN file f ON f.file_id = x.file_id"
    " WHERE f.directory_id = ? AND x.file_id BETWEEN ? AND ? AND x.width IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class FolderPart:
    """Files of one folder, all or a large part of them, in the order of their numbers."""

    directory: str
    file_ids: Sequence[int]
    files: Sequence[ListedFile]
    #: By place in `files`: what the headers of those that are here, or were probed, say.
    facts: Mapping[int, ImageFacts]
    standing: Sequence[Coded]

    def differing(self, judged: Sequence[Judgement]) -> list[tuple[int, Judgement]]:
        """The files whose recorded role, confidence or reason is not what was `judged`, in the order of `files`."""
        codes = {judgement: _coded(judgement) for judgement in set(judged)}
        return [
            (file_id, judgement)
            for file_id, judgement, stands in zip(self.file_ids, judged, self.standing, strict=True)
            if codes[judgement] != stands
        ]


def _coded(judgement: Judgement) -> Coded:
    percent = round(judgement.confidence * 100)
    return ROLE_CODES[judgement.role], percent, ROLE_REASON_CODES[judgement.reason]


def parts_of_directory(
    conn: sqlite3.Connection, directory_id: int, directory: str, *, count: int, with_facts: bool
) -> Iterator[FolderPart]:
    """The directory's files that are not gone, in parts of about equal size, so that no file is judged without neighbours.

    `count` is how many there are. `with_facts` also reads headers' facts (`has_facts`).
    """
    limit = -(-count // -(-count // PART)) if count else PART
    after = 0
    while rows := _rows(conn, directory_id, after_file_id=after, limit=limit):
        ids = [row[0] for row in rows]
        facts = _facts(conn, directory_id, ids) if with_facts else {}
        files = [ListedFile(row[1], row[2], bool(row[3]), row[4], UNITS_S[row[5]]) for row in rows]
        yield FolderPart(directory, ids, files, facts, [row[6:] for row in rows])
        after = ids[-1]


def _rows(
    conn: sqlite3.Connection, directory_id: int, *, after_file_id: int, limit: int
) -> list[tuple[int, str, int | None, int, int | None, int, int | None, int | None, int | None]]:
    return conn.execute(
        "SELECT f.file_id, f.name, f.bytes, f.bytes_exact, f.modified_at, f.modified_unit,"
        " f.role, f.role_percent, f.role_reason FROM file f LEFT JOIN file_absence a ON a.file_id = f.file_id"
        " WHERE f.directory_id = ? AND f.file_id > ? AND a.gone_at IS NULL ORDER BY f.file_id LIMIT ?",
        (directory_id, after_file_id, limit),
    ).fetchall()


def has_facts(conn: sqlite3.Connection, empiar_id: int) -> bool:
    """Whether any file of the entry may have been looked into: one was asked for, or probed."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM copy_progress WHERE empiar_id = ?1 AND files > 0)"
        " OR EXISTS (SELECT 1 FROM probe WHERE empiar_id = ?1)"
    )
    return bool(conn.execute(query, (empiar_id,)).fetchone()[0])


def _facts(conn: sqlite3.Connection, directory_id: int, ids: Sequence[int]) -> dict[int, ImageFacts]:
    places = {file_id: place for place, file_id in enumerate(ids)}
    facts: dict[int, ImageFacts] = {}
    # One object for all files of equal headers, of which a folder has few.
    known: dict[tuple[object, ...], ImageFacts] = {}
    for table in ("probe", "image"):  # what arrived is the better witness, and overwrites
        for row in conn.execute(_FACTS.format(table=table), (directory_id, ids[0], ids[-1])):
            said = tuple(row[1:])
            if (found := known.get(said)) is None:
                name, width, height, frames, mode, pixel_size, extended = said
                found = known[said] = ImageFacts(
                    name, width, height, frames, mode, pixel_size, extended_header=extended
                )
            if (place := places.get(row[0])) is not None:
                facts[place] = found
    return facts


def record_judgements(conn: sqlite3.Connection, rows: Sequence[tuple[int, Judgement]]) -> None:
    """These files have these roles, with their confidence and the rule that decided."""
    conn.executemany(
        "UPDATE file SET role = ?, role_percent = ?, role_reason = ? WHERE file_id = ?",
        [(*_coded(judgement), file_id) for file_id, judgement in rows],
    )


def record_overrides(conn: sqlite3.Connection, empiar_id: int, digest: str | None) -> None:
    """The entry's roles follow the overrides of this digest; None where there are none for it."""
    conn.execute("UPDATE entry SET role_overrides = ? WHERE empiar_id = ?", (digest, empiar_id))


def overrides_followed(conn: sqlite3.Connection, empiar_id: int) -> str | None:
    """The digest of the overrides that the entry's roles follow; None where there are none."""
    row = conn.execute("SELECT role_overrides FROM entry WHERE empiar_id = ?", (empiar_id,)).fetchone()
    return None if row is None else row[0]


def all_overrides_followed(conn: sqlite3.Connection) -> dict[int, str | None]:
    """The same of every entry with a listing."""
    rows = conn.execute("SELECT empiar_id, role_overrides FROM entry WHERE current_listing IS NOT NULL")
    return {row[0]: row[1] for row in rows}


@dataclass(frozen=True, slots=True)
class EntryRoles:
    """How many files of an entry have each role, those gone left out."""

    empiar_id: int
    files: Mapping[Role, int]
    #: Files whose confidence is below `UNSURE`, those of role other left out: of them little is asked.
    unsure: int
    overridden: int


def entry_roles(conn: sqlite3.Connection, empiar_id: int) -> EntryRoles:
    """The entry's roles, counted; files that were never judged count as other. Reads the entry's files once."""
    other, override = ROLE_CODES[Role.OTHER], ROLE_REASON_CODES[RoleReason.OVERRIDE]
    rows = conn.execute(
        f"SELECT ifnull(f.role, {other}), count(*),"
        f" count(*) FILTER (WHERE f.role_percent < {round(UNSURE * 100)} AND f.role <> {other}),"
        f" count(*) FILTER (WHERE f.role_reason = {override})"
        " FROM directory d JOIN file f ON f.directory_id = d.directory_id"
        " LEFT JOIN file_absence a ON a.file_id = f.file_id"
        " WHERE d.empiar_id = ? AND a.gone_at IS NULL GROUP BY 1 ORDER BY 1",
        (empiar_id,),
    ).fetchall()
    return EntryRoles(
        empiar_id,
        {ROLES[row[0]]: row[1] for row in rows},
        unsure=sum(row[2] for row in rows),
        overridden=sum(row[3] for row in rows),
    )
