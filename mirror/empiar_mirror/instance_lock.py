"""One working process per mirror: an flock on ``<root>/.lock``, which the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from empiar_schema.faults import CatalogueFault, StorageFault


class InstanceLock:
    """The right to change a mirror. Two processes that both recover and transfer would undo each other's work."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, root: Path) -> Self:
        """This process is the only one that works on the mirror in `root`; the folder exists.

        Raises:
            CatalogueFault: another process holds it; the text names its pid and command.
            StorageFault: the folder or the lock file cannot be written.
        """
        path = root / ".lock"
        try:
            root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StorageFault(
                f"cannot write {path}: {error.strerror}", hint="make the folder writable, or change root"
            ) from error
        try:
            _lock_patiently(descriptor)
        except BlockingIOError:
            holder = os.pread(descriptor, 500, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise CatalogueFault(
                f"another process works on {root}: {holder or 'it has not said which'}",
                hint="wait until it ends, or stop it; reading commands (status, why, plan, query, doctor) work meanwhile",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageFault(
                f"{path} cannot be locked: {error.strerror}",
                hint="the file system of root must support flock; on NFS mount with local or working locks",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}, {_command()}\n".encode(errors="replace"), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Another process may work on the mirror. The file stays: removing it would let two processes lock two files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(root: Path) -> str | None:
    """The pid and command of the process that works on the mirror in `root` now; None if nobody does."""
    try:
        descriptor = os.open(root / ".lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return (
            os.pread(descriptor, 500, 0).decode(errors="replace").strip()
            or "a process that has not said which"
        )
    else:
        return None
    finally:
        os.close(descriptor)


def _lock_patiently(descriptor: int) -> None:
    """`holder` of another process has the lock for a moment: that must not turn a worker away."""
    for _ in range(5):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _command() -> str:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return shlex.join(words)[:400]
