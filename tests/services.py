"""The service in this process, at work on a rehearsal archive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from empiar_mirror.app import Mirror
from empiar_mirror.daemon import Daemon
from empiar_mirror.observers import all_of
from empiar_schema.events import Event
from empiar_schema.settings import Settings
from mirrors import opened


@asynccontextmanager
async def at_work(
    mirror: Mirror, read_settings: Callable[[], Settings] | None = None
) -> AsyncIterator[Daemon]:
    """The service over an open mirror; it is stopped at the end, and must end by itself then. A reload reads `read_settings`."""
    reads = read_settings or (lambda: mirror.settings)
    daemon = Daemon(mirror, reads, look_s=0.1, look_at_disk_s=0.1, scrub_s=0.2)
    mirror.observer = all_of([mirror.observer, daemon.observe])
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        daemon.stop()
        await task


@asynccontextmanager
async def running(settings: Settings, events: list[Event]) -> AsyncIterator[Daemon]:
    """As `at_work`, over a mirror of its own."""
    with opened(settings, events) as mirror:
        async with at_work(mirror) as daemon:
            yield daemon


async def until(moment: Callable[[], bool], task_s: float = 60) -> None:
    async with asyncio.timeout(task_s):
        while not moment():
            await asyncio.sleep(0.02)
