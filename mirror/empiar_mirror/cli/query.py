from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

FORMATS = ("table", "csv", "json", "jsonl", "parquet", "xlsx")


@click.command("query")
@click.argument("sql")
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
    help="Value for :NAME in the SQL; may be given several times.",
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
    "--as-of",
    metavar="TIME",
    help="Time that the views entries_as_of and files_as_of show: 2026-03-01, or 2026-03-01T12:00:00Z (UTC).",
)
@standard_options
def command(
    invocation: Invocation,
    sql: str,
    chosen: str | None,
    output: Path | None,
    force: bool,
    parameters: tuple[str, ...],
    limit: int,
    timeout: str,
    as_of: str | None,
) -> ExitCode:
    """Ask the catalogue in SQL. It can only be read, also while a sync is running.

    The views and their columns are described in docs/sql.md and in the view descriptions. SQL "-" is read from
    standard input. What the archive was like at an earlier time: docs/history.md.
    """
    from empiar_mirror.history import known_since, parse_time
    from empiar_mirror.query import Limits, ask, parse_parameter
    from empiar_mirror.query_formats import FILE_FORMATS, TEXT_FORMATS, replacing
    from empiar_mirror.reading import reading
    from empiar_schema.times import epoch

    settings = invocation.settings()
    form = _form(chosen, output, as_json=invocation.as_json)
    if output is not None:
        _refuse_output(output, settings.root, force=force)
    text = sys.stdin.read() if sql == "-" else sql
    limits = Limits(rows=limit or None, seconds=_seconds(timeout))
    values = dict(parse_parameter(parameter) for parameter in parameters)
    moment = None if as_of is None else parse_time(as_of, now=time.time())
    with ask(settings.root, text, parameters=values, limits=limits, as_of=moment) as rows:
        if output is None:
            TEXT_FORMATS[form](rows, sys.stdout)
        else:
            with replacing(output) as temporary:
                if form in FILE_FORMATS:
                    FILE_FORMATS[form](rows, temporary)
                else:
                    with temporary.open("w", encoding="utf-8", newline="") as stream:
                        TEXT_FORMATS[form](rows, stream)
    if rows.cut:
        say(f"cut after {limit:,} rows; --limit 0 gives all")
    if moment is not None:
        with reading(settings.root) as connection:
            since = known_since(connection)
        if since is None or epoch(since) > moment:
            say(f"the catalogue knows nothing of times before {since or 'the first crawl'}")
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


def _seconds(text: str) -> float | None:
    from empiar_schema.sizes import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise ConfigFault(f"--timeout: {error}") from None
    assert isinstance(seconds, float)
    return seconds or None
