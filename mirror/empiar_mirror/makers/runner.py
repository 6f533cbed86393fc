"""The queue of jobs on files that are here: what should be made is planned, claimed, done, placed and recorded."""

from __future__ import annotations

import asyncio
import functools
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from empiar_mirror.makers import folder as folders
from empiar_mirror.makers import placing
from empiar_mirror.makers.entry_files import entry_files
from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.job_ends import JobEnds
from empiar_mirror.makers.maker import EntryFiles, JobFault, Ran, Task
from empiar_mirror.makers.planner import Planner
from empiar_mirror.reports import FailedJob, MakeReport
from empiar_mirror.space import Space
from empiar_mirror.threads import in_thread, to_the_end
from empiar_schema import events, job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.faults import ConfigFault, StorageFault
from empiar_schema.jobs import Job, JobState, Outcome

T = TypeVar("T")

#: Looked again at the latest then: the clock may be set while failed jobs wait.
_LONGEST_REST_S: Final = 60.0


def in_order(makers: Sequence[Maker]) -> tuple[Maker, ...]:
    """The makers, each after the one whose products it works on.

    Raises:
        ConfigFault: two have one name, or one works on the products of a maker that there is not.
    """
    by_name = {maker.name: maker for maker in makers}
    if len(by_name) < len(makers):
        twice = sorted({m.name for m in makers if [n.name for n in makers].count(m.name) > 1})
        raise ConfigFault(
            f"{twice[0]} is the name of a built-in maker",
            hint="give the hook another name in the configuration",
        )
    ordered: list[Maker] = []
    for maker in makers:
        chain = [maker]
        while (source := chain[-1].source) != "deposited":
            if source not in by_name:
                raise ConfigFault(
                    f"{chain[-1].name} works on the products of {source}, which is neither a hook nor a built-in maker",
                    hint=f"there are {', '.join(sorted(by_name))}",
                )
            if by_name[source] in chain:
                raise ConfigFault(f"{maker.name} would wait for its own products")
            chain.append(by_name[source])
        ordered += [one for one in reversed(chain) if one not in ordered]
    return tuple(ordered)


@dataclass(slots=True)
class _Batch:
    """One maker's jobs in one entry, while they are done."""

    maker: Maker
    version: str | None
    empiar_id: int
    tasks: Mapping[int | None, Task]
    claimed: deque[Job] = field(default_factory=deque)
    #: Claimed, but of files that are no longer what the maker works on.
    idle: list[Job] = field(default_factory=list)
    claiming: asyncio.Lock = field(default_factory=asyncio.Lock)


class Runner:
    """One run of makers over entries. Jobs of one maker run side by side; makers follow one another, so that later ones find products."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        root: Path,
        makers: Sequence[Maker],
        workers: int,
        space: Space,
        threads: Executor,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._root = root
        self._staging = root / "staging"
        self._makers = in_order(makers)
        self._workers = workers
        self._space = space
        self._threads = threads
        self._observer = observer
        self._clock = clock
        self._planner = Planner(catalogue=catalogue, threads=threads, observer=observer, clock=clock)
        self._ends = JobEnds(catalogue=catalogue, root=root, threads=threads, observer=observer, clock=clock)
        self._at_work: set[asyncio.Task[Ran]] = set()
        self._stopping = False
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """The run ends soon; what is under way is ended and begun anew another time. For signal handlers of the loop."""
        self._stopping = True
        self._stopped.set()
        for task in self._at_work:
            task.cancel()

    async def run(
        self, empiar_ids: Sequence[int], *, only: Sequence[str] | None = None, retrying: bool = True
    ) -> MakeReport:
        """Every job of these entries, and of these makers (all, if None), is made or parked; or `stop` was called.

        Unless `retrying`, failed jobs are left that may be tried again later only.

        Raises:
            ConfigFault: there is no such maker.
            ClusterFault: a cluster was to do the work, and cannot be had; what was made stands, and no attempt is counted.
            StorageFault: the disk is full or refuses; what was made stands.
        """
        makers = self._chosen(only)
        if only is None:
            await self._planner.forget_strangers(empiar_ids, keep=[maker.name for maker in self._makers])
        waiting = list(dict.fromkeys(empiar_ids))
        while makers and not self._stopping:
            for empiar_id in waiting:
                await self._make_entry(empiar_id, makers)
            due = await self._catalogue.read(functools.partial(_due, ids=waiting, makers=makers))
            waiting = sorted(due)
            if not waiting or not retrying:
                break
            await self._rest(min(_LONGEST_REST_S, min(due.values()) - self._clock()))
        return await self._report(empiar_ids, makers)

    def _chosen(self, only: Sequence[str] | None) -> tuple[Maker, ...]:
        names = {maker.name for maker in self._makers}
        if unknown := sorted(set(only or ()) - names):
            known = f"there are {', '.join(sorted(names))}" if names else "none is configured"
            raise ConfigFault(
                f"there is no maker {unknown[0]!r}", hint=f"{known}; docs/hooks.md says how to add one"
            )
        return tuple(m for m in self._makers if only is None or m.name in only)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.05, seconds)):
                await self._stopped.wait()
        except TimeoutError:
            pass

    # --- planning -------------------------------------------------------------------------------------

    async def _make_entry(self, empiar_id: int, makers: Sequence[Maker]) -> None:
        files: EntryFiles | None = None
        made = -1
        for maker in makers:
            if self._stopping:
                return
            concerns = functools.partial(maker.concerns, empiar_id=empiar_id)
            if not await self._catalogue.read(concerns):
                continue
            if files is None or made != self._ends.tally.made:
                made = self._ends.tally.made
                files = await self._catalogue.read(
                    functools.partial(entry_files, root=self._root, empiar_id=empiar_id)
                )
            tasks = await self._planner.plan(maker, files)
            if tasks:
                await self._do_all(_Batch(maker, self._planner.version(maker), empiar_id, tasks))

    # --- doing ----------------------------------------------------------------------------------------

    async def _do_all(self, batch: _Batch) -> None:
        side_by_side = self._side_by_side(batch.maker)
        lanes = [asyncio.create_task(self._lane(batch)) for _ in range(min(side_by_side, len(batch.tasks)))]
        try:
            done, _ = await asyncio.wait(lanes, return_when=asyncio.FIRST_EXCEPTION)
            for lane in done:
                lane.result()
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            for job in (*batch.claimed, *batch.idle):
                await to_the_end(self._ends.give_back(job))

    def _side_by_side(self, maker: Maker) -> int:
        return maker.places or max(1, self._workers // max(1, maker.threads))

    async def _lane(self, batch: _Batch) -> None:
        while not self._stopping:
            async with batch.claiming:
                if not batch.claimed:
                    await to_the_end(self._claim(batch))
                if not batch.claimed:
                    return
                job = batch.claimed.popleft()
            task = batch.tasks.get(job.file_id)
            if task is None:
                batch.idle.append(job)
            else:
                await self._do(batch, job, task)

    async def _claim(self, batch: _Batch) -> None:
        batch.claimed.extend(
            await self._catalogue.write(
                functools.partial(
                    job_store.claim_jobs,
                    empiar_id=batch.empiar_id,
                    maker=batch.maker.name,
                    now=int(self._clock()),
                    limit=2 * max(self._workers, self._side_by_side(batch.maker)),
                ),
                durable=False,  # a claim that a power cut undoes was never made
            )
        )

    async def _do(self, batch: _Batch, job: Job, task: Task) -> None:
        """The job is made, failed or parked; or given back when the run is stopped."""
        folder = folders.job_folder(self._staging, job.job_id)
        started = self._clock()
        settled = False
        failed: JobFault | None = None
        try:
            self._require_space(task)
            self._ends.step(job, "claimed")
            await in_thread(self._threads, folders.make_folder, folder)
            ran = await self._ran(batch.maker, task, job, folder)
            self._ends.step(job, "ran")
            checked = await in_thread(
                self._threads, folders.check_outputs, folder, ran.outputs, largest=batch.maker.largest_output
            )
            self._ends.step(job, "checked")
            outcome = Outcome(started, self._clock(), ran.command, batch.version, ran.log_path)
            await to_the_end(self._ends.keep(job, task, folder, checked, outcome))
            settled = True
        except JobFault as fault:
            failed = fault
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            try:
                # Before the record lets another lane begin the job again, in the same folder.
                await in_thread(self._threads, placing.tidy, folder)
                self._ends.step(job, "tidied")
                if failed is not None and not self._stopping:
                    settled = True
                    await to_the_end(
                        self._ends.fail(
                            job, task, failed, maker=batch.maker, version=batch.version, started=started
                        )
                    )
            finally:
                if not settled:
                    # To the end, because another lane's failure may cancel this one in the middle of its own.
                    await to_the_end(self._ends.give_back(job))

    async def _ran(self, maker: Maker, task: Task, job: Job, folder: Path) -> Ran:
        work = asyncio.create_task(maker.run(task, empiar_id=job.empiar_id, job_id=job.job_id, folder=folder))
        self._at_work.add(work)
        try:
            await asyncio.wait([work])
        finally:
            self._at_work.discard(work)
            if not work.done():
                work.cancel()
                await asyncio.wait([work])
        try:
            return work.result()
        except OSError as error:  # of this machine: no more processes, or no memory for one
            raise JobFault(f"{maker.name} could not be run: {error.strerror or error}") from error

    def _require_space(self, task: Task) -> None:
        # What is made of an image is hardly ever larger than the image.
        refusal = self._space.refusal(sum(source.size for source in task.inputs[:1]))
        if refusal is not None:
            self._observer(events.Paused(refusal, events.UNTIL_SPACE))
            hint = "free some space or raise disk.high_watermark, and run the same command again"
            raise StorageFault(f"the disk is full: {refusal}", hint=hint, full=True)

    # --- at the end -----------------------------------------------------------------------------------

    async def _report(self, ids: Sequence[int], makers: Sequence[Maker]) -> MakeReport:
        names = [maker.name for maker in makers]
        failed = await self._catalogue.read(functools.partial(_failed, ids=ids, makers=names))
        tally = self._ends.tally
        return MakeReport(tally.made, tally.products, tuple(failed), tally.damaged, self._stopping)


def _due(conn: sqlite3.Connection, *, ids: Sequence[int], makers: Sequence[Maker]) -> dict[int, int]:
    """Entries of which a failed job is to be tried again, and when first."""
    due: dict[int, int] = {}
    for empiar_id in ids:
        times = (job_store.next_retry_at(conn, empiar_id, maker.name) for maker in makers)
        if first := [when for when in times if when is not None]:
            due[empiar_id] = min(first)
    return due


def _failed(conn: sqlite3.Connection, *, ids: Sequence[int], makers: Sequence[str]) -> list[FailedJob]:
    """Jobs that are failed or parked, with the reason.

    What cannot be made of a file that is damaged at the source is no failure: the file's own findings say why.
    """
    found: list[FailedJob] = []
    for empiar_id in ids:
        rows = conn.execute(
            "SELECT path, maker, state, error FROM jobs WHERE empiar_id = ? AND state IN ('failed', 'parked')"
            " AND maker IN (SELECT value FROM json_each(?)) AND NOT EXISTS (SELECT 1 FROM images i"
            " WHERE i.file_id = jobs.file_id AND i.problems IS NOT NULL) ORDER BY maker, path",
            (empiar_id, json.dumps(list(makers))),
        )
        found += [
            FailedJob(f"{empiar_id}/{path}" if path else str(empiar_id), maker, JobState(state), error or "")
            for path, maker, state, error in rows
        ]
    return found
