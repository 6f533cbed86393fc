"""Scrubbing with a cluster: parcels of files are read side by side by its workers, and their findings come in the files' order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from empiar_mirror.checking import Finding
from empiar_mirror.cluster.reading import PARCEL_FILES, ReadingWorkers
from empiar_schema.copies import HereFile

#: The longest wait for a worker before somebody may stop it, seconds.
_NAP_S: Final = 0.5

Parcel = tuple[HereFile, ...]
#: A file with what a worker found; None where it is to be read here.
Read = tuple[HereFile, Finding | None]


@dataclass(slots=True)
class Ahead:
    """Reads ahead of one scrub. Whatever ends it takes from the workers what they have in hand."""

    workers: ReadingWorkers
    places: int
    parcel_bytes: int
    bytes_per_s: int | None
    #: Rests until a parcel of so many bytes may be handed out; raises where the run is over.
    pace: Callable[[int], Awaitable[None]]
    #: Raises where the run is over.
    require_time: Callable[[], None]
    #: Files whose reading by a worker was broken off: they are read here, where an interrupted reading can go on.
    broken_off: set[int]
    _in_hand: deque[tuple[Parcel, asyncio.Task[tuple[Finding, ...] | None]]] = field(default_factory=deque)

    async def findings(self, files: AsyncIterator[HereFile]) -> AsyncGenerator[Read, None]:
        """Each of `files`, in their order."""
        try:
            group: list[HereFile] = []
            size = 0
            async for file in files:
                alone = file.file_id in self.broken_off
                if group and (alone or size + file.size > self.parcel_bytes or len(group) >= PARCEL_FILES):
                    await self._hand_out(tuple(group), size)
                    group, size = [], 0
                if alone:
                    async for read in self._came(at_most=0):
                        yield read
                    yield file, None
                    continue
                group.append(file)
                size += file.size
                async for read in self._came(at_most=self.places - 1):
                    yield read
            if group:
                await self._hand_out(tuple(group), size)
            async for read in self._came(at_most=0):
                yield read
        finally:
            await self._take_back()

    async def _hand_out(self, parcel: Parcel, size: int) -> None:
        await self.pace(size)
        task = asyncio.create_task(self.workers.read(parcel, bytes_per_s=self.bytes_per_s))
        self._in_hand.append((parcel, task))

    async def _came(self, *, at_most: int) -> AsyncGenerator[Read, None]:
        """What the oldest parcels brought, until at most so many are in hand."""
        while len(self._in_hand) > at_most:
            parcel, task = self._in_hand[0]
            while not task.done():
                await asyncio.wait([task], timeout=_NAP_S)
                self.require_time()
            self._in_hand.popleft()
            found = task.result()
            for n, file in enumerate(parcel):
                yield file, None if found is None else found[n]

    async def _take_back(self) -> None:
        for parcel, task in self._in_hand:
            if not task.done() and len(parcel) == 1:
                self.broken_off.add(parcel[0].file_id)
            task.cancel()
        await asyncio.gather(*(task for _, task in self._in_hand), return_exceptions=True)
        self._in_hand.clear()
