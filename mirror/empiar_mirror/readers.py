"""Who reads copies through against their records: threads of this machine. Workers of other machines are in `empiar_mirror.cluster.reading`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, Protocol

from empiar_mirror.checking import Finding, check
from empiar_mirror.threads import in_thread
from empiar_schema.copies import HereFile

#: Readers at once on one machine; more would only make the disk seek.
READERS: Final = 2


class Readers(Protocol):
    """Reads copies through, somewhere."""

    async def check(
        self, files: Sequence[HereFile], *, quick: bool, progress: Callable[[Finding], None]
    ) -> list[Finding]:
        """A finding for each file, in their order; `progress` hears each as it comes. `quick` looks at sizes and headers only.

        Raises:
            ClusterFault: other machines were to do it, and cannot be had.
        """

    def stop(self) -> None:
        """What is under way ends soon: `check` may return findings of some files only."""


class ReadingThreads(Readers):
    """Reads here, a few files at once."""

    def __init__(self, archive: Path, threads: Executor) -> None:
        self._archive = archive
        self._threads = threads
        self._limit = asyncio.Semaphore(READERS)

    async def check(
        self, files: Sequence[HereFile], *, quick: bool, progress: Callable[[Finding], None]
    ) -> list[Finding]:
        """A finding for each file, in their order; `progress` hears each as it comes. `quick` looks at sizes and headers only."""

        async def one(file: HereFile) -> Finding:
            async with self._limit:
                finding = await in_thread(self._threads, check, self._archive, file, quick=quick)
            progress(finding)
            return finding

        return await asyncio.gather(*(one(file) for file in files))

    def stop(self) -> None:
        """Readings that have begun are not ended."""
