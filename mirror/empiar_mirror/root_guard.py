"""Whether the folder that a mirror was opened in is still there: file systems are unmounted, disks fail, folders are moved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class RootGuard:
    """Knows `root` by its lock file, which this process holds."""

    root: Path
    device: int
    inode: int

    @classmethod
    def of(cls, root: Path) -> Self:
        """The guard of a root that is there now."""
        status = (root / ".lock").stat()
        return cls(root, status.st_dev, status.st_ino)

    def missing(self) -> str | None:
        """Why nothing should be written below `root` now; None while it is the folder that it was."""
        try:
            status = os.stat(self.root / ".lock", follow_symlinks=False)  # noqa: PTH116 - no link is followed
        except OSError as error:
            return f"{self.root} is not there: {error.strerror}"
        if (status.st_dev, status.st_ino) != (self.device, self.inode):
            return f"{self.root} is another folder than the one that this process works in"
        return None
