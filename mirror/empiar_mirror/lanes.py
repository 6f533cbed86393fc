"""Lanes: as many streams as are allowed now, each bringing a batch of small files or a stretch of a large one.

What a lane takes is `agenda`'s judgement, how many there are `pacing`'s; what becomes of a file after an attempt is the engine's.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from empiar_mirror.active import ActiveFile, FileLog, FileSink
from empiar_mirror.agenda import SMALL_BYTES, Agenda
from empiar_mirror.desk import Desk
from empiar_mirror.fetchers import Fetchers
from empiar_mirror.opening import Opening
from empiar_mirror.pacing import Pacing
from empiar_mirror.staging import OVERLAP_BYTES
from empiar_mirror.stretches import UNPROVEN_BYTES, Stretch
from empiar_mirror.transports.base import Claim, Transport
from empiar_schema.faults import ChangedUpstream, EmpiarMirrorError, StorageFault
from empiar_schema.states import Channel
from empiar_schema.transfer_settings import TransferSettings

#: Files that are being verified or are arriving at once; bounds open files when the disk is slow.
COMPLETIONS: Final = 96


@dataclass(slots=True)
class Run:
    """One claim under way."""

    active: ActiveFile
    stretch: Stretch
    sink: FileSink
    claim: Claim
    #: When its stream was begun, by the clock of the pacing.
    began_at: float


class Lanes:
    """The streams of one run."""

    def __init__(
        self,
        desk: Desk,
        *,
        agenda: Agenda,
        pacing: Pacing,
        opening: Opening,
        transports: Mapping[Channel, Transport],
        settings: TransferSettings,
        threads: Executor,
        log: FileLog,
        fetchers: Fetchers | None = None,
    ) -> None:
        self._desk = desk
        self._agenda = agenda
        self._pacing = pacing
        self._opening = opening
        self._transports = transports
        self._settings = settings
        self._threads = threads
        self._log = log
        self._fetchers = fetchers
        self._working: set[asyncio.Task[None]] = set()
        self._defect: BaseException | None = None

    async def run(self) -> None:
        """Nothing is left on the agenda, or the run is over. Cancelled, all streams have ended."""
        try:
            while not self._desk.over() and self._defect is None:
                self._begin_what_may()
                if not self._working and self._desk.exhausted():
                    break
                await self._desk.change()
        finally:
            self.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)
        if self._defect is not None:
            raise self._defect

    def cancel(self) -> None:
        """All streams end soon."""
        for task in self._working:
            task.cancel()

    def _begin_what_may(self) -> None:
        """As many lanes work as there is work and room for."""
        while self._desk.completing() < COMPLETIONS:
            channels = frozenset(channel for channel in self._transports if self._pacing.room(channel))
            # Of batches and stretches each connection is to have its share.
            self._agenda.connections = self._pacing.connections
            if batch := self._agenda.batch(channels):
                self._begin_lane(batch[0].tried.channel, self._fetch_batch(batch))
            elif self._begin_elsewhere(channels):
                pass
            elif (active := self._agenda.large(channels, but=self._kept_for_others)) is not None:
                active.preparing = True  # at once: the work below begins only when the loop comes round
                self._begin_lane(active.tried.channel, self._fetch_stretch(active))
            else:
                return
        self._pacing.disk_waits()

    def _begin_lane(self, channel: Channel, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        self._pacing.began(channel)
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(functools.partial(self._ended, channel))
        return task

    def _kept_for_others(self, active: ActiveFile) -> bool:
        return self._fetchers is not None and self._fetchers.waits_for_one(active)

    def _begin_elsewhere(self, channels: frozenset[Channel]) -> bool:
        """Whether another machine has been given a whole file."""
        fetchers = self._fetchers
        if fetchers is None or (active := self._agenda.untouched(channels, fetchers.fits)) is None:
            return False
        if (worker := fetchers.reserve()) is None:
            return False
        active.preparing = True
        task = self._begin_lane(active.tried.channel, self._fetch_elsewhere(active, fetchers, worker))
        task.add_done_callback(lambda _: fetchers.free(worker))
        return True

    def _ended(self, channel: Channel, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        self._pacing.ended(channel)
        if not task.cancelled() and (error := task.exception()) is not None and self._defect is None:
            self._defect = error
        self._desk.wake()

    async def _fetch_batch(self, batch: list[ActiveFile]) -> None:
        if await self._opened(batch):
            await self._fetch([self._begin(active, active.remaining.take(None)) for active in batch])

    async def _fetch_stretch(self, active: ActiveFile) -> None:
        try:
            runs = await self._prepare(active)
        finally:
            active.preparing = False
        if not active.remaining.nothing_left_to_take:
            self._desk.wake()  # another lane may share the rest
        await self._fetch(runs)

    async def _fetch_elsewhere(self, active: ActiveFile, fetchers: Fetchers, worker: str) -> None:
        try:
            if not await self._opened([active]) or not self._agenda.wants(active) or active.held:
                return
            run = self._begin(active, active.remaining.take(None))
        finally:
            active.preparing = False
        settled = False
        try:
            outcome = await fetchers.bring(run, worker, self._log)
            if outcome is not None:
                settled = True
                await self._desk.settle(run, outcome)
        finally:
            if not settled:
                active.remaining.give_back(run.stretch)
        if outcome is None:
            active.writers.clear()

    async def _prepare(self, active: ActiveFile) -> list[Run]:
        """What one connection shall fetch of a large file next; nothing if it is complete, or the disk refuses."""
        if not await self._opened([active]):
            return []
        if not self._agenda.wants(active):
            # Since it was chosen another connection has ended it, or is about to begin it anew.
            return []
        if active.held and not active.remaining.done:
            # The last of its connections comes here after its stretch; the others only left it.
            self._agenda.remove(active)
            if not active.remaining.running:
                await self._desk.shelve(active)
            return []
        if active.remaining.done:  # every byte was proven already; only its identity is open
            self._agenda.remove(active)
            await self._confirm(active)
            return []
        return [self._begin(active, active.remaining.take(self._agenda.stretch_bytes(active)))]

    async def _fetch(self, runs: list[Run]) -> None:
        """One outcome for each run, acted upon. All runs are by one channel."""
        if not runs:
            return
        waiting = {id(run.claim): run for run in runs}
        transport = self._transports[runs[0].sink.channel]
        try:
            async with aclosing(transport.fetch([run.claim for run in runs])) as outcomes:
                async for outcome in outcomes:
                    await self._desk.settle(waiting.pop(id(outcome.claim)), outcome)
        finally:
            for run in waiting.values():
                run.active.remaining.give_back(run.stretch)

    def _begin(self, active: ActiveFile, stretch: Stretch) -> Run:
        writer = active.writer_of(stretch)
        channel = active.tried.channel
        alone = active.remaining.running == 1 and active.remaining.nothing_left_to_take
        share = UNPROVEN_BYTES // (1 if alone else self._settings.connections_per_file)
        sink = FileSink(
            active,
            writer,
            threads=self._threads,
            log=self._log,
            unproven_bytes=share - OVERLAP_BYTES,
            # A batch of small files ends soon; a large file would keep its connection for hours.
            breaks_off=functools.partial(self._breaks_off, active, channel),
        )
        to_the_end = stretch.stop is None or stretch.stop == active.size
        claim = Claim(
            active.work.remote,
            sink,
            start=writer.resume_at,
            stop=None if to_the_end else stretch.stop,
            validators=active.validators,
        )
        return Run(active, stretch, sink, claim, self._pacing.timer())

    def _breaks_off(self, active: ActiveFile, channel: Channel) -> bool:
        return active.likely_size > SMALL_BYTES and (active.held or self._pacing.paused(channel))

    async def _opened(self, batch: Sequence[ActiveFile]) -> bool:
        """Their part files are open; False if the disk refused, which ends the run."""
        try:
            lost = await self._opening.open([active for active in batch if active.part is None])
        except StorageFault as fault:
            self._desk.end(fault)
            return False
        for file_id, starts in lost.items():
            self._desk.forget(file_id, starts)
        return True

    async def _confirm(self, active: ActiveFile) -> None:
        """A partial that needs no more bytes may arrive if the archive still holds that file."""
        channel = active.tried.channel
        try:
            found = await self._transports[channel].facts(active.work.remote)
            why = active.validators.contradicts(found) if active.validators else "nothing is on record of it"
            if why is not None:
                raise ChangedUpstream(f"{active.work.remote} has changed since it was begun: {why}")
        except EmpiarMirrorError as fault:
            await self._desk.failed(active, fault, channel=channel, progressed=False)
            return
        self._desk.complete(active)
