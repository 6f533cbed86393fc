"""How the crawl stands: when the archive was last asked, what waits, and how old listings are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from empiar_mirror.metrics.figures import age_s, crawl_lag_s
from empiar_mirror.pace import quiet_for_s
from empiar_schema.emdb_store import EmdbStanding, emdb_standing
from empiar_schema.settings import CrawlSettings
from empiar_schema.sweep_store import listings
from empiar_schema.times import iso


@dataclass(frozen=True, slots=True)
class CrawlStatus:
    """The crawl at one time. Ages are seconds, 0 where there is nothing that could have one."""

    #: When the archive was last asked which entries it has, ISO 8601; None before it ever was.
    asked_at: str | None
    #: How long ago the entry that is due and has waited longest was looked at.
    lag_s: float
    #: How long ago the oldest of all listings was made, of how many.
    oldest_listing_s: float
    listings: int
    #: Quiet hours go on for so long; 0 outside of them.
    quiet_s: float
    #: What EMDB says of the maps that entries name.
    emdb: EmdbStanding

    def lines(self, crawl: CrawlSettings) -> Iterator[str]:
        """The same in sentences."""
        if self.asked_at is None:
            yield "the archive was never asked which entries it has"
            return
        quiet = f", quiet hours {crawl.quiet_hours}" if self.quiet_s else ""
        late = f", an entry is due since {_days(self.lag_s)}" if self.lag_s > 2 * crawl.interval else ""
        yield (
            f"crawled {self.asked_at}; the oldest of {self.listings:,} listings is {_days(self.oldest_listing_s)} old"
            f" (crawl.relist: {_days(crawl.relist)}){late}{quiet}"
        )
        yield from self._emdb_lines()

    def _emdb_lines(self) -> Iterator[str]:
        emdb = self.emdb
        if not emdb.named:
            return
        others = (
            ("not asked for yet", emdb.waiting),
            ("not served by EMDB", emdb.absent),
            ("failed", emdb.failed),
        )
        more = "".join(f", {count:,} {word}" for word, count in others if count)
        asked = f"; last asked {iso(emdb.asked_at)}" if emdb.asked_at is not None else ""
        yield f"EMDB: {emdb.known:,} of {emdb.named:,} maps known{more}{asked}"


def read_crawl_status(connection: sqlite3.Connection, crawl: CrawlSettings, *, now: float) -> CrawlStatus:
    """How the crawl stands at `now`, epoch seconds."""
    asked = connection.execute("SELECT max(recorded_at) FROM harvest").fetchone()[0]
    count, oldest = listings(connection)
    return CrawlStatus(
        asked_at=iso(asked),
        lag_s=crawl_lag_s(connection, crawl, now=now),
        oldest_listing_s=age_s(oldest, now),
        listings=count,
        quiet_s=quiet_for_s(now, crawl.quiet_hours),
        emdb=emdb_standing(connection),
    )


def _days(seconds: float) -> str:
    if seconds >= 86_400:
        return f"{seconds / 86_400:.1f} days"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
