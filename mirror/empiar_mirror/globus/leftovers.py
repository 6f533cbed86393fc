"""What stands in the folder for deliveries and nobody waits for."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path

from empiar_mirror.staging import delivery_folder
from empiar_schema import globus_store
from empiar_schema.catalogue import Catalogue
from empiar_schema.paths import RemotePath

#: Folders of entries.
_ENTRY = re.compile(rb"[1-9][0-9]{0,7}")


def clean(catalogue: Catalogue, staging: Path) -> int:
    """Files below the folder for deliveries that are neither under way nor delivered are removed, and folders that become empty; returns how many files.

    Such are files that the archive has and no listing named, half-written ones of tasks that were given up, and those that
    came after another channel had brought them. Nothing is looked for behind symbolic links. Blocking; a file that cannot be
    removed stays.
    """
    top = os.fsencode(delivery_folder(staging))
    if os.path.islink(top) or not os.path.isdir(top):  # noqa: PTH112, PTH114 - names are bytes
        return 0
    removed = 0
    # Not `os.walk`, which calls itself for every level, and a tree can have more levels than Python allows.
    folders: list[tuple[bytes, bool]] = [(top, False)]
    with catalogue.reader() as conn:
        while folders:
            folder, looked_at = folders.pop()
            if looked_at:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)  # noqa: PTH106 - refuses a folder that holds something
                continue
            folders.append((folder, True))
            for found in _inside(folder):
                if found.is_dir(follow_symlinks=False):
                    folders.append((found.path, False))
                elif not _is_awaited(conn, found.path[len(top) + 1 :]):
                    with contextlib.suppress(OSError):
                        os.unlink(found.path)  # noqa: PTH108
                        removed += 1
    return removed


def _inside(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _is_awaited(conn: sqlite3.Connection, place: bytes) -> bool:
    entry, slash, path = place.partition(b"/")
    if not slash or _ENTRY.fullmatch(entry) is None:
        return False
    return globus_store.is_awaited(conn, RemotePath.from_bytes(int(entry), path))
