from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from empiar_mirror.cli.invocation import Invocation, say, standard_options, work_options
from empiar_mirror.cli.signals import ENDING, ending_at_once, handling
from empiar_schema.faults import ExitCode

if TYPE_CHECKING:
    from empiar_mirror.metrics.monitor import Look
    from empiar_schema.settings import Settings


@click.command("run")
@work_options
@standard_options
def command(invocation: Invocation) -> ExitCode:
    """Run as a service: crawl, fetch what is wanted, verify, arrange, scrub, until stopped.

    It goes on through outages, full disks and restarts, and shows metrics and its health at daemon.address (docs/operations.md).
    SIGTERM or SIGINT stop it, with partial work kept; SIGHUP reads the configuration anew. What it fetches is what subscriptions
    select, and what was asked for by `sync`, with what is listed of that since.
    """
    asyncio.run(_run(invocation, invocation.settings()))
    return ExitCode.STOPPED


async def _run(invocation: Invocation, settings: Settings) -> None:
    from empiar_mirror.app import Mirror
    from empiar_mirror.cli.working import observing
    from empiar_mirror.daemon import Daemon
    from empiar_mirror.metrics.instruments import Instruments
    from empiar_mirror.metrics.monitor import Monitor
    from empiar_mirror.metrics.server import served
    from empiar_mirror.notify.notifier import Notifier, people_of
    from empiar_mirror.observers import all_of
    from empiar_mirror.systemd import ServiceManager, Watchdog

    with observing(invocation, settings) as log:
        instruments = Instruments()
        manager = ServiceManager.of(os.environ)
        watchdog = Watchdog(manager)
        notifier = Notifier(settings, observer=log)

        def looked(look: Look) -> None:
            notifier.looked(look)
            watchdog.looked(look)

        monitor = Monitor(settings, instruments, looked=looked)
        with ending_at_once():  # recovery, or a migration, may take long
            opened = Mirror.open(settings, observer=log)
        with opened as mirror:

            def read() -> Settings:
                """The configuration as it stands now, if everybody whom it names can be told."""
                new = invocation.settings()
                people_of(new)
                return new

            daemon = Daemon(mirror, read)
            mirror.observer = all_of([log, daemon.observe, instruments, monitor, notifier, watchdog])

            def reload() -> None:
                manager.reloading()
                daemon.reload()
                monitor.settings = mirror.settings
                notifier.apply(mirror.settings)
                manager.ready()

            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(handling(dict.fromkeys(ENDING, daemon.stop) | {signal.SIGHUP: reload}))
                if (address := settings.daemon.address) is not None:
                    await stack.enter_async_context(served(address, instruments.registry, monitor))
                await stack.enter_async_context(_beside(monitor.run(), notifier.run()))
                manager.ready(f"mirroring into {settings.root}")
                say(f"mirroring into {settings.root} until stopped")
                await daemon.run()
                manager.stopping()


@asynccontextmanager
async def _beside(*work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """These run while the body does, and are cancelled after it."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
