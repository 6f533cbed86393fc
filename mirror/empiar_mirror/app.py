"""The composition root: settings become objects here, and here alone crawler and mirror meet."""

from __future__ import annotations

import asyncio
import functools
import resource
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from empiar_crawler.crawl import Crawler
from empiar_crawler.crawl_sources import CrawlSources
from empiar_crawler.emdb_crawl import EmdbCrawler, EmdbReport
from empiar_crawler.outcome import CrawlReport
from empiar_crawler.schedule import Failures
from empiar_crawler.sources.emdb import EmdbSource
from empiar_mirror import asking
from empiar_mirror.arrange import ArrangeReport, clean_leftovers
from empiar_mirror.cluster.leases import recover_leases
from empiar_mirror.derived_proof import verify_derived
from empiar_mirror.eviction.evicting import Evictor, Removed, settle
from empiar_mirror.eviction.pinned import put_pins_in_force
from empiar_mirror.eviction.planning import Order
from empiar_mirror.finishing import Finishing
from empiar_mirror.folders import Folders
from empiar_mirror.globus import leftovers
from empiar_mirror.globus_access import globus_service
from empiar_mirror.instance_lock import InstanceLock
from empiar_mirror.makers import placing, registry
from empiar_mirror.pace import listed_since
from empiar_mirror.pacing import Pacing
from empiar_mirror.plan_facts import asked_for, never_heard_of
from empiar_mirror.probe import Prober, ProbeReport
from empiar_mirror.proof import Verifier
from empiar_mirror.readers import Readers
from empiar_mirror.reading import CATALOGUE_NAME
from empiar_mirror.recover import recover
from empiar_mirror.reports import (
    BagReport,
    ImportReport,
    MakeReport,
    RecoveryReport,
    ScrubReport,
    TransferReport,
    VerifyReport,
)
from empiar_mirror.scrub import ClusterReading, Scrubber
from empiar_mirror.stopping import Stopping
from empiar_mirror.strangers import strangers
from empiar_mirror.subscriptions.asked import asked_by, in_force
from empiar_mirror.subscriptions.declaring import put_in_force
from empiar_mirror.subscriptions.evaluation import Evaluated, evaluate_subscriptions
from empiar_mirror.transfer_facts import (
    failed_files,
    files_evicted,
    files_here,
    files_unverified,
    stale_entries,
)
from empiar_mirror.transferring import Transferring, hosts_within
from empiar_schema import globus_endings, subscription_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import (
    BytesMoved,
    Event,
    FileArrived,
    Observer,
    SubscriptionHeld,
    SubscriptionMatched,
)
from empiar_schema.faults import CatalogueFault, ConfigFault
from empiar_schema.layout_views import ViewRecipe
from empiar_schema.settings import ScrubSettings, Settings
from empiar_schema.states import Channel, CopyState
from empiar_wire.http import PoliteHttp

T = TypeVar("T")

#: Threads for writing, hashing and flushing; more than cores, because flushes wait for the disk.
WORK_THREADS = 8
#: Part files, connections and readers open at once, with room to spare.
OPEN_FILES = 4096


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one `sync` or `repair` did: the crawl that it needed, if any, and the transfer."""

    crawl: CrawlReport | None
    transfer: TransferReport


@dataclass(frozen=True, slots=True)
class CrawlWithMaps:
    """What a crawl, and a look at EMDB behind it, did."""

    crawl: CrawlReport
    emdb: EmdbReport


@dataclass(frozen=True, slots=True)
class ProbedCrawl:
    """What a crawl with a look at headers did."""

    crawl: CrawlReport
    probe: ProbeReport


@dataclass(slots=True)
class _Tally:
    """Counts what a run brings, and passes every event on."""

    observer: Observer
    arrived: int = 0
    bytes_moved: int = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, FileArrived):
            self.arrived += 1
        elif isinstance(event, BytesMoved):
            self.bytes_moved += event.count
        self.observer(event)


@dataclass(slots=True)
class Mirror:
    """One mirror, open for work. Close it, or use it as a context manager."""

    settings: Settings
    catalogue: Catalogue
    folders: Folders
    observer: Observer
    #: What the start put in order.
    recovery: RecoveryReport
    clock: Callable[[], float] = time.time
    #: What makes derived files besides the hooks of the configuration.
    built_in: Sequence[registry.BuiltIn] = registry.BUILT_IN
    _lock: InstanceLock | None = None
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WORK_THREADS, "mirror"))
    _stopping: Stopping = field(default_factory=Stopping)
    #: Of entries that could not be crawled: they are left alone for a while, longer each time.
    _crawl_failures: dict[int, Failures] = field(default_factory=dict)
    _pacing: Pacing | None = None

    @classmethod
    def open(cls, settings: Settings, *, observer: Observer, create: bool = False) -> Self:
        """The mirror in `settings.root`, locked for this process, with what a crash left put in order.

        The subscriptions of the configuration are in force.

        Raises:
            CatalogueFault: another process works on it, or the catalogue is missing or refuses.
            ConfigFault: `root` cannot be written.
            StorageFault: the disk refused.
        """
        if not create and not (settings.root / CATALOGUE_NAME).exists():
            raise CatalogueFault(
                f"there is no catalogue in {settings.root}",
                hint="Run `empiar-mirror init` there first, or name the configuration with --config.",
            )
        _allow_open_files()
        folders = Folders.below(settings.root)
        lock = InstanceLock.take(folders.root)
        try:
            catalogue = Catalogue.open(folders.root / CATALOGUE_NAME, create=create, archive=settings.archive)
        except BaseException:
            lock.release()
            raise
        try:
            recovery = recover(catalogue, staging=folders.staging, archive=folders.archive, clock=time.time)
            jobs = placing.recover_jobs(catalogue, folders.root)
            recover_leases(catalogue, folders.root)
            recovery = replace(recovery, jobs_given_back=jobs)
            clean_leftovers(folders.root)
            put_in_force(catalogue, settings, now=int(time.time()))
            put_pins_in_force(catalogue, settings, now=int(time.time()))
            mirror = cls(settings, catalogue, folders, observer, recovery, _lock=lock)
            settle(catalogue, folders.root, time.time, mirror._finishing.show)
        except BaseException:
            catalogue.close()
            lock.release()
            raise
        return mirror

    def close(self) -> None:
        """Everything is written and closed, and another process may work on the mirror."""
        self._threads.shutdown()
        self.catalogue.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def stopping(self) -> Stopping:
        """Whether, and by whom, the mirror was told to stop."""
        return self._stopping

    def stop(self) -> None:
        """What is running ends soon and keeps its partial work. For signal handlers of the event loop."""
        self._stopping.stop()

    # --- crawl ----------------------------------------------------------------------------------------

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
                failures=self._crawl_failures,
            )
            begun, timer = self.clock(), time.monotonic()
            report = await self._unless_stopped(
                crawler.crawl(ids, full=full, every_s=every_s, may_go_on=may_go_on)
            )
        since = listed_since(begun, now=self.clock(), took_s=time.monotonic() - timer)
        await self._finishing.follow_crawl(since=since)
        await self.evaluate_subscriptions()
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
            await self.evaluate_subscriptions()
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
            transports = self._transferring(self.observer).transports(stack, None)
            if not transports:
                raise ConfigFault(
                    "the first bytes of files cannot be read by Globus, which moves whole files",
                    hint="name https or ftp in transfer.channels, too, for probes",
                )
            prober = Prober(self.catalogue, transports, clock=self.clock)
            for empiar_id in ids:
                if self._stopping.stopped:
                    break
                report += await self._unless_stopped(prober.probe(empiar_id))
                await self._finishing.judge(empiar_id)
        return report

    async def _unless_stopped(self, work: Coroutine[object, object, T]) -> T:
        """Cancels `work` when the mirror is stopped; what it has recorded by then stands."""
        task = asyncio.create_task(work)
        with self._stopping.telling(task.cancel):
            return await task

    async def _crawl_what_is_needed(self, ids: Sequence[int]) -> CrawlReport | None:
        stale = await self.catalogue.read(
            functools.partial(
                stale_entries, ids=ids, now=int(self.clock()), interval_s=self.settings.crawl.interval
            )
        )
        return await self.crawl(stale) if stale else None

    # --- transfer -------------------------------------------------------------------------------------

    async def sync(
        self, ids: Sequence[int], *, view: str | None = None, channel: Channel | None = None
    ) -> SyncReport:
        """Every listed file of these entries is here, verified and arranged, or the report names it.

        With `view`, that holds for what the view takes of them; what else waits goes on waiting.
        Files that were given up earlier get a fresh budget; quarantined and damaged ones are left to `repair`.

        Raises:
            ConfigFault: there is no such view.
            StorageFault: the disk is full or refuses; what was begun is kept.
            UnreachableFault: no channel reaches the archive.
        """
        recipe = self.settings.recipe(view) if view is not None else None
        crawled = await self._crawl_what_is_needed(ids)
        now = int(self.clock())
        if recipe is not None:
            return SyncReport(crawled, await self._transfer_view(ids, recipe, channel=channel, now=now))
        for empiar_id in ids:
            await self.catalogue.write(functools.partial(asking.ask_for_whole, empiar_id=empiar_id, now=now))
        await self._ask_again(ids, [CopyState.PARKED])
        return SyncReport(crawled, await self._transfer(ids, channel=channel))

    async def sync_as_before(
        self, ids: Sequence[int] | None = None, *, channel: Channel | None = None
    ) -> SyncReport:
        """What was asked for of these entries is here, verified and arranged: of some the whole, of others a view.

        With `ids` None, that holds for all entries of which something was asked for, by name or by a subscription.

        Raises: as `sync`.
        """
        everything = ids is None
        if ids is None:
            await self.evaluate_subscriptions()
            ids = await self._asked_for()
        crawled = await self._crawl_what_is_needed(ids)
        if everything:
            await self.evaluate_subscriptions(afresh=True)
            ids = await self._asked_for()
        for empiar_id in ids:
            await self.catalogue.write(
                functools.partial(
                    asking.ask_as_before,
                    empiar_id=empiar_id,
                    settings=self.settings,
                    now=int(self.clock()),
                )
            )
        await self._ask_again(ids, [CopyState.PARKED])
        return SyncReport(crawled, await self._transfer(ids, channel=channel))

    async def _asked_for(self) -> list[int]:
        """Entries of which something was asked for, and those that subscriptions match and whose files are not listed yet."""
        matched = await self.catalogue.read(subscription_store.wanted_entries)
        return sorted({*await self.catalogue.read(asked_for), *matched})

    # --- subscriptions --------------------------------------------------------------------------------

    async def evaluate_subscriptions(
        self, names: Collection[str] | None = None, *, afresh: bool = False
    ) -> list[Evaluated]:
        """See `subscriptions.evaluation.evaluate_subscriptions`; observers are told what was matched and what is held."""
        found = await asyncio.to_thread(
            evaluate_subscriptions,
            self.catalogue,
            self.settings,
            now=int(self.clock()),
            names=names,
            afresh=afresh,
            stopped=lambda: self._stopping.stopped,
        )
        for one in found:
            if one.held is not None:
                self.observer(SubscriptionHeld(one.name, one.held))
            elif one.files:
                self.observer(SubscriptionMatched(one.name, one.entries, one.files))
        return found

    async def sync_subscription(self, name: str, *, channel: Channel | None = None) -> SyncReport:
        """What the subscription selects now is here, verified and arranged, as far as its budget goes; what waits with a lower priority goes on waiting.

        Raises: as `sync`, and
            ConfigFault: it is paused or held, or there is none.
        """
        found = await self.catalogue.read(functools.partial(in_force, name=name))
        await self.evaluate_subscriptions([name])
        ids = await self.catalogue.read(functools.partial(subscription_store.wanted_entries, name=name))
        crawled = await self._crawl_what_is_needed(ids)
        await self.evaluate_subscriptions([name], afresh=True)
        asked = await self.catalogue.read(functools.partial(asked_by, name=name, settings=self.settings))
        await self._ask_again(asked.ids, [CopyState.PARKED], only=asked.files)
        wanted = found.definition
        transfer = await self._transfer(
            asked.ids,
            channel=channel or wanted.channel,
            only=asked.files,
            least_priority=wanted.priority,
        )
        return SyncReport(crawled, transfer)

    async def _transfer_view(
        self, ids: Sequence[int], recipe: ViewRecipe, *, channel: Channel | None, now: int
    ) -> TransferReport:
        needed: set[int] = set()
        for empiar_id in ids:
            needed |= await self.catalogue.write(
                functools.partial(asking.ask_for_view, empiar_id=empiar_id, recipe=recipe, now=now)
            )
        await self._ask_again(ids, [CopyState.PARKED], only=needed)
        # What was parked until now waits with the priority that it had, below which this transfer does not look.
        hurry = functools.partial(
            transfer_store.want_files, file_ids=sorted(needed), now=now, priority=asking.VIEW_PRIORITY
        )
        await self.catalogue.write(hurry)
        return await self._transfer(ids, channel=channel, view=recipe, only=needed)

    async def repair(self, ids: Sequence[int] | None, *, channel: Channel | None = None) -> SyncReport:
        """What was found damaged, missing, quarantined or given up is fetched again.

        Damaged bytes go to quarantine first; nothing is deleted.
        """
        ids = await self._ids(ids)
        verifier = self._verifier()
        await verifier.clear_damaged(ids)
        await self._ask_again(ids, [CopyState.DAMAGED, CopyState.QUARANTINED, CopyState.PARKED])
        return SyncReport(None, await self._transfer(ids, channel=channel))

    async def _ask_again(
        self, ids: Sequence[int], states: Sequence[CopyState], *, only: Collection[int] | None = None
    ) -> None:
        now = int(self.clock())
        await self.catalogue.write(
            functools.partial(
                transfer_store.retry_failed, empiar_ids=ids, now=now, states=states, file_ids=only
            )
        )
        await self.catalogue.write(functools.partial(globus_endings.fresh_tries, empiar_ids=ids))

    async def _transfer(
        self,
        ids: Sequence[int],
        *,
        channel: Channel | None,
        view: ViewRecipe | None = None,
        only: Collection[int] | None = None,
        least_priority: int | None = None,
    ) -> TransferReport:
        """What is wanted of these entries came; with `view`, only what it needs, the files `only`. Below `least_priority`, files wait."""
        here_before = await self.catalogue.read(functools.partial(files_here, ids=ids))
        tally = _Tally(self.observer)
        if least_priority is None:
            least_priority = transfer_store.ANY_PRIORITY if view is None else asking.VIEW_PRIORITY
        await self._transferring(tally).run(ids, channel, least_priority=least_priority)
        await asyncio.to_thread(leftovers.clean, self.catalogue, self.folders.staging)
        making, arranged = await self._finishing.follow(ids, view)
        failed = await self.catalogue.read(functools.partial(failed_files, ids=ids, only=only))
        unverified, unverified_bytes = await self.catalogue.read(functools.partial(files_unverified, ids=ids))
        evicted = await self.catalogue.read(functools.partial(files_evicted, ids=ids))
        return TransferReport(
            arrived=tally.arrived,
            bytes_moved=tally.bytes_moved,
            already_here=here_before,
            failed=tuple(failed),
            arranged=arranged,
            unverified=unverified,
            unverified_bytes=unverified_bytes,
            evicted=evicted,
            making=making,
            stopped=self._stopping.stopped,
        )

    async def transfer_all(self, stopping: Stopping) -> None:
        """Everything that is wanted of any entry has arrived, is parked or quarantined, or `stopping` was told; layouts are left to `finish`.

        Raises: as `sync`.
        """
        work = replace(self._transferring(self.observer), stopping=stopping)
        await work.run(None, None, least_priority=transfer_store.ANY_PRIORITY)
        await asyncio.to_thread(leftovers.clean, self.catalogue, self.folders.staging)

    async def finish(self, ids: Sequence[int]) -> None:
        """What follows arrivals is done for these entries: roles, derived files, manifests, layouts."""
        await self._finishing.follow(ids)

    def _transferring(self, observer: Observer) -> Transferring:
        return Transferring(
            settings=self.settings,
            catalogue=self.catalogue,
            folders=self.folders,
            threads=self._threads,
            observer=observer,
            clock=self.clock,
            stopping=self._stopping,
            pacing=self.pacing,
        )

    @property
    def pacing(self) -> Pacing:
        """The limits of transfers, live: what is applied to it holds from then on."""
        if self._pacing is None:
            self._pacing = Pacing(self.settings, lambda event: self.observer(event), self.clock)
        return self._pacing

    # --- what follows ---------------------------------------------------------------------------------

    async def make(
        self, ids: Sequence[int] | None, *, makers: Sequence[str] | None = None, retry: bool = False
    ) -> MakeReport:
        """See `Finishing.make`; all entries that have files here, if `ids` is None."""
        return await self._finishing.make(await self._ids(ids), makers=makers, retry=retry)

    async def arrange(
        self, ids: Sequence[int] | None, *, view: str | None = None, rebuild: bool = False
    ) -> dict[int, dict[str, ArrangeReport]]:
        """See `Finishing.arrange`; all entries that have files here, if `ids` is None."""
        return await self._finishing.arrange(await self._ids(ids), view=view, rebuild=rebuild)

    async def write_bags(self, reports: Mapping[int, Mapping[str, ArrangeReport]], folder: Path) -> BagReport:
        """See `Finishing.write_bags`."""
        return await self._finishing.write_bags(reports, folder)

    async def import_labels(self, source: Path, ids: Sequence[int] | None) -> ImportReport:
        """See `Finishing.import_labels`; all entries of `source` that have files here, if `ids` is None."""
        return await self._finishing.import_labels(source, await self._ids(ids))

    @property
    def _finishing(self) -> Finishing:
        return Finishing(
            settings=self.settings,
            catalogue=self.catalogue,
            root=self.folders.root,
            threads=self._threads,
            observer=self.observer,
            clock=self.clock,
            stopping=self._stopping,
            built_in=self.built_in,
        )

    # --- proof ----------------------------------------------------------------------------------------

    async def verify(self, ids: Sequence[int] | None, *, quick: bool = False) -> VerifyReport:
        """Every file of these entries that should be here, deposited or derived, was checked against its record; no layout shows a damaged one.

        What no record accounts for is named, and left alone.
        """
        chosen, ids = ids, await self._ids(ids)
        brought, missing = await self._transferring(self.observer).verify_deliveries(ids)
        if brought:
            await self._finishing.follow(brought)
        async with self._finishing.hands.readers() as readers:
            verifier = self._verifier(readers)
            with self._stopping.telling(verifier.stop):
                report = await verifier.verify(ids, quick=quick)
        known = functools.partial(
            strangers, archive=self.folders.archive, ids=chosen, stopped=lambda: self._stopping.stopped
        )
        unknown = await self.catalogue.read(known)
        report = replace(report, damaged=(*missing, *report.damaged), strangers=unknown)
        report += await verify_derived(
            self.catalogue,
            self.folders.root,
            ids,
            quick=quick,
            threads=self._threads,
            stopped=lambda: self._stopping.stopped,
        )
        await self._finishing.withdraw_damaged(
            sorted({int(f.path.partition("/")[0]) for f in report.damaged})
        )
        return report

    # --- room on the disk -----------------------------------------------------------------------------

    async def evict(self, order: Order, *, stopped: Callable[[], bool] | None = None) -> Removed:
        """See `Evictor.evict`; until the mirror, or `stopped`, is told to stop."""
        evictor = Evictor(
            self.catalogue,
            self.settings,
            self.folders.root,
            self._threads,
            self.observer,
            self.clock,
            self._finishing.show,
        )
        ended = stopped or (lambda: False)
        return await evictor.evict(order, stopped=lambda: self._stopping.stopped or ended())

    async def scrub(
        self,
        ids: Sequence[int] | None,
        *,
        seconds: float | None = None,
        bytes_per_s: int | None = None,
        at_any_hour: bool = False,
    ) -> ScrubReport:
        """One run of `Scrubber.run` over these entries, or over all, for at most so many seconds; `bytes_per_s` instead of the configured rate.

        Raises:
            ConfigFault: the catalogue has never heard of one of the entries.
            StorageFault: the disk refused, or seems to be away.
        """
        chosen = None if ids is None else await self._ids(ids)
        own: dict[str, object] = {} if bytes_per_s is None else {"bytes_per_s": bytes_per_s}
        if at_any_hour:
            own["hours"] = ""
        scrubber = self.scrubber(self.settings.scrub.model_copy(update=own))
        ends = time.monotonic() + (float("inf") if seconds is None else seconds)
        try:
            return await scrubber.run(lambda: self._stopping.stopped or time.monotonic() >= ends, ids=chosen)
        finally:
            scrubber.close()

    def scrubber(self, settings: ScrubSettings) -> Scrubber:
        """What reads again what is here; for runs of many hours, too."""
        cluster = self.settings.cluster
        workers = self._finishing.hands.scrubbers
        return Scrubber(
            cluster=ClusterReading(cluster, workers) if cluster.hands_out("scrub") else None,
            catalogue=self.catalogue,
            archive=self.folders.archive,
            quarantine=self.folders.quarantine,
            threads=self._threads,
            settings=settings,
            withdraw=self._finishing.withdraw_damaged,
            observer=self.observer,
            clock=self.clock,
        )

    def _verifier(self, readers: Readers | None = None) -> Verifier:
        return Verifier(
            readers=readers,
            catalogue=self.catalogue,
            archive=self.folders.archive,
            quarantine=self.folders.quarantine,
            threads=self._threads,
            clock=self.clock,
        )

    # --- what they share ------------------------------------------------------------------------------

    async def _ids(self, ids: Sequence[int] | None) -> Sequence[int]:
        """These entries, or all that were asked for.

        Raises:
            ConfigFault: the catalogue has never heard of one of them: most likely its number is mistyped.
        """
        if ids is None:
            return await self.catalogue.read(asked_for)
        unknown = await self.catalogue.read(functools.partial(never_heard_of, ids=ids))
        if unknown:
            raise ConfigFault(
                f"EMPIAR-{unknown[0]} is not in the catalogue",
                hint=f"check the number; `empiar-mirror crawl {unknown[0]}` asks the archive for it",
            )
        return ids


def _allow_open_files() -> None:
    """Batches of small files keep many part files open; the usual soft limit of 1,024 is close to what they need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
