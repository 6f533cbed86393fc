"""The engine: brings claimed files through transports into staging, has them judged, and lets them arrive.

As many lanes as connections are allowed work side by side. A lane takes either a batch of small files or a
stretch of a large one (`agenda`), and after each attempt the file's fate is decided (`fate`).
"""

from __future__ import annotations

import asyncio
import functools
import random
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.active import ActiveFile, FileSink, Verdict, worth_recording
from empiar_mirror.agenda import Agenda
from empiar_mirror.ending import Endings
from empiar_mirror.fate import STATE_AFTER, Decision, Next, Tried, decide, outcome_word
from empiar_mirror.managed import ManagedChannel
from empiar_mirror.opening import Opening
from empiar_mirror.size_vote import settle_size
from empiar_mirror.space import Space
from empiar_mirror.staging import OVERLAP_BYTES, part_path
from empiar_mirror.stretches import UNPROVEN_BYTES, Stretch
from empiar_mirror.threads import in_thread
from empiar_mirror.transports.base import Claim, Outcome, Transport
from empiar_schema import events, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.faults import (
    AccountFault,
    ChangedUpstream,
    EmpiarMirrorError,
    StorageFault,
    TransferFault,
    TransientFault,
    UnreachableFault,
)
from empiar_schema.files import Validators
from empiar_schema.settings import TransferSettings
from empiar_schema.states import Channel, CopyState
from empiar_schema.transfer_store import Attempt, Block, Work

#: Waits longer than this are spent in the catalogue (`not_before`), not in memory.
SHORT_WAIT_S = 2.0
#: How long a file rests whose only remaining channel is down.
CHANNEL_DOWN_WAIT_S = 60.0
CLAIM_FILES = 512
CLAIM_BYTES = 256 * 2**30
#: Files that are being verified or are arriving at once; bounds open files when the disk is slow.
COMPLETIONS = 96


@dataclass(slots=True)
class _Run:
    """One claim under way."""

    active: ActiveFile
    stretch: Stretch
    sink: FileSink
    claim: Claim


class Engine:
    """One run over the wanted files of some entries."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        staging: Path,
        transports: Mapping[Channel, Transport],
        settings: TransferSettings,
        space: Space,
        endings: Endings,
        threads: Executor,
        observer: Observer,
        clock: Callable[[], float] = time.time,
        managed: ManagedChannel | None = None,
        visible_within_s: float = 60.0,
    ) -> None:
        """`visible_within_s`: how long a network file system may take to show here what Globus has written from elsewhere."""
        self._catalogue = catalogue
        self._staging = staging
        self._transports = transports
        #: Between which files may change. By Globus comes only what its service has delivered.
        self._channels = tuple(channel for channel in transports if channel is not Channel.GLOBUS)
        self._managed = managed
        self._managing: asyncio.Task[None] | None = None
        self._visible_within_s = visible_within_s
        self._settings = settings
        self._space = space
        self._endings = endings
        self._opening = Opening(catalogue, staging=staging, threads=threads)
        self._threads = threads
        self._observer = observer
        self._clock = clock
        self._agenda = Agenda(settings, {c: t.capabilities for c, t in transports.items()})
        self._active: dict[int, ActiveFile] = {}
        #: Files that are no longer active, and of which the catalogue does not yet say what became.
        self._leaving = 0
        self._down: set[Channel] = set()
        self._fed = False
        self._least_priority = transfer_store.ANY_PRIORITY
        self._changed = asyncio.Event()
        self._ending: EmpiarMirrorError | None = None
        #: Why nothing more is begun; the run ends with it when what fitted is done.
        self._full: StorageFault | None = None
        self._stopping = False
        self._fetching: set[asyncio.Task[None]] = set()
        self._completing: set[asyncio.Task[None]] = set()

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
        workers += [asyncio.create_task(self._lane()) for _ in range(self._settings.connections)]
        if self._managed is not None:
            self._managing = asyncio.create_task(self._manage(self._managed, empiar_ids))
            workers.append(self._managing)
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in done:
                if not worker.cancelled():
                    worker.result()
        finally:
            await self._wind_up(workers)
        if self._ending is not None:
            raise self._ending

    def stop(self) -> None:
        """The run ends soon, with partials kept. For signal handlers of the loop."""
        self._stopping = True
        self._wake(cancel=True)

    async def _wind_up(self, workers: list[asyncio.Task[None]]) -> None:
        for task in (*workers, *self._fetching):
            task.cancel()
        await asyncio.gather(*workers, *self._fetching, return_exceptions=True)
        await asyncio.gather(*self._completing, return_exceptions=True)
        await self._endings.drain()
        for active in list(self._active.values()):
            await self._shelve(active, error=None)

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
            for task in (*self._fetching, *filter(None, [self._managing])):
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

    # --- feeding: catalogue -> agenda -----------------------------------------------------------------

    async def _feed(self, empiar_ids: Sequence[int] | None) -> None:
        if self._managed is not None:
            await self._managed.planned()
        while not self._over:
            room = self._full is None and len(self._agenda) < CLAIM_FILES // 2
            if room and await self._claim(empiar_ids):
                continue
            if self._active or self._leaving:
                # Woken by every file that ends; new work may have become due meanwhile.
                await self._wait_for_change(5.0)
                continue
            if self._full is not None:
                self._end(self._full)
                break
            # Asked first: what is delivered after this answer is under way in it.
            settled = self._managed is None or await self._managed.settled()
            due = await self._catalogue.read(
                functools.partial(
                    transfer_store.next_not_before,
                    empiar_ids=empiar_ids,
                    least_priority=self._least_priority,
                    delivered_only=not self._channels,
                )
            )
            if due is None and settled:
                break
            await self._wait_until(due)
        self._fed = True
        self._wake()
        if self._managing is not None:
            self._managing.cancel()

    async def _wait_until(self, due: int | None) -> None:
        """Something may be due, at the latest: not for long at once, for the clock may be set meanwhile."""
        now = self._clock()
        if due is not None and due > now + transfer_store.LONGEST_WAIT_S:
            await self._catalogue.write(
                functools.partial(transfer_store.forget_impossible_waits, now=int(now))
            )
            return
        await self._wait_for_change(5.0 if due is None else min(60.0, max(0.05, due - now)))

    async def _claim(self, empiar_ids: Sequence[int] | None) -> bool:
        claimed = await self._catalogue.write(
            functools.partial(
                transfer_store.claim,
                now=int(self._clock()),
                limit_files=CLAIM_FILES,
                limit_bytes=CLAIM_BYTES,
                empiar_ids=empiar_ids,
                least_priority=self._least_priority,
                delivered_only=not self._channels,
            ),
            durable=False,  # a claim that a power cut undoes was never made
        )
        for position, work in enumerate(claimed):
            if self._over or not await self._admit(work):
                for rest in claimed[position:]:
                    keep = rest.bytes_kept > 0
                    await self._endings.release(rest.file_id, wait_s=0, error=None, keep_partial=keep)
                return False
        return bool(claimed)

    async def _admit(self, work: Work) -> bool:
        """Whether there is room for the file."""
        if not work.remote.fits_file_system:
            error = "its name is longer than file systems allow (255 bytes a component)"
            await self._endings.park(work.file_id, work.remote, error=error)
            return True
        refusal = None
        if work.delivery is None:  # else its bytes are on the disk, and were counted as they came
            missing = max(0, (work.size or 0) - work.bytes_kept)
            refusal = self._space.reserve(work.file_id, missing)
        if refusal is not None:
            hint = "Free some space or raise disk.high_watermark, and run the same command again."
            self._observer(events.Paused(refusal, events.UNTIL_SPACE))
            self._full = StorageFault(f"the disk is full: {refusal}", hint=hint, full=True)
            return False
        path = part_path(self._staging, work.remote.empiar_id, work.file_id)
        tried = Tried(self._first_channel(work), fruitless=work.fruitless)
        active = self._active[work.file_id] = ActiveFile.of(work, path=path, tried=tried)
        self._observer(events.StepTaken(work.file_id, "claimed"))
        self._agenda.add(active)
        self._wake()
        return True

    def _first_channel(self, work: Work) -> Channel:
        """A partial goes on by the channel it came from, unless that one was fruitless of late."""
        if work.delivery is not None:
            return Channel.GLOBUS
        up = [c for c in self._channels if c not in self._down] or list(self._channels)
        last = work.last_channel
        return last if last in up and work.bytes_kept and not work.fruitless else up[0]

    # --- lanes: agenda -> transports ------------------------------------------------------------------

    async def _lane(self) -> None:
        while not self._over:
            if len(self._completing) >= COMPLETIONS:
                await self._wait_for_change()
            elif batch := self._agenda.batch():
                await self._guarded(self._fetch_batch(batch))
            elif (active := self._agenda.large()) is not None:
                active.preparing = True  # at once: the work below begins only when the loop comes round
                await self._guarded(self._fetch_stretch(active))
            elif self._fed and not self._active:
                return
            else:
                await self._wait_for_change()

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        """Runs `work` so that the end of the run can cut it short."""
        task = asyncio.create_task(work)
        self._fetching.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._fetching.discard(task)
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def _fetch_batch(self, batch: list[ActiveFile]) -> None:
        if await self._opened(batch):
            await self._fetch([self._begin(active, active.remaining.take(None)) for active in batch])

    async def _fetch_stretch(self, active: ActiveFile) -> None:
        try:
            runs = await self._prepare(active)
        finally:
            active.preparing = False
        if not active.remaining.nothing_left_to_take:
            self._wake()  # another lane may share the rest
        await self._fetch(runs)

    async def _prepare(self, active: ActiveFile) -> list[_Run]:
        """What one connection shall fetch of a large file next; nothing if it is complete, or the disk refuses."""
        if not await self._opened([active]):
            return []
        if not self._agenda.wants(active):
            # Since it was chosen another connection has ended it, or is about to begin it anew.
            return []
        if active.remaining.done:  # every byte was proven already; only its identity is open
            self._agenda.remove(active)
            await self._confirm(active)
            return []
        return [self._begin(active, active.remaining.take(self._agenda.stretch_bytes(active)))]

    async def _fetch(self, runs: list[_Run]) -> None:
        """One outcome for each run, acted upon. All runs are by one channel."""
        if not runs:
            return
        waiting = {id(run.claim): run for run in runs}
        transport = self._transports[runs[0].sink.channel]
        try:
            async with aclosing(transport.fetch([run.claim for run in runs])) as outcomes:
                async for outcome in outcomes:
                    await self._settle(waiting.pop(id(outcome.claim)), outcome)
        finally:
            for run in waiting.values():
                run.active.remaining.give_back(run.stretch)

    def _begin(self, active: ActiveFile, stretch: Stretch) -> _Run:
        writer = active.writer_of(stretch)
        alone = active.remaining.running == 1 and active.remaining.nothing_left_to_take
        share = UNPROVEN_BYTES // (1 if alone else self._settings.connections_per_file)
        sink = FileSink(active, writer, threads=self._threads, log=self, unproven_bytes=share - OVERLAP_BYTES)
        to_the_end = stretch.stop is None or stretch.stop == active.size
        claim = Claim(
            active.work.remote,
            sink,
            start=writer.resume_at,
            stop=None if to_the_end else stretch.stop,
            validators=active.validators,
        )
        return _Run(active, stretch, sink, claim)

    async def _opened(self, batch: Sequence[ActiveFile]) -> bool:
        """Their part files are open; False if the disk refused, which ends the run."""
        try:
            lost = await self._opening.open([active for active in batch if active.part is None])
        except StorageFault as fault:
            self._end(fault)
            return False
        for file_id, starts in lost.items():
            self._submit(functools.partial(transfer_store.forget_blocks, file_id=file_id, starts=starts))
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
            await self._failed(active, fault, channel=channel, progressed=False)
            return
        self._complete(active, None)

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
            self._space.wrote(active.file_id, count)
            self._observer(events.BytesMoved(active.file_id, count))

    def proven(self, active: ActiveFile, blocks: list[Block]) -> asyncio.Future[None]:
        """See `FileLog`."""
        job = functools.partial(transfer_store.record_blocks, file_id=active.file_id, blocks=blocks)
        future = asyncio.wrap_future(self._submit(job))
        # Whoever waits for it may be cancelled; `_submit` has the failure already.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

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

    async def _settle(self, run: _Run, outcome: Outcome) -> None:
        active, stretch, sink = run.active, run.stretch, run.sink
        fault = outcome.fault
        if fault is None and stretch.stop is not None and not stretch.complete:
            fault = TransientFault(
                f"{active.work.remote}: ended at {stretch.position} of {stretch.stop} bytes"
            )
        attempt = _attempt(run, outcome, fault)
        if fault is not None:
            self._record(attempt)
            active.remaining.give_back(stretch)
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
            channels=[c for c in self._channels if c not in self._down],
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
        remote = str(active.work.remote)
        failed = events.AttemptFailed(active.file_id, remote, Channel.GLOBUS, error, CopyState.WANTED)
        self._observer(failed)
        with self._left(active):
            await self._endings.refuse_delivery(active, error=error)

    async def _channel_down(self, active: ActiveFile, fault: UnreachableFault, channel: Channel) -> None:
        self._down.add(channel)
        up = [c for c in self._channels if c not in self._down]
        if not up:
            self._end(fault)
            return
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
                self._fetching.add(task)
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
        self._fetching.discard(task)
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


def _attempt(run: _Run, outcome: Outcome, fault: EmpiarMirrorError | None) -> Attempt:
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
