"""Runs a subscription's query behind the fence of `empiar_mirror.query`, and takes nothing but numbers from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.query import Limits, Value, ask_on
from empiar_mirror.reading import reading
from empiar_schema.faults import ConfigFault
from empiar_schema.subscriptions import Selects

#: A query that takes longer is refused when it is made …
SECONDS_WHEN_MADE: Final = 20.0
#: … and holds its subscription later: more, because machines are busy at times.
SECONDS: Final = 60.0
#: More rows than this are no selection.
MOST_ROWS: Final = 1_000_000
#: A longer text is a file given by mistake.
MOST_CHARACTERS: Final = 100_000

_HINT: Final = (
    "write one SELECT without parameters that returns a column empiar_id or file_id; try it with"
    " `empiar-mirror query`, and see docs/sql.md for views and columns"
)


@dataclass(frozen=True, slots=True)
class Matches:
    """What a query returned: numbers of entries or of files, each once, in its order."""

    selects: Selects
    numbers: tuple[int, ...]


def matches_of(root: Path, sql: str, *, seconds: float = SECONDS, most_rows: int = MOST_ROWS) -> Matches:
    """The result of `sql`. A query that returns both columns selects files.

    Raises:
        ConfigFault: it is not allowed, no SQL, too slow, too large, or returns something else than numbers.
        CatalogueFault: the catalogue is missing or refuses.
    """
    with reading(root) as connection:
        return matches_on(connection, root, sql, seconds=seconds, most_rows=most_rows)


def matches_on(
    connection: sqlite3.Connection,
    root: Path,
    sql: str,
    *,
    seconds: float = SECONDS,
    most_rows: int = MOST_ROWS,
) -> Matches:
    """As `matches_of`, on a reading connection: in its transaction, if it has begun one.

    Raises: as `matches_of`.
    """
    if len(sql) > MOST_CHARACTERS:
        raise ConfigFault(f"the SQL has more than {MOST_CHARACTERS:,} characters", hint=_HINT)
    try:
        with ask_on(connection, root, sql, limits=Limits(rows=most_rows, seconds=seconds)) as rows:
            columns = [column.casefold() for column in rows.columns]
            name = next((name for name in ("file_id", "empiar_id") if name in columns), None)
            if name is None:
                raise ConfigFault(
                    f"the SQL returns no column empiar_id or file_id, but {', '.join(rows.columns)}"
                )
            at = columns.index(name)
            numbers = tuple(_numbers((row[at] for row in rows), name))
            if rows.cut:
                raise ConfigFault(f"the SQL returns more than {most_rows:,} rows")
    except ConfigFault as fault:
        raise ConfigFault(str(fault), hint=_HINT) from fault
    return Matches("files" if name == "file_id" else "entries", numbers)


def _numbers(values: Iterable[Value], column: str) -> dict[int, None]:
    found: dict[int, None] = {}
    for value in values:
        if value is None:
            raise ConfigFault(f"the SQL returns a null as {column}: leave such rows out")
        if not isinstance(value, int):
            raise ConfigFault(
                f"the SQL returns {_shown(value)} as {column}, which is no whole number: empiar_id is 10017, not EMPIAR-10017"
            )
        found[value] = None
    return found


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
