"""What can be exported: the public views, in which order of rows, and of which kind their columns are. Pure.

Kinds are stated, not guessed from the rows: the parts of a table must agree, and an empty table has them, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from empiar_schema.view_definitions import AS_OF_VIEWS, VIEWS

Kind = Literal["int", "real", "text", "blob"]

#: One file of a large table holds the entries of so many consecutive numbers: a dozen files, and a new entry changes one.
ENTRIES_A_PART: Final = 500

#: Whole in themselves, and of one row a file each: read an entry after the other, written in parts.
_BY_ENTRY: Final = frozenset({"files", "micrographs"})
#: Large, too, but with few columns; their key is the order in which they are stored.
_ORDER: Final = {
    "copies": "file_id",
    "checksums": "file_id",
    "images": "file_id",
    "transfers": "file_id, started_at, channel, start_offset",
}
#: Not part of "everything": all of it stands in other tables, and sorting it takes long.
_ON_REQUEST: Final = frozenset({"files_history"})

#: What is said of the archive, and what was proven of its files, but nothing of this mirror's storage and plans.
PUBLISHED: Final = (
    "entries", "imagesets", "cross_references", "authors", "citations", "grants", "files", "micrographs", "checksums",
    "changes", "contradictions", "descriptions",
)  # fmt: skip
_OF_THIS_MIRROR: Final = frozenset({"local_path", "state"})

_INT: Final = re.compile(
    r"(\w+_)?(id|position|count|bytes|files|file|width|height|frames|sections|priority|revision|tries|attempts)|"
    r"frame_range_(min|max)|frames_per_image|year|published|preprint|modified_unit_s|files_\w+|\w+_pixels|"
    r"bytes_exact|bytes_here|bytes_moved|bytes_read|start_offset|changed_after|entry_count|times|example|declared|"
    r"paused|new_only|returned_same|unusual|stale|selected|excluded|annotated_micrographs|added|changed|missing|"
    r"membrane_protein|is_best|has_movies|emdb_names_entry|gone|returned|unmatched_labels|ambiguous_labels|unmatched_micrographs|imageset_position|changed_s|bytes_transferred|faults|deadline_s|"
    r"version_number|aside|is_current|base|kept|rejected|by_hand"
)
_REAL: Final = re.compile(
    r"\w+_(angstrom|kda|kv|mm)|role_confidence|share|ended_s|diameter_px|orientation_score"
)
_TEXT: Final = re.compile(r"pubmed_id|emdb_id|\w*task_id|submission_id|maker_id|old|new")
_BLOB: Final = re.compile(r"sha256_bytes")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an export."""

    name: str
    kind: Kind
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of an export. `sql` has a parameter ``:id`` if the table is read an entry after the other."""

    name: str
    description: str
    columns: tuple[Column, ...]
    sql: str
    by_entry: bool
    #: Reading it takes so long that a writing mirror should not wait for it.
    large: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)


def everything() -> list[Table]:
    """All public views, but those of one time and those that repeat others."""
    by_time = {view.name for view in AS_OF_VIEWS}
    return [
        table_of(view.name) for view in VIEWS if view.name not in by_time and view.name not in _ON_REQUEST
    ]


def published() -> list[Table]:
    """What can be given to anybody: without paths and states of this mirror."""
    return [table_of(name, published=True) for name in PUBLISHED]


def exportable() -> list[str]:
    """The names that `table_of` knows."""
    by_time = {view.name for view in AS_OF_VIEWS}
    return [view.name for view in VIEWS if view.name not in by_time]


def table_of(name: str, *, published: bool = False) -> Table:
    """The view `name` as a table."""
    view = next(view for view in VIEWS if view.name == name)
    columns = tuple(
        Column(column.name, kind_of(column.name), column.description)
        for column in view.columns
        if not (published and column.name in _OF_THIS_MIRROR)
    )
    by_entry = name in _BY_ENTRY
    listed = ", ".join(f'"{column.name}"' for column in columns)
    order = "file_id" if by_entry else _ORDER.get(name) or ", ".join(map(str, range(1, len(columns) + 1)))
    where = " WHERE empiar_id = :id" if by_entry else ""
    sql = f"SELECT {listed} FROM {name}{where} ORDER BY {order}"  # noqa: S608 - our own names
    return Table(name, view.description, columns, sql, by_entry, by_entry or name in _ORDER)


def kind_of(column: str) -> Kind:
    """The kind of a view's column, by its name: the contract names units and meanings in the same way everywhere."""
    for pattern, kind in _PATTERNS:
        if pattern.fullmatch(column):
            return kind
    return "text"


_PATTERNS: Final[tuple[tuple[re.Pattern[str], Kind], ...]] = (
    (_BLOB, "blob"),
    (_TEXT, "text"),
    (_REAL, "real"),
    (_INT, "int"),
)


def part_of(empiar_id: int) -> tuple[int, int]:
    """First and last number of the part that holds the entry."""
    first = empiar_id // ENTRIES_A_PART * ENTRIES_A_PART
    return first, first + ENTRIES_A_PART - 1
