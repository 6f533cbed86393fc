"""Where an export is made: a hidden folder beside its place. What a kill has left of one is removed by the next.

The folder holds a file that its export keeps locked, which the kernel unlocks when the process dies. So a folder of an
export that still works, here or on another machine that shares the file system, is left alone; so is a folder
without that file, which somebody else made, and one on a file system that cannot lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from empiar_mirror.linking import exchange
from empiar_schema.catalogue import translated
from empiar_schema.disk import storage_fault, sync_folder

_PREFIX: Final = ".empiar-export-"
_LOCK: Final = "lock"
_BEFORE: Final = "before"
#: File systems that cannot swap two names.
_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})


@contextmanager
def built_beside(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, on the same file system; gone at the end.

    Raises:
        StorageFault: the disk refused.
    """
    folder: Path | None = None
    lock = -1
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=out.parent))
        lock = _lock(folder, out.name)
        with translated(folder):
            yield folder
    except OSError as error:
        raise storage_fault(error, f"{out} cannot be written") from error
    finally:
        if folder is not None:
            with contextlib.suppress(OSError):
                _remove(folder)
        if lock >= 0:
            os.close(lock)


def clear_beside(parent: Path) -> None:
    """What killed exports have left in the folder `parent` is gone; what stood at their places stands there."""
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        # Of another user, or on a disk that only reads: the export itself will say so, if that matters.
        with contextlib.suppress(OSError):
            _clear(folder)


def take_place(tree: Path, out: Path) -> None:
    """The folder `tree`, made in a folder of `built_beside`, stands at `out`, which it replaces.

    Raises:
        OSError: the disk refused; what stood at `out` stands there.
    """
    if out.exists():
        try:
            exchange(tree, out)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            _replace(tree, out)
    else:
        tree.rename(out)
    sync_folder(out.parent)


def _replace(tree: Path, out: Path) -> None:
    before = tree.with_name(_BEFORE)
    out.rename(before)
    try:
        tree.rename(out)
    except BaseException:
        if not os.path.lexists(out):
            before.rename(out)
        raise


def _lock(folder: Path, name: str) -> int:
    # Locked before it has its name: `_clear` of another export never sees it free while this one lives.
    unnamed = folder / f"{_LOCK}.new"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, os.fsencode(name))
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(folder / _LOCK)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _clear(folder: Path) -> None:
    if folder.is_symlink():
        return
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        name = os.fsdecode(os.pread(descriptor, 4096, 0))
        before, out = folder / _BEFORE, folder.parent / name
        # The export was killed between taking the old folder away and putting the new one there.
        if before.exists() and name == Path(name).name and not os.path.lexists(out):
            before.rename(out)
            sync_folder(out.parent)
        _remove(folder)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """The lock goes last: a folder of which a kill has left a part is still known as an export's."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
    shutil.rmtree(folder)
