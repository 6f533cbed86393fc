from __future__ import annotations

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, standard_options, work_options
from empiar_schema.faults import ExitCode


@click.command("crawl")
@ids_argument
@click.option("--full", is_flag=True, help="Read every entry again, also those that have not changed.")
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], full: bool) -> ExitCode:
    """Read entry metadata and file listings into the catalogue.

    Without IDs: every entry of the archive that is new or has changed.
    """
    from empiar_mirror.cli.text import count, crawl_failures
    from empiar_mirror.cli.working import work_on

    settings = invocation.settings()
    chosen = list(dict.fromkeys(ids)) or None
    report, stopped = work_on(invocation, settings, lambda mirror: mirror.crawl(chosen, full=full), ids=[])
    entries, listings = count(report.entries, "entry", "entries"), count(report.listed, "file listing")
    lines = [
        f"{entries} and {listings} read, {report.unchanged:,} unchanged",
        *crawl_failures(report),
    ]
    invocation.result(report, lines)
    if stopped:
        return ExitCode.STOPPED
    if report.stopped:
        return ExitCode.UNREACHABLE
    # Of a whole crawl nobody asked for an entry by name: that the archive lacks one is a fact, not a failure.
    return ExitCode.SOME_FILES_FAILED if report.failed or (chosen and report.absent) else ExitCode.OK
