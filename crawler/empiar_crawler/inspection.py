"""After a listing: the role of every file, and what contradicts the metadata."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from empiar_crawler import checks
from empiar_crawler.checks import Contradiction, EntryCheck
from empiar_imaging.judging import judge_folder
from empiar_imaging.role_overrides import NO_OVERRIDES, Overrides
from empiar_schema import crawl_store, role_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.entry import ImageSet
from empiar_schema.role_reasons import Judgement

#: Unusable names kept of one listing; a hostile one may hold any number.
KEPT_REFUSALS: Final = 1_000


@dataclass(slots=True)
class Refusals:
    """Names that a listing showed and no file can have, up to a bound."""

    names: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, directory: str, names: Sequence[bytes]) -> None:
        """They are kept, as far as there is room."""
        room = KEPT_REFUSALS - len(self.names)
        self.names.extend((directory, name) for name in names[:room])


async def inspect(
    catalogue: Catalogue,
    empiar_id: int,
    refusals: Refusals,
    *,
    source: str,
    now: int,
    overrides: Overrides = NO_OVERRIDES,
) -> None:
    """Every file of the entry's current listing has a role, and the entry's contradictions are those of this listing.

    Roles go by names, by the headers of files that are here already, and by `overrides`.
    The work is done in a thread, a folder at a time; when cancelled it ends after the folder at hand.
    """
    stop = threading.Event()
    try:
        await asyncio.to_thread(
            _Inspection(catalogue, empiar_id, overrides, stop).run, refusals, source=source, now=now
        )
    except asyncio.CancelledError:
        stop.set()
        raise


class _Inspection:
    def __init__(
        self, catalogue: Catalogue, empiar_id: int, overrides: Overrides, stop: threading.Event
    ) -> None:
        self._catalogue = catalogue
        self._empiar_id = empiar_id
        self._overrides = overrides
        self._stop = stop
        #: Files whose recorded role is not the one that was found.
        self._roles: list[tuple[int, Judgement]] = []

    def run(self, refusals: Refusals, *, source: str, now: int) -> None:
        with self._catalogue.reader() as conn:
            imagesets = crawl_store.imagesets_of(conn, self._empiar_id)
            check = EntryCheck(self._empiar_id, imagesets, dataset_size=_dataset_size(conn, self._empiar_id))
            folders = crawl_store.directories_of(conn, self._empiar_id)
            check.folders(path for _, path, count in folders if count)
            with_facts = role_store.has_facts(conn, self._empiar_id)
            for directory_id, path, count in folders:
                if self._stop.is_set():
                    return
                if count:
                    self._folder(conn, check, imagesets, _Folder(directory_id, path, count, with_facts))
            self._write_roles()
        for path, name in refusals.names:
            check.refused(path, [name])
        found = check.contradictions()
        self._catalogue.write_now(lambda conn: self._record(conn, found, source=source, now=now))

    def _folder(
        self, conn: sqlite3.Connection, check: EntryCheck, imagesets: Sequence[ImageSet], folder: _Folder
    ) -> None:
        seen: set[int] = set()
        twice: set[int] = set()
        for part in role_store.parts_of_directory(
            conn, folder.directory_id, folder.path, count=folder.count, with_facts=folder.with_facts
        ):
            judged = judge_folder(
                imagesets, folder.path, part.files, facts=part.facts, overrides=self._overrides
            )
            self._roles += part.differing(judged)
            check.files(folder.path, part.files, [one.role for one in judged])
            checks.falling_together((file.name for file in part.files), seen, twice)
            if len(self._roles) >= role_store.PART:
                self._write_roles()
        if twice:
            check.clashes(folder.path, _names(conn, folder, twice))

    def _write_roles(self) -> None:
        rows, self._roles = self._roles, []
        if rows:
            self._catalogue.write_now(lambda conn: role_store.record_judgements(conn, rows))

    def _record(
        self, conn: sqlite3.Connection, found: Sequence[Contradiction], *, source: str, now: int
    ) -> None:
        crawl_store.record_inspected(conn, self._empiar_id)
        role_store.record_overrides(conn, self._empiar_id, self._overrides.digest)
        crawl_store.clear_contradictions(conn, self._empiar_id, what=checks.KINDS)
        for one in found:
            crawl_store.record_contradiction(
                conn,
                self._empiar_id,
                one.path,
                what=one.what,
                stated=one.stated,
                found=one.found,
                source=source,
                now=now,
            )


@dataclass(frozen=True, slots=True)
class _Folder:
    directory_id: int
    path: str
    count: int
    with_facts: bool


def _names(conn: sqlite3.Connection, folder: _Folder, keys: set[int]) -> list[str]:
    """The folder's names whose folded keys are among `keys`."""
    names: list[str] = []
    after = 0
    while rows := crawl_store.files_of_directory(
        conn, folder.directory_id, after_file_id=after, limit=role_store.PART
    ):
        names += [file.name for _, file in rows if checks.folded_key(file.name) in keys]
        after = rows[-1][0]
    return names


def _dataset_size(conn: sqlite3.Connection, empiar_id: int) -> str | None:
    row = conn.execute("SELECT dataset_size FROM entries WHERE empiar_id = ?", (empiar_id,)).fetchone()
    return None if row is None else row[0]
