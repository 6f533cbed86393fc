from __future__ import annotations

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ExitCode


@click.command("arrange")
@ids_argument
@click.option(
    "--view", metavar="V", help="This layout view, a preset or your own  [default: all of arrange.views]"
)
@click.option("--rebuild", is_flag=True, help="Build anew, also where nothing has changed.")
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], view: str | None, rebuild: bool) -> ExitCode:
    """Build or rebuild the standard layout in datasets/ from what is here.

    Without IDs: for every entry of which files are here.
    """
    from empiar_mirror.cli.text import count
    from empiar_mirror.cli.working import work_on

    chosen = list(dict.fromkeys(ids)) or None
    settings = invocation.settings()
    reports, stopped = work_on(
        invocation, settings, lambda mirror: mirror.arrange(chosen, view=view, rebuild=rebuild), ids=[]
    )
    lines = []
    for empiar_id, views in reports.items():
        for name, report in views.items():
            lines.append(
                f"EMPIAR-{empiar_id} {name}: {count(report.linked, 'file')} linked, {report.kept:,} kept, {report.removed:,} removed"
            )
            if report.missing:
                lines.append(
                    f"  {count(len(report.missing), 'file')} not where the catalogue says: `empiar-mirror verify`"
                )
            lines += [f"  {note}" for note in report.notes]
    document: dict[str, object] = {str(empiar_id): views for empiar_id, views in reports.items()}
    invocation.result(document, lines or ["nothing is here yet"])
    return ExitCode.STOPPED if stopped else ExitCode.OK
