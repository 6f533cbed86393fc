"""Hands errands to the workers of a cluster, each under a lease, and waits for the answer that counts."""

from __future__ import annotations

import asyncio
import functools
import pickle  # between the mirror's own processes
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from empiar_mirror.cluster.errands import Errand, Reply, order_for
from empiar_mirror.cluster.greeting import greeted
from empiar_mirror.cluster.leases import Lease, Leases
from empiar_mirror.cluster.link import Link, Undone
from empiar_mirror.cluster.roster import Roster
from empiar_mirror.threads import to_the_end
from empiar_schema import events, lease_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.cluster_settings import ClusterSettings, ClusterWork
from empiar_schema.events import Observer
from empiar_schema.faults import ClusterFault, EmpiarMirrorError, StorageFault

R = TypeVar("R")

#: How often the scheduler is asked for its workers, at most so long between, seconds.
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Concern:
    """What a piece of work is about, for the record."""

    work: ClusterWork
    subject: str
    job_id: int | None = None


class GivenUp(EmpiarMirrorError):
    """A piece of work was lost with its worker as often as is allowed."""


class WorkLost(Exception):
    """The worker that has a piece of work is lost, or has refused it."""


class Dispatcher:
    """One run's dealings with a cluster; it connects with the first errand. Close it."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        root: Path,
        catalogue: Catalogue,
        threads: Executor,
        observer: Observer,
        clock: Callable[[], float],
        in_hand: Counter[str],
    ) -> None:
        """`in_hand`: see `Roster`."""
        self.settings = settings
        self._root = root
        self._catalogue = catalogue
        self._observer = observer
        self._leases = Leases(catalogue=catalogue, root=root, threads=threads, clock=clock)
        self._threads = threads
        self._roster = Roster(settings.lease, settings.places, in_hand)
        self._link: Link | None = None
        self._opening = asyncio.Lock()
        #: Told of whatever may let a waiting errand begin.
        self._news = asyncio.Condition()
        self._in_hand: dict[str, tuple[str, asyncio.Future[object]]] = {}
        self._greeting: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        #: What ends this run's dealings: everybody who waits is told.
        self._broken: ClusterFault | StorageFault | None = None
        self._waiting = 0
        self._told_lacking: str | None = None

    async def aclose(self) -> None:
        """Nothing is in hand, and the connection is closed."""
        tasks = [*self._greeting.values(), *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._link is not None:
            await self._link.aclose()

    async def do(self, errand: Errand[R], concern: Concern, *, keep: Path | None = None) -> Reply[R]:
        """The answer of the one worker whose lease was in force; what it wrote stands in `keep`, an empty folder. Cancelling takes the work away.

        Raises:
            ClusterFault: the scheduler cannot be reached, or has gone: the work is not done, and nothing is held against it.
            GivenUp: it was lost with its worker too often.
            StorageFault: the disk refused.
        """
        lost = 0
        if concern.job_id is not None:
            lost = await self._catalogue.read(
                functools.partial(lease_store.losses_of_job, job_id=concern.job_id)
            )
        reason = "its worker was lost in an earlier run"
        while lost < self.settings.losses:
            await self._require_link()
            async with self._worker() as worker:
                try:
                    reply = await self._tried(errand, concern, worker, keep)
                except WorkLost as loss:
                    lost, reason = lost + 1, str(loss)
                    continue
                if reply is not None:
                    return reply
        raise GivenUp(
            f"it was lost with its worker {lost} times, the last time because: {reason}",
            hint="look at the workers' logs and memory, and at the view `leases`",
        )

    async def at_once(
        self,
        errand: Errand[R],
        concern: Concern,
        worker: str,
        *,
        keep: Path,
        granted: Callable[[Path], object],
    ) -> Reply[R]:
        """As `do`, once, and by this worker, which is reserved. `granted` is told the lease's folder.

        Raises:
            ClusterFault: the scheduler has gone.
            WorkLost: the worker is lost, or has refused it.
            StorageFault: the disk refused.
        """
        reply = await self._tried(errand, concern, worker, keep, granted)
        if reply is None:
            raise WorkLost("its lease was in force no longer")
        return reply

    async def _tried(
        self,
        errand: Errand[R],
        concern: Concern,
        worker: str,
        keep: Path | None,
        granted: Callable[[Path], object] = lambda _: None,
    ) -> Reply[R] | None:
        """The answer under one lease; None where it does not count."""
        lease = await to_the_end(self._leases.grant(concern.work, concern.subject, worker, concern.job_id))
        try:
            granted(lease.folder)
            reply: Reply[R] = await self._answer(lease, errand)
        except WorkLost as loss:
            await to_the_end(self._leases.lose(lease, str(loss)))
            self._observer(events.WorkLost(lease.lease_id, concern.work, concern.subject, worker, str(loss)))
            raise
        except BaseException:
            await to_the_end(self._leases.withdraw(lease))
            raise
        return reply if await to_the_end(self._leases.redeem(lease, keep)) else None

    # --- workers --------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """The scheduler has answered, and its workers are being greeted.

        Raises:
            ClusterFault: it cannot be reached.
        """
        await self._require_link()

    async def news(self) -> None:
        """Comes back when something may have changed: with every look at the workers, at the latest.

        Raises:
            ClusterFault: the scheduler has gone.
            StorageFault: the disk refused.
        """
        async with self._news:
            await self._news.wait()
        if self._broken is not None:
            raise self._broken

    @property
    def known(self) -> bool:
        """Whether there are workers, and it is known of each whether it is fit."""
        return self._roster.known

    def silent(self, worker: str) -> bool:
        """Whether the worker is there, for all that the scheduler knows, and gives no sign of life."""
        return self._roster.silent(worker, time.monotonic())

    def reserve(self, but: Collection[str] = ()) -> str | None:
        """A worker that had room until now, and is none of `but`; None where there is none. Needs one `free`."""
        if self._broken is not None or self._link is None:
            return None
        worker = self._roster.choose(time.monotonic(), but)
        if worker is not None:
            self._roster.took(worker)
        return worker

    def free(self, worker: str) -> None:
        """The worker has room again. Whoever waits for one looks once a second."""
        self._roster.gave_back(worker)

    async def _require_link(self) -> Link:
        async with self._opening:
            if self._broken is not None:
                raise self._broken
            if self._link is None:
                try:
                    self._link = await Link.open(self.settings)
                except ClusterFault as fault:
                    self._broken = fault  # everybody waits for the same answer
                    raise
                self._watch = asyncio.create_task(self._watching(self._link))
            return self._link

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[str]:
        """A worker that has a place, which is taken while the body runs."""
        self._waiting += 1
        try:
            async with self._news:
                await self._news.wait_for(
                    lambda: self._broken is not None or self._roster.choose(time.monotonic()) is not None
                )
                if self._broken is not None:
                    raise self._broken
                worker = self._roster.choose(time.monotonic())
                assert worker is not None
                self._roster.took(worker)
        finally:
            self._waiting -= 1
        try:
            yield worker
        finally:
            self._roster.gave_back(worker)
            await to_the_end(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _watching(self, link: Link) -> None:
        """The roster follows the scheduler, new workers are greeted, and what dead ones had in hand is lost."""
        while True:
            try:
                seen = await link.workers()
            except ClusterFault as fault:
                self._break(fault)
                await self._tell()
                return
            now = time.monotonic()
            self._roster.looked(seen, now)
            for worker in list(self._roster.strangers()):
                if worker not in self._greeting:
                    self._greeting[worker] = asyncio.create_task(self._greet(link, worker))
            for worker, lost in self._in_hand.values():
                reason = self._roster.lost_because(worker, now)
                if reason is not None and not lost.done():
                    lost.set_result(reason)
            self._tell_lacking()
            await self._tell()
            await asyncio.sleep(min(_LOOK_S, self.settings.lease / 5))

    def _break(self, fault: ClusterFault | StorageFault) -> None:
        self._broken = fault
        for _, lost in self._in_hand.values():
            if not lost.done():
                lost.set_exception(fault)
                lost.exception()  # somebody has looked, should nobody wait any more

    def _tell_lacking(self) -> None:
        lacking = self._roster.lacking if self._waiting else None
        if lacking is not None and lacking != self._told_lacking:
            reason = (
                f"{self._waiting} pieces of work wait for the cluster at {self.settings.scheduler}: {lacking}"
            )
            self._observer(events.Paused(reason, "a worker joins"))
        self._told_lacking = lacking

    async def _greet(self, link: Link, worker: str) -> None:
        try:
            greeting = await greeted(
                link, worker, settings=self.settings, root=self._root, threads=self._threads
            )
            if greeting.answered:
                self._roster.judged(worker, greeting.refusal)
                if greeting.refusal is not None:
                    self._observer(events.WorkerRefused(worker, greeting.refusal))
                await self._tell()
        except StorageFault as fault:
            self._break(fault)
            await self._tell()
        finally:
            self._greeting.pop(worker, None)  # one that has not answered is greeted again

    # --- answers --------------------------------------------------------------------------------------

    async def _answer(self, lease: Lease, errand: Errand[R]) -> Reply[R]:
        """The worker's answer.

        Raises:
            ClusterFault: the scheduler has gone.
            WorkLost: there will be none.
        """
        link = await self._require_link()
        order = order_for(errand, root=self.settings.root or self._root, lease=lease.name)
        lost: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._in_hand[lease.name] = (lease.grant.worker, lost)
        answer = asyncio.create_task(link.have_done(order, worker=lease.grant.worker, key=lease.name))
        limit = None if errand.seconds is None else errand.seconds + 2 * self.settings.lease
        try:
            both: set[asyncio.Future[object]] = {answer, lost}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED, timeout=limit)
            if lost.done():
                raise WorkLost(str(lost.result()))
            if not answer.done():
                raise WorkLost(f"no answer within {limit:.0f} s")
            return _checked(answer.result())
        except Undone as undone:
            try:
                await link.workers()
            except ClusterFault as fault:
                self._break(fault)
                raise
            raise WorkLost(str(undone)) from undone
        finally:
            del self._in_hand[lease.name]
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)


def _checked(answer: object) -> Reply[R]:
    """The reply.

    Raises:
        WorkLost: it is none, or says that the work was not done.
    """
    try:
        reply = pickle.loads(answer) if isinstance(answer, bytes) else None  # noqa: S301 - from a worker of the site's own
    except Exception as error:
        raise WorkLost(
            f"the worker's answer cannot be read ({type(error).__name__}: {error})"[:500]
        ) from error
    if not isinstance(reply, Reply):
        raise WorkLost("the worker's answer is none")
    if reply.refusal:
        raise WorkLost(reply.refusal)
    return reply
