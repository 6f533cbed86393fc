"""What the process at work last decided about connections, for `status`, which is another process: a small file in `root`.

It is no record: it says nothing once that process has gone, and a mirror does without it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

NAME: Final = ".connections.json"
_LONGEST: Final = 2**16


class PacingNote:
    """The file, written when something is new."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / NAME
        self._written: Mapping[str, tuple[int, str]] = {}

    def write(self, connections: Mapping[str, tuple[int, str]]) -> None:
        """The file says how many connections each channel has, and to which host. Where it cannot be written, it says nothing."""
        # Where the lock is not, the root's disk is away, and nothing may be written in its place.
        if connections == self._written or not (self._root / ".lock").exists():
            return
        with contextlib.suppress(OSError):
            new = self._path.with_name(NAME + ".new")
            new.write_text(json.dumps(connections))
            new.replace(self._path)
            self._written = dict(connections)

    def clear(self) -> None:
        """There is no file."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def read_note(root: Path) -> dict[str, int]:
    """Connections by channel, as the process at work has noted; empty where it has not."""
    try:
        with (root / NAME).open("rb") as file:
            noted = json.loads(file.read(_LONGEST))
        return {str(channel): int(allowed) for channel, (allowed, _host) in noted.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
