"""The files of an entry as they are listed, with what is here of them: many rows, so from the tables themselves."""

# ruff: noqa: S608
# SQL is put together from this module's own constants; values are always bound.

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from zlib import crc32

from empiar_schema.codes import ROLE_CODES, ROLES, state_list
from empiar_schema.paths import RemotePath
from empiar_schema.states import HERE, Role

_HERE: Final = state_list(sorted(HERE))
#: The number of no folder.
_NO_FOLDER: Final = -1


class ListedRow(NamedTuple):
    """One listed file. `sha256` is that of our copy; None where there is none here."""

    file_id: int
    directory: str
    name: str
    role: Role
    sha256: bytes | None
    size: int | None
    here: bool


def any_here(conn: sqlite3.Connection, empiar_id: int, suffixes: Mapping[Role, Collection[str]]) -> bool:
    """Whether a file of the entry is here that has one of these roles, and one of the suffixes that go with it."""
    for role, endings in suffixes.items():
        names = " OR ".join("f.name LIKE ?" for _ in endings)
        query = (
            "SELECT 1 FROM directory d JOIN file f ON f.directory_id = d.directory_id"
            " JOIN copy c ON c.file_id = f.file_id"
            f" WHERE d.empiar_id = ? AND f.role = ? AND c.state IN ({_HERE}) AND ({names}) LIMIT 1"
        )
        values = (empiar_id, ROLE_CODES[role], *(f"%{ending}" for ending in sorted(endings)))
        if conn.execute(query, values).fetchone():
            return True
    return False


def listed_files(
    conn: sqlite3.Connection, empiar_id: int, roles: Collection[Role], *, with_gone: bool
) -> Iterator[ListedRow]:
    """The entry's files of these roles that the archive lists; with `with_gone`, those that only we have, too.

    All files of a folder share one object for its path.
    """
    numbers = ", ".join(str(ROLE_CODES[role]) for role in sorted(roles))
    query = (
        f"SELECT f.file_id, f.name, f.role, c.sha256, f.bytes, ifnull(c.state IN ({_HERE}), 0)"
        " FROM file f LEFT JOIN copy c ON c.file_id = f.file_id LEFT JOIN file_absence a ON a.file_id = f.file_id"
        f" WHERE f.directory_id = ?1 AND f.role IN ({numbers})"
        f" AND (a.gone_at IS NULL OR ?2 AND c.state IN ({_HERE}))"
    )
    folders = conn.execute(
        "SELECT directory_id, path FROM directory WHERE empiar_id = ?", (empiar_id,)
    ).fetchall()
    for directory_id, directory in folders:
        for file_id, name, role, sha256, size, here in conn.execute(query, (directory_id, with_gone)):
            yield ListedRow(file_id, directory, name, ROLES[role], sha256 if here else None, size, bool(here))


def file_id_of(conn: sqlite3.Connection, remote: RemotePath) -> int | None:
    """The number of this file; None if no listing ever named it."""
    return next(file_ids_of(conn, (remote,)), None)


def file_ids_of(conn: sqlite3.Connection, remotes: Iterable[RemotePath]) -> Iterator[int]:
    """The numbers of these files, in their order, without those that no listing ever named."""
    folders: dict[tuple[int, str], int] = {}
    for remote in remotes:
        folder = (remote.empiar_id, remote.directory)
        if folder not in folders:
            query = "SELECT directory_id FROM directory WHERE empiar_id = ? AND path = ?"
            folders[folder] = (conn.execute(query, folder).fetchone() or (_NO_FOLDER,))[0]
        row = conn.execute(
            "SELECT file_id FROM file WHERE directory_id = ? AND name_hash = ? AND name = ?",
            (folders[folder], name_hash(remote.name), remote.name),
        ).fetchone()
        if row is not None:
            yield row[0]


def name_hash(name: str) -> int:
    """What the index of files holds in place of their names: 24 bits, centred on 0, where SQLite needs fewest bytes."""
    return (crc32(name.encode()) & 0xFFFFFF) - 0x800000
