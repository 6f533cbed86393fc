"""What the catalogue knows of labels by hand. The files below ``labels`` are the record: a row follows its file, and goes with none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Final, NamedTuple

_COLUMNS: Final = (
    "empiar_id", "path", "version", "file_id", "aside", "base", "author", "saved_at", "note", "kept", "rejected", "added",
    "diameter_px", "width", "height", "pixel_size_angstrom", "micrograph_sha256", "picture", "bytes", "modified_ns", "sha256",
    "problem",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelVersion:
    """One version, as its file says; columns in the table's order."""

    empiar_id: int
    path: str
    version: int
    file_id: int | None
    aside: bool
    base: int | None = None
    author: str | None = None
    #: Epoch seconds.
    saved_at: int | None = None
    note: str | None = None
    kept: int | None = None
    rejected: int | None = None
    added: int | None = None
    diameter_px: float | None = None
    width: int | None = None
    height: int | None = None
    pixel_size_angstrom: float | None = None
    micrograph_sha256: bytes | None = None
    picture: str | None = None
    size: int | None = None
    modified_ns: int | None = None
    sha256: bytes | None = None
    problem: str | None = None


class Known(NamedTuple):
    """A version on record, as far as it tells whether its file was read since it last changed."""

    file_id: int | None
    size: int | None
    modified_ns: int | None
    problem: str | None


def known_versions(conn: sqlite3.Connection, empiar_id: int) -> dict[tuple[str, int], Known]:
    """The entry's versions on record, by path and number."""
    rows = conn.execute(
        "SELECT path, version, file_id, bytes, modified_ns, problem FROM label_version WHERE empiar_id = ?",
        (empiar_id,),
    )
    return {(path, version): Known(*rest) for path, version, *rest in rows}


def record_versions(conn: sqlite3.Connection, versions: Iterable[LabelVersion]) -> None:
    """The rows are as given; those on record of the same version are replaced."""
    marks = ", ".join("?" * len(_COLUMNS))
    conn.executemany(
        f"INSERT OR REPLACE INTO label_version ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - our own names
        [astuple(version) for version in versions],
    )


def record_missing(conn: sqlite3.Connection, empiar_id: int, missing: Iterable[tuple[str, int]]) -> None:
    """The files of these versions are gone, and the rows say so: what was known of them stays."""
    conn.executemany(
        "UPDATE label_version SET problem = 'its file is missing', modified_ns = NULL"
        " WHERE empiar_id = ? AND path = ? AND version = ?",
        [(empiar_id, path, version) for path, version in missing],
    )
