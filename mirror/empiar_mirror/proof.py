"""Later proof of what is here: every file re-read against its record."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from empiar_imaging.formats.error_body import Scanner
from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.formats.full_read import scan_of
from empiar_imaging.formats.inspect import inspect
from empiar_mirror.arrive import archive_path, put_aside
from empiar_mirror.reports import FailedFile, VerifyReport
from empiar_mirror.threads import in_thread
from empiar_schema import header_store, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.image_facts import ImageFacts
from empiar_schema.paths import suffix_of
from empiar_schema.states import CopyState
from empiar_schema.transfer_store import HereFile

#: Readers at once; more would only make the disk seek.
READERS = 2
_READ_BYTES = 2**20
_GROUP_FILES = 256


@dataclass(frozen=True, slots=True)
class Finding:
    """One file's check: how many bytes were read, and what is wrong, if anything."""

    file: HereFile
    bytes_read: int
    wrong: str | None
    #: Finding codes that only reading every byte could give (the file is as the archive sent it, all the same).
    problems: tuple[str, ...] = ()
    #: The system's error number, where it refused to open or to read.
    errno: int | None = None


def check(archive: Path, file: HereFile, *, quick: bool) -> Finding:
    """Whether the file at its final path is the one on record; `quick` looks at size and header only."""
    opened = open_copy(archive, file)
    if isinstance(opened, Finding):
        return opened
    try:
        if quick:
            return Finding(file, 0, _header_finding(archive_path(archive, file.remote), file))
        reading = Reading(opened, file)
        while reading.step(_READ_BYTES):
            pass
        return reading.finding()
    except OSError as error:
        return Finding(file, 0, f"it cannot be read: {error.strerror}", errno=error.errno)
    finally:
        os.close(opened)


def open_copy(archive: Path, file: HereFile) -> int | Finding:
    """A descriptor of the file at its final path, whose size is that on record; else what is wrong with it."""
    try:
        fd = os.open(archive_path(archive, file.remote), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        return Finding(file, 0, "it is missing", errno=error.errno)
    except OSError as error:
        return Finding(file, 0, f"it cannot be opened: {error.strerror}", errno=error.errno)
    wrong, number = None, None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            wrong = "it is no regular file"
        elif status.st_size != file.size:
            wrong = f"it has {status.st_size} bytes, the record says {file.size}"
    except OSError as error:
        wrong, number = f"it cannot be read: {error.strerror}", error.errno
    if wrong is None:
        return fd
    os.close(fd)
    return Finding(file, 0, wrong, errno=number)


def _header_finding(path: Path, file: HereFile) -> str | None:
    """A header that is wrong now and was not at arrival."""
    inspection = inspect(path, name=file.remote.name, size=file.size)
    new = [e for e in inspection.evidence if e.code not in file.problems]
    return f"its header is damaged: {new[0].detail}" if new else None


class Reading:
    """One copy being read through, in pieces of any size, against its record. The descriptor stays its owner's."""

    def __init__(self, fd: int, file: HereFile) -> None:
        self._fd = fd
        self._file = file
        self._sha256 = hashlib.sha256()
        self._scanner = Scanner(file.remote.name)
        self._content = scan_of(FileBytes(fd, file.size), name=file.remote.name)
        self._buffer = bytearray()
        self._count = 0

    def step(self, count: int) -> int:
        """The next bytes, at most `count`, were looked at; how many, 0 at the end.

        Raises:
            OSError: the disk refused.
        """
        if not self._buffer:
            self._buffer = bytearray(min(count, max(self._file.size, 1)))
        view = memoryview(self._buffer)[:count]
        got = os.readv(self._fd, [view])
        self._sha256.update(view[:got])
        self._scanner.feed(view[:got])
        if self._content is not None:
            self._content.feed(view[:got])
        self._count += got
        return got

    def finding(self) -> Finding:
        """What the bytes read say of the copy; to be asked once, at the end."""
        file = self._file
        # A verified file will not be read again soon; leave the page cache to those who work.
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if self._sha256.digest() != file.sha256:
            wrong = f"its sha256 is {self._sha256.hexdigest()}, the record says {file.sha256.hex()}"
            return Finding(file, self._count, wrong)
        self._scanner.end()
        found = (*self._scanner.findings, *(self._content.end() if self._content is not None else ()))
        codes = dict.fromkeys(evidence.code for evidence in found)
        return Finding(file, self._count, None, tuple(code for code in codes if code not in file.problems))


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
    ) -> None:
        self._catalogue = catalogue
        self._archive = archive
        self._quarantine = quarantine
        self._threads = threads
        self._clock = clock
        self._progress = progress
        self._stopping = False

    def stop(self) -> None:
        """No further file is begun."""
        self._stopping = True

    async def verify(self, empiar_ids: Sequence[int], *, quick: bool) -> VerifyReport:
        """Every copy that is here is checked; damaged and missing ones are recorded as damaged."""
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
        return VerifyReport(checked, bytes_read, tuple(damaged))

    async def _check_group(self, files: Sequence[HereFile], *, quick: bool) -> list[Finding]:
        limit = asyncio.Semaphore(READERS)

        async def one(file: HereFile) -> Finding:
            async with limit:
                finding = await in_thread(self._threads, check, self._archive, file, quick=quick)
            self._progress(finding)
            return finding

        findings = await asyncio.gather(*(one(file) for file in files))
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
