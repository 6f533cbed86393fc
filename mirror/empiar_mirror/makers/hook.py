"""Makers that are external programs of the user's: the hooks of the configuration."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.makers import folder as folders
from empiar_mirror.makers.entry_files import with_header_facts
from empiar_mirror.makers.function import each_product
from empiar_mirror.makers.maker import (
    EntryFiles,
    JobFault,
    MakerUnusable,
    Output,
    Ran,
    Source,
    Task,
    recipe_digest,
)
from empiar_mirror.makers.pairing import Ambiguous, nearest
from empiar_mirror.makers.templates import Filled, Unfilled, fill, names_used, values_of
from empiar_mirror.makers.watch import Report
from empiar_mirror.makers.watching import Bounds, reason_of, variables_for, watched
from empiar_schema.disk import make_folder, standing
from empiar_schema.hook_settings import HookSettings
from empiar_schema.paths import text_from_bytes
from empiar_schema.states import Role
from empiar_schema.stems import stem_of

#: A program that does not say its version in this time does not say it at all.
VERSION_S = 60.0


@dataclass(frozen=True, slots=True)
class HookMaker:
    """Runs the program of ``[hook.NAME]`` on each file that the table asks for."""

    name: str
    hook: HookSettings
    #: The mirror's root; logs go to ``derived/<id>/.logs`` below it.
    root: Path

    @property
    def source(self) -> str:
        """``deposited``, or the maker whose products it works on."""
        return self.hook.source

    @property
    def threads(self) -> int:
        """As configured."""
        return self.hook.threads

    @property
    def places(self) -> int | None:
        """As the configured workers allow: programs run on this machine."""
        return None

    @property
    def retries(self) -> int:
        """As configured."""
        return self.hook.retries

    @property
    def retry_wait_s(self) -> float:
        """As configured."""
        return self.hook.retry_wait

    @property
    def largest_output(self) -> int:
        """As configured."""
        return self.hook.largest_output

    # --- what --------------------------------------------------------------------------------------------

    def concerns(self, conn: sqlite3.Connection, empiar_id: int) -> bool:
        """Whether the table names the entry, or none."""
        del conn
        return not self.hook.entries or empiar_id in self.hook.entries

    def tasks(self, files: EntryFiles) -> Iterator[Task]:
        """One for each file that the table asks for and that has what it `needs`."""
        if self.hook.entries and files.empiar_id not in self.hook.entries:
            return
        used = names_used(self.hook)
        gains = files.of_role(Role.GAIN) if {"gain"} & (used | set(self.hook.needs)) else ()
        defects = files.of_role(Role.DEFECTS) if {"defects"} & (used | set(self.hook.needs)) else ()
        named = self.hook.gains.get(str(files.empiar_id))
        for source in self._sources(files):
            task = self._task(files.empiar_id, source, gains, defects, named)
            if task is not None:
                yield task

    def _sources(self, files: EntryFiles) -> Iterator[Source]:
        if self.hook.source == "deposited":
            chosen: Iterable[Source] = files.of_role(*self.hook.roles)
        else:
            of_role = {source.file_id for source in files.of_role(*self.hook.roles)}
            tasks = each_product(self.hook.source, self.hook.source_kind)(files)
            chosen = (with_header_facts(t.inputs[0]) for t in tasks if t.file_id in of_role)
        for source in chosen:
            if not self.hook.suffixes or source.suffix in self.hook.suffixes:
                yield source

    def _task(
        self,
        empiar_id: int,
        source: Source,
        gains: tuple[Source, ...],
        defects: tuple[Source, ...],
        named: str | None,
    ) -> Task | None:
        """The task on `source`; None where it lacks what the hook needs."""
        try:
            gain = nearest(gains, source, named=named)
        except Ambiguous as error:
            hint = f'name one in [hook.{self.name}]: gains = {{ {empiar_id} = "…" }}'
            return Task.on(source, obstacle=f"of the entry's gain references {error}; {hint}")
        try:
            defect = nearest(defects, source)
        except Ambiguous as error:
            return Task.on(source, obstacle=f"of the entry's defect files {error}")
        if not self._has_needs(source, gain, defect):
            return None
        task = Task.on(source, *(one for one in (gain, defect) if one is not None))
        try:
            self._filled(task, empiar_id)
        except Unfilled as error:
            return Task.on(source, obstacle=f"it cannot be begun: {error}")
        return task

    def _has_needs(self, source: Source, gain: Source | None, defects: Source | None) -> bool:
        known = {
            "gain": gain,
            "defects": defects,
            "pixel_size": source.facts.pixel_size_angstrom,
            "frames": source.facts.frames,
        }
        return all(known[need] is not None for need in self.hook.needs)

    def _filled(self, task: Task, empiar_id: int, *, threads: str | None = None) -> Filled:
        given = dict(_offered(task))
        values = values_of(
            task.inputs[0],
            empiar_id=empiar_id,
            threads=threads or str(self.hook.threads),
            gain=given.get("gain"),
            defects=given.get("defects"),
        )
        return fill(self.hook, values)

    def recipe(self, task: Task, version: str | None) -> str:
        """Command as filled (but for the number of threads), answers, outputs, variables, version, and the inputs' bytes."""
        outputs = [[o.path, o.name, o.kind] for o in self.hook.outputs]
        parameters: dict[str, object] = {"outputs": outputs, "environment": dict(self.hook.environment)}
        if task.obstacle is None:
            filled = self._filled(task, 0, threads="{threads}")
            parameters |= {"argv": filled.argv, "answers": filled.answers}
        else:
            parameters["obstacle"] = task.obstacle
        return recipe_digest(self.name, version, parameters, task.inputs)

    # --- how ---------------------------------------------------------------------------------------------

    async def version(self) -> str | None:
        """The first line that the version command says; None without one.

        Raises:
            MakerUnusable: the program or its version command is missing, or fails.
        """
        await asyncio.to_thread(self._require_all)
        if not self.hook.version_command:
            return None
        folder = self.root / "staging" / "jobs" / f"version-{self.name}"
        log = folder.with_name(f"{folder.name}.log")
        await asyncio.to_thread(folders.make_folder, folder)
        (folder / "tmp").mkdir()
        try:
            report = await self._watched(self.hook.version_command, folder, log=log, timeout_s=VERSION_S)
        finally:
            folders.remove_tree(folder)
            log.unlink(missing_ok=True)
        program = self.hook.version_command[0]
        reason = (
            "its watcher was killed" if report is None else reason_of(report, program, timeout_s=VERSION_S)
        )
        if report is None or reason is not None or not report["first"]:
            raise MakerUnusable(
                f"hook {self.name}: its version is not known: {reason or f'{program} said nothing'}",
                hint="`version_command` must end with exit code 0 and say the version in its first line",
            )
        return report["first"]

    def _require_all(self) -> None:
        for program in (self.hook.command[0], *self.hook.version_command[:1]):
            self._require(program)
        for place in self.hook.writable:
            if not Path(place).is_dir():
                raise MakerUnusable(f"hook {self.name}: {place}, where it may write, is no folder")

    def _require(self, program: str | tuple[str, ...]) -> None:
        assert isinstance(program, str)
        path = self.hook.environment.get("PATH", os.environ.get("PATH", os.defpath))
        if shutil.which(program, path=path) is None:
            raise MakerUnusable(
                f"hook {self.name}: there is no program {program}",
                hint="install it, or give its whole path in the configuration",
            )

    async def run(self, task: Task, *, empiar_id: int, job_id: int, folder: Path) -> Ran:
        """The program has run in `folder`, and nothing of it is left running.

        Raises:
            JobFault: it failed, hung, left processes, did not write what it should, or changed its input.
            StorageFault: the disk refused.
        """
        filled = self._filled(task, empiar_id)
        command = shlex.join(filled.argv)
        before = folders.seen(task.inputs)
        await asyncio.to_thread(folders.offer, folder, _offered(task), copy=self.hook.offer == "copy")
        log = self._log(empiar_id, job_id)
        try:
            report = await self._watched(
                filled.argv, folder, log=log, timeout_s=self.hook.timeout, answers=filled.answers
            )
        finally:
            log_path = self._kept(log)
        fault = await asyncio.to_thread(self._fault, report, filled.argv[0], before)
        if fault is not None:
            fault.command, fault.log_path = command, log_path
            raise fault
        outputs = tuple(self._outputs(task, filled, folder))
        if not outputs:
            raise JobFault("it wrote nothing", permanent=True, command=command, log_path=log_path)
        return Ran(outputs, command, log_path)

    async def _watched(
        self,
        argv: tuple[str, ...],
        folder: Path,
        *,
        log: Path,
        timeout_s: float,
        answers: tuple[str, ...] = (),
    ) -> Report | None:
        hook = self.hook
        bounds = Bounds(timeout_s, hook.largest_output, hook.memory, hook.fence, hook.writable)
        variables = variables_for(folder, threads=hook.threads, own=hook.environment, ours=os.environ)
        return await watched(
            argv, folder=folder, log=log, bounds=bounds, variables=variables, answers=answers
        )

    def _fault(
        self, report: Report | None, program: str, before: tuple[folders.Seen, ...]
    ) -> JobFault | None:
        """Why the run is no success; None if it is one."""
        for source, what in folders.touched(before):
            if what == folders.BESIDE and report is not None and report["fenced"]:
                continue  # the kernel kept this program from writing there, so it was somebody else
            damaged = [] if folders.still_holds(source) else [source]
            now = "; its bytes are damaged now" if damaged else "; its bytes are as they were"
            text = f"{program} must leave its input alone, but of {source.local} {what}{now}"
            hint = 'offer = "copy" gives the program a copy of its own'
            return JobFault(text, hint=hint, permanent=True, damaged=damaged)
        if report is None:
            return JobFault(f"the watcher of {program} was killed")
        reason = reason_of(report, program, timeout_s=self.hook.timeout)
        if reason is None:
            return None
        return JobFault(reason, permanent=report["outcome"] == "not_started")

    def _outputs(self, task: Task, filled: Filled, folder: Path) -> Iterator[Output]:
        for output, (where, called) in zip(self.hook.outputs, filled.outputs, strict=True):
            if output.optional and not folders.is_there(folder, Path(where)):
                continue
            name = text_from_bytes(os.fsencode(called))
            yield Output(Path(where), name, output.kind, task.stem or stem_of(name))

    def _kept(self, log: Path) -> str | None:
        """Where the log is kept, below the root; None, and no file, if nothing was said."""
        if log.is_file() and log.stat().st_size > 0:
            return str(log.relative_to(self.root))
        log.unlink(missing_ok=True)
        return None

    def _log(self, empiar_id: int, job_id: int) -> Path:
        folder = self.root / "derived" / str(empiar_id) / ".logs" / self.name
        make_folder(folder, within=standing(self.root))
        return folder / f"{job_id}.log"


def _offered(task: Task) -> list[tuple[str, Source]]:
    """What the program is given, by the folder in which it lies."""
    first, *others = task.inputs
    words = {Role.GAIN.value: "gain", Role.DEFECTS.value: "defects"}
    return [("input", first), *((words[other.role], other) for other in others)]
