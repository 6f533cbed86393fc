"""Ways in which one file can stand at two places without two transfers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

from empiar_schema.disk import storage_fault

LinkMode = Literal["auto", "hardlink", "reflink", "symlink", "copy"]
LinkKind = Literal["hardlink", "reflink", "symlink", "copy"]

#: ``FICLONE`` of ``linux/fs.h``: the target shares the source's extents until one of them is written.
_FICLONE: Final = 0x40049409
#: ``linux/fcntl.h`` and ``linux/fs.h``.
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
#: What a file system answers that cannot do it this way, for these two files: the next way may work.
_NOT_THIS_WAY: Final = frozenset(
    {
        errno.EXDEV,
        errno.EMLINK,
        errno.EPERM,
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ETXTBSY,
    }
)


def link(source: Path, target: Path, mode: LinkMode = "auto") -> LinkKind:
    """`target`, which must not exist, shows the bytes of `source`; returns by which way.

    ``auto`` takes the first that the file systems allow: hard link, reflink, relative symbolic link, copy.
    Reflinks and copies have the source's modification time and are durable; durable names are the caller's business.

    Raises:
        StorageFault: none of the ways that `mode` allows works, `target` exists, or the disk refused.
    """
    kinds = tuple(_WAYS) if mode == "auto" else (mode,)
    for kind in kinds:
        try:
            _WAYS[kind](source, target)
        except OSError as error:
            if error.errno in _NOT_THIS_WAY and kind != kinds[-1]:
                continue
            raise storage_fault(error, f"cannot make a {kind} of {source} at {target}") from error
        return kind
    raise AssertionError("the last way either works or raises")


def link_all(pairs: Iterable[tuple[str, str]], mode: LinkMode = "auto") -> None:
    """`link` for each source and target, quickly where hard links are possible.

    Raises:
        StorageFault: as `link`; what was linked before stays.
    """
    quick = mode in ("auto", "hardlink")
    for source, target in pairs:
        if quick:
            try:
                os.link(source, target, follow_symlinks=False)
                continue
            except OSError as error:
                # One file may have all the links that it can have; another file system holds for all.
                quick = error.errno == errno.EMLINK
        link(Path(source), Path(target), mode)


def _hardlink(source: Path, target: Path) -> None:
    # follow_symlinks=False: a link that somebody put in the archive must not pull in what it points to.
    os.link(source, target, follow_symlinks=False)


def _symlink(source: Path, target: Path) -> None:
    target.symlink_to(os.path.relpath(source, target.parent))


def _reflink(source: Path, target: Path) -> None:
    _into_new_file(source, target, lambda old, new: fcntl.ioctl(new, _FICLONE, old))


def _copy(source: Path, target: Path) -> None:
    def copy(old: int, new: int) -> None:
        with open(old, "rb", closefd=False) as reader, open(new, "wb", closefd=False) as writer:
            shutil.copyfileobj(reader, writer, 1024 * 1024)

    _into_new_file(source, target, copy)


def _into_new_file(source: Path, target: Path, fill: Callable[[int, int], object]) -> None:
    old = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fill(old, new)
            facts = os.fstat(old)
            os.utime(new, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            os.fsync(new)
        except BaseException:
            target.unlink()
            raise
        finally:
            os.close(new)
    finally:
        os.close(old)


_WAYS: Final[dict[LinkKind, Callable[[Path, Path], None]]] = {
    "hardlink": _hardlink,
    "reflink": _reflink,
    "symlink": _symlink,
    "copy": _copy,
}


def exchange(one: Path, other: Path) -> None:
    """The two names have swapped what they stand for, in one step that no reader can see half of.

    Raises:
        OSError: one of them is missing, or the kernel or file system cannot (``ENOSYS``, ``EINVAL``).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
