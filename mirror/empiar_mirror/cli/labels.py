from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.convert import FORMATS
from empiar_mirror.cli.invocation import (
    EntryId,
    Invocation,
    ids_argument,
    say,
    standard_options,
    work_options,
)
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.by_hand.listing import ListedVersion
    from empiar_mirror.reports import ImportReport


@click.group("labels")
def command() -> None:
    """Particle coordinates from elsewhere than EMPIAR: released CryoPPP trees, and labels by hand (docs/annotate.md)."""


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


@command.command("list")
@ids_argument
@standard_options
def list_(invocation: Invocation, ids: tuple[int, ...]) -> ExitCode:
    """List the versions of labels by hand, with author and time, and read each one.

    The star marks the version that layouts and exports follow. Without IDs: every entry that has any.
    """
    from empiar_mirror.by_hand.listing import listed
    from empiar_mirror.by_hand.versions import entries_with_labels

    root = invocation.settings().root
    chosen = list(dict.fromkeys(ids)) or sorted(entries_with_labels(root))
    found = list(listed(root, chosen, _recorded(root)))
    invocation.result(list(found), _versions(found))
    return ExitCode.DAMAGE_FOUND if any(one.problem for one in found) else ExitCode.OK


def _recorded(root: Path) -> dict[tuple[int, str, int], str]:
    """Digests of versions that the catalogue knows; none where there is no catalogue: the files are the record."""
    from empiar_mirror.reading import reading
    from empiar_schema.faults import CatalogueFault

    try:
        with reading(root) as connection:
            rows = connection.execute("SELECT empiar_id, path, version_number, sha256 FROM label_versions")
            return {(row[0], row[1], row[2]): row[3] for row in rows}
    except CatalogueFault:
        return {}


def _versions(found: list[ListedVersion]) -> Iterator[str]:
    from empiar_mirror.cli.text import one_line

    for one in found:
        mark = "*" if one.current else "aside" if one.aside else ""
        what = (
            one.problem
            or f"{one.author}, {one.saved_at}: {one.kept} kept, {one.rejected} rejected, {one.added} added"
        )
        yield one_line(f"{one.empiar_id}/{one.path}  v{one.version}{mark and f' {mark}'}  {what}")
    if not found:
        yield "there are no labels by hand; the page that `empiar-mirror serve` shows makes them"


@command.command("export")
@click.argument("entry", type=EntryId(), metavar="ID")
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(FORMATS), help="Format of OUT  [default: by suffix]")
@click.option("--micrograph", metavar="PATH", help="This micrograph alone, as `labels list` names it.")
@click.option(
    "--version",
    "number",
    type=click.IntRange(min=1),
    help="This version of --micrograph  [default: the current]",
)
@click.option("--rejected", is_flag=True, help="The rejected picks in place of those that were kept.")
@click.option("--box", type=click.FloatRange(min=0, min_open=True), metavar="PIXELS", help="Side of boxes.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@standard_options
def export(
    invocation: Invocation,
    entry: int,
    target: Path,
    form: str | None,
    micrograph: str | None,
    number: int | None,
    rejected: bool,
    box: float | None,
    force: bool,
) -> ExitCode:
    """Write labels by hand as RELION STAR, CryoPPP CSV, cryoSPARC .cs, EMAN .box, crYOLO .cbox or Topaz.

    The current version of each micrograph of the entry that has one, alone: imported labels of other micrographs are in the layouts.
    OUT is a folder where the format holds one micrograph a file and there are several. Works beside a running mirror.
    """
    from empiar_imaging.labels import LabelFormat, Writing
    from empiar_mirror.by_hand.listing import table_by_hand
    from empiar_mirror.cli.text import count
    from empiar_mirror.conversion import promised_format, write_out

    if number is not None and micrograph is None:
        raise ConfigFault("versions are counted for each micrograph", hint="give --micrograph PATH, too")
    table = table_by_hand(
        invocation.settings().root,
        entry,
        state="rejected" if rejected else "kept",
        micrograph=micrograph,
        version=number,
    )
    target_format = LabelFormat(form) if form else promised_format(target, "--to")
    written = write_out(table, target, target_format, Writing(box_px=box), replace_files=force)
    for note in written.notes:
        say(f"note: {note}")
    document: dict[str, object] = {
        "particles": len(table),
        "micrographs": len(table.micrographs),
        "format": target_format.value,
        "origin": written.origin.value,
        "files": list(written.files),
    }
    words = f"{count(len(table), 'pick')} of {count(len(table.micrographs), 'micrograph')}"
    invocation.result(document, [f"{words}: {target_format} (Y from the {written.origin}) in {target}"])
    return ExitCode.OK


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
