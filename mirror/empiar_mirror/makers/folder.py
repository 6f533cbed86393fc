"""A job's folder in ``staging/jobs/``: made, filled with what is worked on, searched for what was written, and removed.

Whatever a program leaves there is untrusted: links, huge trees, closed folders, names of any bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from empiar_mirror.linking import link
from empiar_mirror.makers.maker import JobFault, Output, Source
from empiar_mirror.makers.templates import on_disk
from empiar_schema import disk
from empiar_schema.disk import storage_fault
from empiar_schema.faults import StorageFault

#: What `touched` says when the input's folder has changed, not the input.
BESIDE: Final = "the folder was changed while it ran"
_READ_BYTES: Final = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Checked:
    """An output that is durable in the job's folder, read-only, with its size and SHA-256."""

    output: Output
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """How an input stood before the work began, by which a change is noticed."""

    source: Source
    inode: tuple[int, int]
    size: int
    modified_ns: int
    mode: int
    folder_modified_ns: int


# --- before -------------------------------------------------------------------------------------------------


def job_folder(staging: Path, job_id: int) -> Path:
    """``staging/jobs/12``."""
    return staging / "jobs" / str(job_id)


def make_folder(folder: Path) -> None:
    """The folder is there and empty.

    Raises:
        StorageFault: the disk refused.
    """
    try:
        remove_tree(folder)
        disk.make_folder(folder.parent, within=disk.standing(folder.parents[2]))
        folder.mkdir()
    except OSError as error:
        raise storage_fault(error, f"cannot make {folder}") from error


def offer(folder: Path, offered: Sequence[tuple[str, Source]], *, copy: bool) -> None:
    """Each source stands in its own folder below the job's (``input/a.tif``): a symbolic link, or with `copy` bytes of its own.

    Raises:
        StorageFault: the disk refused.
    """
    try:
        for word, source in offered:
            (folder / word).mkdir()
            target = folder / word / on_disk(source.name)
            if copy:
                _copy(source.local, target)
            else:
                target.symlink_to(source.local)
        (folder / "tmp").mkdir()
    except OSError as error:
        raise storage_fault(error, f"cannot fill {folder}") from error


def _copy(source: Path, target: Path) -> None:
    try:
        link(source, target, "reflink")
    except StorageFault as fault:
        if fault.full:
            raise
        target.unlink(missing_ok=True)
        link(source, target, "copy")


def seen(sources: Sequence[Source]) -> tuple[Seen, ...]:
    """How these files stand now.

    Raises:
        JobFault: one of them is not where the catalogue says.
    """
    found: list[Seen] = []
    for source in sources:
        try:
            facts = source.local.lstat()
            folder = source.local.parent.stat()
        except OSError as error:
            raise JobFault(f"{source.local} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != source.size:
            raise JobFault(
                f"{source.local} is not the file on record",
                hint="`empiar-mirror verify` looks at every file of the entry",
            )
        inode = (facts.st_dev, facts.st_ino)
        found.append(Seen(source, inode, facts.st_size, facts.st_mtime_ns, facts.st_mode, folder.st_mtime_ns))
    return tuple(found)


# --- after --------------------------------------------------------------------------------------------------


def touched(before: Sequence[Seen]) -> list[tuple[Source, str]]:
    """The inputs that are not as they were, each with what became of it. A changed mode is put right again."""
    found: list[tuple[Source, str]] = []
    for one in before:
        path = one.source.local
        try:
            now = path.lstat()
        except OSError as error:
            found.append((one.source, f"nothing is left ({error.strerror})"))
            continue
        if (now.st_dev, now.st_ino) != one.inode:
            found.append((one.source, "the place was given to another file"))
        elif (now.st_size, now.st_mtime_ns) != (one.size, one.modified_ns):
            found.append((one.source, "the bytes were written to, or the time was changed"))
        elif now.st_mode != one.mode:
            path.chmod(stat.S_IMODE(one.mode))
            found.append((one.source, "the mode was changed"))
        elif path.parent.stat().st_mtime_ns != one.folder_modified_ns:
            found.append((one.source, BESIDE))
    return found


def still_holds(source: Source) -> bool:
    """Whether the file's bytes are those on record; reads it whole."""
    try:
        with source.local.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == source.sha256
    except OSError:
        return False


def check_outputs(folder: Path, outputs: Sequence[Output], *, largest: int) -> tuple[Checked, ...]:
    """Each output is a regular file in `folder` of its own, durable and read-only now.

    Raises:
        JobFault: one is missing, empty, too large, a link, or reached through a link.
        StorageFault: the disk refused.
    """
    return tuple(_check(folder, output, largest) for output in outputs)


def is_there(folder: Path, path: Path) -> bool:
    """Whether something stands at `path` below `folder`, a link to nowhere included."""
    return os.path.lexists(folder / path)


def _check(folder: Path, output: Output, largest: int) -> Checked:
    shown = os.fsencode(output.path).decode("utf-8", "replace")
    descriptor = _opened(folder, output.path, shown)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise JobFault(f"its output {shown} is no regular file")
        if facts.st_nlink > 1:
            raise JobFault(f"its output {shown} is a second name of another file (a hard link)")
        if facts.st_size == 0:
            raise JobFault(f"its output {shown} is empty")
        if facts.st_size > largest:
            raise JobFault(f"its output {shown} has {facts.st_size:,} bytes, and {largest:,} are allowed")
        digest = _digest(descriptor)
        os.fchmod(descriptor, 0o444)
        os.fsync(descriptor)
    except OSError as error:
        raise storage_fault(error, f"cannot read {folder / output.path}") from error
    finally:
        os.close(descriptor)
    return Checked(output, facts.st_size, digest)


def _opened(folder: Path, path: Path, shown: str) -> int:
    """A descriptor of the file, reached without following any link."""
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or ".." in parts or not parts:
        raise JobFault(f"its output {shown} lies outside its folder", permanent=True)
    at = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
        return os.open(parts[-1], _FILE, dir_fd=at)
    except FileNotFoundError:
        raise JobFault(f"it did not write its output {shown}") from None
    except OSError as error:
        if (folder / path).is_symlink() or any((folder / above).is_symlink() for above in path.parents):
            raise JobFault(f"its output {shown} is a symbolic link, or lies behind one") from None
        raise JobFault(f"its output {shown} cannot be opened: {error.strerror}") from error
    finally:
        os.close(at)


def _digest(descriptor: int) -> bytes:
    hasher = hashlib.sha256()
    while data := os.read(descriptor, _READ_BYTES):
        hasher.update(data)
    return hasher.digest()


# --- at the end ---------------------------------------------------------------------------------------------


def remove_tree(folder: Path) -> None:
    """Nothing is at `folder` any more. Links are removed, not followed; closed folders are opened; no depth is too much.

    Raises:
        OSError: the disk refused.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
        return
    folder.chmod(0o700)
    at = os.open(folder, _FOLDER)
    #: From the top down to where we are: the folders still to be emptied in each, and what each is.
    pending = [_emptied(at)]
    passed: list[tuple[str, tuple[int, int]]] = []
    try:
        while True:
            if pending[-1]:
                inner = pending[-1].pop()
                passed.append((inner, _identity(at)))
                os.chmod(inner, 0o700, dir_fd=at)
                at = _changed(at, inner)
                pending.append(_emptied(at))
            elif passed:
                pending.pop()
                at = _changed(at, "..")
                name, parent = passed.pop()
                if _identity(at) != parent:
                    # Somebody moves folders about while we remove them: what is above now is none of ours.
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(folder))
                os.rmdir(name, dir_fd=at)
            else:
                break
    finally:
        os.close(at)
    folder.rmdir()


def _emptied(at: int) -> list[str]:
    """Files are removed from the folder; returns the names of the folders in it."""
    with os.scandir(at) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=at)
    return [name for name, is_folder in found if is_folder]


def _identity(at: int) -> tuple[int, int]:
    facts = os.fstat(at)
    return facts.st_dev, facts.st_ino


def _changed(at: int, name: str) -> int:
    """A descriptor of `name` from the folder `at`, which is closed."""
    below = os.open(name, _FOLDER, dir_fd=at)
    os.close(at)
    return below
