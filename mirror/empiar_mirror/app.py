"""The composition root: settings become objects here."""

from __future__ import annotations

import asyncio
import functools
import resource
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from empiar_mirror.arrange import ArrangeReport, clean_leftovers
from empiar_mirror.cluster.leases import recover_leases
from empiar_mirror.crawling import (
    Crawling,
    CrawlReport,
    CrawlWithMaps,
    EmdbReport,
    Failures,
    ProbedCrawl,
)
from empiar_mirror.doubts import Doubts
from empiar_mirror.eviction.evicting import Evictor, Removed, settle
from empiar_mirror.eviction.pinned import put_pins_in_force
from empiar_mirror.eviction.planning import Order
from empiar_mirror.finishing import Finishing
from empiar_mirror.folders import Folders
from empiar_mirror.globus import leftovers
from empiar_mirror.instance_lock import InstanceLock
from empiar_mirror.makers import placing, registry
from empiar_mirror.pacing import Pacing
from empiar_mirror.plan_facts import asked_for, never_heard_of
from empiar_mirror.probe import ProbeReport
from empiar_mirror.proving import Proving
from empiar_mirror.reading import CATALOGUE_NAME, require_catalogue
from empiar_mirror.recover import recover
from empiar_mirror.reports import (
    BagReport,
    ImportReport,
    MakeReport,
    RecoveryReport,
    ScrubReport,
    VerifyReport,
)
from empiar_mirror.scrub import Scrubber
from empiar_mirror.stopping import Stopping
from empiar_mirror.subscriptions.declaring import put_in_force
from empiar_mirror.subscriptions.evaluation import Evaluated
from empiar_mirror.subscriptions.evaluator import Evaluator
from empiar_mirror.syncing import Syncing, SyncReport
from empiar_mirror.transferring import Transferring
from empiar_schema import transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import (
    Observer,
)
from empiar_schema.faults import ConfigFault
from empiar_schema.settings import ScrubSettings, Settings
from empiar_schema.states import Channel

T = TypeVar("T")

#: Threads for writing, hashing and flushing; more than cores, because flushes wait for the disk.
WORK_THREADS = 8
#: Part files, connections and readers open at once, with room to spare.
OPEN_FILES = 4096


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
    _doubts: Doubts | None = None
    #: What each worker of a cluster has in hand.
    _in_hand: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, settings: Settings, *, observer: Observer, create: bool = False) -> Self:
        """The mirror in `settings.root`, locked for this process, with what a crash left put in order.

        The subscriptions of the configuration are in force.

        Raises:
            CatalogueFault: another process works on it, or the catalogue is missing or refuses.
            ConfigFault: `root` cannot be written.
            StorageFault: the disk refused.
        """
        if not create:
            require_catalogue(settings.root)
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
        """See `Crawling.crawl`."""
        return await self._crawling.crawl(ids, full=full, every_s=every_s, may_go_on=may_go_on)

    async def crawl_emdb(
        self,
        ids: Sequence[int] | None,
        *,
        full: bool = False,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> EmdbReport:
        """See `Crawling.crawl_emdb`."""
        return await self._crawling.crawl_emdb(ids, full=full, may_go_on=may_go_on)

    async def crawl_with_maps(self, ids: Sequence[int] | None, *, full: bool = False) -> CrawlWithMaps:
        """See `Crawling.crawl_with_maps`."""
        return await self._crawling.crawl_with_maps(ids, full=full)

    async def crawl_and_probe(self, ids: Sequence[int], *, full: bool = False) -> ProbedCrawl:
        """See `Crawling.crawl_and_probe`."""
        return await self._crawling.crawl_and_probe(ids, full=full)

    async def probe(self, ids: Sequence[int]) -> ProbeReport:
        """See `Crawling.probe`."""
        return await self._crawling.probe(ids)

    async def evaluate_subscriptions(self, names: Collection[str] | None = None) -> list[Evaluated]:
        """See `Evaluator.evaluate`."""
        return await self._evaluator.evaluate(names)

    @property
    def _crawling(self) -> Crawling:
        return Crawling(
            settings=self.settings,
            catalogue=self.catalogue,
            observer=self.observer,
            clock=self.clock,
            stopping=self._stopping,
            finishing=lambda: self._finishing,
            evaluator=lambda: self._evaluator,
            transferring=self._transferring,
            failures=self._crawl_failures,
        )

    @property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.settings, self.catalogue, self.observer, self.clock, self._stopping)

    # --- transfer -------------------------------------------------------------------------------------

    async def sync(
        self, ids: Sequence[int], *, view: str | None = None, channel: Channel | None = None
    ) -> SyncReport:
        """See `Syncing.sync`."""
        return await self._syncing.sync(ids, view=view, channel=channel)

    async def sync_as_before(
        self, ids: Sequence[int] | None = None, *, channel: Channel | None = None
    ) -> SyncReport:
        """See `Syncing.sync_as_before`."""
        return await self._syncing.sync_as_before(ids, channel=channel)

    async def sync_subscription(self, name: str, *, channel: Channel | None = None) -> SyncReport:
        """See `Syncing.sync_subscription`."""
        return await self._syncing.sync_subscription(name, channel=channel)

    async def repair(self, ids: Sequence[int] | None, *, channel: Channel | None = None) -> SyncReport:
        """See `Syncing.repair`; all that were asked for, if `ids` is None."""
        return await self._syncing.repair(await self._ids(ids), channel=channel)

    @property
    def _syncing(self) -> Syncing:
        return Syncing(
            settings=self.settings,
            catalogue=self.catalogue,
            folders=self.folders,
            observer=self.observer,
            clock=self.clock,
            stopping=self._stopping,
            crawling=self._crawling,
            evaluator=self._evaluator,
            proving=self._proving,
            finishing=self._finishing,
            transferring=self._transferring,
        )

    async def transfer_all(self, stopping: Stopping) -> None:
        """Everything that is wanted of any entry has arrived, is parked or quarantined, or `stopping` was told; layouts are left to `finish`.

        Raises: as `sync`.
        """
        work = replace(self._transferring, stopping=stopping)
        await work.run(None, None, least_priority=transfer_store.ANY_PRIORITY)
        await asyncio.to_thread(leftovers.clean, self.catalogue, self.folders.staging)

    async def finish(self, ids: Sequence[int]) -> None:
        """What follows arrivals is done for these entries: roles, derived files, manifests, layouts. Jobs that have to wait before they are tried again are left.

        Raises: as `Finishing.follow`.
        """
        await self._finishing.follow(ids, retrying=False)

    @property
    def _transferring(self) -> Transferring:
        return Transferring(
            settings=self.settings,
            catalogue=self.catalogue,
            folders=self.folders,
            threads=self._threads,
            observer=self.observer,
            clock=self.clock,
            stopping=self._stopping,
            pacing=self.pacing,
            doubts=self.doubts,
            in_hand=self._in_hand,
        )

    @property
    def doubts(self) -> Doubts:
        """What came and is not believed yet; it outlasts a single transfer."""
        if self._doubts is None:
            self._doubts = Doubts(self.settings.transfer.retry_wait_s, clock=time.monotonic)
        return self._doubts

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
            in_hand=self._in_hand,
            built_in=self.built_in,
        )

    # --- proof ----------------------------------------------------------------------------------------

    async def verify(self, ids: Sequence[int] | None, *, quick: bool = False) -> VerifyReport:
        """See `Proving.verify`; all that were asked for, if `ids` is None."""
        return await self._proving.verify(await self._ids(ids), quick=quick, strangers_of=ids)

    async def scrub(
        self,
        ids: Sequence[int] | None,
        *,
        seconds: float | None = None,
        bytes_per_s: int | None = None,
        at_any_hour: bool = False,
    ) -> ScrubReport:
        """See `Proving.scrub`.

        Raises:
            ConfigFault: the catalogue has never heard of one of the entries.
        """
        chosen = None if ids is None else await self._ids(ids)
        return await self._proving.scrub(
            chosen, seconds=seconds, bytes_per_s=bytes_per_s, at_any_hour=at_any_hour
        )

    def scrubber(self, settings: ScrubSettings) -> Scrubber:
        """See `Proving.scrubber`."""
        return self._proving.scrubber(settings)

    @property
    def _proving(self) -> Proving:
        return Proving(
            settings=self.settings,
            catalogue=self.catalogue,
            folders=self.folders,
            threads=self._threads,
            observer=self.observer,
            clock=self.clock,
            stopping=self._stopping,
            finishing=self._finishing,
            transferring=self._transferring,
            withdraw=lambda ids: self._finishing.withdraw_damaged(ids),
        )

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
