"""The work of one task: folders are walked, files are really copied, and both ends are hashed."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from empiar_mirror.rehearsal.globus.collections import Collection, Listed, StorageError
from empiar_mirror.rehearsal.globus.documents import shown
from empiar_mirror.rehearsal.globus.faults import COPY_KINDS, GlobusFault, GlobusFaultBook, GlobusFaultKind
from empiar_mirror.rehearsal.globus.tasks import Item, Moved, SkippedError, Submission, Task

T = TypeVar("T")

_CHUNK = 1024 * 1024
#: Errors of the source that `skip_source_errors` passes over.
_SKIPPABLE = ("FILE_NOT_FOUND", "PERMISSION_DENIED", "AMBIGUOUS_PATH")
_QUOTA = ("QUOTA_EXCEEDED", "NO_SPACE_LEFT")
_LOOK_AGAIN_S = 0.01
#: How often, at most, an event tells how far a task is.
_TOLD_EVERY_S = 60.0
#: Pieces in a second, where a rate is set.
_PIECES_PER_S = 20
#: Deadlines that the service moves by itself: of a paused task, of one that goes on, of one that makes progress.
_PAUSED_S, _RESUMED_S, _PROGRESS_S = 90 * 86_400.0, 86_400.0, 3 * 86_400.0


class TaskFailed(Exception):
    """The task is over, with code and description of its fatal error."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What tasks share. `rate` in bytes a second of one task; while `held` nothing moves."""

    book: GlobusFaultBook
    clock: Callable[[], float]
    rate: float | None = None
    #: Seconds after which what has failed is tried again.
    retry_interval_s: float = 0.05
    held: bool = False
    #: Files begun, by source path; bytes written to destinations.
    copies: dict[str, int] = field(default_factory=dict)
    bytes_moved: int = 0


@dataclass(slots=True, kw_only=True)
class Copier:
    """Does what `task` was submitted for. `aside` waits for something while other tasks may work."""

    task: Task
    asked: Submission
    around: Surroundings
    aside: Callable[[Awaitable[None]], Awaitable[None]]
    _work: deque[Item] = field(default_factory=deque)
    _later: list[Item] = field(default_factory=list)
    _failed: set[Item] = field(default_factory=set)
    _known: set[Item] = field(default_factory=set)
    _told: float = 0.0

    async def run(self) -> None:
        """Every item is at the destination, was there, or was passed over.

        Raises:
            TaskFailed: it is over before that.
        """
        self._work.extend(self.asked.items)
        while self._work or self._later:
            if not self._work:
                await self.aside(asyncio.sleep(self.around.retry_interval_s))
                self._work, self._later = deque(self._later), []
            item = self._work.popleft()
            self._count(item)
            await self._checkpoint()
            try:
                await (self._folder(item) if item.recursive else self._file(item))
                self._failed.discard(item)
            except StorageError as error:
                self._bear(item, error)
        self.task.pending = self.task.retrying = 0

    def _count(self, *now: Item) -> None:
        self.task.retrying = len(self._failed)
        self.task.pending = len(self._work) + len(self._later) + len(now) - len(self._failed)

    def _bear(self, item: Item, error: StorageError) -> None:
        now = self.around.clock()
        where = item.source if error.at_source else item.destination
        self.task.note(error.code, f"{shown(where)}: {error.details}", now, is_error=True)
        self._failed.discard(item)
        if self.asked.skip_source_errors and error.at_source and error.code in _SKIPPABLE:
            self.task.skipped.append(
                SkippedError(item.source, item.destination, error.code, error.details, now, item.recursive)
            )
        elif self.asked.fail_on_quota_errors and error.code in _QUOTA:
            raise TaskFailed("QUOTA_EXCEEDED", error.details)
        else:
            self._later.append(item)
            self._failed.add(item)
            self._count()

    async def _checkpoint(self) -> None:
        """Waits while the task is stopped or everything is held."""
        while self.around.held or self.task.stopped:
            if self.task.stopped:
                await self.aside(self._until_it_goes_on())
            else:
                await asyncio.sleep(_LOOK_AGAIN_S)
        if self.around.clock() >= self.task.deadline:
            raise TaskFailed("EXPIRED", "The deadline has passed")

    async def _until_it_goes_on(self) -> None:
        while self.task.stopped:  # noqa: ASYNC110 - tests let it go on from other threads
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _folder(self, item: Item) -> None:
        source, destination = self.asked.source, self.asked.destination
        children = await _at_source(lambda: list(source.storage.names(source.inner(item.source))))
        await in_thread(
            lambda: destination.writable().make_folder(destination.inner(item.destination), parents=True)
        )
        if item not in self._known:
            self._known.add(item)
            self.task.directories += 1
        for child in reversed(children):
            if not self.asked.included(child.name, "dir" if child.kind == "dir" else "file"):
                continue
            below = Item(
                item.source.rstrip(b"/") + b"/" + child.name,
                item.destination.rstrip(b"/") + b"/" + child.name,
                recursive=child.kind == "dir",
            )
            if child.link_target is None or self.asked.recursive_symlinks == "copy":
                self._work.appendleft(below)
            else:
                await self._link(below, child.link_target)

    async def _link(self, item: Item, target: bytes) -> None:
        self.task.symlinks += 1
        destination = self.asked.destination
        if self.asked.recursive_symlinks == "keep":
            await in_thread(
                lambda: destination.writable().make_link(destination.inner(item.destination), target)
            )

    async def _file(self, item: Item) -> None:
        source = self.asked.source
        facts = await _at_source(lambda: source.storage.stat(source.inner(item.source)))
        if facts.kind == "dir":
            raise StorageError("IS_A_DIRECTORY", "a directory, and the item is not recursive")
        if item not in self._known:
            self._known.add(item)
            self.task.files += 1
        if await self._same(item, facts):
            self.task.files_skipped += 1
            return
        await self._copy(item, facts.size)
        if self.asked.verify_checksum:
            await self._verify(item)
        if self.asked.preserve_timestamp:
            await self._keep_time(item)
        await in_thread(lambda: self._spoil(item))
        self._progress()
        self.task.files_transferred += 1
        if self.around.book.take((GlobusFaultKind.FORGET,), shown(item.source)) is None:
            self.task.moved.append(Moved(item.source, item.destination))

    def _progress(self) -> None:
        task, now = self.task, self.around.clock()
        if self.asked.deadline is None:
            task.deadline = now + _PROGRESS_S
        if now - self._told > _TOLD_EVERY_S:
            self._told = now
            task.note("PROGRESS", f"{task.files_transferred} files, {task.bytes_transferred} bytes", now)

    async def _same(self, item: Item, facts: Listed) -> bool:
        """Whether the sync level asks for no copy."""
        level, destination = self.asked.sync_level, self.asked.destination
        if level is None:
            return False
        try:
            there = await in_thread(lambda: destination.storage.stat(destination.inner(item.destination)))
        except StorageError as error:
            if error.code == "FILE_NOT_FOUND":
                return False
            raise
        match level:
            case 0:
                return True
            case 1:
                return there.size == facts.size
            case 2:
                return there.mtime >= facts.mtime
            case _:
                return there.size == facts.size and await self._hashes_agree(item)

    async def _copy(self, item: Item, size: int) -> None:
        """The bytes of the source stand under the final name, from the first piece on."""
        name, offset = shown(item.source), 0
        self.around.copies[name] = self.around.copies.get(name, 0) + 1
        await self._make_parent(item.destination)
        while True:
            await self._checkpoint()
            rate = self._rate()
            step = _CHUNK if rate is None else max(1, min(_CHUNK, int(rate / _PIECES_PER_S)))
            fault = self.around.book.take(
                COPY_KINDS, name, (offset, max(offset + 1, min(offset + step, size)))
            )
            if fault is not None:
                if fault.at_byte > offset:
                    offset += await self._piece(item, offset, fault.at_byte - offset)
                await self._strike(fault, item)
                await self._checkpoint()
            moved = await self._piece(item, offset, step)
            offset += moved
            if moved < step:
                return

    async def _piece(self, item: Item, offset: int, count: int) -> int:
        source, destination = self.asked.source, self.asked.destination
        data = await _at_source(lambda: source.storage.read(source.inner(item.source), offset, count))
        if data or offset == 0:
            await in_thread(
                lambda: destination.writable().write(destination.inner(item.destination), offset, data)
            )
        self.task.bytes_transferred += len(data)
        self.around.bytes_moved += len(data)
        rate = self._rate()
        if rate is not None:
            await asyncio.sleep(len(data) / rate)
        return len(data)

    def _rate(self) -> float | None:
        rates = (self.around.rate, self.asked.source.bytes_per_s, self.asked.destination.bytes_per_s)
        return min((rate for rate in rates if rate is not None), default=None)

    async def _make_parent(self, path: bytes) -> None:
        destination = self.asked.destination

        def make() -> None:
            parent = destination.inner(path).rpartition(b"/")[0]
            if parent:
                destination.writable().make_folder(parent, parents=True)

        await in_thread(make)

    async def _strike(self, fault: GlobusFault, item: Item) -> None:
        source, kinds = self.asked.source, GlobusFaultKind
        match fault.kind:
            case kinds.WITHHOLD:
                error = StorageError(fault.value or "ENDPOINT_ERROR", "451 The file cannot be read now")
                error.at_source = True
                raise error
            case kinds.VANISH:
                await in_thread(lambda: source.storage.lose(source.inner(item.source)))
            case kinds.CHANGE | kinds.CHANGE_SILENTLY:
                silently = fault.kind is kinds.CHANGE_SILENTLY
                await in_thread(lambda: source.storage.alter(source.inner(item.source), keep_mtime=silently))
            case kinds.PERMISSION:
                raise StorageError("PERMISSION_DENIED", "550 Permission denied")
            case kinds.QUOTA:
                raise StorageError("QUOTA_EXCEEDED", "552 Disk quota exceeded")
            case kinds.PAUSE:
                self._pause(float(fault.value) if fault.value else None)
            case kinds.DEACTIVATE:
                self.task.status, self.task.pause_code = "INACTIVE", "CREDENTIALS_EXPIRED"
            case kinds.CANCEL:
                raise TaskFailed("CANCELED", "canceled by user")
            case _:
                raise TaskFailed(fault.value or "ENDPOINT_ERROR", "the collection has given up")

    def _pause(self, seconds: float | None) -> None:
        task, now = self.task, self.around.clock()
        task.is_paused, task.pause_code, task.deadline = True, "PAUSED_BY_ADMIN", now + _PAUSED_S
        task.note("PAUSED", "paused by an administrator", now)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, resume, task, self.around.clock)

    async def _verify(self, item: Item) -> None:
        fault = self.around.book.take((GlobusFaultKind.CHECKSUM,), shown(item.source))
        if not await self._hashes_agree(item) or fault is not None:
            raise StorageError("VERIFY_CHECKSUM", "the checksums of source and destination differ")

    async def _hashes_agree(self, item: Item) -> bool:
        source, destination = self.asked.source, self.asked.destination
        one = await _at_source(lambda: _digest(source, item.source))
        other = await in_thread(lambda: _digest(destination, item.destination))
        self.task.bytes_checksummed += one[1]
        return one == other

    async def _keep_time(self, item: Item) -> None:
        source, destination = self.asked.source, self.asked.destination
        facts = await _at_source(lambda: source.storage.stat(source.inner(item.source)))
        await in_thread(
            lambda: destination.writable().set_mtime(destination.inner(item.destination), facts.mtime)
        )

    def _spoil(self, item: Item) -> None:
        """What has arrived goes wrong after all, and nothing of the task shows it."""
        kinds = (GlobusFaultKind.FLIP_BIT, GlobusFaultKind.CUT_SHORT)
        fault = self.around.book.take(kinds, shown(item.source))
        if fault is None:
            return
        destination = self.asked.destination
        path, storage = destination.inner(item.destination), destination.writable()
        facts = storage.stat(path)
        data = bytearray(storage.read(path, 0, facts.size))
        if fault.kind is GlobusFaultKind.CUT_SHORT:
            del data[fault.at_byte :]
        elif fault.at_byte < len(data):
            data[fault.at_byte] ^= 1
        storage.write(path, 0, bytes(data))
        storage.set_mtime(path, facts.mtime)


def resume(task: Task, clock: Callable[[], float]) -> None:
    """The task goes on, if a person had stopped it."""
    if task.stopped:
        task.is_paused, task.status = False, "ACTIVE"
        task.deadline = clock() + _RESUMED_S
        task.note("UNPAUSED", "", clock())


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread. Cancelling waits for it, so that nothing is written afterwards."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.cancelled() or running.exception()
        raise


async def _at_source(work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread; an error is one of the source."""
    try:
        return await in_thread(work)
    except StorageError as error:
        error.at_source = True
        raise


def _digest(collection: Collection, path: bytes) -> tuple[bytes, int]:
    digest, offset, inner = hashlib.sha256(), 0, collection.inner(path)
    while data := collection.storage.read(inner, offset, _CHUNK):
        digest.update(data)
        offset += len(data)
    return digest.digest(), offset
