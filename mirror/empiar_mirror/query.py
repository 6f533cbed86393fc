"""Read-only SQL over the catalogue: what may run, for how long, and the errors that help."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from empiar_mirror.history import NO_TIME, look_at
from empiar_mirror.reading import CATALOGUE_NAME, reading
from empiar_mirror.sql_errors import explained
from empiar_schema.catalogue import fault_of
from empiar_schema.faults import ConfigFault

Value = None | int | float | str | bytes
Row = tuple[Value, ...]

#: No value of a result, and no value on the way to one, may be larger: `zeroblob(2e9)` would take all memory.
MAX_VALUE_BYTES: Final = 64 * 2**20
#: How many of SQLite's steps pass between two looks at the clock (about a millisecond).
_STEPS_A_LOOK: Final = 20_000
_LOOK_AT_LOG_S: Final = 0.5
#: What a query of the command line may take of memory unless told otherwise.
MEMORY_BYTES: Final = 512 * 2**20

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
    #: By so much the log of a writing mirror may grow while the query keeps it from being emptied.
    log_bytes: int | None = 2 * 2**30


class Tabular(Protocol):
    """What can be written as a table: named columns, and rows in order."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, each once."""

    def __iter__(self) -> Iterator[Row]:
        """The rows."""


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
    """Ends a statement when its time is over, or when it holds up too much of what others write."""

    def __init__(self, root: Path, limits: Limits, now: Callable[[], float]) -> None:
        self._now = now
        self._log = root / f"{CATALOGUE_NAME}-wal"
        self._begun = now()
        self._looked = self._begun
        self._seconds = limits.seconds
        self._log_limit = None if limits.log_bytes is None else self._log_bytes() + limits.log_bytes
        self.rang = False
        self.held_up = False

    def __call__(self) -> int:
        now = self._now()
        self.rang = self._seconds is not None and now > self._begun + self._seconds
        if self._log_limit is not None and now > self._looked + _LOOK_AT_LOG_S:
            self._looked = now
            self.held_up = self._log_bytes() > self._log_limit
        return int(self.rang or self.held_up)

    def _log_bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0


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
    clock = _Clock(root, limits, now)
    fence(connection)
    connection.row_factory = None
    connection.set_progress_handler(clock, _STEPS_A_LOOK)
    cursor = connection.cursor()
    try:
        values = _checked_parameters(sql, parameters or {})
        if "_as_of" in sql.lower():
            _require_time(connection, sql, values)
        cursor.execute(sql, values)
        if cursor.description is None:
            raise ConfigFault("the SQL returns nothing: write one SELECT")
        columns = distinct([column[0] for column in cursor.description])
        yield Rows(cursor, columns, limits.rows)
    except MemoryError as error:
        raise ConfigFault(
            "the query needs more memory than it may have, and was stopped",
            hint="narrow it, sort fewer columns, or raise --memory",
        ) from error
    except (sqlite3.Error, sqlite3.Warning) as error:
        if "interrupted" in str(error) and not (clock.rang or clock.held_up):
            # Ctrl-C arrived inside SQLite, which knows it only as an interruption.
            raise KeyboardInterrupt from error
        fault = fault_of(error, root / CATALOGUE_NAME)
        if fault is not error:
            raise fault from error
        if clock.rang:
            raise ConfigFault(
                f"the query took longer than {limits.seconds:g} s and was stopped",
                hint="narrow it, for example to one empiar_id, or raise --timeout",
            ) from error
        if clock.held_up:
            raise ConfigFault(
                "the query was stopped: while it reads, the log of the mirror that is writing cannot be emptied, and it grew too much",
                hint="narrow it, or ask a copy: `empiar-mirror export` makes files that can be asked for hours",
            ) from error
        raise explained(str(error), sql, connection) from error
    finally:
        # A statement that stays open would keep its snapshot, also for the next query.
        cursor.close()
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
        connection.row_factory = sqlite3.Row
        connection.text_factory = str


def limit_memory(limit_bytes: int) -> None:
    """SQLite in this whole process, whatever connection, takes no more than this; it can be lowered, not raised again.

    For a process that asks one query. What does not fit fails with a sentence; sorting goes on in files.
    """
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"PRAGMA hard_heap_limit = {int(limit_bytes)}")
    connection.close()


def split_parameter(text: str) -> tuple[str, str]:
    """``name=value`` → the pair.

    Raises:
        ConfigFault: there is no name before the first ``=``.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigFault(f"{text!r} is no parameter; write -p name=value and :name in the SQL")
    return name, value


def parse_parameter(text: str) -> tuple[str, Value]:
    """``name=value`` → the pair; a value that reads as a number is one.

    Raises:
        ConfigFault: there is no name before the first ``=``.
    """
    name, value = split_parameter(text)
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


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once. Two columns of one name would be one key of a JSON object: the second becomes ``name_2``."""
    taken: dict[str, None] = {}
    for name in names:
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken[candidate] = None
    return tuple(taken)
