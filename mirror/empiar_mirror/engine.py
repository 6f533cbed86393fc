"""The engine: brings claimed files through transports into staging, has them judged, and lets them arrive.

As many lanes as connections are allowed work side by side (`lanes`). A lane takes either a batch of small files or a
stretch of a large one (`agenda`), and after each attempt the file's fate is decided (`fate`).
"""

from __future__ import annotations

import asyncio
import functools
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path

from empiar_mirror.active import ActiveFile, BrokenOff, Verdict, worth_recording
from empiar_mirror.agenda import Agenda
from empiar_mirror.desk import Desk
from empiar_mirror.ending import Endings
from empiar_mirror.fate import (
    CROWDED_BELIEVED,
    STATE_AFTER,
    Decision,
    Next,
    WorkerGone,
    decide,
    outcome_word,
)
from empiar_mirror.feeding import Feeding
from empiar_mirror.fetchers import Fetchers
from empiar_mirror.lanes import Lanes, Run
from empiar_mirror.managed import ManagedChannel
from empiar_mirror.opening import Opening
from empiar_mirror.pacing import Pacing
from empiar_mirror.size_vote import settle_size
from empiar_mirror.space import Space
from empiar_mirror.threads import in_thread
from empiar_mirror.transports.base import Outcome, Transport
from empiar_schema import events, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.faults import (
    AccountFault,
    EmpiarMirrorError,
    StorageFault,
    TransferFault,
    TransientFault,
    UnreachableFault,
)
from empiar_schema.files import Validators
from empiar_schema.order_settings import OrderSettings
from empiar_schema.states import Channel, CopyState
from empiar_schema.transfer_settings import TransferSettings
from empiar_schema.transfer_store import Attempt, Block

#: Waits longer than this are spent in the catalogue (`not_before`), not in memory.
SHORT_WAIT_S = 2.0
#: How long a file rests whose only remaining channel is down.
CHANNEL_DOWN_WAIT_S = 60.0


class Engine:
    """One run over the wanted files of some entries."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        staging: Path,
        transports: Mapping[Channel, Transport],
        settings: TransferSettings,
        pacing: Pacing,
        space: Space,
        endings: Endings,
        threads: Executor,
        observer: Observer,
        clock: Callable[[], float] = time.time,
        managed: ManagedChannel | None = None,
        visible_within_s: float = 60.0,
        rules: OrderSettings | None = None,
        channels: Sequence[Channel] | None = None,
        by_subscription: bool = True,
        fetchers: Fetchers | None = None,
    ) -> None:
        """`channels`: those by which any file may come, all of `transports` if None; others bring what subscriptions name them for, if `by_subscription`.

        `visible_within_s`: how long a network file system may take to show here what Globus has written from elsewhere.
        """
        self._catalogue = catalogue
        self._staging = staging
        self._transports = transports
        #: Between which files may change. By Globus comes only what its service has delivered.
        self._channels = tuple(
            channel
            for channel in (transports if channels is None else channels)
            if channel is not Channel.GLOBUS
        )
        self._managed = managed
        self._fetchers = fetchers
        self._managing: asyncio.Task[None] | None = None
        self._visible_within_s = visible_within_s
        self._settings = settings
        self._space = space
        self._endings = endings
        self._threads = threads
        self._observer = observer
        self._clock = clock
        self._agenda = Agenda(settings, {c: t.capabilities for c, t in transports.items()})
        self._pacing = pacing
        self._active: dict[int, ActiveFile] = {}
        #: Files that are no longer active, and of which the catalogue does not yet say what became.
        self._leaving = 0
        self._down: set[Channel] = set()
        self._fed = False
        self._least_priority = transfer_store.ANY_PRIORITY
        self._changed = asyncio.Event()
        self._ending: EmpiarMirrorError | None = None
        self._stopping = False
        #: What asks servers about a file beside the lanes.
        self._asides: set[asyncio.Task[None]] = set()
        self._completing: set[asyncio.Task[None]] = set()
        desk = self._desk()
        self._lanes = Lanes(
            desk,
            agenda=self._agenda,
            pacing=pacing,
            opening=Opening(catalogue, staging=staging, threads=threads),
            transports=transports,
            settings=settings,
            threads=threads,
            log=self,
            fetchers=fetchers,
        )
        self._feeding = Feeding(
            desk,
            catalogue=catalogue,
            staging=staging,
            agenda=self._agenda,
            active=self._active,
            channels=self._channels,
            others={channel for channel in transports if channel is not Channel.GLOBUS},
            down=self._down,
            by_subscription=by_subscription,
            rules=rules or OrderSettings(),
            pacing=pacing,
            space=space,
            endings=endings,
            observer=observer,
            clock=clock,
            managed=managed,
        )

    async def run(
        self, empiar_ids: Sequence[int] | None, *, least_priority: int = transfer_store.ANY_PRIORITY
    ) -> None:
        """Every file of these entries (all, if None) that is wanted with this priority or a higher one has arrived, is parked or quarantined; or `stop` was called.

        Raises:
            StorageFault: the disk is full or refuses; what was begun is kept.
            UnreachableFault: no channel reaches the archive.
        """
        self._least_priority = least_priority
        workers = [asyncio.create_task(self._feed(empiar_ids))]
        workers.append(asyncio.create_task(self._lanes.run()))
        beside = [asyncio.create_task(self._pacing.run(self._wake))]
        if self._fetchers is not None:
            beside.append(asyncio.create_task(self._fetchers.run(self._wake)))
        for task in beside:
            task.add_done_callback(self._finished)
        if self._managed is not None:
            self._managing = asyncio.create_task(self._manage(self._managed, empiar_ids))
            workers.append(self._managing)
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in done:
                if not worker.cancelled():
                    worker.result()
        finally:
            await self._wind_up([*workers, *beside])
        if self._ending is not None:
            raise self._ending

    def stop(self) -> None:
        """The run ends soon, with partials kept. For signal handlers of the loop."""
        self._stopping = True
        self._wake(cancel=True)

    async def _wind_up(self, workers: list[asyncio.Task[None]]) -> None:
        for task in (*workers, *self._asides):
            task.cancel()
        await asyncio.gather(*workers, *self._asides, return_exceptions=True)
        await asyncio.gather(*self._completing, return_exceptions=True)
        await self._endings.drain()
        for active in list(self._active.values()):
            await self._shelve(active, error=None)

    def _desk(self) -> Desk:
        return Desk(
            over=lambda: self._over,
            exhausted=lambda: self._fed and not self._active,
            leaving=lambda: self._leaving > 0,
            completing=lambda: len(self._completing),
            change=self._wait_for_change,
            wake=self._wake,
            settle=self._settle,
            failed=self._failed,
            complete=lambda active: self._complete(active, None),
            shelve=lambda active: self._shelve(active, error=None),
            forget=self._forget,
            end=self._end,
        )

    async def _feed(self, empiar_ids: Sequence[int] | None) -> None:
        await self._feeding.run(empiar_ids, least_priority=self._least_priority)
        self._fed = True
        self._wake()
        if self._managing is not None:
            self._managing.cancel()

    @property
    def _over(self) -> bool:
        return self._stopping or self._ending is not None

    def _end(self, fault: EmpiarMirrorError) -> None:
        if self._ending is None:
            self._ending = fault
        self._wake(cancel=True)

    def _wake(self, *, cancel: bool = False) -> None:
        self._changed.set()
        if cancel:
            self._lanes.cancel()
            for task in (*self._asides, *filter(None, [self._managing])):
                task.cancel()

    async def _wait_for_change(self, at_most_s: float | None = None) -> None:
        self._changed.clear()
        if self._over:
            return
        try:
            async with asyncio.timeout(at_most_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _manage(self, managed: ManagedChannel, empiar_ids: Sequence[int] | None) -> None:
        try:
            await managed.run(empiar_ids, least_priority=self._least_priority, changed=self._wake)
        except (AccountFault, StorageFault, UnreachableFault) as fault:
            self._end(fault)

    # --- what sinks report ----------------------------------------------------------------------------

    def begun(self, active: ActiveFile, found: Validators, start: int) -> None:
        """See `FileLog`."""
        channel, path = active.tried.channel, str(active.work.remote)
        self._observer(events.AttemptBegan(active.file_id, path, channel, active.size, start))
        if worth_recording(active.size) and found.prove_identity and not active.delivered:
            active.on_record = True
            self._submit(
                functools.partial(
                    transfer_store.record_first_byte,
                    file_id=active.file_id,
                    found=found,
                    channel=channel,
                    now=int(self._clock()),
                )
            )

    def moved(self, active: ActiveFile, count: int) -> None:
        """See `FileLog`."""
        if count:
            self._pacing.moved(active.tried.channel, count)
            self._space.wrote(active.file_id, count)
            self._feeding.moved(count)
            self._observer(events.BytesMoved(active.file_id, count))

    def proven(self, active: ActiveFile, blocks: list[Block]) -> asyncio.Future[None]:
        """See `FileLog`."""
        job = functools.partial(transfer_store.record_blocks, file_id=active.file_id, blocks=blocks)
        future = asyncio.wrap_future(self._submit(job))
        # Whoever waits for it may be cancelled; `_submit` has the failure already.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    def _forget(self, file_id: int, starts: Sequence[int]) -> None:
        self._submit(functools.partial(transfer_store.forget_blocks, file_id=file_id, starts=starts))

    def _submit(self, job: Callable[[sqlite3.Connection], None]) -> Future[None]:
        """Queues a catalogue job whose end nobody need wait for; its failure ends the run.

        A power cut may undo it: then blocks of that partial are fetched again, and nothing is wrong.
        """
        loop = asyncio.get_running_loop()
        future = self._catalogue.submit(job, durable=False)

        def check(done: Future[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is None or loop.is_closed():
                return
            fault = error if isinstance(error, EmpiarMirrorError) else StorageFault(f"catalogue: {error!r}")
            loop.call_soon_threadsafe(self._end, fault)

        future.add_done_callback(check)
        return future

    # --- after an attempt -----------------------------------------------------------------------------

    async def _settle(self, run: Run, outcome: Outcome) -> None:
        active, stretch, sink = run.active, run.stretch, run.sink
        fault = outcome.fault
        if isinstance(fault, BrokenOff):
            self._record(_attempt(run, outcome, None))
            active.remaining.give_back(stretch)
            await self._left_behind(active)
            return
        if isinstance(fault, WorkerGone):
            self._record(_attempt(run, outcome, fault))
            active.remaining.give_back(stretch)
            active.losses += 1
            await self._start_over(active, active.size)
            await self._left_behind(active)
            return
        if fault is None and stretch.stop is not None and not stretch.complete:
            fault = TransientFault(
                f"{active.work.remote}: ended at {stretch.position} of {stretch.stop} bytes"
            )
        attempt = _attempt(run, outcome, fault)
        if fault is not None:
            self._record(attempt)
            active.remaining.give_back(stretch)
            if active.tried.crowded < CROWDED_BELIEVED:
                self._pacing.failed(sink.channel, fault, began_at=run.began_at)
            await self._failed(active, fault, channel=sink.channel, progressed=sink.progressed)
            return
        seconds = outcome.ended_at - outcome.started_at
        if not active.delivered:
            self._agenda.measured(sink.channel, count=outcome.bytes_moved, seconds=seconds)
        active.tried.fruitless = active.tried.on_channel = 0
        if active.size is None:
            active.size = stretch.position
        active.remaining.give_back(stretch, ended=True)
        if active.verdict is None and active.remaining.done:
            self._complete(active, attempt)
            return
        self._record(attempt)
        if active.verdict is not None:
            await self._act(active)
        else:
            self._agenda.add(active)
            self._wake()

    def _record(self, attempt: Attempt) -> None:
        self._submit(functools.partial(transfer_store.record_attempts, attempts=[attempt]))

    async def _failed(
        self, active: ActiveFile, fault: EmpiarMirrorError, *, channel: Channel, progressed: bool
    ) -> None:
        if isinstance(fault, UnreachableFault):
            await self._channel_down(active, fault, channel)
            return
        if active.delivered and not isinstance(fault, StorageFault):
            await self._delivery_failed(active, fault)
            return
        if channel is not active.tried.channel:
            await self._left_behind(active)
            return
        decision = decide(
            fault,
            active.tried,
            progressed=progressed,
            channels=[c for c in self._feeding.channels_of(active.work) if c not in self._down],
            retries=self._settings.retries,
            first_wait_s=self._settings.retry_wait_s,
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
        )
        self._observer(
            events.AttemptFailed(
                active.file_id,
                str(active.work.remote),
                channel,
                str(fault),
                STATE_AFTER[decision.next],
                outcome_word(fault),
            )
        )
        if active.verdict is None or decision.next is not Next.RESUME:
            active.verdict = Verdict(decision, fault)
        await self._act(active)

    async def _delivery_failed(self, active: ActiveFile, fault: EmpiarMirrorError) -> None:
        """What Globus has delivered is not there, or not the file: looked at again while it may not be visible yet, then refused."""
        delivery = active.work.delivery
        assert delivery is not None
        error = str(fault)
        if self._clock() < delivery.delivered_at + self._visible_within_s:
            await self._shelve(active, error=error, wait_s=self._visible_within_s / 4)
            return
        if isinstance(fault, TransientFault) and fault.retry_after_s:
            # All of it is here, and is looked at again later.
            await self._shelve(active, error=error, wait_s=fault.retry_after_s)
            return
        remote = str(active.work.remote)
        failed = events.AttemptFailed(active.file_id, remote, Channel.GLOBUS, error, CopyState.WANTED)
        self._observer(failed)
        with self._left(active):
            await self._endings.refuse_delivery(active, error=error)

    async def _channel_down(self, active: ActiveFile, fault: UnreachableFault, channel: Channel) -> None:
        self._down.add(channel)
        if all(c in self._down for c in self._channels):
            self._end(fault)
            return
        up = [c for c in self._feeding.channels_of(active.work) if c not in self._down]
        usable = next((c for c in up if c not in active.tried.refused), None)
        if usable is None:
            active.verdict = Verdict(Decision(Next.RESUME, channel, CHANNEL_DOWN_WAIT_S), fault)
            await self._act(active)
            return
        active.tried.channel = usable
        await self._left_behind(active)

    async def _left_behind(self, active: ActiveFile) -> None:
        """A connection ended by a channel that the file has been moved away from; perhaps it was the last one busy with it."""
        if active.verdict is not None:
            await self._act(active)
            return
        self._agenda.add(active)
        self._wake()

    async def _act(self, active: ActiveFile) -> None:
        """Carries the verdict out, once no other connection is busy with the file."""
        verdict = active.verdict
        assert verdict is not None
        decision, fault = verdict.decision, verdict.fault
        if decision.next in (Next.STOP, Next.PAUSE):
            self._end(fault)
            return
        if active.remaining.running:
            if decision.next is Next.RESUME and decision.wait_s <= SHORT_WAIT_S:
                active.verdict = None
                self._agenda.add(active)
                self._wake()
            return
        active.verdict = None
        self._agenda.remove(active)
        match decision.next:
            case Next.PARK:
                with self._left(active):
                    await self._endings.discard_and_park(active, error=str(fault))
            case Next.QUARANTINE:
                with self._left(active):
                    await self._endings.quarantine(active, error=str(fault))
            case Next.SETTLE_SIZE:
                # Aside: it asks by every channel, and this one's connection may hold the host's last place.
                task = asyncio.create_task(self._settle_size(active, fault))
                self._asides.add(task)
                task.add_done_callback(self._finished)
            case Next.START_OVER | Next.WHOLE:
                active.whole = active.whole or decision.next is Next.WHOLE
                await self._start_over(active, active.size)
                await self._again(active, decision.wait_s, fault)
            case _:
                await self._again(active, decision.wait_s, fault)

    async def _again(self, active: ActiveFile, wait_s: float, fault: EmpiarMirrorError) -> None:
        if wait_s > SHORT_WAIT_S:
            await self._shelve(active, error=str(fault), wait_s=wait_s)
        elif wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._enqueue, active)
        else:
            self._enqueue(active)

    def _enqueue(self, active: ActiveFile) -> None:
        if active.file_id in self._active and not self._over:
            self._agenda.add(active)
            self._wake()

    async def _start_over(self, active: ActiveFile, size: int | None) -> None:
        self._space.release(active.file_id)
        self._space.reserve(active.file_id, active.likely_size if size is None else size)
        await in_thread(self._threads, active.start_over, size)

    async def _settle_size(self, active: ActiveFile, fault: EmpiarMirrorError) -> None:
        vote = await settle_size(active, self._transports, catalogue=self._catalogue, now=int(self._clock()))
        if vote.channel is not None:
            active.tried.channel = vote.channel
        if vote.size is None:
            await self._shelve(active, error=f"{fault}; {vote.reason}", wait_s=CHANNEL_DOWN_WAIT_S)
            return
        active.size_settled = True
        await self._start_over(active, vote.size)
        self._enqueue(active)

    # --- the end of a file ----------------------------------------------------------------------------

    def _complete(self, active: ActiveFile, last: Attempt | None) -> None:
        """The file is being verified and arrives, its last attempt with it, while its lane goes on with others."""
        self._agenda.remove(active)
        # Never waited for here: the connection that brought the file is still held, and a second look may need it.
        task = asyncio.create_task(self._finish(active, last))
        self._completing.add(task)
        task.add_done_callback(self._finished)

    async def _finish(self, active: ActiveFile, last: Attempt | None) -> None:
        try:
            await self._endings.arrive(active, last)
        except TransferFault as fault:
            if last is not None:
                self._record(last)
            channel = active.tried.channel
            await self._failed(active, fault, channel=channel, progressed=False)
            return
        self._drop(active)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._completing.discard(task)
        self._asides.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._end(
                error if isinstance(error, EmpiarMirrorError) else StorageFault(f"unexpected: {error!r}")
            )
        self._wake()

    async def _shelve(self, active: ActiveFile, *, error: str | None, wait_s: float = 0.0) -> None:
        with self._left(active):
            await self._endings.shelve(active, error=error, wait_s=wait_s)

    @contextmanager
    def _left(self, active: ActiveFile) -> Iterator[None]:
        """The file is no longer active; until the body has written what became of it, the run is not at its end."""
        self._drop(active)
        self._leaving += 1
        try:
            yield
        finally:
            self._leaving -= 1
            self._wake()

    def _drop(self, active: ActiveFile) -> None:
        self._agenda.remove(active)
        self._active.pop(active.file_id, None)
        self._space.release(active.file_id)
        self._wake()


def _attempt(run: Run, outcome: Outcome, fault: EmpiarMirrorError | None) -> Attempt:
    delivery = run.active.work.delivery
    started_at, ended_at = outcome.started_at, outcome.ended_at
    if delivery is not None:  # it took the service as long as that
        started_at, ended_at = float(delivery.submitted_at), float(delivery.delivered_at)
    return Attempt(
        file_id=run.active.file_id,
        channel=run.sink.channel,
        started_at=started_at,
        ended_at=ended_at,
        start_offset=outcome.claim.start,
        bytes_moved=outcome.bytes_moved,
        outcome=outcome_word(fault),
        error=str(fault) if fault else None,
    )
