"""The service in this process, at work on a rehearsal archive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from empiar_mirror.daemon import Daemon
from empiar_mirror.observers import all_of
from empiar_schema.events import Event
from empiar_schema.settings import Settings
from mirrors import opened


@asynccontextmanager
async def running(settings: Settings, events: list[Event]) -> AsyncIterator[Daemon]:
    """The service, at work; it is stopped at the end, and must end by itself then."""
    with opened(settings, events) as mirror:
        daemon = Daemon(mirror, lambda: mirror.settings, look_s=0.1, look_at_disk_s=0.1, scrub_s=0.2)
        mirror.observer = all_of([mirror.observer, daemon.observe])
        task = asyncio.create_task(daemon.run())
        try:
            yield daemon
        finally:
            daemon.stop()
            await task


async def until(moment: Callable[[], bool], task_s: float = 60) -> None:
    async with asyncio.timeout(task_s):
        while not moment():
            await asyncio.sleep(0.02)
