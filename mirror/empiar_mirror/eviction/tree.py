"""The archive's files as eviction sees and removes them: below `root` alone, and never through a symbolic link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from empiar_schema.disk import storage_fault
from empiar_schema.faults import StorageFault
from empiar_schema.paths import RemotePath

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Something else than a folder stands where one should.
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.ELOOP})


class Seen(NamedTuple):
    """What stands at a file's path."""

    regular: bool
    size: int
    inode: tuple[int, int]
    #: Names of these bytes on the file system, this one included.
    links: int


class ArchiveTree:
    """``root/archive``, walked from folder to folder by descriptors. A context manager.

    Raises:
        StorageFault: there is no such folder, or it is a symbolic link.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / "archive"
        try:
            self._top = os.open(self._path, _FOLDER)
        except OSError as error:
            if error.errno in _NO_FOLDER:
                raise StorageFault(
                    f"{self._path} is a symbolic link or no folder: nothing is evicted through it",
                    hint="mount the storage at that place instead of linking to it",
                ) from error
            raise storage_fault(error, f"cannot open {self._path}") from error
        #: The folder that was used last: files come folder by folder.
        self._folder: tuple[tuple[bytes, ...], int] | None = None
        self._changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            os.close(self._folder[1])
        os.close(self._top)

    def look(self, remote: RemotePath) -> Seen | None:
        """What stands at the file's path, not followed if it is a link; None if nothing does, or a link lies on the way.

        Raises:
            StorageFault: the disk refused.
        """
        try:
            at, name = self._enter(remote)
            facts = os.stat(name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NO_FOLDER:
                return None
            raise storage_fault(error, f"cannot look at {self._path}/{remote}") from error
        inode = facts.st_dev, facts.st_ino
        return Seen(stat.S_ISREG(facts.st_mode), facts.st_size, inode, facts.st_nlink)

    def remove(self, remote: RemotePath, size: int) -> str | None:
        """The file is gone (durably after `sync`), if it is a regular one of this size; else why it was left.

        Raises:
            StorageFault: the disk refused.
        """
        seen = self.look(remote)
        if seen is None:
            return self.why_absent(remote)
        if not seen.regular:
            return "what stands at its path is no regular file"
        if seen.size != size:
            return f"it has {seen.size:,} bytes, the record says {size:,}"
        at, name = self._enter(remote)
        try:
            os.unlink(name, dir_fd=at)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_fault(error, f"cannot remove {self._path}/{remote}") from error
        self._changed = True
        return None

    def sync(self) -> None:
        """What was removed is gone durably.

        Raises:
            StorageFault: the disk refused.
        """
        if self._folder is None or not self._changed:
            return
        try:
            os.fsync(self._folder[1])
        except OSError as error:
            raise storage_fault(error, f"cannot make removals below {self._path} durable") from error
        self._changed = False

    def why_absent(self, remote: RemotePath) -> str | None:
        """Of a file that `look` did not see: None if it is not there (durably after `sync`), else what bars the way to it."""
        try:
            self._enter(remote)
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"a symbolic link or a file is in the way to it: {error.strerror}"
        # Its removal may not be durable yet.
        self._changed = True
        return None

    def has_entry(self, empiar_id: int) -> bool:
        """Whether the entry has a folder: eviction leaves all folders, so that one that is away is a disk that is away."""
        try:
            facts = os.stat(str(empiar_id), dir_fd=self._top, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISDIR(facts.st_mode)

    def _enter(self, remote: RemotePath) -> tuple[int, bytes]:
        """A descriptor of the file's folder, and its name there."""
        *above, name = remote.raw.split(b"/")
        parts = (str(remote.empiar_id).encode(), *above)
        if self._folder is not None and self._folder[0] == parts:
            return self._folder[1], name
        self.sync()
        at = os.dup(self._top)
        try:
            for part in parts:
                below = os.open(part, _FOLDER, dir_fd=at)
                os.close(at)
                at = below
        except BaseException:
            os.close(at)
            raise
        if self._folder is not None:
            os.close(self._folder[1])
        self._folder = parts, at
        return at, name
