"""When a loop of the service cannot go on: it rests, and tries again, until it can or the service is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from empiar_mirror.app import Mirror
from empiar_mirror.eviction.automatic import RoomMaker
from empiar_mirror.pace import rest_s
from empiar_mirror.plan_facts import bytes_held
from empiar_mirror.root_guard import RootGuard
from empiar_mirror.space import Space
from empiar_schema.events import Paused
from empiar_schema.faults import (
    AccountFault,
    CatalogueFault,
    ClusterFault,
    ConfigFault,
    EmpiarMirrorError,
    StorageFault,
    TransferFault,
    UnreachableFault,
)

T = TypeVar("T")


@dataclass(slots=True)
class Rests:
    """What all loops share: whether the service is stopped, and what they wait for when they fail."""

    mirror: Mirror
    guard: RootGuard
    stopped: asyncio.Event
    look_at_disk_s: float
    #: Nothing is evicted while derived files are made of what is here.
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    _room: RoomMaker | None = None

    async def through(self, work: Callable[[], Awaitable[object]]) -> None:
        """`work` is done, or has been tried until it could be, or the service is stopped.

        Raises:
            CatalogueFault: the catalogue refused.
        """
        failures = 0
        while not self.stopped.is_set():
            await self._until_root_is_there()
            try:
                await work()
            except StorageFault as fault:
                failures += 1
                await self._until_disk_allows(fault, failures)
            except CatalogueFault:
                if not await self._root_is_away():
                    raise
            except (AccountFault, ClusterFault, ConfigFault, TransferFault, UnreachableFault) as fault:
                failures += 1
                wait_s = rest_s(failures)
                self.pause(fault, f"it is tried again in {wait_s:.0f} s")
                await self.sleep(wait_s)
            else:
                return

    async def asked(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What the catalogue answers, once it is there.

        Raises:
            CatalogueFault: the catalogue refused.
        """
        while True:
            await self._until_root_is_there()
            try:
                return await self.mirror.catalogue.read(query)
            except CatalogueFault:
                if self.stopped.is_set() or not await self._root_is_away():
                    raise

    async def sleep(self, seconds: float) -> None:
        """So many seconds have gone by, or the service is stopped."""
        await self.wait(self.stopped, seconds)

    @staticmethod
    async def wait(event: asyncio.Event, seconds: float) -> None:
        """It is set, or so many seconds have gone by."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    def pause(self, fault: EmpiarMirrorError, until: str) -> None:
        """Observers are told why something waits, and for what."""
        hint = f" ({fault.hint})" if fault.hint else ""
        self.mirror.observer(Paused(f"{fault}{hint}", until))

    # --- the root, and the room on its disk -----------------------------------------------------------

    async def _root_is_away(self) -> bool:
        return await asyncio.to_thread(self.guard.missing) is not None

    async def _until_root_is_there(self) -> None:
        told = False
        while (missing := await asyncio.to_thread(self.guard.missing)) and not self.stopped.is_set():
            if not told:
                self.mirror.observer(Paused(missing, "it is there again"))
                told = True
            await self.sleep(self.look_at_disk_s)

    async def _until_disk_allows(self, fault: StorageFault, failures: int) -> None:
        if not fault.full:
            wait_s = rest_s(failures)
            self.pause(fault, f"it is tried again in {wait_s:.0f} s")
            await self.sleep(wait_s)
            return
        self.pause(fault, "the file system is below disk.low_watermark and the mirror below its quota")
        while not self.stopped.is_set():
            await self._make_room()
            await self.sleep(self.look_at_disk_s)
            held = await self.asked(bytes_held)
            space = Space(self.mirror.folders.staging, self.mirror.settings.disk, held_bytes=held)
            if space.below_low_watermark and space.refusal(0) is None:
                return

    async def _make_room(self) -> None:
        """What the configuration allows to be evicted by itself is, as far as it must."""
        self._room = self._room or RoomMaker(self.mirror)
        async with self.making:
            try:
                await self._room.make_room(self.stopped.is_set)
            except StorageFault as fault:
                self.pause(fault, "the disk is looked at again")
            except CatalogueFault:
                if not await self._root_is_away():
                    raise
