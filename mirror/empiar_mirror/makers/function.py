"""Makers whose work is a function of ours, called in a worker process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from empiar_mirror.makers.maker import EntryFiles, JobFault, Ran, Source, Task, Work, recipe_digest
from empiar_mirror.makers.pairing import Ambiguous, nearest
from empiar_mirror.makers.worker import Function
from empiar_mirror.makers.workers import Workers
from empiar_schema.states import Role

Choose = Callable[[EntryFiles], Iterable[Task]]
Concerned = Callable[[sqlite3.Connection, int], bool]


@dataclass(frozen=True, slots=True)
class FunctionMaker:
    """Calls `function`, a module's own function, on each task that `choose` names.

    The function writes below `Work.folder` and returns what it wrote. It sees only what is in `Work`, so that
    `parameters`, `program` and the inputs decide the result: they are the recipe.
    """

    name: str
    function: Function
    choose: Choose
    #: Version of what the function does; another one means that everything is made again.
    program: str
    workers: Workers
    parameters: Mapping[str, object] = field(default_factory=dict)
    source: str = "deposited"
    threads: int = 1
    retries: int = 0
    retry_wait_s: float = 0.0
    timeout_s: float = 3600.0
    largest_output: int = 2**40
    #: Whether a task without any output is done all the same: a micrograph may hold no particle.
    may_make_nothing: bool = False
    #: The quick look of `concerns`; None: it can have tasks in any entry.
    concerned: Concerned | None = None

    @property
    def places(self) -> int | None:
        """As many as those who call its function have."""
        return self.workers.places

    async def version(self) -> str | None:
        """The version that was given."""
        return self.program

    def concerns(self, conn: sqlite3.Connection, empiar_id: int) -> bool:
        """What `concerned` says."""
        return self.concerned is None or self.concerned(conn, empiar_id)

    def tasks(self, files: EntryFiles) -> Iterable[Task]:
        """What `choose` says."""
        return self.choose(files)

    def recipe(self, task: Task, version: str | None) -> str:
        """Name, version, parameters, and the inputs' bytes."""
        return recipe_digest(self.name, version, {**self.parameters, **task.parameters}, task.inputs)

    async def run(self, task: Task, *, empiar_id: int, job_id: int, folder: Path) -> Ran:
        """The function has run in a worker.

        Raises:
            JobFault: it raised, took too long, or its process died.
        """
        del empiar_id
        work = Work(folder, task.inputs, task.stem, {**self.parameters, **task.parameters})
        outputs = await self.workers.call(self.function, work, job_id=job_id, timeout_s=self.timeout_s)
        if not outputs and not self.may_make_nothing:
            raise JobFault("it made nothing", permanent=True)
        return Ran(outputs)


def each_file(*roles: Role, suffixes: tuple[str, ...] = (), gain: bool = False) -> Choose:
    """One task for each file of these roles and suffixes (any, if none is named); with `gain`, its gain reference is the second input if there is one."""

    def choose(files: EntryFiles) -> Iterable[Task]:
        gains = files.of_role(Role.GAIN) if gain else ()
        for source in files.of_role(*roles):
            if not suffixes or source.suffix in suffixes:
                yield _with_gain(source, gains)

    return choose


def each_product(maker: str, kind: str) -> Choose:
    """One task for each product of `kind` that `maker` made of a single file: the first of each file."""

    def choose(files: EntryFiles) -> Iterable[Task]:
        seen: set[int] = set()
        for source in files.products:
            file_id = source.file_id
            if (source.maker, source.role) == (maker, kind) and file_id is not None and file_id not in seen:
                seen.add(file_id)
                yield Task.on(source)

    return choose


def _with_gain(source: Source, gains: tuple[Source, ...]) -> Task:
    try:
        found = nearest(gains, source)
    except Ambiguous as error:
        return Task.on(source, obstacle=f"of the entry's gain references {error}")
    return Task.on(source) if found is None else Task.on(source, found)
