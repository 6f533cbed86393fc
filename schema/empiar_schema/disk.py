"""What the disk says and promises: its errors as a fault, and bytes and names that outlive a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from empiar_schema.faults import StorageFault


def storage_fault(error: OSError, what: str) -> StorageFault:
    """The fault that an operating system error of the disk means."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = (
        "free some space, or lower what is wanted; the work goes on where it stopped"
        if full
        else "check the disk and its mount; `empiar-mirror doctor` looks at both"
    )
    return StorageFault(f"{what}: {error.strerror or error}", hint=hint, full=full)


def sync_file(file: Path) -> None:
    """The bytes of `file` are durable."""
    _sync(file, os.O_RDONLY | os.O_CLOEXEC)


def sync_folder(folder: Path) -> None:
    """Names made or removed in `folder` are durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def standing(root: Path) -> Path:
    """`root`, while a mirror stands in it: whatever is below, but ``archive/``, may be made again.

    A root that is missing, or empty as the folder at which a disk is mounted, is a disk that is away. What would be made in its
    place would lie on another disk, and be in the way when it comes back.

    Raises:
        FileNotFoundError: no mirror stands there.
    """
    if not (root / "archive").is_dir():
        raise FileNotFoundError(errno.ENOENT, "the mirror is not there; its disk may be away", str(root))
    return root


def make_folder(folder: Path, *, within: Path) -> set[Path]:
    """`folder`, at or below `within`, exists; returns the folders that have to be given to `sync_folder` before its name is durable.

    `within` is never made: ``archive/``, or a root that is `standing`.

    Raises:
        OSError: the disk refused, or `within` is not there.
    """
    if folder.is_dir():
        return set()
    if folder == within:
        raise FileNotFoundError(errno.ENOENT, "the folder is not there; its disk may be away", str(within))
    above = make_folder(folder.parent, within=within)
    folder.mkdir(exist_ok=True)
    return above | {folder.parent}


def usual_mode() -> int:
    """The mode that a new file has by the process's umask. Temporary files are private until they get it."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
