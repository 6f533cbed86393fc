"""Datasette inside the web page: views as tables, SQL, JSON and CSV, over the current snapshot. The one module that knows Datasette."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jinja2
from datasette.app import Datasette
from datasette.database import Database, QueryInterrupted, Results

from empiar_mirror.web.answers import App
from empiar_mirror.web.limited import result_of, too_long
from empiar_mirror.web.overview import Summary
from empiar_mirror.web.pages import HERE, equip, page_facts
from empiar_mirror.web.snapshots import Snapshots
from empiar_schema.serve_settings import ServeSettings
from empiar_schema.view_definitions import VIEWS

T = TypeVar("T")
NAME = "catalogue"
#: Datasette asks for the schema, too: that takes as long as it takes, on a loaded machine.
_INTERNAL_S = 60.0


class SnapshotDatabase(Database):  # type: ignore[misc] # Datasette ships no types
    """The current snapshot as a database of Datasette's.

    Datasette keeps a connection a thread for ever, and so would read a snapshot that is long replaced. Here each
    query has a lease on the snapshot that is current, on a connection that can only read.
    """

    def __init__(
        self,
        datasette: Datasette,
        snapshots: Snapshots[Summary],
        settings: ServeSettings,
        threads: ThreadPoolExecutor,
    ) -> None:
        super().__init__(datasette, path=None, is_mutable=True, is_memory=False)
        self._snapshots = snapshots
        self._settings = settings
        self._threads = threads

    async def execute_fn(self, fn: Callable[[sqlite3.Connection], T], *, seconds: float = _INTERNAL_S) -> T:
        """What `fn` makes of a reading connection."""

        def work() -> T:
            with self._snapshots.lease(seconds=seconds) as (_, connection):
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def execute(
        self,
        sql: str,
        params: Mapping[str, object] | Sequence[object] | None = None,
        truncate: bool = False,
        custom_time_limit: float | None = None,
        page_size: int | None = None,
        log_sql_errors: bool = True,
    ) -> Results:
        """The rows of one statement, within the limits of time, rows and bytes."""
        seconds = self._settings.sql_time
        if custom_time_limit:
            seconds = min(seconds, custom_time_limit / 1000)
        most = self._settings.sql_rows

        def work(connection: sqlite3.Connection) -> Results:
            try:
                found = result_of(connection, sql, params or {}, most=most if truncate else None)
            except sqlite3.OperationalError as error:
                if str(error) != "interrupted":
                    raise
                if truncate and not custom_time_limit:
                    # Of an interruption Datasette makes a page with a script in it, which no browser is allowed to run.
                    raise sqlite3.OperationalError(too_long(seconds)) from error
                raise QueryInterrupted(error, sql, params) from error
            return Results(found.rows, found.cut, [(name,) for name in found.names])

        return await self.execute_fn(work, seconds=seconds)

    async def execute_write_fn(self, fn: Callable[[sqlite3.Connection], T], block: bool = True) -> T:
        """Refuses: nothing is ever written through a page."""
        raise sqlite3.OperationalError("attempt to write a readonly database")

    async def attached_databases(self) -> list[object]:
        """None: a fenced connection cannot have any."""
        return []

    async def table_counts(self, limit: int = 10) -> dict[str, int | None]:
        """Not counted: tables are private, and views have no counts."""
        return dict.fromkeys(await self.table_names())

    @property
    def size(self) -> int:
        """Bytes of the current snapshot."""
        return self._snapshots.current.path.stat().st_size

    @property
    def mtime_ns(self) -> int:
        """When the current snapshot was made."""
        return int(self._snapshots.current.made_at * 1e9)

    def close(self) -> None:
        """Nothing of its own is open."""


async def browsing(
    snapshots: Snapshots[Summary], settings: ServeSettings, threads: ThreadPoolExecutor
) -> tuple[App, Callable[[], None]]:
    """Datasette as an ASGI application over the snapshots, which asks them in these threads, and what ends it."""
    datasette = Datasette(
        metadata=_metadata(),
        settings={
            "allow_download": False,
            "allow_csv_stream": False,
            "suggest_facets": False,
            "sql_time_limit_ms": int(settings.sql_time * 1000),
            "facet_time_limit_ms": 500,
            "max_returned_rows": settings.sql_rows,
            "default_page_size": min(100, settings.sql_rows),
            "num_sql_threads": 1,
            "default_cache_ttl": 0,
        },
        memory=False,
    )
    equip(datasette.jinja_env)
    # Our templates first; those that Datasette has besides are parts that these use.
    templates = HERE / "templates"
    ours = jinja2.FileSystemLoader([templates / "datasette", templates])
    datasette.jinja_env.loader = jinja2.ChoiceLoader([ours, datasette.jinja_env.loader])
    datasette.jinja_env.globals["page_facts"] = functools.partial(page_facts, snapshots, time.time)
    # Imported before Datasette's own start it would not be found by it.
    from datasette import handle_exception

    # Where `rich` is installed, as it is with this program, each mistake in a visitor's SQL would be told on the terminal, with all variables.
    handle_exception.rich = None
    datasette.remove_database("_memory")
    database = SnapshotDatabase(datasette, snapshots, settings, threads)
    datasette.add_database(database, name=NAME)
    await datasette.invoke_startup()

    def close() -> None:
        database.close()
        datasette.executor.shutdown(cancel_futures=True)

    return datasette.app(), close


def _metadata() -> dict[str, object]:
    tables = {
        view.name: {
            "description": view.description,
            "columns": {column.name: column.description for column in view.columns},
        }
        for view in VIEWS
    }
    return {"databases": {NAME: {"title": "The catalogue in SQL", "tables": tables}}}
