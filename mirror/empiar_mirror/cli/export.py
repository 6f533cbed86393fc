from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options
from empiar_schema.faults import ConfigFault, ExitCode

FORMATS = ("parquet", "csv", "json", "jsonl", "xlsx")


@click.command("export")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT")
@click.option(
    "--format",
    "chosen",
    type=click.Choice(FORMATS),
    help="[default: parquet; with --view, by the file's suffix, else csv]",
)
@click.option(
    "--view", metavar="VIEW", help="This view alone, into the file OUT; cryoppp is CryoPPP's catalogue."
)
@click.option(
    "--snapshot",
    is_flag=True,
    help="Make OUT/empiar-catalogue-YYYY-MM-DD to publish: nothing of this mirror's own, with README and schema.",
)
@click.option(
    "--guard-formulas",
    is_flag=True,
    help="In CSV, an apostrophe before texts that a spreadsheet would take for formulas.",
)
@click.option("--force", is_flag=True, help="Replace what an earlier export has written there.")
@standard_options
def command(
    invocation: Invocation,
    out: Path,
    chosen: str | None,
    view: str | None,
    snapshot: bool,
    guard_formulas: bool,
    force: bool,
) -> ExitCode:
    """Write the catalogue as files: all public views into the folder OUT, or one view into a file.

    Works beside a running mirror, and shows one moment of the catalogue. The same catalogue makes the same bytes.
    docs/export.md describes the files.
    """
    from empiar_mirror.export.exporting import Wish, export_all, export_snapshot, export_table, table_named
    from empiar_mirror.export.writers import Format

    if view is not None and snapshot:
        raise ConfigFault("--view and --snapshot exclude each other", hint="a snapshot holds its own tables")
    by_suffix = out.suffix.lstrip(".").lower() if view is not None else "parquet"
    form: Format = chosen or (by_suffix if by_suffix in FORMATS else "csv")  # type: ignore[assignment]
    assert form in get_args(Format)
    if guard_formulas and form != "csv":
        raise ConfigFault("--guard-formulas is for CSV", hint="XLSX marks such texts by itself")
    settings = invocation.settings()
    wish = Wish(form, force=force, guard_formulas=guard_formulas)

    def told(name: str, rows: int) -> None:
        say(f"{name}: {rows:,} rows")

    if view is not None:
        exported = export_table(settings, table_named(view), out, wish)
    elif snapshot:
        exported = export_snapshot(settings, out, wish, told=told)
    else:
        exported = export_all(settings, out, wish, told=told)
    total = sum(exported.rows.values())
    invocation.result(
        {"place": str(exported.place), "rows": dict(exported.rows)},
        [
            f"{exported.place}: {len(exported.rows):,} tables, {total:,} rows"
            if view is None
            else f"{exported.place}: {total:,} rows"
        ],
    )
    return ExitCode.OK
