"""The maker `hand_labels`: the current versions of an entry's labels by hand, gathered in one file for the maker `labels` to work on."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_imaging.labels.by_hand import write_versions
from empiar_mirror.by_hand.versions import FOLDER, Current, all_versions, current
from empiar_mirror.makers.maker import EntryFiles, Output, Ran, Task, recipe_digest
from empiar_mirror.makers.workers import Workers
from empiar_schema.disk import storage_fault
from empiar_schema.layout_views import HAND_LABELS, ViewRecipe
from empiar_schema.product_reads import products_of
from empiar_schema.settings import Settings

PROGRAM: Final = "labels by hand 1"
#: The kind of its one product; no layout has a place for it.
KIND: Final = "hand_labels"
_NAME: Final = "current.json"


@dataclass(frozen=True, slots=True)
class HandLabels:
    """Gathers what counts of the versions below ``labels/<id>``. A version that cannot be read leaves the one before it in force."""

    root: Path
    name: str = HAND_LABELS
    source: str = "deposited"
    threads: int = 1
    places: int | None = None
    retries: int = 0
    retry_wait_s: float = 0.0
    largest_output: int = 2**40

    async def version(self) -> str | None:
        """That of what is written."""
        return PROGRAM

    def concerns(self, conn: sqlite3.Connection, empiar_id: int) -> bool:
        """Whether there are labels by hand of the entry, or were when it last worked."""
        if (self.root / FOLDER / str(empiar_id)).is_dir():
            return True
        return any(product.maker == self.name for product in products_of(conn, empiar_id))

    def tasks(self, files: EntryFiles) -> Iterable[Task]:
        """One, which the bytes of the current versions decide."""
        found = self._current(files.empiar_id)
        if found or any(product.maker == self.name for product in files.products):
            digests = {one.file.shown: hashlib.sha256(one.file.raw()).hexdigest() for one in found}
            yield Task(None, (), parameters={**digests, "problems": _problems(found)})

    def recipe(self, task: Task, version: str | None) -> str:
        """The versions decide."""
        return recipe_digest(self.name, version, dict(task.parameters), ())

    async def run(self, task: Task, *, empiar_id: int, job_id: int, folder: Path) -> Ran:
        """The versions stand in one file in the job's folder."""
        del task, job_id
        details = await asyncio.to_thread(self._write, empiar_id, folder / _NAME)
        return Ran((Output(Path(_NAME), _NAME, KIND, details=details),))

    def _write(self, empiar_id: int, target: Path) -> dict[str, object]:
        found = self._current(empiar_id)
        try:
            target.write_bytes(write_versions([one.version for one in found]))
        except OSError as error:
            raise storage_fault(error, f"cannot write {target}") from error
        return {"micrographs": len(found), "problems": _problems(found)[:20]}

    def _current(self, empiar_id: int) -> list[Current]:
        everything = (current(versions) for versions in all_versions(self.root, empiar_id))
        return [one for one in everything if one is not None]


def _problems(found: Sequence[Current]) -> list[str]:
    return [problem for one in found for problem in one.problems]


def hand_makers(settings: Settings, recipes: Sequence[ViewRecipe], workers: Workers) -> Iterable[HandLabels]:
    """The maker, where a view has labels."""
    del workers
    if any(recipe.labels or recipe.stacks != "none" for recipe in recipes):
        yield HandLabels(settings.root)
