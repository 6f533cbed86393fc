"""Read-only SQL over the catalogue: what may run, for how long, and the errors that help."""

from __future__ import annotations

import difflib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_mirror.history import NO_TIME, look_at
from empiar_mirror.reading import CATALOGUE_NAME, reading
from empiar_schema.catalogue import fault_of
from empiar_schema.faults import ConfigFault

Value = None | int | float | str | bytes
Row = tuple[Value, ...]

#: No value of a result, and no value on the way to one, may be larger: `zeroblob(2e9)` would take all memory.
MAX_VALUE_BYTES: Final = 64 * 2**20
#: How many of SQLite's steps pass between two looks at the clock (about a millisecond).
_STEPS_A_LOOK: Final = 20_000

_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
#: Pragmas that only tell; full-text search itself asks for data_version.
_HARMLESS_PRAGMAS: Final = frozenset(
    {
        "data_version",
        "table_info",
        "table_xinfo",
        "table_list",
        "index_list",
        "index_info",
        "foreign_key_list",
        "schema_version",
        "user_version",
        "encoding",
    }
)
#: Of these, only without a value.
_SETTABLE_PRAGMAS: Final = frozenset({"schema_version", "user_version", "encoding"})
_TABLE_FUNCTIONS: Final = ("json_each", "json_tree", "pragma_table_info", "pragma_table_xinfo")
_FORBIDDEN_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one query; None means none."""

    rows: int | None = 10_000
    seconds: float | None = 30.0


class Rows:
    """The rows of a running query, in order, once. `cut` is true afterwards if the row limit left some out."""

    def __init__(self, cursor: sqlite3.Cursor, columns: tuple[str, ...], limit: int | None) -> None:
        self.columns = columns
        self.cut = False
        self._cursor = cursor
        self._limit = limit

    def __iter__(self) -> Iterator[Row]:
        for number, row in enumerate(self._cursor):
            if self._limit is not None and number >= self._limit:
                self.cut = True
                return
            yield tuple(row)


class _Clock:
    """Ends a statement when its time is over."""

    def __init__(self, seconds: float | None, now: Callable[[], float]) -> None:
        self._now = now
        self._deadline = None if seconds is None else now() + seconds
        self.rang = False

    def __call__(self) -> int:
        self.rang = self._deadline is not None and self._now() > self._deadline
        return int(self.rang)


@contextmanager
def ask(
    root: Path,
    sql: str,
    *,
    parameters: Mapping[str, Value] | None = None,
    limits: Limits | None = None,
    as_of: int | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Rows]:
    """The result of one reading statement. Nothing in the catalogue can change, whatever `sql` says.

    Two locks hold independently: the connection is read-only, and an authoriser lets only SELECT through (no
    ATTACH, no pragma that sets anything, no extension).

    With `as_of`, epoch seconds, the views whose names end in ``_as_of`` show that time.

    Raises:
        ConfigFault: the statement is not allowed, not SQL, asks for no time where it must, or took longer than its limit.
        CatalogueFault: the catalogue is missing or refuses.
    """
    with reading(root) as connection:
        if as_of is not None:
            look_at(connection, as_of)
        with ask_on(connection, root, sql, parameters=parameters, limits=limits, now=now) as rows:
            yield rows


@contextmanager
def ask_on(
    connection: sqlite3.Connection,
    root: Path,
    sql: str,
    *,
    parameters: Mapping[str, Value] | None = None,
    limits: Limits | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Rows]:
    """As `ask`, on a reading connection that is open already: in its transaction, if it has begun one. The fence is taken down at the end.

    Raises: as `ask`.
    """
    limits = limits or Limits()
    clock = _Clock(limits.seconds, now)
    fence(connection)
    connection.row_factory = None
    connection.set_progress_handler(clock, _STEPS_A_LOOK)
    try:
        values = _checked_parameters(sql, parameters or {})
        if "_as_of" in sql.lower():
            _require_time(connection, sql, values)
        cursor = connection.execute(sql, values)
        if cursor.description is None:
            raise ConfigFault("the SQL returns nothing: write one SELECT")
        columns = _distinct([column[0] for column in cursor.description])
        yield Rows(cursor, columns, limits.rows)
    except (sqlite3.Error, sqlite3.Warning) as error:
        if "interrupted" in str(error) and not clock.rang:
            # Ctrl-C arrived inside SQLite, which knows it only as an interruption.
            raise KeyboardInterrupt from error
        fault = fault_of(error, root / CATALOGUE_NAME)
        if fault is not error:
            raise fault from error
        raise _explained(str(error), connection, clock.rang, limits) from error
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
        connection.row_factory = sqlite3.Row
        connection.text_factory = str


def parse_parameter(text: str) -> tuple[str, Value]:
    """``name=value`` → the pair; a value that reads as a number is one.

    Raises:
        ConfigFault: there is no name before the first ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigFault(f"{text!r} is no parameter; write -p name=value and :name in the SQL")
    if re.fullmatch(r"-?[0-9]{1,18}", value):
        return name, int(value)
    if re.fullmatch(r"-?[0-9]+\.[0-9]+", value):
        return name, float(value)
    return name, value


def fence(connection: sqlite3.Connection, *, largest_value: int = MAX_VALUE_BYTES) -> None:
    """From now on the connection does nothing but read, whatever SQL it is given, and makes no value larger than this, bytes."""
    # A virtual table declares itself at its first use by what looks like a write; so it is used before the fence.
    virtual = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
    for (name,) in connection.execute(virtual).fetchall():
        connection.execute("SELECT count(*) FROM pragma_table_info(?)", (name,))
    for function in _TABLE_FUNCTIONS:
        connection.execute(f"SELECT * FROM {function}('[]') LIMIT 0")  # noqa: S608 - our own names
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, largest_value)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_may)


def _may(action: int, first: str | None, second: str | None, database: str | None, view: str | None) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if second in _FORBIDDEN_FUNCTIONS else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA:
        tells = first in _HARMLESS_PRAGMAS and (second is None or first not in _SETTABLE_PRAGMAS)
        return sqlite3.SQLITE_OK if tells else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _require_time(connection: sqlite3.Connection, sql: str, values: Mapping[str, Value]) -> None:
    """An as-of view that no time has reached is empty, which would look like an answer."""
    try:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    except (sqlite3.Error, sqlite3.Warning):
        return  # the statement itself will say what is wrong
    if any(row[3] == NO_TIME for row in plan):
        raise ConfigFault(
            "a view by time is asked for no time, or for one that does not reach it",
            hint="give --as-of TIME, or WHERE as_of = unixepoch('2026-03-01') on the view itself",
        )


def _checked_parameters(sql: str, parameters: Mapping[str, Value]) -> dict[str, Value]:
    for name in parameters:
        if not re.search(rf"[:@$]{re.escape(name)}\b", sql):
            raise ConfigFault(
                f"the parameter {name} does not occur in the SQL; write :{name} where it belongs"
            )
    return dict(parameters)


def _distinct(names: list[str]) -> tuple[str, ...]:
    """Two columns of one name would be one key of a JSON object: the second becomes ``name_2``."""
    taken: dict[str, None] = {}
    for name in names:
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken[candidate] = None
    return tuple(taken)


def _explained(text: str, connection: sqlite3.Connection, timed_out: bool, limits: Limits) -> ConfigFault:
    if timed_out:
        return ConfigFault(
            f"the query took longer than {limits.seconds:g} s and was stopped",
            hint="narrow it, for example to one empiar_id, or raise --timeout",
        )
    if "not authorized" in text or "prohibited" in text or "readonly" in text:
        return ConfigFault(f"only reading is possible here: {text}", hint="write one SELECT")
    if "one statement" in text:
        return ConfigFault("write one statement, without a second one after the semicolon")
    if "supply a value for binding" in text:
        return ConfigFault(f"a parameter is missing: {text}", hint="give it with -p name=value")
    if "too big" in text:
        return ConfigFault(
            "a value of the result is larger than 64 MiB", hint="select less text, or use substr()"
        )
    missing = re.fullmatch(r"no such (table|column|function): (.+)", text)
    if missing:
        return _nothing_of_that_name(missing[1], missing[2], connection)
    return ConfigFault(f"the SQL does not work: {text}", hint="docs/sql.md lists the views and their columns")


def _nothing_of_that_name(kind: str, name: str, connection: sqlite3.Connection) -> ConfigFault:
    connection.set_progress_handler(None, 0)
    connection.set_authorizer(None)
    views = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
    if kind == "table":
        known, word = [*views, "entries_fts"], "view"
    elif kind == "column":
        known = list(dict.fromkeys(column for view in views for column in _columns(connection, view)))
        word = "column"
    else:
        return ConfigFault(f"SQLite has no function {name}")
    meant = difflib.get_close_matches(name.rpartition(".")[2], known, n=1, cutoff=0.5)
    question = f"; did you mean {meant[0]}?" if meant else ""
    return ConfigFault(
        f"there is no {word} {name}{question}", hint="docs/sql.md lists the views and their columns"
    )


def _columns(connection: sqlite3.Connection, view: str) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (view,))]
