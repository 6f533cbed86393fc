"""The contract of listing sources, and the walk through an entry's directories that they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from empiar_crawler.parse.listed import Listed
from empiar_schema.faults import BadAnswer, PermanentFault, TransientFault
from empiar_schema.files import ListedFile
from empiar_wire.backoff import backoff_s

BATCH_FILES = 5000
#: Beyond these an entry's listing is a loop or a trap. The deepest known entry has 8 levels, the fullest some 10,000 directories.
DEEPEST = 64
MOST_DIRECTORIES = 500_000
MOST_FILES = 50_000_000
_TRIES = 3


@dataclass(frozen=True, slots=True)
class DirectoryBatch:
    """Some files of one directory; a directory comes as one batch or many, not always in a row."""

    #: Stored text below the entry, ``""`` for the entry's own folder.
    directory: str
    files: Sequence[ListedFile]
    #: Listed names that no file can have, links that lead to no file, devices.
    refused: Sequence[bytes]


class ListingSource(Protocol):
    """Lists the files of an entry.

    Contract, run against every implementation by ``tests/contract``: `walk` yields every file of the entry, each
    directory in at least one batch, or raises a fault; nothing is complete until it ends without one. A file
    may come twice when a directory had to be read again: the last one counts. Memory does not grow with the entry.
    """

    @property
    def name(self) -> str:
        """What `listings` call it: ``ftp``, ``https``."""

    def walk(self, empiar_id: int) -> AsyncGenerator[DirectoryBatch, None]:
        """All files of the entry, in batches of at most `BATCH_FILES`.

        Raises:
            PermanentFault: the archive has no such entry (`absent`).
            TransientFault: a directory could not be read, or vanished meanwhile.
            BadAnswer: a page or line that cannot be read, or a listing without end.
            UnreachableFault: the host is down.
        """

    async def aclose(self) -> None:
        """All connections of its own are closed."""


#: Reads one directory (stored text below the entry), in pieces; raises a fault where it is not whole.
DirectoryReader = Callable[[str], AsyncGenerator[Listed, None]]


async def walk_tree(
    read: DirectoryReader,
    *,
    readers: int,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[DirectoryBatch, None]:
    """Every directory below ``""``, read by up to `readers` at a time; see `ListingSource.walk`.

    The last directory found is read first, so that few of them wait at any time.
    """
    walk = _Walk(read, sleep)
    crew = asyncio.create_task(walk.run(readers))
    try:
        while (found := await walk.queue.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield found
    finally:
        crew.cancel()
        await asyncio.wait([crew])


@dataclass(slots=True)
class _Walk:
    read: DirectoryReader
    sleep: Callable[[float], Awaitable[None]]
    #: Small, so that a slow catalogue slows the reading down. None is the end, an exception the failed end.
    queue: asyncio.Queue[DirectoryBatch | Exception | None] = field(
        default_factory=lambda: asyncio.Queue(maxsize=4)
    )
    pending: list[str] = field(default_factory=lambda: [""])
    seen: set[str] = field(default_factory=lambda: {""})
    files: int = 0

    async def run(self, readers: int) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while self.pending or running:
                while self.pending and len(running) < readers:
                    running.add(asyncio.create_task(self.visit(self.pending.pop())))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except Exception as error:  # handed to the consumer, which raises it
            await self.queue.put(error)
        else:
            await self.queue.put(None)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def visit(self, directory: str) -> None:
        """One directory, tried again where that may help; what it listed before a failure is listed again."""
        for failures in range(1, _TRIES + 1):
            try:
                await self.read_once(directory)
            except PermanentFault as fault:
                if not directory or not fault.absent or failures > 1:
                    raise _incomplete(directory, fault) from fault
                await self.sleep(backoff_s(failures))
            except TransientFault as fault:
                if failures == _TRIES:
                    raise
                await self.sleep(max(fault.retry_after_s or 0.0, backoff_s(failures, first_s=1.0)))
            else:
                return

    async def read_once(self, directory: str) -> None:
        files: list[ListedFile] = []
        refused: list[bytes] = []
        async with aclosing(self.read(directory)) as pieces:
            async for piece in pieces:
                self.count(piece)
                self.enter(directory, piece.directories)
                refused += piece.refused
                files += piece.files
                while len(files) >= BATCH_FILES:
                    await self.queue.put(DirectoryBatch(directory, files[:BATCH_FILES], ()))
                    files = files[BATCH_FILES:]
        await self.queue.put(DirectoryBatch(directory, files, refused))

    def count(self, piece: Listed) -> None:
        self.files += len(piece.files) + len(piece.refused)
        if self.files > MOST_FILES:
            raise BadAnswer(f"an endless listing: more than {MOST_FILES:,} files")

    def enter(self, directory: str, names: Sequence[str]) -> None:
        for name in names:
            path = f"{directory}/{name}" if directory else name
            if path in self.seen:
                continue
            if path.count("/") >= DEEPEST or len(self.seen) >= MOST_DIRECTORIES:
                raise BadAnswer(
                    f"an endless listing: {len(self.seen):,} directories, {path.count('/') + 1} levels deep"
                )
            self.seen.add(path)
            self.pending.append(path)


def _incomplete(directory: str, fault: PermanentFault) -> PermanentFault | TransientFault:
    """The entry's own folder missing means no such entry; a directory below it, listed a moment ago, means a listing that is not whole."""
    if not directory:
        return fault
    return TransientFault(f"the directory {directory!r} vanished while the entry was being listed: {fault}")
