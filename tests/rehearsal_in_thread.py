"""The rehearsal archive in a thread of its own, for tests of programs that run an event loop themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from empiar_mirror.rehearsal.server import Rehearsal


@contextmanager
def rehearsal_in_thread(archive: Rehearsal | None = None) -> Iterator[Rehearsal]:
    """The archive serves until the end of the block. Read its log, but change nothing of it meanwhile."""
    archive = archive or Rehearsal()
    ready, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        async with archive:
            loops.append(asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="rehearsal")
    thread.start()
    try:
        assert ready.wait(20), "the rehearsal archive did not start"
        yield archive
    finally:
        for loop in loops:
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
