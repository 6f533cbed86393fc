from __future__ import annotations

import functools
import json
import sqlite3
import time
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from empiar_schema.eviction_store import Recalled


@click.command("recall")
@ids_argument
@click.option("--sql", help="Instead of IDs: one SELECT that returns a column empiar_id or file_id.")
@click.option(
    "--priority", type=click.IntRange(-1000, 1000), default=0, show_default=True, help="Higher comes first."
)
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], sql: str | None, priority: int) -> ExitCode:
    """Want evicted files again: `sync`, or a running mirror, fetches them.

    Whether the same bytes come back is in the view `evictions`. Works beside a running mirror.
    """
    from empiar_mirror.cli.text import count
    from empiar_mirror.reading import CATALOGUE_NAME, reading
    from empiar_schema import eviction_store
    from empiar_schema.catalogue import Catalogue
    from empiar_schema.sizes import format_bytes

    if (sql is None) == (not ids):
        raise ConfigFault(
            "recall what? Give entries, or --sql",
            hint="all of it: --sql \"SELECT file_id FROM copies WHERE state = 'evicted'\"",
        )
    settings = invocation.settings()
    with reading(settings.root):
        entries, files = _chosen(settings.root, ids, sql)
    with Catalogue.open(settings.root / CATALOGUE_NAME) as catalogue:
        recalled: Recalled = catalogue.write_now(
            functools.partial(
                eviction_store.recall,
                empiar_ids=entries,
                file_ids=files,
                priority=priority,
                now=int(time.time()),
            )
        )
    lines = [
        f"{count(recalled.files, 'file')} wanted again, {format_bytes(recalled.bytes)}"
        + (": `empiar-mirror sync` fetches them, if no mirror is running" if recalled.files else "")
    ]
    if recalled.gone:
        lines.append(f"{count(recalled.gone, 'file')} cannot come back: EMPIAR lists them no longer")
    invocation.result({**recalled._asdict()}, lines)
    return ExitCode.SOME_FILES_FAILED if recalled.gone else ExitCode.OK


def _chosen(root: Path, ids: tuple[int, ...], sql: str | None) -> tuple[list[int], list[int] | None]:
    """Entries, and the files of them that are meant; None means all."""
    from empiar_mirror.plan_facts import never_heard_of
    from empiar_mirror.reading import reading
    from empiar_mirror.subscriptions.matching import matches_of

    if sql is None:
        entries = list(dict.fromkeys(ids))
        with reading(root) as connection:
            unknown = never_heard_of(connection, ids=entries)
        if unknown:
            raise ConfigFault(f"EMPIAR-{unknown[0]} is not in the catalogue", hint="check the number")
        return entries, None
    matches = matches_of(root, sql)
    if matches.selects == "entries":
        return list(matches.numbers), None
    with reading(root) as connection:
        return _entries_of(connection, matches.numbers), list(matches.numbers)


def _entries_of(connection: sqlite3.Connection, file_ids: tuple[int, ...]) -> list[int]:
    rows = connection.execute(
        "SELECT DISTINCT c.empiar_id FROM json_each(?) n JOIN copy c ON c.file_id = n.value ORDER BY 1",
        (json.dumps(file_ids),),
    )
    return [row[0] for row in rows]
