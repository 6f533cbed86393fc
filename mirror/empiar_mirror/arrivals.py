"""Verified files become arrived ones in groups: flush all, link all, flush folders once, one commit."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.arrive import Placed, Verified, link_parts, put_aside
from empiar_mirror.staging import PartFile
from empiar_mirror.threads import in_thread
from empiar_schema import transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import Observer, StepTaken
from empiar_schema.transfer_store import Arrival, Attempt

#: Enough to share one directory flush and one commit among many small files, few enough to bound the loss of time.
GROUP_FILES = 64
#: Files of a group that one thread flushes, one after the other; the shares of a group side by side.
SYNC_FILES = 8


@dataclass(frozen=True, slots=True)
class _Waiting:
    verified: Verified
    arrival: Arrival
    last: Attempt | None
    done: asyncio.Future[Placed]


class Arrivals:
    """The last steps of every file's journey, in the order of promise 1.

    Flush the part; link it under its final name; flush the folder; commit the row; only then remove the part.
    The catalogue may lag behind the disk; it never runs ahead of it.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        archive: Path,
        quarantine: Path,
        threads: Executor,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._archive = archive
        self._quarantine = quarantine
        self._threads = threads
        self._observer = observer
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Task[None] | None = None

    async def arrive(self, verified: Verified, arrival: Arrival, last: Attempt | None = None) -> Placed:
        """The file is durable at its final path and recorded; or other bytes stand there, and ours are quarantined.

        `last`, the attempt that brought its last bytes, is recorded in the same transaction.

        Cancelling the caller does not stop an arrival that has begun.

        Raises:
            StorageFault: the disk refused; the part file stays.
        """
        done: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(verified, arrival, last, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return await done

    async def drain(self) -> None:
        """No arrival is under way."""
        while self._flushing is not None and not self._flushing.done():
            await asyncio.wait([self._flushing])

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP_FILES], self._waiting[GROUP_FILES:]
            try:
                placed = await self._place(group)
            except Exception as error:
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
                continue
            for waiting, where in zip(group, placed, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(where)

    async def _place(self, group: list[_Waiting]) -> list[Placed]:
        shares = [group[start : start + SYNC_FILES] for start in range(0, len(group), SYNC_FILES)]
        await asyncio.gather(*(in_thread(self._threads, _sync, [w.verified for w in s]) for s in shares))
        self._tell(group, "synced")
        placed = await in_thread(self._threads, link_parts, self._archive, [w.verified for w in group])
        self._tell(group, "linked")
        arrived = [w.arrival for w, where in zip(group, placed, strict=True) if where.conflict is None]
        attempts = [w.last for w in group if w.last is not None]
        await self._catalogue.write(
            functools.partial(_record, attempts=attempts, arrivals=arrived, now=int(self._clock()))
        )
        self._tell(group, "recorded")
        for where in placed:
            if where.conflict is not None:
                await self._set_aside(where.verified, where.conflict)
        await in_thread(self._threads, _tidy, [w.verified.part for w in group])
        self._tell(group, "tidied")
        return placed

    async def _set_aside(self, verified: Verified, reason: str) -> None:
        def rejected() -> Path:
            return put_aside(
                self._quarantine,
                verified.remote,
                rejected=verified.part.path,
                reason=reason,
                now=self._clock(),
            )

        where = await in_thread(self._threads, rejected)
        repair = f"to take them, move it away and run `empiar-mirror repair {verified.remote.empiar_id}`"
        error = f"{reason}; the bytes fetched now are in {where}; {repair}"
        await self._catalogue.write(
            functools.partial(transfer_store.quarantine, file_id=verified.file_id, error=error)
        )

    def _tell(self, group: list[_Waiting], step: str) -> None:
        for waiting in group:
            self._observer(StepTaken(waiting.verified.file_id, step))


def _sync(share: list[Verified]) -> None:
    for verified in share:
        verified.part.sync(verified.modified_at)


def _record(
    conn: sqlite3.Connection, *, attempts: Sequence[Attempt], arrivals: Sequence[Arrival], now: int
) -> None:
    transfer_store.record_attempts(conn, attempts)
    transfer_store.record_arrivals(conn, arrivals, now=now)


def _tidy(parts: list[PartFile]) -> None:
    for part in parts:
        part.discard()
