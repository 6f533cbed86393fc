"""Files that stand in the archive's folders and of which the catalogue knows nothing: what a catalogue from an earlier day cannot know."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from empiar_schema.disk import storage_fault
from empiar_schema.paths import text_from_bytes
from empiar_schema.transfer_store import here_files


def strangers(
    conn: sqlite3.Connection, archive: Path, ids: Sequence[int] | None, *, stopped: Callable[[], bool]
) -> tuple[str, ...]:
    """``10017/data/a.mrc`` of every file, link or other thing below the folders of these entries (None: of all) that no copy here accounts for.

    Names are read, not contents. What was found by then is returned when `stopped` says so.

    Raises:
        StorageFault: the disk refused.
    """
    found: list[str] = []
    try:
        if ids is None:
            ids = sorted(int(folder.name) for folder in archive.iterdir() if folder.name.isdecimal())
        for empiar_id in ids:
            folder = archive / str(empiar_id)
            if stopped():
                break
            if folder.is_dir():
                known = {file.remote.path for file in here_files(conn, empiar_id)}
                found += (f"{empiar_id}/{path}" for path in _names(folder) if path not in known)
    except OSError as error:
        raise storage_fault(error, f"cannot look through {archive}") from error
    return tuple(found)


def _names(folder: Path) -> list[str]:
    base, found = os.fsencode(folder), []
    for place, _, names in os.walk(base, onerror=_raise):
        below = place[len(base) + 1 :]
        found += [text_from_bytes(below + b"/" + name if below else name) for name in names]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error
