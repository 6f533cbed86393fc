"""Large files are fetched by the workers of a cluster, each into the folder of its lease; what they bring becomes the part file as it stands.

Everything is decided here: how many streams there are and how fast they may be, what becomes of a file after an attempt, whether
its bytes are what the archive serves.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from empiar_mirror.active import ActiveFile, FileLog
from empiar_mirror.cluster import mailbox
from empiar_mirror.cluster.dispatch import Concern, Dispatcher, WorkLost
from empiar_mirror.cluster.errands import BEGUN, Reply, leases_folder
from empiar_mirror.cluster.fetching import BEAT_S, Access, Fetch, Fetched, fetched_file
from empiar_mirror.cluster.leases import remove_lease_folder
from empiar_mirror.fate import WorkerGone
from empiar_mirror.lanes import Run
from empiar_mirror.pacing import Pacing
from empiar_mirror.stretches import BLOCK_BYTES
from empiar_mirror.threads import in_thread, undisturbed
from empiar_mirror.transports.base import Outcome
from empiar_schema import events
from empiar_schema.events import Observer
from empiar_schema.faults import (
    ClusterFault,
    EmpiarMirrorError,
    StorageFault,
    TransferFault,
    TransientFault,
)
from empiar_schema.files import Validators
from empiar_schema.settings import Settings
from empiar_schema.states import Channel
from empiar_schema.transfer_store import Block
from empiar_wire.hosts import HostGate

#: How long a worker that could not do it is given nothing.
_SICK_S: Final = 60.0
#: How long servers keep a connection on which nothing is read, about.
_FROZEN_S: Final = 60.0
#: When a run is stopped: how long is waited for what has come.
_PARTING_S: Final = 10.0
_DIGEST_BYTES: Final = 16
#: Proofs that are recorded at once.
_PROOFS: Final = 4096


class FetchingWorkers:
    """See `empiar_mirror.fetchers.Fetchers`. Without a scheduler, this machine fetches everything."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        settings: Settings,
        *,
        root: Path,
        pacing: Pacing,
        threads: Executor,
        observer: Observer,
    ) -> None:
        self.dispatcher = dispatcher
        self.settings = settings
        self.leases = leases_folder(root)
        self.pacing = pacing
        self.threads = threads
        self._observer = observer
        self._out = False
        self._known_by: float | None = None
        self._sick: dict[str, float] = {}

    async def aclose(self) -> None:
        """Nothing is handed out any more."""
        await self.dispatcher.aclose()

    async def run(self, wake: Callable[[], object]) -> None:
        """See `Fetchers`."""
        connect_s = self.settings.cluster.connect
        self._known_by = time.monotonic() + connect_s
        timer = asyncio.get_running_loop().call_later(connect_s, wake)
        try:
            await self.dispatcher.connect()
            while True:
                await self.dispatcher.news()
                wake()
        except (ClusterFault, StorageFault) as fault:
            self._observer(events.Paused(str(fault), "the next run: until then this machine fetches alone"))
        finally:
            self._out = True
            timer.cancel()
            wake()

    def fits(self, active: ActiveFile) -> bool:
        """See `Fetchers`. What has failed once comes here: there the reason is seen best."""
        tried = active.tried
        return (
            not self._out
            and active.likely_size >= self.settings.cluster.transfer_bytes
            and active.losses < self.settings.cluster.losses
            and tried.channel in (Channel.HTTPS, Channel.FTP)
            and not (active.delivered or active.whole or active.size_settled or active.held)
            and not (tried.fruitless or tried.crowded or tried.changes or tried.wrong)
        )

    def waits_for_one(self, active: ActiveFile) -> bool:
        """See `Fetchers`."""
        if self._out or self.dispatcher.known:
            return False
        unknown = self._known_by is None or time.monotonic() < self._known_by
        return unknown and active.untouched and self.fits(active)

    def reserve(self) -> str | None:
        """See `Fetchers`."""
        now = time.monotonic()
        self._sick = {worker: until for worker, until in self._sick.items() if until > now}
        return self.dispatcher.reserve(self._sick)

    def free(self, worker: str) -> None:
        """See `Fetchers`."""
        self.dispatcher.free(worker)

    def leave_alone(self, worker: str) -> None:
        """The worker is given nothing for a while."""
        self._sick[worker] = time.monotonic() + _SICK_S

    async def bring(self, run: Run, worker: str, log: FileLog) -> Outcome | None:
        """See `Fetchers`."""
        began, started_at = time.monotonic(), time.time()
        gate = self.pacing.gate(run.sink.channel)
        attempt = _Attempt(self, run, worker, log)
        fault: EmpiarMirrorError | None
        # The worker's connection is one of the host's; an idle one of ours makes room for it soon.
        await gate.acquire()
        try:
            await gate.request()
            if not await attempt.made(gate):
                return None
            fault = None
        except EmpiarMirrorError as error:
            fault = error
        finally:
            if self.dispatcher.silent(worker):
                # It is frozen, and its connection stands at the server until that gives it up.
                asyncio.get_running_loop().call_later(_FROZEN_S, gate.release)
            else:
                gate.release()
        ended_at = started_at + (time.monotonic() - began)
        return Outcome(run.claim, attempt.moved, started_at, ended_at, attempt.found, fault)

    def fetch_of(self, run: Run) -> Fetch:
        """The errand."""
        settings, channel, active = self.settings, run.sink.channel, run.active
        transfer, archive = settings.transfer, settings.archive
        return Fetch(
            Access(
                channel,
                archive.https_url if channel is Channel.HTTPS else archive.ftp_url,
                self.pacing.user_agent,
                transfer.stall_s,
                transfer.requests_per_s / transfer.connections,
            ),
            active.work.remote,
            active.size,
            self.pacing.share(channel),
            settings.cluster.lease,
        )


class _Attempt:
    """One file in the hands of one worker."""

    def __init__(self, workers: FetchingWorkers, run: Run, worker: str, log: FileLog) -> None:
        self._workers = workers
        self._run = run
        self._worker = worker
        self._log = log
        self._keep = workers.leases / f"taken-{secrets.token_hex(8)}"
        self._folder: Path | None = None
        self._beat = 0
        self._begun = False
        self.moved = 0
        self.found: Validators | None = None

    async def made(self, gate: HostGate) -> bool:
        """The whole file stands in the part file; False where the worker did not begin.

        Raises:
            EmpiarMirrorError: why it does not. What has come of it stands there.
            WorkerGone: the worker is to blame, and nothing has come.
        """
        remote = str(self._run.active.work.remote)
        answer = asyncio.create_task(
            self._workers.dispatcher.at_once(
                self._workers.fetch_of(self._run),
                Concern("transfer", remote),
                self._worker,
                keep=self._keep,
                granted=self._granted,
            )
        )
        try:
            if not await self._followed(answer):
                self._workers.leave_alone(self._worker)
                return False
            # Half taken over, it would be lost: a stop waits for the rest.
            await undisturbed(self._judged(answer, gate))
        except asyncio.CancelledError:
            await undisturbed(self._parted(answer, gate))
            raise
        finally:
            await undisturbed(self._cleared(answer))
        return True

    def _granted(self, folder: Path) -> None:
        self._folder = folder

    # --- while it comes -------------------------------------------------------------------------------

    async def _followed(self, answer: asyncio.Task[Reply[Fetched]]) -> bool:
        """Whether there is an answer; none where the worker has not begun in time, since it is busy with other things."""
        give_up_at = time.monotonic() + self._workers.settings.cluster.lease
        while not answer.done():
            active, channel = self._run.active, self._run.sink.channel
            rests = active.held or self._workers.pacing.paused(channel)
            await self._talked(rest=rests)
            if not self._begun and time.monotonic() > give_up_at:
                return False
            await asyncio.wait([answer], timeout=BEAT_S)
        return True

    async def _talked(self, *, rest: bool) -> None:
        """The worker has been told how to go on, and what it says is known."""
        if self._folder is None:
            return
        self._beat += 1
        rate = self._workers.pacing.share(self._run.sink.channel)
        rule = mailbox.Rule(self._beat, rate, rest)
        begun, moved = await in_thread(self._workers.threads, _exchange, self._folder, rule)
        self._begun = self._begun or begun  # with the answer, the folder leaves its place
        self._count(moved)

    def _count(self, moved: int) -> None:
        if moved > self.moved:
            came, self.moved = moved - self.moved, moved
            self._workers.pacing.throttle(self._run.sink.channel).charge(came)
            self._log.moved(self._run.active, came)

    async def _parted(self, answer: asyncio.Task[Reply[Fetched]], gate: HostGate) -> None:
        """The run is stopped: what has come is taken over, if the worker answers soon."""
        until = time.monotonic() + _PARTING_S
        while self._begun and not answer.done() and time.monotonic() < until:
            await self._talked(rest=True)
            await asyncio.wait([answer], timeout=BEAT_S / 5)
        if answer.done():
            try:
                await self._judged(answer, gate)
            except EmpiarMirrorError:
                return  # what it was is known when somebody tries again

    async def _cleared(self, answer: asyncio.Task[Reply[Fetched]]) -> None:
        if not answer.done():
            answer.cancel()
            await asyncio.wait([answer])
        if not answer.cancelled():
            answer.exception()
        await in_thread(self._workers.threads, remove_lease_folder, self._keep)

    # --- when it has come -----------------------------------------------------------------------------

    async def _judged(self, answer: asyncio.Task[Reply[Fetched]], gate: HostGate) -> None:
        """What the worker has brought is taken over; raises as `made`."""
        try:
            reply = answer.result()
        except (ClusterFault, WorkLost) as loss:
            raise self._gone(str(loss)) from loss
        fetched = reply.value
        if not isinstance(fetched, Fetched):
            self._workers.leave_alone(self._worker)
            raise self._gone(reply.fault or "its answer says nothing")
        fault = fetched.fault
        if fault is not None and not _of_the_archive(fault):
            # The disk, the network or the installation of that machine: no reason to think badly of the archive.
            self._workers.leave_alone(self._worker)
            raise self._gone(str(fault))
        if fetched.found is not None:
            gate.succeeded()
        if isinstance(fault, TransientFault) and fault.retry_after_s is not None:
            gate.rest(fault.retry_after_s)
        self._count(fetched.moved)
        self.found = fetched.found
        await self._taken_over(fetched)
        if fault is not None:
            raise fault

    def _gone(self, reason: str) -> WorkerGone:
        return WorkerGone(
            f"{self._run.active.work.remote}: the worker {self._worker} was to fetch it: {reason}"
        )

    async def _taken_over(self, fetched: Fetched) -> None:
        """The worker's file is the part file, as far as its blocks are whole, and their proofs are on record."""
        active, stretch = self._run.active, self._run.stretch
        whole = fetched.fault is None
        proven = len(fetched.proofs) // _DIGEST_BYTES * BLOCK_BYTES
        size = fetched.size if whole else min(proven, fetched.size)
        if fetched.found is None or not size:
            return
        await self._run.sink.begin(fetched.found, start=0)
        assert active.part is not None
        threads = self._workers.threads
        await in_thread(threads, active.part.replace, fetched_file(self._keep), size)
        if whole:
            active.sha256 = fetched.sha256
        else:
            active.writers.clear()
            stretch.start, stretch.after_proven = size, True
        stretch.position = size
        if active.on_record:
            blocks = _blocks(fetched.proofs)
            for first in range(0, len(blocks), _PROOFS):
                await self._log.proven(active, blocks[first : first + _PROOFS])


def _exchange(folder: Path, rule: mailbox.Rule) -> tuple[bool, int]:
    """Whether the worker has begun, and the bytes that it says to have; it is told the rule."""
    mailbox.tell(folder, rule)
    begun = folder / BEGUN
    return begun.is_dir(), mailbox.moved(begun)


def _blocks(proofs: bytes) -> list[Block]:
    digests = (proofs[at : at + _DIGEST_BYTES] for at in range(0, len(proofs), _DIGEST_BYTES))
    return [Block(n * BLOCK_BYTES, BLOCK_BYTES, digest) for n, digest in enumerate(digests)]


def _of_the_archive(fault: EmpiarMirrorError) -> bool:
    """Whether the fault would have met this machine, too. The disk is the same: it is as full here."""
    if isinstance(fault, StorageFault):
        return fault.full
    return isinstance(fault, TransferFault) and not (isinstance(fault, TransientFault) and fault.host_down)
