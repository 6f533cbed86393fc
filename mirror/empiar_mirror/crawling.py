"""The archive's side of a mirror: entries, listings and headers come into the catalogue. Here alone crawler and mirror meet."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from empiar_crawler.crawl import Crawler
from empiar_crawler.crawl_sources import CrawlSources
from empiar_crawler.emdb_crawl import EmdbCrawler, EmdbReport
from empiar_crawler.outcome import CrawlReport
from empiar_crawler.schedule import Failures
from empiar_crawler.sources.emdb import EmdbSource
from empiar_mirror.finishing import Finishing
from empiar_mirror.globus_access import globus_service
from empiar_mirror.pace import listed_since
from empiar_mirror.probe import Prober, ProbeReport
from empiar_mirror.stopping import Stopping
from empiar_mirror.subscriptions.evaluator import Evaluator
from empiar_mirror.transfer_facts import stale_entries
from empiar_mirror.transferring import Transferring, hosts_within
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import Settings
from empiar_wire.http import PoliteHttp

#: What the crawler reports and remembers, for those who may not know the crawler.
__all__ = ["CrawlReport", "CrawlWithMaps", "Crawling", "EmdbReport", "Failures", "ProbedCrawl"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProbedCrawl:
    """What a crawl with a look at headers did."""

    crawl: CrawlReport
    probe: ProbeReport


@dataclass(frozen=True, slots=True)
class CrawlWithMaps:
    """What a crawl, and a look at EMDB behind it, did."""

    crawl: CrawlReport
    emdb: EmdbReport


@dataclass(frozen=True, slots=True)
class Crawling:
    """Asks the archive, and records what it says."""

    settings: Settings
    catalogue: Catalogue
    observer: Observer
    clock: Callable[[], float]
    stopping: Stopping
    #: Both under the settings of then: a crawl is long, and the configuration may be read anew meanwhile.
    finishing: Callable[[], Finishing]
    evaluator: Callable[[], Evaluator]
    #: Whose channels bring the first bytes of files.
    transferring: Transferring
    #: Of entries that could not be crawled: they are left alone for a while, longer each time.
    failures: dict[int, Failures]

    async def crawl(
        self,
        ids: Sequence[int] | None,
        *,
        full: bool = False,
        every_s: float | None = None,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> CrawlReport:
        """Metadata and listings of these entries, or of all that are new or changed, stand in the catalogue.

        `every_s` and `may_go_on` as in `Crawler.crawl`.

        Subscriptions have been evaluated since, also where nothing has changed: an earlier crawl may have been killed before.

        Raises:
            UnreachableFault: nothing of the archive could be reached.
        """
        crawl = self.settings.crawl
        hosts = hosts_within(crawl, contact=crawl.contact)
        async with AsyncExitStack() as stack:
            http = PoliteHttp(hosts)
            stack.push_async_callback(http.aclose)
            listed_by_globus = "globus" in crawl.listing
            globus = (
                await stack.enter_async_context(globus_service(self.settings)) if listed_by_globus else None
            )
            sources = CrawlSources.of(
                self.settings.archive,
                crawl,
                http=http,
                hosts=hosts,
                catalogue=self.catalogue,
                globus=globus,
                clock=self.clock,
            )
            stack.push_async_callback(sources.aclose)
            crawler = Crawler(
                self.catalogue,
                crawl,
                sources,
                roles=self.settings.role,
                observer=self.observer,
                clock=self.clock,
                failures=self.failures,
            )
            begun, timer = self.clock(), time.monotonic()
            report = await self._unless_stopped(
                crawler.crawl(ids, full=full, every_s=every_s, may_go_on=may_go_on)
            )
        since = listed_since(begun, now=self.clock(), took_s=time.monotonic() - timer)
        await self.finishing().follow_crawl(since=since)
        await self.evaluator().evaluate()
        return report

    async def crawl_emdb(
        self,
        ids: Sequence[int] | None,
        *,
        full: bool = False,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> EmdbReport:
        """What EMDB says of the maps of these entries, or of all, is fresh, as in `EmdbCrawler.crawl`; subscriptions have been evaluated if anything changed.

        An EMDB out of reach is a finding in the report. Where it is not to be asked, the report is empty.
        """
        crawl, url = self.settings.crawl, self.settings.emdb_url
        if url is None:
            return EmdbReport()
        async with AsyncExitStack() as stack:
            http = PoliteHttp(hosts_within(crawl, contact=crawl.contact))
            stack.push_async_callback(http.aclose)
            crawler = EmdbCrawler(
                self.catalogue,
                EmdbSource(http, url),
                interval_s=self.settings.emdb.interval,
                observer=self.observer,
                clock=self.clock,
            )
            report = await self._unless_stopped(crawler.crawl(ids, full=full, may_go_on=may_go_on))
        if report.recorded:
            await self.evaluator().evaluate()
        return report

    async def crawl_with_maps(self, ids: Sequence[int] | None, *, full: bool = False) -> CrawlWithMaps:
        """As `crawl`, then as `crawl_emdb`."""
        return CrawlWithMaps(await self.crawl(ids, full=full), await self.crawl_emdb(ids, full=full))

    async def crawl_and_probe(self, ids: Sequence[int], *, full: bool = False) -> ProbedCrawl:
        """As `crawl`, then as `probe`."""
        crawled = await self.crawl(ids, full=full)
        return ProbedCrawl(crawled, await self.probe(ids))

    async def probe(self, ids: Sequence[int]) -> ProbeReport:
        """One file of each of the biggest families of these entries was looked at, and its facts stand in the catalogue.

        At most 16 MiB are read of an entry. Roles that names leave open follow what the headers say, and
        contradictions with the metadata are recorded.

        Raises:
            ConfigFault: no channel of the configuration can read parts of files.
            UnreachableFault: no channel reaches the archive.
        """
        report = ProbeReport()
        async with AsyncExitStack() as stack:
            transports = self.transferring.transports(stack, None)
            if not transports:
                raise ConfigFault(
                    "the first bytes of files cannot be read by Globus, which moves whole files",
                    hint="name https or ftp in transfer.channels, too, for probes",
                )
            prober = Prober(self.catalogue, transports, clock=self.clock)
            for empiar_id in ids:
                if self.stopping.stopped:
                    break
                report += await self._unless_stopped(prober.probe(empiar_id))
                await self.finishing().judge(empiar_id)
        return report

    async def crawl_what_is_needed(self, ids: Sequence[int]) -> CrawlReport | None:
        """As `crawl`, for those of these entries of which too little or too old things are known; None where there is none."""
        stale = await self.catalogue.read(
            functools.partial(
                stale_entries, ids=ids, now=int(self.clock()), interval_s=self.settings.crawl.interval
            )
        )
        return await self.crawl(stale) if stale else None

    async def _unless_stopped(self, work: Coroutine[object, object, T]) -> T:
        """Cancels `work` when the mirror is stopped; what it has recorded by then stands."""
        task = asyncio.create_task(work)
        with self.stopping.telling(task.cancel):
            return await task
