"""Eviction that a data manager has switched on: when the disk is too full for what is wanted, down to the low watermark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from empiar_mirror.eviction.planning import Order
from empiar_mirror.space import DiskUse, disk_use
from empiar_schema.events import EvictionRefused
from empiar_schema.faults import ConfigFault

if TYPE_CHECKING:
    from pathlib import Path

    from empiar_mirror.app import Mirror
    from empiar_schema.settings import DiskSettings

#: After a try that freed nothing, the next comes so much later, seconds: deciding costs a look at every file selected.
REST_S: Final = 3600.0


def excess(use: DiskUse, disk: DiskSettings) -> int:
    """Bytes that have to go until the file system is below the low watermark; 0 where it is."""
    return max(0, use.total - use.free - int(use.total * disk.low_watermark))


@dataclass(slots=True)
class RoomMaker:
    """Frees space by the policies with `automatic = true`, in the order of their names."""

    mirror: Mirror
    measure: Callable[[Path], DiskUse] = disk_use
    _rests_until: float = 0.0

    async def make_room(self, stopped: Callable[[], bool]) -> int:
        """So many files were evicted; nothing where no policy is automatic, or the file system is below the low watermark.

        To be called when the disk has refused: then it is at its high watermark, or would be with the next file.
        """
        settings = self.mirror.settings
        policies = {name: one for name, one in sorted(settings.evict.items()) if one.automatic}
        now = self.mirror.clock()
        if not policies or now < self._rests_until:
            return 0
        files = 0
        for name, policy in policies.items():
            target = excess(self.measure(self.mirror.folders.archive), settings.disk)
            if target == 0 or stopped():
                break
            order = Order(
                sql=policy.sql,
                reason=f"[evict.{name}], by itself",
                bytes=target,
                listed_within=policy.listed_within,
            )
            try:
                removed = await self.mirror.evict(order, stopped=stopped)
            except ConfigFault as fault:
                hint = f" ({fault.hint})" if fault.hint else ""
                self.mirror.observer(EvictionRefused(name, f"{fault}{hint}"))
                continue
            files += removed.done.files
        self._rests_until = 0.0 if files else now + REST_S
        return files
