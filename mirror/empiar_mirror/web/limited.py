"""What a visitor's question brings, within its limits of rows and bytes; its time is that of the lease."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from empiar_mirror.query import Row, distinct

#: Bytes that one result may hold in memory.
LARGEST_RESULT: Final = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Result:
    """A result in memory. `cut` is true if the row limit left some out."""

    #: As SQLite names them, some perhaps twice.
    names: tuple[str, ...]
    rows: list[Row]
    cut: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, each once."""
        return distinct(self.names)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


def result_of(
    connection: sqlite3.Connection,
    sql: str,
    parameters: Mapping[str, object] | Sequence[object],
    *,
    most: int | None,
) -> Result:
    """The rows of one statement, `most` at most.

    Raises:
        sqlite3.OperationalError: SQLite refuses, the result is too large, or (`interrupted`) the time is over.
    """
    rows: list[Row] = []
    held, cut = 0, False
    try:
        cursor = connection.execute(sql, parameters)
        for row in cursor:
            if most is not None and len(rows) >= most:
                cut = True
                break
            held += sum(len(value) for value in row if isinstance(value, str | bytes))
            if held > LARGEST_RESULT:
                raise sqlite3.OperationalError("the result is larger than 32 MiB: select less of it")
            rows.append(row)
    except (sqlite3.Warning, sqlite3.ProgrammingError, OverflowError) as error:
        # Two statements, or a number that is none of SQLite's: who shows errors shows those of one kind.
        raise sqlite3.OperationalError(str(error)) from error
    return Result(tuple(column[0] for column in cursor.description or ()), rows, cut)


def too_long(seconds: float) -> str:
    """The sentence about a question whose time was over."""
    return (
        f"the query took longer than {seconds:g} s and was stopped: narrow it, for example to one empiar_id,"
        " or use `empiar-mirror query`, which may take longer"
    )
