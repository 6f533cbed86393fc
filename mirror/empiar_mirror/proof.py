"""Later proof of what is here: every file re-read against its record."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from empiar_mirror.arrive import archive_path, put_aside
from empiar_mirror.checking import Finding
from empiar_mirror.readers import Readers, ReadingThreads
from empiar_mirror.reports import FailedFile, VerifyReport
from empiar_mirror.threads import in_thread
from empiar_schema import header_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import suffix_of
from empiar_schema.states import CopyState
from empiar_schema.transfer_store import HereFile

_GROUP_FILES = 256


class Verifier:
    """Checks the files of entries and records what it finds."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        archive: Path,
        quarantine: Path,
        threads: Executor,
        clock: Callable[[], float],
        progress: Callable[[Finding], None] = lambda finding: None,
        readers: Readers | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._archive = archive
        self._quarantine = quarantine
        self._threads = threads
        self._clock = clock
        self._progress = progress
        self._readers = readers or ReadingThreads(archive, threads)
        self._stopping = False

    def stop(self) -> None:
        """No further file is begun."""
        self._stopping = True
        self._readers.stop()

    async def verify(self, empiar_ids: Sequence[int], *, quick: bool) -> VerifyReport:
        """Every copy that is here is checked; damaged and missing ones are recorded as damaged.

        Raises:
            ClusterFault: a cluster was to read, and cannot be had.
        """
        checked = bytes_read = 0
        damaged: list[FailedFile] = []
        for empiar_id in empiar_ids:
            ids = await self._catalogue.read(functools.partial(transfer_store.here_ids, empiar_id=empiar_id))
            for start in range(0, len(ids), _GROUP_FILES):
                if self._stopping:
                    return VerifyReport(checked, bytes_read, tuple(damaged), stopped=True)
                group = ids[start : start + _GROUP_FILES]
                files = await self._catalogue.read(functools.partial(_here, empiar_id=empiar_id, ids=group))
                findings = await self._check_group(files, quick=quick)
                checked += len(findings)
                bytes_read += sum(f.bytes_read for f in findings)
                damaged += [
                    FailedFile(str(f.file.remote), CopyState.DAMAGED, f.wrong) for f in findings if f.wrong
                ]
                if len(findings) < len(files):
                    return VerifyReport(checked, bytes_read, tuple(damaged), stopped=True)
        return VerifyReport(checked, bytes_read, tuple(damaged))

    async def _check_group(self, files: Sequence[HereFile], *, quick: bool) -> list[Finding]:
        findings = await self._readers.check(files, quick=quick, progress=self._progress)
        now = int(self._clock())
        # A quick look at a header proves nothing about the rest, so it neither renews nor restores anything.
        sound = [f.file.file_id for f in findings if f.wrong is None] if not quick else []
        await self._catalogue.write(
            functools.partial(transfer_store.record_verified, file_ids=sound, now=now)
        )
        for finding in findings:
            if finding.problems:
                await self._catalogue.write(functools.partial(add_problems, finding=finding))
            if finding.wrong is not None:
                await self._catalogue.write(
                    functools.partial(
                        transfer_store.record_damaged,
                        file_id=finding.file.file_id,
                        error=finding.wrong,
                        now=now,
                    )
                )
        return findings

    async def clear_damaged(self, empiar_ids: Sequence[int]) -> int:
        """Damaged files that are damaged still stand in quarantine, so that sound ones can take their place; returns how many.

        Those that hold after all (a disk that had been away) are arrived again.
        """
        cleared = 0
        for empiar_id in empiar_ids:
            ids = await self._catalogue.read(
                functools.partial(transfer_store.here_ids, empiar_id=empiar_id, states=(CopyState.DAMAGED,))
            )
            for start in range(0, len(ids), _GROUP_FILES):
                group = ids[start : start + _GROUP_FILES]
                files = await self._catalogue.read(functools.partial(_here, empiar_id=empiar_id, ids=group))
                for finding in await self._check_group(files, quick=False):
                    if finding.wrong is not None:
                        await in_thread(self._threads, self._set_aside, finding.file, finding.wrong)
                        cleared += 1
        return cleared

    def _set_aside(self, file: HereFile, reason: str) -> None:
        path = archive_path(self._archive, file.remote)
        if os.path.lexists(path):
            put_aside(self._quarantine, file.remote, rejected=path, reason=reason, now=self._clock())


def add_problems(conn: sqlite3.Connection, *, finding: Finding) -> None:
    """Findings are added to the header's facts; nothing that is on record is lost."""
    file = finding.file
    known = header_store.image_of(conn, file.file_id)
    if known is None:
        known = ImageFacts(suffix_of(file.remote.name).lstrip(".") or "unknown")
    problems = (*file.problems, *finding.problems)
    transfer_store.record_image(conn, file.file_id, replace(known, problems=problems))


def _here(conn: sqlite3.Connection, *, empiar_id: int, ids: Sequence[int]) -> list[HereFile]:
    return list(transfer_store.here_files(conn, empiar_id, only=ids))
