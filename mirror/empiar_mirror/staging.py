"""Part files: the only place where bytes from the network are written before they are proven."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import xxhash

from empiar_mirror.stretches import BLOCK_BYTES, Stretch
from empiar_schema.disk import make_folder, standing, storage_fault
from empiar_schema.faults import ChangedUpstream, IntegrityFault
from empiar_schema.paths import RemotePath
from empiar_schema.transfer_store import Block

#: How much before the kept bytes' end is fetched again and compared when a partial is continued.
OVERLAP_BYTES = 16 * 1024
_READ_BYTES = 1024 * 1024
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def part_path(staging: Path, empiar_id: int, file_id: int) -> Path:
    """``staging/10017/123.part``: no suffix that a picker's or importer's glob would take."""
    return staging / str(empiar_id) / f"{file_id}.part"


def delivery_folder(staging: Path) -> Path:
    """Where Globus writes: ``staging/globus/<id>/<path as on EMPIAR>``."""
    return staging / "globus"


def delivered_path(staging: Path, remote: RemotePath) -> Path:
    """Where Globus delivers this file."""
    return delivery_folder(staging) / str(remote.empiar_id) / os.fsdecode(remote.raw)


def is_own_file(path: Path) -> bool:
    """Whether a regular file stands there that belongs to this user, who may set its time and link it."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


class PartFile:
    """One part file: positioned writes, block proofs, and the sha256 of the contiguous beginning as it grows.

    Its methods block; the engine calls them in threads. Several threads may write different stretches.
    """

    def __init__(self, path: Path, *, empty: bool = False) -> None:
        """The file is open and there; with `empty`, nothing of an earlier one is left.

        Raises:
            StorageFault: the disk refused.
        """
        self.path = path
        flags = _OPEN | os.O_TRUNC if empty else _OPEN
        try:
            try:
                self._fd = os.open(path, flags, 0o644)
            except FileNotFoundError:
                make_folder(path.parent, within=standing(path.parents[2]))
                self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise storage_fault(error, f"cannot open {path}") from error
        self._lock = threading.Lock()
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def prove(self, blocks: Sequence[Block]) -> tuple[list[Block], list[int]]:
        """Which of the recorded blocks hold on disk, and the starts of those that do not.

        The beginning that holds without a gap is hashed on the way, so that it is read only once.
        """
        held: list[Block] = []
        lost: list[int] = []
        for block in sorted(blocks, key=lambda b: b.start):
            data = self._pread(block.start, block.length)
            if len(data) == block.length and xxhash.xxh3_128_digest(data) == block.xxh3:
                held.append(block)
                if block.start == self._hashed:
                    self._sha256.update(data)
                    self._hashed += block.length
            else:
                lost.append(block.start)
        return held, lost

    def write(self, offset: int, data: memoryview) -> None:
        """`data` stands at `offset` (in the page cache; `sync` makes it durable).

        Raises:
            StorageFault: the disk refused.
        """
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._fd, data[written:], offset + written)
        except OSError as error:
            raise storage_fault(error, f"cannot write {self.path}") from error
        with self._lock:
            if offset == self._hashed:
                self._sha256.update(data)
                self._hashed += len(data)

    def compare(self, offset: int, data: memoryview) -> None:
        """The bytes at `offset` are `data` already.

        Raises:
            ChangedUpstream: they are not, so the remote file is not the one that was begun.
        """
        if self._pread(offset, len(data)) != bytes(data):
            raise ChangedUpstream(
                f"bytes fetched again at {offset} differ from those kept: the file has changed"
            )

    def fileno(self) -> int:
        """The open descriptor, for looking at the bytes."""
        return self._fd

    def is_file(self, device: int, inode: int) -> bool:
        """Whether the open file is this one."""
        status = os.fstat(self._fd)
        return (status.st_dev, status.st_ino) == (device, inode)

    def finish(self, size: int) -> bytes:
        """The sha256 of the whole part file, which has exactly `size` bytes.

        Raises:
            IntegrityFault: it has another length.
            StorageFault: the disk refused to give the bytes back.
        """
        try:
            actual = os.fstat(self._fd).st_size
            if actual > size:
                raise IntegrityFault(f"{actual} bytes in staging where the archive states {size}")
            while self._hashed < size:
                data = os.pread(self._fd, min(_READ_BYTES, size - self._hashed), self._hashed)
                if not data:
                    raise IntegrityFault(f"{actual} bytes in staging where the archive states {size}")
                self._sha256.update(data)
                self._hashed += len(data)
        except OSError as error:
            raise storage_fault(error, f"cannot read {self.path}") from error
        return self._sha256.digest()

    def replace(self, path: Path, size: int) -> None:
        """The first `size` bytes of the file at `path`, which nobody writes to any more, are the part file's; nothing of before is left.

        Raises:
            IntegrityFault: no such file of this user is there, or it is shorter.
            StorageFault: the disk refused.
        """
        if not is_own_file(path) or path.stat().st_size < size:
            raise IntegrityFault(f"what another machine has written is not here: {path}")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(fd).st_size > size:
                    os.ftruncate(fd, size)
                path.rename(self.path)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise storage_fault(error, f"cannot take {path} over") from error
        os.close(self._fd)
        self._fd = fd
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def restart(self) -> None:
        """Nothing is kept."""
        try:
            os.ftruncate(self._fd, 0)
        except OSError as error:
            raise storage_fault(error, f"cannot empty {self.path}") from error
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def sync(self, modified_at: int | None) -> None:
        """The bytes are durable, read-only, and carry the archive's modification time."""
        try:
            if modified_at is not None:
                os.utime(self._fd, (modified_at, modified_at))
            os.fchmod(self._fd, 0o444)
            os.fsync(self._fd)
        except OSError as error:
            raise storage_fault(error, f"cannot flush {self.path}") from error

    def close(self) -> None:
        """The file is closed; its bytes stay."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """The file is gone."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108 - thousands a second; Path.unlink costs twice as much

    def _pread(self, offset: int, count: int) -> bytes:
        try:
            data = os.pread(self._fd, count, offset)
            while len(data) < count:
                more = os.pread(self._fd, count - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise storage_fault(error, f"cannot read {self.path}") from error
        return data


class BlockHasher:
    """Proofs of the blocks that one stretch completes, whatever pieces its bytes come in."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._length = 0
        self._xxh3 = xxhash.xxh3_128()

    @property
    def complete_to(self) -> int:
        """Where the block begins that is not complete."""
        return self._start

    def feed(self, data: memoryview) -> list[Block]:
        """The blocks that are complete with `data`, the bytes that follow those fed before."""
        blocks: list[Block] = []
        while data:
            piece = data[: BLOCK_BYTES - (self._start + self._length) % BLOCK_BYTES]
            self._xxh3.update(piece)
            self._length += len(piece)
            data = data[len(piece) :]
            if (self._start + self._length) % BLOCK_BYTES == 0:
                blocks.append(Block(self._start, self._length, self._xxh3.digest()))
                self._start += self._length
                self._length = 0
                self._xxh3.reset()
        return blocks


class StretchWriter:
    """Writes one stretch of a part file: compares what is kept, appends what is new, proves whole blocks."""

    def __init__(self, part: PartFile, stretch: Stretch) -> None:
        self.part = part
        self.stretch = stretch
        self._hasher = BlockHasher(stretch.start)

    @property
    def proven_to(self) -> int:
        """Up to where the stretch has been handed out as complete blocks."""
        return self._hasher.complete_to

    @property
    def resume_at(self) -> int:
        """Where a request should begin: a little before the end of what is kept."""
        first = self.stretch.start - (OVERLAP_BYTES if self.stretch.after_proven else 0)
        return max(0, first, self.stretch.position - OVERLAP_BYTES)

    def write(self, offset: int, data: memoryview) -> list[Block]:
        """Blocks proven by these bytes. Bytes below the stretch's position are compared, the rest appended.

        Raises:
            ChangedUpstream: compared bytes differ.
            IntegrityFault: bytes beyond the stretch, or a gap.
            StorageFault: the disk refused.
        """
        kept = self.stretch.position - offset
        if kept < 0:
            raise IntegrityFault(f"bytes at {offset} came after those at {self.stretch.position}")
        if kept:
            self.part.compare(offset, data[:kept])
            data = data[kept:]
        if not data:
            return []
        position = self.stretch.position
        if self.stretch.stop is not None and position + len(data) > self.stretch.stop:
            raise IntegrityFault(f"more bytes than the {self.stretch.stop} that were asked for")
        self.part.write(position, data)
        self.stretch.position = position + len(data)
        return self._hasher.feed(data)
