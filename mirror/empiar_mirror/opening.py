"""Part files, opened before the first byte of an attempt: empty, with what is proven of them, or as Globus has delivered them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from empiar_mirror.active import ActiveFile
from empiar_mirror.staging import PartFile, delivered_path, is_own_file
from empiar_mirror.stretches import Remaining
from empiar_mirror.threads import in_thread
from empiar_schema import transfer_store
from empiar_schema.catalogue import Catalogue


class Opening:
    """Opens the part files of one run of the engine."""

    def __init__(self, catalogue: Catalogue, *, staging: Path, threads: Executor) -> None:
        self._catalogue = catalogue
        self._staging = staging
        self._threads = threads

    async def open(self, files: Sequence[ActiveFile]) -> dict[int, list[int]]:
        """Their part files are open, and what is kept of them is proven.

        Returns the starts of recorded blocks that do not hold on disk, by file, for the record.

        Raises:
            StorageFault: the disk refused.
        """
        if new := [active for active in files if not active.on_record]:
            await in_thread(self._threads, self._open_new, new)
        lost = {}
        for active in files:
            if active.on_record and (starts := await self._open_kept(active)):
                lost[active.file_id] = starts
        return lost

    def _open_new(self, files: Sequence[ActiveFile]) -> None:
        for active in files:
            delivered = delivered_path(self._staging, active.work.remote)
            if active.delivered and is_own_file(delivered):
                active.path = delivered
                active.part = PartFile(delivered)
            else:
                active.part = PartFile(active.path, empty=True)

    async def _open_kept(self, active: ActiveFile) -> list[int]:
        part = active.part = await in_thread(self._threads, PartFile, active.path)
        blocks = await self._catalogue.read(
            functools.partial(transfer_store.part_blocks, file_id=active.file_id)
        )
        held, lost = await in_thread(self._threads, part.prove, blocks)
        active.remaining = Remaining(active.size, [(block.start, block.length) for block in held])
        return lost
