"""A crawler in front of a rehearsal archive, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from empiar_crawler.crawl import Crawler
from empiar_crawler.crawl_sources import CrawlSources
from empiar_crawler.outcome import CrawlReport
from empiar_mirror.rehearsal.server import Rehearsal
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import CrawlFailed, Event
from empiar_schema.settings import ArchiveSettings, CrawlSettings
from empiar_wire.hosts import Hosts
from empiar_wire.http import PoliteHttp

NOW = 1_795_000_000
INTERVAL_S = 21_600.0
DAY_S = 86_400


@dataclass
class Bench:
    """A crawler in front of a rehearsal archive, with a clock of its own."""

    rehearsal: Rehearsal
    catalogue: Catalogue
    crawler: Crawler
    events: list[Event] = field(default_factory=list)
    now: float = NOW

    async def crawl(self, *ids: int, full: bool = False) -> CrawlReport:
        return await self.crawler.crawl(ids or None, full=full)

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with self.catalogue.reader() as conn:
            return [tuple(row) for row in conn.execute(sql, values)]

    def pairs(self, sql: str, *values: object) -> dict[object, object]:
        return {row[0]: row[1] for row in self.rows(sql, *values)}

    def asked(self, target: str) -> int:
        """How many requests so far were for this target."""
        return sum(request.path == target for request in self.rehearsal.log)

    def failures(self) -> list[CrawlFailed]:
        return [event for event in self.events if isinstance(event, CrawlFailed)]


@asynccontextmanager
async def bench(
    folder: Path,
    rehearsal: Rehearsal | None = None,
    *,
    listing: tuple[str, ...] = ("ftp", "https"),
    tries: int = 2,
) -> AsyncIterator[Bench]:
    async def no_sleep(_seconds: float) -> None:
        return None

    async with rehearsal or Rehearsal() as served:
        archive = ArchiveSettings.model_validate(served.urls())
        crawl = CrawlSettings.model_validate(
            {"interval": INTERVAL_S, "relist": INTERVAL_S / 2, "listing": listing, "requests_per_s": 10_000}
        )
        hosts = Hosts(
            connections=8, requests_per_s=10_000, user_agent="test (nobody@example.org)", patience_s=0.0
        )
        http = PoliteHttp(hosts, tries=tries, sleep=no_sleep)
        with Catalogue.open(folder / "empiar.db", create=True, archive=archive) as catalogue:
            result: Bench
            sources = CrawlSources.of(
                archive,
                crawl,
                http=http,
                hosts=hosts,
                catalogue=catalogue,
                clock=lambda: result.now,
                sleep=no_sleep,
            )
            events: list[Event] = []
            crawler = Crawler(
                catalogue,
                crawl,
                sources,
                observer=lambda event: events.append(event),
                clock=lambda: result.now,
            )
            result = Bench(served, catalogue, crawler, events)
            try:
                yield result
            finally:
                await sources.aclose()
                await http.aclose()
