"""What makers should make of an entry: their tasks become wishes, where the catalogue lacks them or has them otherwise."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

from empiar_mirror.makers.interface import Maker
from empiar_mirror.makers.maker import EntryFiles, MakerUnusable, Task
from empiar_mirror.threads import in_thread
from empiar_schema import events, job_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer
from empiar_schema.jobs import JobState, Wish

#: Recipe of a job whose maker is unusable: any real recipe differs from it, so that the job is wanted when that has passed.
UNUSABLE: Final = "unusable"
#: Wishes in one transaction.
_WISHES: Final = 5_000


class Planner:
    """Keeps the jobs of the catalogue as the makers and the files want them. Each maker is asked for its version once."""

    def __init__(
        self, *, catalogue: Catalogue, threads: Executor, observer: Observer, clock: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._threads = threads
        self._observer = observer
        self._clock = clock
        self._versions: dict[str, str | None] = {}
        self._unusable: dict[str, str] = {}

    async def plan(self, maker: Maker, files: EntryFiles) -> Mapping[int | None, Task]:
        """The maker's tasks among these files, by the file they are about; each is a job of the catalogue now."""
        tasks = await in_thread(self._threads, _tasks_of, maker, files)
        if tasks:
            await self._ask_version(maker)
        await self._want(maker, files.empiar_id, tasks)
        return tasks

    def version(self, maker: Maker) -> str | None:
        """What the maker said of its version; None before it was asked."""
        return self._versions.get(maker.name)

    async def forget_strangers(self, ids: Sequence[int], *, keep: Sequence[str]) -> None:
        """Of other makers than these, no job is left that made nothing."""
        for empiar_id in ids:
            open_makers = await self._catalogue.read(
                functools.partial(job_store.makers_with_open_jobs, empiar_id=empiar_id)
            )
            if not open_makers <= set(keep):
                await self._catalogue.write(
                    functools.partial(job_store.forget_makers, empiar_id=empiar_id, keep=keep)
                )

    async def _ask_version(self, maker: Maker) -> None:
        if maker.name in self._versions or maker.name in self._unusable:
            return
        try:
            self._versions[maker.name] = await maker.version()
        except MakerUnusable as fault:
            self._unusable[maker.name] = f"{fault}; {fault.hint}" if fault.hint else str(fault)

    async def _want(self, maker: Maker, empiar_id: int, tasks: Mapping[int | None, Task]) -> None:
        known = await self._catalogue.read(
            functools.partial(job_store.known_jobs, empiar_id=empiar_id, maker=maker.name)
        )
        wishes = await in_thread(self._threads, self._wishes, maker, tasks, known)
        new = 0
        for start in range(0, len(wishes), _WISHES):
            part = wishes[start : start + _WISHES]
            new += await self._catalogue.write(
                functools.partial(
                    job_store.want_jobs, empiar_id=empiar_id, wishes=part, now=int(self._clock())
                )
            )
        if any(
            recipe and state is not JobState.MADE and file_id not in tasks
            for file_id, (recipe, state) in known.items()
        ):
            await self._catalogue.write(
                functools.partial(
                    job_store.forget_other_jobs, empiar_id=empiar_id, maker=maker.name, keep=list(tasks)
                )
            )
        if new:
            self._observer(events.JobsWanted(empiar_id, maker.name, new))

    def _wishes(
        self,
        maker: Maker,
        tasks: Mapping[int | None, Task],
        known: Mapping[int | None, tuple[str, JobState]],
    ) -> list[Wish]:
        """The jobs that the catalogue does not have, or has with another recipe."""
        unusable = self._unusable.get(maker.name)
        wishes = []
        for file_id, task in tasks.items():
            recipe = UNUSABLE if unusable else maker.recipe(task, self._versions.get(maker.name))
            if known.get(file_id, ("", None))[0] != recipe:
                wishes.append(Wish(maker.name, file_id, recipe, unusable or task.obstacle))
        return wishes


def _tasks_of(maker: Maker, files: EntryFiles) -> dict[int | None, Task]:
    return {task.file_id: task for task in maker.tasks(files)}
