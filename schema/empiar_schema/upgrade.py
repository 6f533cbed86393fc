"""What is done before a catalogue of an older version is migrated: a copy of it as it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from empiar_schema.disk import storage_fault, sync_folder
from empiar_schema.faults import StorageFault
from empiar_schema.sizes import format_bytes


def backup_path(path: Path, step: str) -> Path:
    """``empiar.db.before-m004_subscriptions``, beside the catalogue."""
    return path.with_name(f"{path.name}.before-{step}")


def back_up(connection: sqlite3.Connection, path: Path, *, step: str) -> Path:
    """The catalogue at `path` as it stands before `step` is applied is durable at `backup_path`; one that is there already stays.

    Raises:
        StorageFault: there is no room for it, or the disk refuses; the catalogue is as it was.
    """
    target = backup_path(path, step)
    if target.exists():
        return target
    partial = target.with_name(f"{target.name}.part")
    size = connection.execute(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    ).fetchone()[0]
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise StorageFault(
            f"no room for a copy of the catalogue before it is upgraded: {format_bytes(size)} needed, {format_bytes(free)} free",
            hint=f"free some space in {path.parent}",
            full=True,
        )
    try:
        partial.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(partial),))
        with partial.open("rb") as copy:
            os.fsync(copy.fileno())
        partial.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise storage_fault(error, f"cannot write {target}") from error
    return target
