from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options, work_options
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_schema.settings import Settings


@click.command("run")
@work_options
@standard_options
def command(invocation: Invocation) -> ExitCode:
    """Run as a service: crawl, fetch what is wanted, verify, arrange, until stopped.

    It goes on through outages, full disks and restarts. SIGTERM or SIGINT stop it, with partial work kept; SIGHUP
    reads the configuration anew. What it fetches is what was asked for by `sync`, and what is listed of that since.
    """
    asyncio.run(_run(invocation, invocation.settings()))
    return ExitCode.STOPPED


async def _run(invocation: Invocation, settings: Settings) -> None:
    from empiar_mirror.app import Mirror
    from empiar_mirror.cli.working import observing
    from empiar_mirror.daemon import Daemon
    from empiar_mirror.observers import all_of

    with observing(invocation, settings) as observer, Mirror.open(settings, observer=observer) as mirror:
        daemon = Daemon(mirror, invocation.settings)
        mirror.observer = all_of([observer, daemon.observe])
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, daemon.stop)
        loop.add_signal_handler(signal.SIGHUP, daemon.reload)
        say(f"mirroring into {settings.root} until stopped")
        try:
            await daemon.run()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
