"""Space on the disk: reserved before a file starts, given back when it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from empiar_schema.settings import DiskSettings


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A file system's size and what is free for us, in bytes."""

    total: int
    free: int


def disk_use(folder: Path) -> DiskUse:
    """Size and free bytes (for unprivileged users) of the file system that holds `folder`."""
    stat = os.statvfs(folder)
    return DiskUse(stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)


class Space:
    """Reservations against the high watermark and the quota.

    Bytes written so far are in the file system's own count, so a reservation shrinks as its file grows.
    """

    def __init__(
        self,
        folder: Path,
        settings: DiskSettings,
        *,
        held_bytes: int = 0,
        measure: Callable[[Path], DiskUse] = disk_use,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._held = held_bytes
        self._measure = measure
        self._reserved: dict[int, int] = {}

    def refusal(self, size: int) -> str | None:
        """Why `size` more bytes do not fit now, in one sentence, or None."""
        reserved = sum(self._reserved.values())
        use = self._measure(self._folder)
        room = use.free - (use.total - int(use.total * self._settings.high_watermark)) - reserved
        if size > room:
            return (
                f"{size:,} bytes do not fit: {use.free:,} are free, {reserved:,} of them reserved, and the "
                f"high watermark keeps {1 - self._settings.high_watermark:.0%} of the file system free"
            )
        quota = self._settings.quota
        if quota is not None and self._held + reserved + size > quota:
            return f"{size:,} bytes do not fit: the quota is {quota:,} bytes and {self._held:,} are held"
        return None

    def reserve(self, file_id: int, size: int) -> str | None:
        """`size` bytes are reserved for the file, or why not."""
        refusal = self.refusal(size)
        if refusal is None:
            self._reserved[file_id] = size
        return refusal

    def reserve_known(self, file_id: int, size: int) -> None:
        """`size` bytes are reserved, whether or not they fit: somebody else is writing them already. Once is enough."""
        self._reserved.setdefault(file_id, size)

    def wrote(self, file_id: int, count: int) -> None:
        """`count` bytes of the reservation are on the disk."""
        if file_id in self._reserved:
            self._reserved[file_id] = max(0, self._reserved[file_id] - count)
            self._held += count

    def release(self, file_id: int) -> None:
        """What is left of the reservation is free again."""
        self._reserved.pop(file_id, None)

    @property
    def below_low_watermark(self) -> bool:
        """Whether paused work may go on."""
        use = self._measure(self._folder)
        return use.total - use.free <= use.total * self._settings.low_watermark
