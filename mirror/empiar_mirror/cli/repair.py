from __future__ import annotations

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ExitCode


@click.command("repair")
@ids_argument
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...]) -> ExitCode:
    """Fetch again what verify found damaged or missing, and what was given up.

    Without IDs: in every entry.
    """
    from empiar_mirror.cli.text import sync_report
    from empiar_mirror.cli.working import work_on

    chosen = list(dict.fromkeys(ids)) or None
    report, stopped = work_on(
        invocation, invocation.settings(), lambda mirror: mirror.repair(chosen), ids=chosen
    )
    invocation.result(report, sync_report(report))
    if stopped or report.transfer.stopped:
        return ExitCode.STOPPED
    failed = report.transfer.failed or report.transfer.making.failed
    return ExitCode.SOME_FILES_FAILED if failed else ExitCode.OK
