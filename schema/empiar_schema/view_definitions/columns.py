"""What views are put together of: columns with their expressions and sentences, and the expressions that recur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Column(NamedTuple):
    """A column of a view."""

    name: str
    expression: str
    description: str


@dataclass(frozen=True, slots=True)
class View:
    """A view: what a row is, its columns, and where they come from."""

    name: str
    description: str
    columns: tuple[Column, ...]
    source: str
    #: A second part of its rows (UNION ALL): the expressions of the columns there, and where they come from.
    second: tuple[tuple[str, ...], str] | None = None

    @property
    def sql(self) -> str:
        """The statement that creates it."""
        columns = ",\n    ".join(f'{column.expression} AS "{column.name}"' for column in self.columns)
        sql = f"CREATE VIEW {self.name} AS SELECT\n    {columns}\n{self.source}"
        if self.second is None:
            return sql
        expressions, source = self.second
        values = ",\n    ".join(expressions)
        return f"{sql}\nUNION ALL SELECT\n    {values}\n{source}"


def iso(expression: str) -> str:
    """Seconds since the epoch as UTC, ISO 8601."""
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {expression}, 'unixepoch')"


def iso_ms(expression: str) -> str:
    """The same to the millisecond."""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', {expression}, 'unixepoch')"


def same(table: str, *described: tuple[str, str]) -> tuple[Column, ...]:
    """Columns of `table` as they are: name and sentence of each."""
    return tuple(Column(name, f"{table}.{name}", text) for name, text in described)


def path_of(directory: str = "d", file: str = "f") -> str:
    """The path below the entry of a row of `file` in its `directory`."""
    return f"CASE {directory}.path WHEN '' THEN {file}.name ELSE {directory}.path || '/' || {file}.name END"


def path_by_id(file_id: str) -> str:
    """The path below the entry of the file of this number; null without one."""
    return (
        f"(SELECT {path_of()} FROM file f JOIN directory d ON d.directory_id = f.directory_id"  # noqa: S608
        f" WHERE f.file_id = {file_id})"
    )
