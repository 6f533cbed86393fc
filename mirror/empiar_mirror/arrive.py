"""The only writer into `archive/`: verified part files become archive files, durably, in groups."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from empiar_mirror.staging import PartFile
from empiar_schema.disk import make_folder, standing, storage_fault, sync_folder
from empiar_schema.paths import RemotePath
from empiar_schema.times import iso

#: These concern one name, not the disk: upstream made a folder of what is a file here, or a path too long for this system.
_OBSTACLES = frozenset({errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def archive_path(archive: Path, remote: RemotePath) -> Path:
    """Where a file stands for good: ``archive/10017/data/a.mrc``, its name byte for byte as on EMPIAR."""
    return archive / str(remote.empiar_id) / os.fsdecode(remote.raw)


@dataclass(frozen=True, slots=True)
class Verified:
    """A part file whose bytes are what the archive serves."""

    file_id: int
    remote: RemotePath
    part: PartFile
    size: int
    sha256: bytes
    modified_at: int | None


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a verified part: at its final path, or in the way of something else that stands there."""

    verified: Verified
    #: Why it could not be placed: other bytes, which we never overwrite, stand at the final path.
    conflict: str | None = None


def link_parts(archive: Path, group: Sequence[Verified]) -> list[Placed]:
    """The parts stand at their final paths too, and the folders that name them are durable.

    A name that is taken already stays untouched: `os.link` refuses it, where a rename would replace it in silence.

    Raises:
        StorageFault: the disk refused.
    """
    placed: list[Placed] = []
    folders: set[Path] = set()
    try:
        for verified in group:
            final = archive_path(archive, verified.remote)
            try:
                folders |= make_folder(final.parent, within=archive)
                placed.append(Placed(verified, _link(verified, final)))
            except OSError as error:
                if error.errno not in _OBSTACLES:
                    raise
                placed.append(Placed(verified, f"no place for it: {error.filename}: {error.strerror}"))
            else:
                folders.add(final.parent)
        for folder in folders:
            sync_folder(folder)
    except OSError as error:
        raise storage_fault(error, f"cannot place files under {archive}") from error
    return placed


def _link(verified: Verified, final: Path) -> str | None:
    part = verified.part.path
    try:
        os.link(part, final, follow_symlinks=False)
    except FileExistsError:
        return _conflict(verified, final)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        # No hard links here. The instance lock makes us the only writer, so that looking first is safe.
        if os.path.lexists(final):
            return _conflict(verified, final)
        part.rename(final)
    return None


def _conflict(verified: Verified, final: Path) -> str | None:
    """None where what stands at the final path is the same bytes (a crash between linking and recording)."""
    if final.is_symlink() or not final.is_file():
        return f"{final} is in the way and is no regular file"
    if verified.part.path.exists() and final.samefile(verified.part.path):
        return None
    with final.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").digest() == verified.sha256:
            return None
    return f"other bytes, which this mirror did not record, stand at {final}"


def put_aside(quarantine: Path, remote: RemotePath, *, rejected: Path, reason: str, now: float) -> Path:
    """The rejected file stands under `quarantine/` with its reason beside it; returns where.

    Raises:
        StorageFault: the disk refused.
    """
    folder = quarantine / str(remote.empiar_id)
    name = hashlib.sha256(remote.raw).hexdigest()[:16]
    try:
        make_folder(folder, within=standing(quarantine.parent))
        target = folder / f"{name}.bytes"
        count = 1
        while target.exists():
            count += 1
            target = folder / f"{name}.{count}.bytes"
        reason_file = target.with_suffix(".json")
        reason_file.write_text(
            json.dumps(
                {"empiar_id": remote.empiar_id, "path": remote.path, "reason": reason, "at": iso(now)},
                indent=1,
            )
            + "\n"
        )
        rejected.rename(target)
        sync_folder(folder)
    except OSError as error:
        raise storage_fault(error, f"cannot move {rejected} to {folder}") from error
    return target
