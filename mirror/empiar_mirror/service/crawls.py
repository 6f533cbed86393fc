"""The service crawls: some times in each `crawl.interval`, at times of the mirror's own, not in quiet hours."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from empiar_mirror import asking
from empiar_mirror.app import Mirror
from empiar_mirror.pace import (
    between_crawls_s,
    listed_since,
    quiet_for_s,
    until_crawl_s,
    until_own_time_s,
)
from empiar_mirror.service.rests import Rests
from empiar_schema.settings import Settings
from empiar_schema.sweep_store import mirror_seed


@dataclass(frozen=True, slots=True)
class Crawls:
    """Asks the archive what is new, and wants what is newly listed of entries that were asked for."""

    mirror: Mirror
    rests: Rests
    look_s: float
    #: Told when something may be wanted that was not.
    wanted: Callable[[], object]

    async def run(self) -> None:
        """Crawls until it is cancelled, or the service stopped."""
        seed = await self.rests.asked(mirror_seed)
        due = self.mirror.clock()
        while not self.rests.stopped.is_set():
            # Looked at again and again: the configuration may be read anew, and clocks are set.
            now, interval_s = self.mirror.clock(), self.mirror.settings.crawl.interval
            if quiet_s := self._quiet_for_s():
                over = now + quiet_s
                # Otherwise all mirrors of a time zone would begin in the minute in which quiet hours end.
                due = max(due, over + until_own_time_s(over, interval_s=interval_s, seed=seed))
            else:
                due = min(due, now + 1.5 * between_crawls_s(interval_s))
            if due > now:
                await self.rests.sleep(min(due - now, self.look_s))
                continue
            await self.rests.through(self._crawl)
            now = self.mirror.clock()
            due = now + until_crawl_s(now, interval_s=interval_s, seed=seed)

    def _quiet_for_s(self) -> float:
        return quiet_for_s(self.mirror.clock(), self.mirror.settings.crawl.quiet_hours)

    async def _crawl(self) -> None:
        if self._quiet_for_s():
            return  # they have begun since it failed
        begun, timer = self.mirror.clock(), time.monotonic()
        every_s = between_crawls_s(self.mirror.settings.crawl.interval)
        await self.mirror.crawl(None, every_s=every_s, may_go_on=lambda: not self._quiet_for_s())
        since = listed_since(begun, now=self.mirror.clock(), took_s=time.monotonic() - timer)
        await self.mirror.catalogue.write(
            functools.partial(_ask_for_news, settings=self.mirror.settings, since=since)
        )
        self.wanted()
        # Last, so that nothing waits for it: the first time there are thousands of maps to ask for.
        await self.mirror.crawl_emdb(None, may_go_on=lambda: not self._quiet_for_s())
        self.wanted()


def _ask_for_news(conn: sqlite3.Connection, *, settings: Settings, since: int) -> None:
    """Files that are listed since then, of entries that were asked for, are wanted, as far as those were."""
    rows = conn.execute(
        "SELECT DISTINCT l.empiar_id FROM listing l JOIN copy_progress p ON p.empiar_id = l.empiar_id"
        " WHERE l.completed_at >= ? AND p.files > 0",
        (since,),
    ).fetchall()
    for (empiar_id,) in rows:
        asking.ask_as_before(conn, empiar_id, settings=settings, now=since)
