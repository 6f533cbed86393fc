"""How a job ends in the catalogue: made, failed, parked, or given back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.makers import placing
from empiar_mirror.makers.folder import Checked
from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.maker import JobFault, Source, Task
from empiar_mirror.threads import in_thread
from empiar_schema import events, job_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.jobs import Job, JobInput, JobState, Outcome


@dataclass(slots=True)
class Tally:
    """What a run brought."""

    made: int = 0
    products: int = 0
    damaged: int = 0


class JobEnds:
    """Every way out of a job, each with its record."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        root: Path,
        threads: Executor,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._root = root
        self._threads = threads
        self._observer = observer
        self._clock = clock
        self._placing: set[tuple[int, str]] = set()
        self.tally = Tally()

    async def keep(
        self, job: Job, task: Task, folder: Path, checked: Sequence[Checked], outcome: Outcome
    ) -> None:
        """The outputs are products: durable at their paths, then recorded. The order is that of docs/architecture.md."""
        products = placing.planned(job.maker, job.empiar_id, task, checked)
        paths = [product.path for product in products]
        reserved = {(job.empiar_id, path) for path in paths}
        if taken := self._placing & reserved:
            raise _taken(job.empiar_id, [path for _, path in taken])
        self._placing |= reserved
        try:
            await self._require_free(job, paths)
            before = await self._catalogue.read(
                functools.partial(job_store.products_of_job, job_id=job.job_id)
            )
            await in_thread(self._threads, placing.write_list, folder, [*paths, *before])
            self.step(job, "listed")
            if set(paths) & set(before):
                await self._catalogue.write(
                    functools.partial(job_store.clear_places, job_id=job.job_id, paths=paths)
                )
            self.step(job, "cleared")
            pairs = list(zip(checked, products, strict=True))
            await in_thread(self._threads, placing.place, self._root, job.empiar_id, folder, pairs)
            self.step(job, "placed")
            await self._catalogue.write(
                functools.partial(
                    job_store.record_made,
                    job=job,
                    products=products,
                    inputs=[_input(source) for source in task.inputs],
                    outcome=outcome,
                    now=int(self._clock()),
                )
            )
            self.step(job, "recorded")
            gone = sorted(set(before) - set(paths))
            await in_thread(self._threads, placing.remove, self._root, job.empiar_id, gone)
        finally:
            self._placing -= reserved
        self.tally.made += 1
        self.tally.products += len(products)
        seconds = round(outcome.ended_at - outcome.started_at, 3)
        self._observer(
            events.JobMade(job.job_id, job.maker, _shown(job.empiar_id, task), tuple(paths), seconds)
        )

    async def _require_free(self, job: Job, paths: Sequence[str]) -> None:
        owners = await self._catalogue.read(
            functools.partial(job_store.owners, empiar_id=job.empiar_id, paths=paths)
        )
        if taken := [path for path, owner in owners.items() if owner != job.job_id]:
            raise _taken(job.empiar_id, taken)

    async def fail(
        self, job: Job, task: Task, fault: JobFault, *, maker: Maker, version: str | None, started: float
    ) -> None:
        """The attempt failed: the job is tried again later, or parked. A file that a program changed is no longer vouched for."""
        for source in fault.damaged:
            await self._record_damage(job, source)
        parked = fault.permanent or job.attempts >= maker.retries
        wait_s = min(job_store.LONGEST_WAIT_S, maker.retry_wait_s * 2.0 ** min(job.attempts, 20))
        error = f"{fault}; {fault.hint}" if fault.hint else str(fault)
        await self._catalogue.write(
            functools.partial(
                job_store.record_failed,
                job=job,
                error=error,
                outcome=Outcome(started, self._clock(), fault.command, version, fault.log_path),
                not_before=None if parked else int(self._clock() + wait_s),
            )
        )
        state = JobState.PARKED if parked else JobState.FAILED
        self._observer(events.JobFailed(job.job_id, job.maker, _shown(job.empiar_id, task), error, state))

    async def _record_damage(self, job: Job, source: Source) -> None:
        """A file whose bytes a program changed is no longer vouched for."""
        if source.product is not None:
            await self._catalogue.write(
                functools.partial(job_store.doubt_product, empiar_id=job.empiar_id, path=source.product)
            )
            return
        assert source.file_id is not None
        self.tally.damaged += 1
        error = f"{job.maker} changed it, though it is not allowed to"
        await self._catalogue.write(
            functools.partial(
                transfer_store.record_damaged, file_id=source.file_id, error=error, now=int(self._clock())
            )
        )

    async def give_back(self, job: Job) -> None:
        """The claim counts as never made."""
        await self._catalogue.write(functools.partial(job_store.give_back_job, job_id=job.job_id))

    def step(self, job: Job, step: str) -> None:
        """A step of the job is done."""
        self._observer(events.JobStepTaken(job.job_id, step))


def _taken(empiar_id: int, paths: Sequence[str]) -> JobFault:
    return JobFault(
        f"the product of another file is called derived/{empiar_id}/{paths[0]} already",
        hint="two files differ in their suffix only: name outputs after {name} instead of {stem}",
        permanent=True,
    )


def _input(source: Source) -> JobInput:
    if source.product is not None:
        return JobInput(source.role, product=source.product)
    return JobInput(source.role, file_id=source.file_id)


def _shown(empiar_id: int, task: Task) -> str:
    """``10017/data/a.tif``, or ``10017`` for a job on the whole entry."""
    return str(empiar_id) if task.file_id is None else f"{empiar_id}/{task.inputs[0].path}"
