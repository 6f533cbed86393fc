"""Prepared pictures of the page: made one at a time, kept while there is room, and read tile by tile."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empiar_imaging.pixels.contrast import Limits
from empiar_imaging.pixels.pyramid import Pyramid, read_head
from empiar_imaging.pixels.tiles import LowPass, look, tile_count, tile_png
from empiar_mirror.makers.maker import JobFault, Source, Work
from empiar_mirror.makers.workers import Processes, Workers
from empiar_mirror.threads import in_thread
from empiar_mirror.web.micrograph import Picture
from empiar_mirror.web.pictures import open_below
from empiar_mirror.web.preparing import NAME, prepare
from empiar_mirror.web.snapshots import FOLDER
from empiar_schema.disk import storage_fault

#: Bytes of all prepared pictures on disk: some dozens.
ROOM_BYTES: Final = 2 * 2**30
#: Pictures that may wait for being prepared.
_MOST_WAITING: Final = 8
_PREPARE_S: Final = 180.0
#: A picture that could not be prepared is not tried again before that.
_AGAIN_S: Final = 30.0
_LOOKS: Final = 512
#: Threads that make tiles; each has one tile in memory.
_THREADS: Final = 2


class CannotShow(Exception):
    """The picture cannot be shown; a sentence says why. `busy`: not now."""

    def __init__(self, said: str, *, busy: bool = False) -> None:
        super().__init__(said)
        self.busy = busy


@dataclass(frozen=True, slots=True)
class _Ready:
    path: Path
    pyramid: Pyramid
    size: int


class Prepared:
    """The prepared pictures of one serving process, below its folder of snapshots."""

    def __init__(self, root: Path, *, workers: Workers | None = None, room: int = ROOM_BYTES) -> None:
        self._root = root
        self._folder = root / FOLDER / "pictures"
        self._workers = workers or Processes()
        self._room = room
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="tiles")
        self._ready: OrderedDict[str, _Ready] = OrderedDict()
        self._failed: dict[str, tuple[float, str]] = {}
        self._looks: OrderedDict[tuple[str, int, LowPass | None], Limits] = OrderedDict()
        self._one = asyncio.Lock()
        self._waiting = 0
        # What a killed process left.
        shutil.rmtree(self._folder, ignore_errors=True)

    async def aclose(self) -> None:
        """Nothing of it is left, on disk or at work."""
        await self._workers.aclose()
        self._threads.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def pyramid(self, picture: Picture) -> Pyramid:
        """The picture's sizes; it is prepared then.

        Raises:
            CannotShow: it cannot be, or not now.
        """
        return (await self._prepared(picture)).pyramid

    async def tile(
        self, picture: Picture, level: int, column: int, row: int, low_pass: LowPass | None
    ) -> bytes | None:
        """A tile as PNG; None if the picture has no such tile.

        Raises:
            CannotShow: it cannot be, or not now.
        """
        for _ in range(2):
            ready = await self._prepared(picture)
            levels = ready.pyramid.levels
            if level >= len(levels):
                return None
            columns, rows = tile_count(levels[level])
            if column >= columns or row >= rows:
                return None
            with suppress(FileNotFoundError):  # it made room for another one meanwhile
                return await in_thread(
                    self._threads, self._tile, picture.sha256, ready, level, column, row, low_pass
                )
        raise CannotShow("too many pictures are looked at at once", busy=True)

    def _tile(
        self, sha256: str, ready: _Ready, level: int, column: int, row: int, low_pass: LowPass | None
    ) -> bytes:
        key = (sha256, level, low_pass)
        levels = ready.pyramid.levels
        with ready.path.open("rb") as file:
            limits = self._looks.get(key)
            if limits is None:
                limits = self._looks[key] = look(file, levels, level, low_pass)
                while len(self._looks) > _LOOKS:
                    with suppress(KeyError):
                        self._looks.popitem(last=False)
            return tile_png(file, levels, level, column, row, low_pass, limits)

    async def _prepared(self, picture: Picture) -> _Ready:
        if (ready := self._known(picture.sha256)) is not None:
            return ready
        if self._waiting >= _MOST_WAITING:
            raise CannotShow("too many pictures are being prepared: try again in a moment", busy=True)
        self._waiting += 1
        try:
            async with self._one:
                if (ready := self._known(picture.sha256)) is not None:
                    return ready
                return await self._prepare(picture)
        finally:
            self._waiting -= 1

    def _known(self, sha256: str) -> _Ready | None:
        at, said = self._failed.get(sha256, (0.0, ""))
        if said and time.monotonic() - at < _AGAIN_S:
            raise CannotShow(said)
        ready = self._ready.get(sha256)
        if ready is not None:
            self._ready.move_to_end(sha256)
        return ready

    async def _prepare(self, picture: Picture) -> _Ready:
        folder = self._folder / "work"
        try:
            source = self._source(picture)
            shutil.rmtree(folder, ignore_errors=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
            await self._workers.call(prepare, Work(folder, (source,), None), job_id=0, timeout_s=_PREPARE_S)
            path = self._folder / f"{picture.sha256}.levels"
            (folder / NAME).rename(path)
            with path.open("rb") as file:
                ready = _Ready(path, read_head(file), path.stat().st_size)
        except JobFault as fault:
            raise self._refused(picture.sha256, str(fault)) from fault
        except OSError as error:
            raise self._refused(
                picture.sha256, str(storage_fault(error, "the picture cannot be prepared"))
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._ready[picture.sha256] = ready
        self._make_room()
        return ready

    def _refused(self, sha256: str, said: str) -> CannotShow:
        if len(self._failed) > _LOOKS:
            self._failed.clear()
        self._failed[sha256] = (time.monotonic(), said)
        return CannotShow(said)

    def _source(self, picture: Picture) -> Source:
        """The file, if it stands where the catalogue says, with the size that it says, and no link leads there."""
        import os

        try:
            descriptor = open_below(self._root, picture.tree, picture.place)
        except OSError as error:
            raise self._refused(
                picture.sha256,
                f"{picture.shown} is not where the catalogue says ({error.strerror}): `empiar-mirror verify` looks after it",
            ) from error
        try:
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size != picture.size:
            raise self._refused(
                picture.sha256,
                f"{picture.shown} has {size:,} bytes, on record are {picture.size:,}: `empiar-mirror verify` looks after it",
            )
        local = self._root / picture.tree / str(picture.place.empiar_id) / os.fsdecode(picture.place.raw)
        return Source(None, picture.place.path, "micrograph", local, picture.size, picture.sha256)

    def _make_room(self) -> None:
        """The pictures that were looked at longest ago are gone, as many as it takes; the last one stays."""
        while len(self._ready) > 1 and sum(ready.size for ready in self._ready.values()) > self._room:
            _, oldest = self._ready.popitem(last=False)
            with suppress(OSError):
                oldest.path.unlink()
