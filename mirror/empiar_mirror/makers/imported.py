"""The maker `imported_labels`: coordinates of a released CryoPPP tree, kept beside what EMPIAR has, for the maker `labels` to work on."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from empiar_mirror.makers.label_function import WITHOUT_PARTICLES, imported_kind
from empiar_mirror.makers.maker import EntryFiles, Output, Ran, Task, recipe_digest
from empiar_schema.disk import storage_fault
from empiar_schema.layout_views import IMPORTED_LABELS

if TYPE_CHECKING:
    from empiar_imaging.labels.released import ReleasedEntry
    from empiar_imaging.labels.table import LabelTable

PROGRAM: Final = "imported labels 1"


@dataclass(frozen=True, slots=True)
class ImportedLabels:
    """Keeps the tables of one tree, a file for each kind (selected, excluded), by entry; what was imported before for an entry is replaced."""

    #: Contents of the files, by entry and kind.
    tables: Mapping[int, Mapping[str, bytes]]
    #: Where they come from, for the record.
    source_name: str
    name: str = IMPORTED_LABELS
    source: str = "deposited"
    threads: int = 1
    places: int | None = None
    retries: int = 0
    retry_wait_s: float = 0.0
    largest_output: int = 2**40

    @classmethod
    def of(cls, entries: Sequence[ReleasedEntry], source_name: str) -> ImportedLabels:
        """The maker for the entries of a released tree."""
        tables = {}
        for entry in entries:
            kinds = {"selected": entry.selected, "excluded": entry.excluded}
            found = {kind: as_csv(table) for kind, table in kinds.items() if table is not None}
            if entry.selected is not None and (names := entry.selected.without_particles):
                found[WITHOUT_PARTICLES] = "".join(f"{name}\n" for name in names).encode()
            tables[entry.empiar_id] = found
        return cls(tables, source_name)

    async def version(self) -> str | None:
        """That of what is written."""
        return PROGRAM

    def concerns(self, conn: sqlite3.Connection, empiar_id: int) -> bool:
        """Whether the tree has coordinates of the entry."""
        del conn
        return bool(self.tables.get(empiar_id))

    def tasks(self, files: EntryFiles) -> Iterable[Task]:
        """One for each entry of the tree."""
        if self.tables.get(files.empiar_id):
            digests = {
                kind: hashlib.sha256(data).hexdigest() for kind, data in self.tables[files.empiar_id].items()
            }
            yield Task(None, (), parameters=digests)

    def recipe(self, task: Task, version: str | None) -> str:
        """The contents decide."""
        return recipe_digest(self.name, version, dict(task.parameters), ())

    async def run(self, task: Task, *, empiar_id: int, job_id: int, folder: Path) -> Ran:
        """The tables stand in the job's folder."""
        del task, job_id
        tables = self.tables[empiar_id]
        try:
            for kind, data in tables.items():
                await asyncio.to_thread((folder / f"{kind}.csv").write_bytes, data)
        except OSError as error:
            raise storage_fault(error, f"cannot write to {folder}") from error
        details = {"source": self.source_name}
        outputs = (
            Output(Path(f"{kind}.csv"), f"{kind}.csv", imported_kind(kind), details=details)
            for kind in tables
        )
        return Ran(tuple(outputs))


def as_csv(table: LabelTable) -> bytes:
    """CryoPPP's entry-level CSV, and the diameter in a column of its own, which that CSV lacks."""
    from empiar_imaging.labels.cryoppp_csv import DIAMETER, write_cryoppp_entry

    header, *rows = csv.reader(io.StringIO(write_cryoppp_entry(table).decode("latin-1"), newline=""))
    diameter = "" if table.diameter_px is None else f"{table.diameter_px:g}"
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, DIAMETER])
    writer.writerows([*row, diameter] for row in rows)
    return text.getvalue().encode("latin-1")
