"""From the configuration to whoever does the work: this machine, or a cluster."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.cluster.dispatch import Dispatcher
from empiar_mirror.cluster.making import MakingWorkers
from empiar_mirror.cluster.reading import ReadingWorkers
from empiar_mirror.cluster.transferring import FetchingWorkers
from empiar_mirror.makers.workers import Processes, Workers
from empiar_mirror.pacing import Pacing
from empiar_mirror.readers import Readers, ReadingThreads
from empiar_schema.catalogue import Catalogue
from empiar_schema.cluster_settings import ClusterWork
from empiar_schema.events import Observer
from empiar_schema.settings import Settings


@dataclass(frozen=True, slots=True)
class Hands:
    """Those who make and read for one mirror. Nothing is connected before there is something to do."""

    settings: Settings
    root: Path
    catalogue: Catalogue
    threads: Executor
    observer: Observer
    clock: Callable[[], float]
    #: What each worker has in hand, of all that this process hands out.
    in_hand: Counter[str]

    @asynccontextmanager
    async def makers(self) -> AsyncIterator[Workers]:
        """Who calls makers' functions, until the body ends."""
        workers: Workers = Processes()
        if self.settings.cluster.hands_out("make"):
            here = self.settings.making.workers or os.cpu_count() or 1
            workers = MakingWorkers(self._dispatcher(), root=self.root, here=here, observer=self.observer)
        try:
            yield workers
        finally:
            await workers.aclose()

    @asynccontextmanager
    async def readers(self) -> AsyncIterator[Readers]:
        """Who reads copies through for `verify`, until the body ends."""
        if self.settings.cluster.hands_out("verify"):
            async with self._reading("verify") as workers:
                yield workers
        else:
            yield self._here()

    def scrubbers(self) -> AbstractAsyncContextManager[ReadingWorkers]:
        """The workers of the cluster, as they read for `scrub`."""
        return self._reading("scrub")

    @asynccontextmanager
    async def fetchers(self, pacing: Pacing) -> AsyncIterator[FetchingWorkers | None]:
        """Who fetches large files besides this machine, until the body ends; None where nobody does."""
        if not self.settings.cluster.hands_out("transfer"):
            yield None
            return
        workers = FetchingWorkers(
            self._dispatcher(),
            self.settings,
            root=self.root,
            pacing=pacing,
            threads=self.threads,
            observer=self.observer,
        )
        try:
            yield workers
        finally:
            await workers.aclose()

    def _here(self) -> Readers:
        return ReadingThreads(self.root / "archive", self.threads)

    @asynccontextmanager
    async def _reading(self, work: ClusterWork) -> AsyncIterator[ReadingWorkers]:
        dispatcher, here = self._dispatcher(), self._here()
        try:
            yield ReadingWorkers(dispatcher, here, work=work, observer=self.observer)
        finally:
            await dispatcher.aclose()

    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self.settings.cluster,
            root=self.root,
            catalogue=self.catalogue,
            threads=self.threads,
            observer=self.observer,
            clock=self.clock,
            in_hand=self.in_hand,
        )
