"""One way to write a document: aside, flushed, under its name only when whole, and only if it says something new."""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from empiar_schema.disk import make_folder, standing, storage_fault, sync_folder


@dataclass(frozen=True, slots=True)
class Written:
    """A document that stands: its size, its SHA-256 in hex, and whether its bytes are other than before."""

    bytes: int
    sha256: str
    changed: bool


def write_document(final: Path, pieces: Iterable[bytes], *, root: Path) -> Written:
    """`final`, in the mirror in `root`, holds `pieces`, durably; untouched if it did before. Without pieces there is no such file.

    Raises:
        StorageFault: the disk refused.
    """
    fresh = final.with_name(f".{final.name}.new")
    digest, size = hashlib.sha256(), 0
    try:
        make_folder(final.parent, within=standing(root))
        fresh.unlink(missing_ok=True)
        try:
            with fresh.open("xb") as file:
                for piece in pieces:
                    digest.update(piece)
                    size += len(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            return Written(size, digest.hexdigest(), _replace(fresh, final))
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise storage_fault(error, f"cannot write {final}") from error


def _replace(fresh: Path, final: Path) -> bool:
    stands = final.is_file()
    if fresh.stat().st_size == 0:
        final.unlink(missing_ok=True)
        changed = stands
    elif stands and filecmp.cmp(fresh, final, shallow=False):
        return False
    else:
        fresh.replace(final)
        changed = True
    if changed:
        sync_folder(final.parent)
    return changed
