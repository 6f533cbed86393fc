from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_mirror.reports import ImportReport


@click.group("labels")
def command() -> None:
    """Particle coordinates from elsewhere than EMPIAR."""


@command.command("import")
@click.argument("source", metavar="TREE", type=click.Path(path_type=Path, exists=True))
@ids_argument
@work_options
@standard_options
def import_(invocation: Invocation, source: Path, ids: tuple[int, ...]) -> ExitCode:
    """Take the labels of a released CryoPPP tree for the micrographs that are here.

    TREE is a folder or a tar archive: full or Lite, with the folder names of any generation. Labels and micrographs are
    joined by name; what finds no counterpart is counted, and named in the report. Without IDs: every entry of TREE of
    which files are here.
    """
    from empiar_mirror.cli.working import work_on

    chosen = list(dict.fromkeys(ids)) or None
    report, stopped = work_on(
        invocation, invocation.settings(), lambda mirror: mirror.import_labels(source, chosen), ids=[]
    )
    invocation.result(report, _lines(report))
    if stopped or report.making.stopped:
        return ExitCode.STOPPED
    return ExitCode.SOME_FILES_FAILED if report.making.failed else ExitCode.OK


def _lines(report: ImportReport) -> Iterator[str]:
    from empiar_mirror.cli.text import count, make_report

    for entry in report.entries:
        yield (
            f"EMPIAR-{entry.empiar_id}: {count(entry.particles, 'particle')} on"
            f" {count(entry.annotated_micrographs, 'micrograph')}; {count(entry.unmatched_labels, 'name')} in the labels"
            f" without a micrograph here, {count(entry.unmatched_micrographs, 'micrograph')} without labels"
        )
        if entry.orientation == "mirrored":
            yield "  the contrast at the picks says that they are upside down: nothing was turned"
        yield f"  all names: {entry.report}"
    yield from report.notes
    if report.not_here:
        yield f"not here: {', '.join(map(str, report.not_here))}"
    yield from make_report(report.making)
