from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, ids_argument, needs_ids, standard_options, work_options
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_mirror.app import Mirror, SyncReport


@click.command("sync")
@ids_argument
@click.option("--view", metavar="V", help="Only what this layout view takes: images, gains, labels.")
@click.option("--channel", type=click.Choice(["https", "ftp", "globus"]), help="Use this channel only.")
@work_options
@standard_options
def command(invocation: Invocation, ids: tuple[int, ...], view: str | None, channel: str | None) -> ExitCode:
    """Mirror entries: crawl what is needed, transfer, verify, arrange, then exit.

    Without IDs: every entry that was asked for before, and of each what was asked for. With --view, such as
    `sync 10028 --view trial`, only what that view takes is fetched. Stopped or killed, the same command goes on where it was.
    """
    from empiar_mirror.cli.text import sync_report
    from empiar_mirror.cli.working import work_on
    from empiar_mirror.plan_facts import asked_for
    from empiar_mirror.reading import reading
    from empiar_schema.states import Channel

    settings = invocation.settings()
    if view is not None:
        settings.recipe(view)  # a wrong name is told before the catalogue is opened
    before: list[int] = []
    if not ids:
        with reading(settings.root) as connection:
            before = asked_for(connection)
    chosen = needs_ids(ids, before, "sync")
    only = Channel(channel) if channel else None

    def work(mirror: Mirror) -> Awaitable[SyncReport]:
        if ids or view is not None:
            return mirror.sync(chosen, view=view, channel=only)
        return mirror.sync_as_before(chosen, channel=only)

    report, stopped = work_on(invocation, settings, work, ids=chosen)
    invocation.result(report, sync_report(report))
    if stopped or report.transfer.stopped:
        return ExitCode.STOPPED
    crawl_failed = report.crawl is not None and (not report.crawl.complete or report.crawl.absent)
    failed = crawl_failed or report.transfer.failed or report.transfer.making.failed
    return ExitCode.SOME_FILES_FAILED if failed else ExitCode.OK
