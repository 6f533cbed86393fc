from __future__ import annotations

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ExitCode


@click.command("verify")
@ids_argument
@click.option("--quick", is_flag=True, help="Compare sizes and headers only, without reading every byte.")
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], quick: bool) -> ExitCode:
    """Read again what is here and compare it with the record; name every damaged or missing file.

    Derived files are read, too. What is damaged leaves the layouts at once. Without IDs: everything that is here. Exit code 5 means that damage was found.
    """
    from empiar_mirror.cli.text import count, failures
    from empiar_mirror.cli.working import work_on
    from empiar_schema.sizes import format_bytes

    chosen = list(dict.fromkeys(ids)) or None
    settings = invocation.settings()
    report, stopped = work_on(invocation, settings, lambda mirror: mirror.verify(chosen, quick=quick), ids=[])
    derived = f" and {count(report.derived, 'derived file')}" if report.derived else ""
    lines = [
        f"{count(report.checked, 'file')}{derived} checked, {format_bytes(report.bytes_read)} read, {len(report.damaged):,} damaged",
        *failures(report.damaged, "damaged"),
    ]
    if report.strangers:
        unknown = count(len(report.strangers), "file")
        lines.append(
            f"{unknown} in archive/ that the catalogue does not know, such as {report.strangers[0]}: they are left alone;"
            " `sync ID` takes in what the archive still serves (docs/operations.md, restore)"
        )
    if report.damaged:
        lines.append("`empiar-mirror repair` fetches again what is damaged, and makes derived files again")
    invocation.result(report, lines)
    if report.damaged:
        return ExitCode.DAMAGE_FOUND
    return ExitCode.STOPPED if stopped or report.stopped else ExitCode.OK
