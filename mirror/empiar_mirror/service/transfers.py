"""The service transfers: as long as something waits that may be fetched now."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.app import Mirror
from empiar_mirror.order_facts import Reach, next_due, read_order
from empiar_mirror.pace import until_due_s
from empiar_mirror.service.rests import Rests
from empiar_mirror.stopping import Stopping
from empiar_schema import globus_store, queue_store, transfer_store
from empiar_schema.events import Event, FileArrived
from empiar_schema.settings import Settings

#: So often it is looked whether another process has made something wanted.
WISH_S: Final = 2.0


@dataclass(slots=True)
class Transfers:
    """One transfer after the other, each of everything that is wanted of any entry."""

    mirror: Mirror
    rests: Rests
    look_s: float
    #: Told when a transfer has ended.
    ended: Callable[[], object]
    #: The transfer under way, so that it alone can be ended.
    under_way: Stopping | None = None
    #: Something may be wanted that was not.
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    #: The transfer under way has brought something.
    _brought: bool = False

    def wake(self) -> None:
        """It is looked at once whether something is wanted. For callbacks of the loop."""
        self._wanted.set()

    def end_current(self) -> None:
        """The transfer under way ends soon, partials kept; what still waits goes on with the next, under the settings of then."""
        if self.under_way is not None:
            self.under_way.stop()

    def observe(self, event: Event) -> None:
        """Hears what arrives."""
        if isinstance(event, FileArrived):
            self._brought = True

    async def run(self) -> None:
        """Transfers until the service is stopped; `wake` and `end_current` let it end then."""
        while not self.rests.stopped.is_set():
            self._wanted.clear()
            due = await self.rests.asked(
                functools.partial(_next_transfer, settings=self.mirror.settings, now=self.mirror.clock())
            )
            longest_s = transfer_store.LONGEST_WAIT_S
            wait_s = until_due_s(due, now=self.mirror.clock(), look_s=self.look_s, longest_s=longest_s)
            if wait_s > 0:
                await self._until_wanted(max(0.05, wait_s))
                continue
            begun, self._brought = self.mirror.clock(), False
            await self.rests.through(self._transfer)
            if not self._brought and self.mirror.clock() - begun < self.look_s:
                # Something is due, and yet nothing could be done about it: not again at once.
                await self._until_wanted(self.look_s / 10)

    async def _until_wanted(self, seconds: float) -> None:
        """Something may be wanted by somebody here, or by another process; or the time has passed."""
        known = await self.rests.asked(queue_store.revision)
        ends = self.mirror.clock() + seconds
        while not (self._wanted.is_set() or self.rests.stopped.is_set()):
            left = ends - self.mirror.clock()
            if left <= 0 or await self.rests.asked(queue_store.revision) != known:
                return
            await self.rests.wait(self._wanted, min(WISH_S, left))

    async def _transfer(self) -> None:
        self.under_way = Stopping()
        try:
            await self.mirror.transfer_all(self.under_way)
        finally:
            self.under_way = None
            self.ended()


def _next_transfer(conn: sqlite3.Connection, *, settings: Settings, now: float) -> int | None:
    """When there is something to transfer, or to follow, at the earliest; what is paused or at a quota does not count."""
    if globus_store.open_bundles(conn):
        return 0
    reach = Reach()
    order, _ = read_order(conn, reach, settings.order, now=now)
    return next_due(conn, order, reach, now=now)
