from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.query import Value
    from empiar_schema.settings import Settings

#: A result waits in memory up to this size, beyond it in a file.
SPOOL_BYTES = 16 * 2**20
FORMATS = ("table", "csv", "json", "jsonl", "parquet", "xlsx")


@click.command("query")
@click.argument("sql", required=False, metavar="[SQL|NAME]")
@click.option("--list", "listing", is_flag=True, help="Show the saved queries and their parameters.")
@click.option("--show", is_flag=True, help="Print the SQL of the saved query NAME instead of running it.")
@click.option(
    "--format", "chosen", type=click.Choice(FORMATS), help="[default: table; with -o, by the file's suffix]"
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE; needed for parquet and xlsx.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value for :NAME in the SQL, or of the saved query's parameter; may be given several times.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="Rows at most; 0 means all.",
)
@click.option(
    "--timeout", default="30s", show_default=True, metavar="DURATION", help="Time at most; 0s means no limit."
)
@click.option(
    "--memory", default="512MiB", show_default=True, metavar="SIZE", help="Memory of the query at most."
)
@click.option(
    "--as-of",
    metavar="TIME",
    help="Time that the views entries_as_of and files_as_of show: 2026-03-01, or 2026-03-01T12:00:00Z (UTC).",
)
@standard_options
def command(
    invocation: Invocation,
    sql: str | None,
    listing: bool,
    show: bool,
    chosen: str | None,
    output: Path | None,
    force: bool,
    parameters: tuple[str, ...],
    limit: int,
    timeout: str,
    memory: str,
    as_of: str | None,
) -> ExitCode:
    """Ask the catalogue in SQL, or by a saved query's NAME. It can only be read, also while a sync is running.

    The views and their columns are described in docs/sql.md and in the view descriptions; limits and saved queries in
    docs/query.md. SQL "-" is read from standard input. What the archive was like at an earlier time: docs/history.md.
    """
    from empiar_mirror.history import known_since, parse_time
    from empiar_mirror.query import Limits, ask, limit_memory
    from empiar_mirror.query_formats import FILE_FORMATS, TEXT_FORMATS, replacing
    from empiar_mirror.reading import reading
    from empiar_schema.times import epoch

    settings = invocation.settings()
    if listing:
        return _list(invocation, settings)
    if sql is None:
        raise click.UsageError("give SQL or the name of a saved query; --list shows those")
    text, values = _asked(sql, parameters, settings)
    if show:
        click.echo(text)
        return ExitCode.OK
    form = _form(chosen, output, as_json=invocation.as_json)
    if output is not None:
        _refuse_output(output, settings.root, force=force)
    limits = Limits(rows=limit or None, seconds=_seconds(timeout))
    limit_memory(_bytes(memory))
    moment = None if as_of is None else parse_time(as_of, now=time.time())
    with ExitStack() as stack:
        # What a pager has not read yet must not keep the query, and with it the mirror's log, open.
        spool = None if output is not None else stack.enter_context(_spool())
        with ask(settings.root, text, parameters=values, limits=limits, as_of=moment) as rows:
            if output is None:
                assert spool is not None
                TEXT_FORMATS[form](rows, spool)
            else:
                with replacing(output) as temporary:
                    if form in FILE_FORMATS:
                        FILE_FORMATS[form](rows, temporary)
                    else:
                        with temporary.open("w", encoding="utf-8", newline="") as stream:
                            TEXT_FORMATS[form](rows, stream)
        if spool is not None:
            spool.seek(0)
            shutil.copyfileobj(spool, sys.stdout)
    if rows.cut:
        say(f"cut after {limit:,} rows; --limit 0 gives all")
    if moment is not None:
        with reading(settings.root) as connection:
            since = known_since(connection)
        if since is None or epoch(since) > moment:
            say(f"the catalogue knows nothing of times before {since or 'the first crawl'}")
    return ExitCode.OK


def _spool() -> TextIO:
    # Strange texts must come out as they went in, whatever the terminal's encoding is then.
    spool: object = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - the caller closes it
        SPOOL_BYTES, "w+", encoding="utf-8", errors="surrogatepass", newline=""
    )
    return cast("TextIO", spool)


def _asked(sql: str, parameters: tuple[str, ...], settings: Settings) -> tuple[str, dict[str, Value]]:
    """The SQL that is meant, and its values."""
    from empiar_mirror.query import parse_parameter, split_parameter
    from empiar_mirror.saved.known import is_name, saved_query

    if sql != "-" and is_name(sql):
        query = saved_query(sql, settings.query)
        return query.sql, query.values(dict(split_parameter(parameter) for parameter in parameters))
    text = sys.stdin.read() if sql == "-" else sql
    return text, dict(parse_parameter(parameter) for parameter in parameters)


def _list(invocation: Invocation, settings: Settings) -> ExitCode:
    from empiar_mirror.saved.known import library

    queries = library(settings.query)
    document: list[object] = list(queries.values())
    lines = []
    for query in queries.values():
        lines.append(f"{query.name:<22} {query.title}")
        for parameter in query.parameters:
            default = "must be given" if parameter.default is None else f"default {parameter.default}"
            lines.append(
                f"{'':<22}   -p {parameter.name}={parameter.kind.upper()}: {parameter.description} ({default})"
            )
    invocation.result(document, lines)
    return ExitCode.OK


def _form(chosen: str | None, output: Path | None, *, as_json: bool) -> str:
    by_suffix = output.suffix.lstrip(".").lower() if output is not None else ""
    form = chosen or ("json" if as_json else by_suffix if by_suffix in FORMATS else "table")
    if form in ("parquet", "xlsx") and output is None:
        raise ConfigFault(f"{form} is a binary format: name a file", hint=f"-o result.{form}")
    return form


def _refuse_output(output: Path, root: Path, *, force: bool) -> None:
    if output.resolve().is_relative_to(root.resolve()):
        raise ConfigFault(f"{output} lies in the mirror itself", hint="write it somewhere else")
    if output.exists() and not force:
        raise ConfigFault(f"{output} exists", hint="choose another name, or replace it with --force")


def _bytes(text: str) -> int:
    from empiar_mirror.query import MEMORY_BYTES
    from empiar_schema.sizes import parse_size

    try:
        size = parse_size(text)
    except ValueError as error:
        raise ConfigFault(f"--memory: {error}") from None
    assert isinstance(size, int)
    if size < 16 * 2**20:
        raise ConfigFault(
            "--memory: a query needs 16 MiB at least", hint=f"the default is {MEMORY_BYTES // 2**20} MiB"
        )
    return size


def _seconds(text: str) -> float | None:
    from empiar_schema.sizes import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigFault(f"--timeout: {error}") from None
    assert isinstance(seconds, float)
    return seconds or None
