"""After a listing: the role of every file, and what contradicts the metadata."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from empiar_crawler import checks
from empiar_crawler.checks import Contradiction, EntryCheck
from empiar_imaging.roles import classify
from empiar_schema import crawl_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.states import Role

#: Files of one folder that are judged together, and rows written together.
CHUNK: Final = 20_000
#: Unusable names kept of one listing; a hostile one may hold any number.
KEPT_REFUSALS: Final = 1_000

Rows = Sequence[tuple[int, ListedFile]]


@dataclass(slots=True)
class Refusals:
    """Names that a listing showed and no file can have, up to a bound."""

    names: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, directory: str, names: Sequence[bytes]) -> None:
        """They are kept, as far as there is room."""
        room = KEPT_REFUSALS - len(self.names)
        self.names.extend((directory, name) for name in names[:room])


async def inspect(catalogue: Catalogue, empiar_id: int, refusals: Refusals, *, source: str, now: int) -> None:
    """Every file of the entry's current listing has a role, and the entry's contradictions are those of this listing.

    The work is done in a thread, a folder at a time; when cancelled it ends after the folder at hand.
    """
    stop = threading.Event()
    try:
        await asyncio.to_thread(_Inspection(catalogue, empiar_id, stop).run, refusals, source=source, now=now)
    except asyncio.CancelledError:
        stop.set()
        raise


class _Inspection:
    def __init__(self, catalogue: Catalogue, empiar_id: int, stop: threading.Event) -> None:
        self._catalogue = catalogue
        self._empiar_id = empiar_id
        self._stop = stop
        self._roles: list[tuple[int, Role, float]] = []

    def run(self, refusals: Refusals, *, source: str, now: int) -> None:
        with self._catalogue.reader() as conn:
            imagesets = crawl_store.imagesets_of(conn, self._empiar_id)
            check = EntryCheck(self._empiar_id, imagesets, dataset_size=_dataset_size(conn, self._empiar_id))
            folders = crawl_store.directories_of(conn, self._empiar_id)
            check.folders(path for _, path, count in folders if count)
            for directory_id, path, count in folders:
                if self._stop.is_set():
                    return
                if count:
                    self._folder(conn, check, imagesets, _Folder(directory_id, path, count))
            self._write_roles()
        for path, name in refusals.names:
            check.refused(path, [name])
        found = check.contradictions()
        self._catalogue.write_now(lambda conn: _record(conn, self._empiar_id, found, source=source, now=now))

    def _folder(
        self, conn: sqlite3.Connection, check: EntryCheck, imagesets: Sequence[ImageSet], folder: _Folder
    ) -> None:
        seen: set[int] = set()
        twice: set[int] = set()
        for rows in folder.chunks(conn):
            files = [file for _, file in rows]
            judged = classify(imagesets, folder.path, files)
            self._roles.extend(
                (file_id, role, sure) for (file_id, _), (role, sure) in zip(rows, judged, strict=True)
            )
            check.files(folder.path, files, [role for role, _ in judged])
            checks.falling_together((file.name for file in files), seen, twice)
            if len(self._roles) >= CHUNK:
                self._write_roles()
        if twice:
            names = [
                file.name
                for rows in folder.chunks(conn)
                for _, file in rows
                if checks.folded_key(file.name) in twice
            ]
            check.clashes(folder.path, names)

    def _write_roles(self) -> None:
        rows, self._roles = self._roles, []
        if rows:
            self._catalogue.write_now(lambda conn: crawl_store.record_roles(conn, rows))


@dataclass(frozen=True, slots=True)
class _Folder:
    directory_id: int
    path: str
    count: int

    def chunks(self, conn: sqlite3.Connection) -> Iterator[Rows]:
        """The folder's files in parts of about equal size, so that no file is judged without neighbours."""
        parts = -(-self.count // CHUNK)
        limit = -(-self.count // parts)
        after = 0
        while rows := crawl_store.files_of_directory(
            conn, self.directory_id, after_file_id=after, limit=limit
        ):
            yield rows
            after = rows[-1][0]


def _dataset_size(conn: sqlite3.Connection, empiar_id: int) -> str | None:
    row = conn.execute("SELECT dataset_size FROM entries WHERE empiar_id = ?", (empiar_id,)).fetchone()
    return None if row is None else row[0]


def _record(
    conn: sqlite3.Connection, empiar_id: int, found: Sequence[Contradiction], *, source: str, now: int
) -> None:
    crawl_store.record_inspected(conn, empiar_id)
    crawl_store.clear_contradictions(conn, empiar_id, what=checks.KINDS)
    for one in found:
        crawl_store.record_contradiction(
            conn,
            empiar_id,
            one.path,
            what=one.what,
            stated=one.stated,
            found=one.found,
            source=source,
            now=now,
        )
