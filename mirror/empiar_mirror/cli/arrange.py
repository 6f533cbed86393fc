from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, say, standard_options, work_options
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_mirror.app import Mirror
    from empiar_mirror.arrange import ArrangeReport
    from empiar_mirror.reports import BagReport


@click.command("arrange")
@ids_argument
@click.option(
    "--view", metavar="V", help="This layout view, a preset or your own  [default: all of arrange.views]"
)
@click.option("--rebuild", is_flag=True, help="Build anew, also where nothing has changed.")
@click.option(
    "--bag",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write each layout as a BagIt bag, FOLDER/<id>-<view>; hard links where FOLDER allows them.",
)
@work_options
@standard_options
def command(
    invocation: Invocation, ids: tuple[int, ...], view: str | None, rebuild: bool, bag: Path | None
) -> ExitCode:
    """Build or rebuild the standard layout in datasets/ from what is here.

    Without IDs: for every entry of which files are here.
    """
    from empiar_mirror.cli.text import count
    from empiar_mirror.cli.working import work_on

    async def work(mirror: Mirror) -> tuple[dict[int, dict[str, ArrangeReport]], BagReport | None]:
        reports = await mirror.arrange(list(dict.fromkeys(ids)) or None, view=view, rebuild=rebuild)
        return reports, None if bag is None else await mirror.write_bags(reports, bag)

    (reports, bags), stopped = work_on(invocation, invocation.settings(), work, ids=[])
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
    if bags is not None:
        lines += [f"bag: {path}" for path in bags.bags]
        document["bags"] = [str(path) for path in bags.bags]
        for sentence in bags.refused:
            say(sentence)
    invocation.result(document, lines or ["nothing is here yet"])
    if stopped:
        return ExitCode.STOPPED
    lacking = any(
        report.missing or not report.complete for views in reports.values() for report in views.values()
    )
    refused = bags is not None and bags.refused
    return ExitCode.SOME_FILES_FAILED if lacking or refused else ExitCode.OK
