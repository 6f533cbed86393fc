from __future__ import annotations

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, needs_ids, standard_options, work_options
from empiar_schema.faults import ExitCode


@click.command("sync")
@ids_argument
@click.option("--channel", type=click.Choice(["https", "ftp"]), help="Use this channel only.")
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], channel: str | None) -> ExitCode:
    """Mirror entries: crawl what is needed, transfer, verify, arrange, then exit.

    Without IDs: every entry that was asked for before. Stopped or killed, the same command goes on where it was.
    """
    from empiar_mirror.cli.text import sync_report
    from empiar_mirror.cli.working import work_on
    from empiar_mirror.plan_facts import asked_for
    from empiar_mirror.reading import reading
    from empiar_schema.states import Channel

    settings = invocation.settings()
    before: list[int] = []
    if not ids:
        with reading(settings.root) as connection:
            before = asked_for(connection)
    chosen = needs_ids(ids, before, "sync")
    only = Channel(channel) if channel else None
    report, stopped = work_on(
        invocation, settings, lambda mirror: mirror.sync(chosen, channel=only), ids=chosen
    )
    invocation.result(report, sync_report(report))
    if stopped or report.transfer.stopped:
        return ExitCode.STOPPED
    crawl_failed = report.crawl is not None and (not report.crawl.complete or report.crawl.absent)
    failed = crawl_failed or report.transfer.failed or report.transfer.making.failed
    return ExitCode.SOME_FILES_FAILED if failed else ExitCode.OK
