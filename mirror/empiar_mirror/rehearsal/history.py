"""What the archive has ever served: each version of each file as a JSON line, for whoever judges a mirror of it later."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TextIO

from empiar_mirror.rehearsal.archive import ArchiveFile, RehearsalArchive

_PIECE = 2**20


@dataclass(slots=True)
class History:
    """Writes down the files that come, change and go. To be given to `RehearsalArchive.watched_by`.

    A line has `at` (Unix seconds), `entry`, `path` (as `os.fsdecode` gives it), `size`, `mtime` and `sha256`, which are null for a file that went.
    It is written before any server shows the change.
    """

    file: TextIO

    def __call__(self, empiar_id: int, path: bytes, file: ArchiveFile | None) -> None:
        """The change is written down."""
        line = {
            "at": time.time(),
            "entry": empiar_id,
            "path": os.fsdecode(path),
            "size": None if file is None else file.size,
            "mtime": None if file is None else file.mtime,
            "sha256": None if file is None else _sha256(empiar_id, path, file),
        }
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def _sha256(empiar_id: int, path: bytes, file: ArchiveFile) -> str:
    digest = hashlib.sha256()
    for offset in range(0, file.size, _PIECE):
        digest.update(RehearsalArchive.read(empiar_id, path, file, offset, _PIECE))
    return digest.hexdigest()
