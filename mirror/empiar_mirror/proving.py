"""Proof of what is here: all of it on demand, and regularly, the oldest proof first; and what is done about damage."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from empiar_mirror.arrive import archive_path
from empiar_mirror.derived_proof import verify_derived
from empiar_mirror.finishing import Finishing
from empiar_mirror.folders import Folders
from empiar_mirror.proof import Verifier
from empiar_mirror.readers import Readers
from empiar_mirror.reports import ScrubReport, VerifyReport
from empiar_mirror.scrub import ClusterReading, Scrubber
from empiar_mirror.stopping import Stopping
from empiar_mirror.strangers import strangers
from empiar_mirror.threads import in_thread
from empiar_mirror.transfer_facts import quarantined_files
from empiar_mirror.transferring import Transferring
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.paths import RemotePath
from empiar_schema.settings import ScrubSettings, Settings


@dataclass(frozen=True, slots=True)
class Proving:
    """Reads what is here against its record."""

    settings: Settings
    catalogue: Catalogue
    folders: Folders
    threads: ThreadPoolExecutor
    observer: Observer
    clock: Callable[[], float]
    stopping: Stopping
    finishing: Finishing
    transferring: Transferring
    #: Takes what is damaged of these entries out of their layouts, under the settings of then.
    withdraw: Callable[[Sequence[int]], Awaitable[None]]

    async def verify(
        self, ids: Sequence[int], *, quick: bool, strangers_of: Sequence[int] | None
    ) -> VerifyReport:
        """Every file of these entries that should be here, deposited or derived, was checked against its record; no layout shows a damaged one.

        What no record accounts for is named, and left alone: of the entries `strangers_of`, or in the whole archive.
        """
        brought, missing = await self.transferring.verify_deliveries(ids)
        if brought:
            await self.finishing.follow(brought)
        async with self.finishing.hands.readers() as readers:
            verifier = self._verifier(readers)
            with self.stopping.telling(verifier.stop):
                report = await verifier.verify(ids, quick=quick)
        known = functools.partial(
            strangers, archive=self.folders.archive, ids=strangers_of, stopped=lambda: self.stopping.stopped
        )
        unknown = await self.catalogue.read(known)
        report = replace(report, damaged=(*missing, *report.damaged), strangers=unknown)
        report += await verify_derived(
            self.catalogue,
            self.folders.root,
            ids,
            quick=quick,
            threads=self.threads,
            stopped=lambda: self.stopping.stopped,
        )
        await self.finishing.withdraw_damaged(sorted({int(f.path.partition("/")[0]) for f in report.damaged}))
        return report

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
            StorageFault: the disk refused, or seems to be away.
        """
        own: dict[str, object] = {} if bytes_per_s is None else {"bytes_per_s": bytes_per_s}
        if at_any_hour:
            own["hours"] = ""
        scrubber = self.scrubber(self.settings.scrub.model_copy(update=own))
        ends = time.monotonic() + (float("inf") if seconds is None else seconds)
        try:
            return await scrubber.run(lambda: self.stopping.stopped or time.monotonic() >= ends, ids=ids)
        finally:
            scrubber.close()

    def scrubber(self, settings: ScrubSettings) -> Scrubber:
        """What reads again what is here; for runs of many hours, too."""
        cluster = self.settings.cluster
        workers = self.finishing.hands.scrubbers
        return Scrubber(
            cluster=ClusterReading(cluster, workers) if cluster.hands_out("scrub") else None,
            catalogue=self.catalogue,
            archive=self.folders.archive,
            quarantine=self.folders.quarantine,
            threads=self.threads,
            settings=settings,
            withdraw=self.withdraw,
            observer=self.observer,
            clock=self.clock,
        )

    async def clear_damaged(self, ids: Sequence[int]) -> int:
        """See `Verifier.clear_damaged`."""
        return await self._verifier().clear_damaged(ids)

    async def replaceable(self, ids: Sequence[int]) -> set[int]:
        """The quarantined files of these entries at whose paths nothing stands.

        The others would be fetched only to be quarantined once more: the mirror overwrites nothing, and does not know what stands there.
        """
        files = await self.catalogue.read(functools.partial(quarantined_files, ids=ids))
        return await in_thread(self.threads, self._without_obstacle, files)

    def _without_obstacle(self, files: Sequence[tuple[int, RemotePath]]) -> set[int]:
        archive = self.folders.archive
        return {file_id for file_id, remote in files if not os.path.lexists(archive_path(archive, remote))}

    def _verifier(self, readers: Readers | None = None) -> Verifier:
        return Verifier(
            readers=readers,
            catalogue=self.catalogue,
            archive=self.folders.archive,
            quarantine=self.folders.quarantine,
            threads=self.threads,
            clock=self.clock,
        )
