"""How a file leaves the engine: arrived, back in the catalogue for later, parked, or quarantined."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from empiar_mirror.active import ActiveFile
from empiar_mirror.arrivals import Arrivals
from empiar_mirror.arrive import Verified, put_aside
from empiar_mirror.judge import Judge
from empiar_mirror.threads import in_thread
from empiar_schema import globus_endings, transfer_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.events import FileArrived, FileGivenUp, Observer, StepTaken
from empiar_schema.paths import RemotePath
from empiar_schema.states import CopyState
from empiar_schema.transfer_store import Arrival, Attempt


class Endings:
    """Every way out, each with its record in the catalogue."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        quarantine: Path,
        judge: Judge,
        arrivals: Arrivals,
        threads: Executor,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._quarantine = quarantine
        self._judge = judge
        self._arrivals = arrivals
        self._threads = threads
        self._observer = observer
        self._clock = clock

    async def arrive(self, active: ActiveFile, last: Attempt | None) -> None:
        """The whole part file is verified, durable at its final path, and recorded with its last attempt.

        Raises:
            TransferFault: it is not what the archive holds; nothing was recorded.
            StorageFault: the disk refused.
        """
        assert active.part is not None
        assert active.size is not None
        self._observer(StepTaken(active.file_id, "transferred"))
        sha256, image = await self._judge.examine(active, active.size)
        self._observer(StepTaken(active.file_id, "verified"))
        found = active.validators
        modified_at = found.modified_at if found and found.modified_at else active.work.modified_at
        channel = active.tried.channel
        placed = await self._arrivals.arrive(
            Verified(active.file_id, active.work.remote, active.part, active.size, sha256, modified_at),
            Arrival(active.file_id, active.size, sha256, channel, found, image),
            last,
        )
        if placed.conflict is not None:
            self._tell_given_up(active, CopyState.QUARANTINED, placed.conflict)
            return
        self._observer(
            FileArrived(
                file_id=active.file_id,
                path=str(active.work.remote),
                channel=channel,
                size_bytes=active.size,
                sha256=sha256.hex(),
                attempts=active.work.attempts + 1,
                problems=image.problems if image else (),
            )
        )

    async def shelve(self, active: ActiveFile, *, error: str | None, wait_s: float = 0.0) -> None:
        """The file waits in the catalogue; what is proven of it stays in staging."""
        keep = active.keeps_partial
        if active.part is not None:
            stays = keep or active.delivered
            await in_thread(self._threads, active.part.close if stays else active.part.discard)
        await self.release(active.file_id, wait_s=wait_s, error=error, keep_partial=keep)

    async def refuse_delivery(self, active: ActiveFile, *, error: str) -> None:
        """What Globus delivered is not the file: it is discarded, and another channel or a later task may bring it."""
        if active.part is not None:
            await in_thread(self._threads, active.part.discard)
        free = functools.partial(globus_endings.free, file_ids=[active.file_id], error=error)
        await self._catalogue.write(free)

    async def release(self, file_id: int, *, wait_s: float, error: str | None, keep_partial: bool) -> None:
        """The claim is given back. Waits are whole seconds, and never shorter than a server has asked for."""
        now = self._clock()
        later = math.ceil(now + wait_s) if wait_s else int(now)
        await self._catalogue.write(
            functools.partial(
                transfer_store.release,
                file_id=file_id,
                not_before=min(later, int(now) + transfer_store.LONGEST_WAIT_S),
                error=error,
                keep_partial=keep_partial,
            )
        )

    async def park(self, file_id: int, remote: RemotePath, *, error: str) -> None:
        """The file is given up until somebody asks again."""
        await self._catalogue.write(functools.partial(transfer_store.park, file_id=file_id, error=error))
        self._observer(FileGivenUp(file_id, str(remote), CopyState.PARKED, error))

    async def discard_and_park(self, active: ActiveFile, *, error: str) -> None:
        """As `park`, and nothing of it is kept."""
        if active.part is not None:
            await in_thread(self._threads, active.part.discard)
        await self.park(active.file_id, active.work.remote, error=error)

    async def quarantine(self, active: ActiveFile, *, error: str) -> None:
        """The rejected bytes are kept aside with the reason."""
        assert active.part is not None
        await in_thread(self._threads, active.part.close)
        where = await in_thread(
            self._threads,
            put_aside,
            self._quarantine,
            active.work.remote,
            rejected=active.path,
            reason=error,
            now=self._clock(),
        )
        error = f"{error}; the bytes are in {where}"
        await self._catalogue.write(
            functools.partial(transfer_store.quarantine, file_id=active.file_id, error=error)
        )
        self._tell_given_up(active, CopyState.QUARANTINED, error)

    async def drain(self) -> None:
        """No arrival is under way."""
        await self._arrivals.drain()
        await asyncio.sleep(0)

    def _tell_given_up(self, active: ActiveFile, state: CopyState, reason: str) -> None:
        self._observer(FileGivenUp(active.file_id, str(active.work.remote), state, reason))
