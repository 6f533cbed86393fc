"""One copy that is here, checked against its record: opened, read through, judged. Knows nothing of the catalogue, so that other machines can do it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from empiar_imaging.formats.error_body import Scanner
from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.formats.full_read import scan_of
from empiar_imaging.formats.inspect import inspect
from empiar_mirror.arrive import archive_path
from empiar_schema.copies import HereFile

_READ_BYTES = 2**20


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


def unhurried(count: int) -> None:
    """Nothing to do between pieces."""


def check(
    archive: Path, file: HereFile, *, quick: bool, between: Callable[[int], None] = unhurried
) -> Finding:
    """Whether the file at its final path is the one on record; `quick` looks at size and header only.

    After each piece, `between` is told how many bytes it had; what it raises ends the check.
    """
    opened = open_copy(archive, file)
    if isinstance(opened, Finding):
        return opened
    try:
        if quick:
            return Finding(file, 0, _header_finding(archive_path(archive, file.remote), file))
        reading = Reading(opened, file)
        while count := reading.step(_READ_BYTES):
            between(count)
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
