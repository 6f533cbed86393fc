from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.statement import Statement


@click.command("attest")
@ids_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE, and say it in sentences.",
)
@click.option("--files", is_flag=True, help="With the size and SHA-256 of every file.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@standard_options
def command(
    invocation: Invocation, ids: tuple[int, ...], output: Path | None, files: bool, force: bool
) -> ExitCode:
    """State what of an entry's listing is here and when it was verified, with one digest over all of it, as JSON.

    Without IDs: every entry that was asked for. From the catalogue alone, beside any other command: `verify` and
    `scrub` look at the disk. `compare` takes what another mirror has stated.
    """
    from empiar_mirror.attest import statement_of
    from empiar_mirror.plan_facts import asked_for, never_heard_of
    from empiar_mirror.query_formats import replacing
    from empiar_mirror.reading import reading
    from empiar_mirror.statement_file import document

    settings = invocation.settings()
    if output is not None and output.resolve().is_relative_to(settings.root.resolve()):
        raise ConfigFault(f"{output} lies in the mirror itself", hint="write it somewhere else")
    if output is not None and output.exists() and not force:
        raise ConfigFault(f"{output} exists", hint="choose another name, or replace it with --force")
    sentences: list[str] = []
    with reading(settings.root) as connection:
        connection.execute("BEGIN")  # one moment for all
        if unknown := never_heard_of(connection, ids=ids):
            raise ConfigFault(
                f"EMPIAR-{unknown[0]} is not in the catalogue",
                hint=f"check the number; `empiar-mirror crawl {unknown[0]}` asks the archive for it",
            )
        chosen = sorted(set(ids)) or asked_for(connection)

        def pieces() -> Iterator[Statement]:
            for empiar_id in chosen:
                statement = statement_of(connection, empiar_id, with_files=files)
                sentences.append(f"{statement.entry}: {statement.says}")
                yield statement

        if output is None:
            sys.stdout.writelines(document(pieces()))
            return ExitCode.OK
        with replacing(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(document(pieces()))
    for line in sentences:
        say(line)
    return ExitCode.OK
