from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import (
    Invocation,
    ids_argument,
    needs_ids,
    refuse_with_subscription,
    standard_options,
    work_options,
)
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_mirror.app import Mirror
    from empiar_mirror.syncing import SyncReport
    from empiar_schema.settings import Settings


@click.command("sync")
@ids_argument
@click.option("--view", metavar="V", help="Only what this layout view takes: images, gains, labels.")
@click.option("--subscription", "name", metavar="NAME", help="What this subscription selects; without IDs.")
@click.option("--channel", type=click.Choice(["https", "ftp", "globus"]), help="Use this channel only.")
@work_options
@standard_options
def command(
    invocation: Invocation, ids: tuple[int, ...], view: str | None, name: str | None, channel: str | None
) -> ExitCode:
    """Mirror entries: crawl what is needed, transfer, verify, arrange, then exit.

    Without IDs: every entry that was asked for before, by name or by a subscription, and of each what was asked for. With
    --view, such as `sync 10028 --view trial`, only what that view takes is fetched. Stopped or killed, the same command goes on where it was.
    """
    from empiar_mirror.cli.text import sync_report
    from empiar_mirror.cli.working import work_on
    from empiar_mirror.subscriptions.asked import any_subscription
    from empiar_schema.states import Channel

    settings = invocation.settings()
    refuse_with_subscription(name, ids, view)
    if view is not None:
        settings.recipe(view)  # a wrong name is told before the catalogue is opened
    only = Channel(channel) if channel else None
    chosen: list[int] = list(dict.fromkeys(ids))
    if not ids and name is None and (view is not None or not any_subscription(settings)):
        chosen = needs_ids(ids, _asked_for(settings), "sync")

    def work(mirror: Mirror) -> Awaitable[SyncReport]:
        if name is not None:
            return mirror.sync_subscription(name, channel=only)
        if ids or view is not None:
            return mirror.sync(chosen, view=view, channel=only)
        return mirror.sync_as_before(channel=only)

    report, stopped = work_on(invocation, settings, work, ids=chosen or None)
    invocation.result(report, sync_report(report))
    if stopped or report.transfer.stopped:
        return ExitCode.STOPPED
    crawl_failed = report.crawl is not None and (not report.crawl.complete or report.crawl.absent)
    failed = crawl_failed or report.transfer.failed or report.transfer.making.failed
    return ExitCode.SOME_FILES_FAILED if failed else ExitCode.OK


def _asked_for(settings: Settings) -> list[int]:
    from empiar_mirror.plan_facts import asked_for
    from empiar_mirror.reading import reading

    with reading(settings.root) as connection:
        return asked_for(connection)
