from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ConfigFault, ExitCode

if TYPE_CHECKING:
    from empiar_mirror.cli.text import Crawled
    from empiar_schema.settings import Settings


@click.command("crawl")
@ids_argument
@click.option("--full", is_flag=True, help="Read every entry again, also those that have not changed.")
@click.option(
    "--probe",
    is_flag=True,
    help="Also look at the first kilobytes of one file of each family, for the facts of its images; needs IDs.",
)
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], full: bool, probe: bool) -> ExitCode:
    """Read entry metadata and file listings into the catalogue.

    Without IDs: every entry of the archive that is new or has changed.
    """
    from empiar_mirror.cli.working import work_on

    settings = invocation.settings()
    chosen = list(dict.fromkeys(ids)) or None
    if probe:
        return _with_probe(invocation, settings, chosen or [], full=full)
    report, stopped = work_on(invocation, settings, lambda mirror: mirror.crawl(chosen, full=full), ids=[])
    invocation.result(report, _lines(report))
    return _code(report, named=chosen is not None, stopped=stopped)


def _with_probe(invocation: Invocation, settings: Settings, ids: Sequence[int], *, full: bool) -> ExitCode:
    from dataclasses import asdict

    from empiar_mirror.cli.text import probe_report
    from empiar_mirror.cli.working import work_on

    if not ids:
        raise ConfigFault(
            "--probe reads bytes of files, and no entry was named",
            hint="name entries, such as `empiar-mirror crawl 10017 --probe`",
        )
    report, stopped = work_on(
        invocation, settings, lambda mirror: mirror.crawl_and_probe(ids, full=full), ids=[]
    )
    document = {**asdict(report.crawl), "probe": asdict(report.probe)}
    invocation.result(document, [*_lines(report.crawl), *probe_report(report.probe)])
    code = _code(report.crawl, named=True, stopped=stopped)
    return ExitCode.SOME_FILES_FAILED if code is ExitCode.OK and report.probe.failed else code


def _lines(report: Crawled) -> list[str]:
    from empiar_mirror.cli.text import count, crawl_failures

    entries, listings = count(report.entries, "entry", "entries"), count(report.listed, "file listing")
    return [f"{entries} and {listings} read, {report.unchanged:,} unchanged", *crawl_failures(report)]


def _code(report: Crawled, *, named: bool, stopped: bool) -> ExitCode:
    if stopped:
        return ExitCode.STOPPED
    if report.stopped:
        return ExitCode.UNREACHABLE
    # Of a whole crawl nobody asked for an entry by name: that the archive lacks one is a fact, not a failure.
    return ExitCode.SOME_FILES_FAILED if report.failed or (named and report.absent) else ExitCode.OK
