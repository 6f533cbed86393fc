"""Where tasks are taken in and worked on: who may submit what, which run, and how they end."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from empiar_mirror.rehearsal.archive import Json
from empiar_mirror.rehearsal.globus.copying import Copier, Surroundings, TaskFailed, resume
from empiar_mirror.rehearsal.globus.documents import ServiceError, bad_request
from empiar_mirror.rehearsal.globus.faults import GlobusFaultKind
from empiar_mirror.rehearsal.globus.places import Places
from empiar_mirror.rehearsal.globus.tasks import Submission, Task

#: Unfinished tasks that an account may have.
_PENDING: Final = 100
_FIRST_DEADLINE_S: Final = 86_400.0
_CANCELED: Final = ("CANCELED", "canceled by user")


@dataclass(slots=True, kw_only=True)
class Submitted:
    """An accepted submission, and how often it came. `items` are the pairs of paths, as bytes."""

    submission_id: str
    task_id: str
    label: str | None
    items: tuple[tuple[bytes, bytes], ...]
    times: int = 1


@dataclass(slots=True, kw_only=True)
class Desk:
    """All tasks of all accounts."""

    around: Surroundings
    tasks: dict[str, Task] = field(default_factory=dict)
    #: In the order in which they came.
    submissions: dict[str, Submitted] = field(default_factory=dict)
    _ids: dict[str, str] = field(default_factory=dict)
    _jobs: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    #: Tasks that have a place now.
    _placed: set[str] = field(default_factory=set)
    _places: defaultdict[str, Places] = field(default_factory=lambda: defaultdict(Places))

    def now(self) -> float:
        """Unix time by the clock of the service."""
        return self.around.clock()

    def new_submission_id(self, owner_id: str) -> str:
        """An id with which the account may submit one task."""
        new = str(uuid.uuid4())
        self._ids[new] = owner_id
        return new

    def submitted(self, owner_id: str, document: Json) -> Submitted | None:
        """The earlier submission with the same id as `document`, which has now come once more.

        Raises:
            ServiceError: the id was not given out to this account.
        """
        submission_id = document.get("submission_id") if isinstance(document, dict) else None
        if not isinstance(submission_id, str):
            raise bad_request("Missing required field 'submission_id'")
        if self._ids.get(submission_id) != owner_id:
            raise bad_request(f"Unknown submission_id '{submission_id[:64]}'")
        known = self.submissions.get(submission_id)
        if known is not None:
            known.times += 1
        return known

    def submit(self, owner_id: str, asked: Submission) -> Submitted:
        """A task for `asked` is there and will run.

        Raises:
            ServiceError: the account has too many tasks.
        """
        self._check_pending(owner_id)
        task = self._new_task(owner_id, asked.label, asked.deadline)
        task.submission = asked
        task.pending = len(asked.items)
        known = Submitted(
            submission_id=asked.submission_id,
            task_id=task.task_id,
            label=asked.label,
            items=tuple((item.source, item.destination) for item in asked.items),
        )
        self.submissions[asked.submission_id] = known
        copier = Copier(task=task, asked=asked, around=self.around, aside=partial(self._aside, task))
        self._start(task, copier.run)
        return known

    def add_foreign(self, owner_id: str, label: str) -> Task:
        """The account has a task of somebody's own, which takes a place where one is free and goes on until it is ended."""
        self._check_pending(owner_id)
        task = self._new_task(owner_id, label, None)
        self._start(task, partial(_until_ended, task))
        return task

    async def cancel(self, task: Task) -> None:
        """The task is FAILED as a cancelled one, unless it had ended; nothing more is written for it."""
        await self._stop(task, _CANCELED)

    def expire_overdue(self) -> None:
        """Tasks whose deadline has passed come to their end."""
        for task_id in list(self._jobs):
            task = self.tasks[task_id]
            if not task.ended and self.now() >= task.deadline:
                task.end("FAILED", self.now(), ("EXPIRED", "The deadline has passed"))
                self._jobs[task_id].cancel()

    def resume(self, task: Task) -> None:
        """The task goes on, if a person had stopped it."""
        resume(task, self.around.clock)

    async def close(self) -> None:
        """Nothing is worked on any more; tasks stay as they are."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def _check_pending(self, owner_id: str) -> None:
        pending = sum(
            not self.tasks[task_id].ended
            for task_id in self._jobs
            if self.tasks[task_id].owner_id == owner_id
        )
        if pending >= _PENDING:
            raise ServiceError(
                409, "TooManyPendingJobs", f"Too many pending jobs ({pending}), maximum {_PENDING}"
            )

    def _new_task(self, owner_id: str, label: str | None, deadline: float | None) -> Task:
        now = self.now()
        task = Task(
            task_id=str(uuid.uuid4()),
            owner_id=owner_id,
            label=label,
            request_time=now,
            deadline=deadline or now + _FIRST_DEADLINE_S,
        )
        self.tasks[task.task_id] = task
        return task

    def _start(self, task: Task, work: Callable[[], Awaitable[None]]) -> None:
        job = asyncio.get_running_loop().create_task(self._worked(task, work))
        self._jobs[task.task_id] = job
        job.add_done_callback(lambda _job: self._jobs.pop(task.task_id, None))

    async def _worked(self, task: Task, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._take_place(task)
            if not task.ended:
                task.note("STARTED", "", self.now())
                await work()
                task.end("SUCCEEDED", self.now())
        except TaskFailed as failed:
            task.end("FAILED", self.now(), (failed.code, failed.description))
        finally:
            self._give_place_back(task)
            if self.around.book.take((GlobusFaultKind.HISTORY_DELETED,), task.label or ""):
                task.history_deleted = True

    async def _aside(self, task: Task, waiting: Awaitable[None]) -> None:
        """`waiting` is over; meanwhile another task had the place."""
        self._give_place_back(task)
        task.queued = True
        await waiting
        await self._take_place(task)

    async def _take_place(self, task: Task) -> None:
        await self._places[task.owner_id].take()
        self._placed.add(task.task_id)
        task.queued = False

    def _give_place_back(self, task: Task) -> None:
        if task.task_id in self._placed:
            self._placed.remove(task.task_id)
            self._places[task.owner_id].give_back()

    async def _stop(self, task: Task, fatal_error: tuple[str, str]) -> None:
        job = self._jobs.get(task.task_id)
        task.end("FAILED", self.now(), fatal_error)
        if job is not None:
            job.cancel()
            await asyncio.wait([job])


async def _until_ended(task: Task) -> None:
    while not task.ended:  # noqa: ASYNC110 - tests end it from other threads
        await asyncio.sleep(0.01)
