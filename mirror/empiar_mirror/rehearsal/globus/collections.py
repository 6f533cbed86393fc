"""Collections: the archive's tree, which can be read, and folders of the local disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.faults import FaultBook
from empiar_mirror.rehearsal.listing import FOLDER_MTIME, find_file, find_folder

#: Ids of the two collections that a stand-in has from the start.
ARCHIVE_COLLECTION: Final = "00000000-0000-4000-8000-00000000e391"
DESTINATION_COLLECTION: Final = "00000000-0000-4000-8000-0000000de571"

Kind = Literal["file", "dir", "invalid_symlink"]


class StorageError(Exception):
    """What a storage refuses, with the code that a task's event gets (``FILE_NOT_FOUND``, ``PERMISSION_DENIED``, …)."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        #: Whether it is the source of a transfer that refuses.
        self.at_source = False


@dataclass(frozen=True, slots=True)
class Listed:
    """One name of a folder. A link shows what it leads to; `link_target` says that it is one. `mtime` in Unix seconds."""

    name: bytes
    kind: Kind
    size: int
    mtime: int
    link_target: bytes | None = None


class Storage(Protocol):
    """Files below a root; paths are bytes without leading or trailing slash, ``b""`` is the root.

    Every method raises `StorageError`.
    """

    def stat(self, path: bytes) -> Listed:
        """What stands at `path`."""

    def names(self, path: bytes) -> Iterator[Listed]:
        """What the folder at `path` holds, in byte order."""

    def read(self, path: bytes, offset: int, count: int) -> bytes:
        """At most `count` bytes of the file as it is now; none beyond its end."""

    def lose(self, path: bytes) -> None:
        """Somebody has removed the file."""

    def alter(self, path: bytes, *, keep_mtime: bool) -> None:
        """Somebody has written another content of the same size; with `keep_mtime` the time does not show it."""


class WritableStorage(Storage, Protocol):
    """A storage to which tasks can write."""

    def make_folder(self, path: bytes, *, parents: bool) -> None:
        """The folder is there; without `parents` it must be new and its parent must be there."""

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        """`data` stands in the file from `offset` on, and ends it. With `offset` 0 an older file is gone."""

    def set_mtime(self, path: bytes, seconds: int) -> None:
        """The file shows this modification time."""

    def make_link(self, path: bytes, target: bytes) -> None:
        """A symbolic link to `target` stands at `path`."""

    def rename(self, old: bytes, new: bytes) -> None:
        """What stood at `old` stands at `new`."""


class ArchiveStorage:
    """The files of a rehearsal archive, read-only."""

    def __init__(self, archive: RehearsalArchive) -> None:
        self.archive = archive
        self._no_faults = FaultBook()

    def stat(self, path: bytes) -> Listed:
        """See `Storage`."""
        name = path.rpartition(b"/")[2]
        found = find_file(self.archive, path)
        if found is not None:
            return Listed(name, "file", found[2].size, found[2].mtime)
        if find_folder(self.archive, self._no_faults, path) is not None:
            return Listed(name, "dir", 4096, FOLDER_MTIME)
        raise _not_found(path)

    def names(self, path: bytes) -> Iterator[Listed]:
        """See `Storage`."""
        children = find_folder(self.archive, self._no_faults, path)
        if children is None:
            raise (
                _not_found(path)
                if find_file(self.archive, path) is None
                else StorageError("NOT_A_DIRECTORY", f"'{_text(path)}' is not a directory")
            )
        for name, node in children:
            if node is None:
                yield Listed(name, "dir", 4096, FOLDER_MTIME)
            else:
                yield Listed(name, "file", node.size, node.mtime)

    def read(self, path: bytes, offset: int, count: int) -> bytes:
        """See `Storage`."""
        found = find_file(self.archive, path)
        if found is None:
            raise _not_found(path)
        entry, inner, file = found
        count = min(count, file.size - offset)
        return self.archive.read(entry, inner, file, offset, count) if count > 0 else b""

    def lose(self, path: bytes) -> None:
        """See `Storage`."""
        entry, inner = self._changeable(path)
        self.archive.remove_file(entry, inner)

    def alter(self, path: bytes, *, keep_mtime: bool) -> None:
        """See `Storage`."""
        entry, inner = self._changeable(path)
        self.archive.change_file(entry, inner, keep_mtime=keep_mtime)

    def _changeable(self, path: bytes) -> tuple[int, bytes]:
        found = find_file(self.archive, path)
        if found is None:
            raise _not_found(path)
        return found[0], found[1]


class FolderStorage:
    """A folder of the local disk. What lies outside of it is refused, whatever a link says.

    `quota_left`: bytes that may still be written; None for no limit.
    """

    def __init__(self, root: Path, *, quota_left: int | None = None) -> None:
        self.root = root
        self.quota_left = quota_left

    def stat(self, path: bytes) -> Listed:
        """See `Storage`."""
        with _translated(path):
            return self._listed(self._place(path), path.rpartition(b"/")[2])

    def names(self, path: bytes) -> Iterator[Listed]:
        """See `Storage`."""
        with _translated(path):
            place = self._place(path)
            names = sorted(os.listdir(place))  # noqa: PTH208 - names that are bytes have no Path
        for name in names:
            with _translated(path + b"/" + name):
                yield self._listed(place + b"/" + name, name)

    def read(self, path: bytes, offset: int, count: int) -> bytes:
        """See `Storage`."""
        with _translated(path), open(self._place(path), "rb", buffering=0) as file:  # noqa: PTH123
            return os.pread(file.fileno(), count, offset)

    def make_folder(self, path: bytes, *, parents: bool) -> None:
        """See `WritableStorage`."""
        with _translated(path):
            place = self._place(path)
            if parents:
                os.makedirs(place, exist_ok=True)  # noqa: PTH103
            else:
                os.mkdir(place)  # noqa: PTH102

    def write(self, path: bytes, offset: int, data: bytes) -> None:
        """See `WritableStorage`."""
        if self.quota_left is not None:
            if len(data) > self.quota_left:
                raise StorageError("QUOTA_EXCEEDED", "552 Disk quota exceeded")
            self.quota_left -= len(data)
        with _translated(path):
            flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if offset == 0 else 0)
            descriptor = os.open(self._place(path), flags, 0o644)
            try:
                view = memoryview(data)
                while view:
                    written = os.pwrite(descriptor, view, offset)
                    view, offset = view[written:], offset + written
                os.ftruncate(descriptor, offset)
            finally:
                os.close(descriptor)

    def set_mtime(self, path: bytes, seconds: int) -> None:
        """See `WritableStorage`."""
        with _translated(path):
            os.utime(self._place(path), (seconds, seconds))

    def make_link(self, path: bytes, target: bytes) -> None:
        """See `WritableStorage`."""
        with _translated(path):
            place = self._place(path.rpartition(b"/")[0]) + b"/" + path.rpartition(b"/")[2]
            if os.path.islink(place):  # noqa: PTH114
                os.unlink(place)  # noqa: PTH108
            os.symlink(target, place)  # noqa: PTH211

    def rename(self, old: bytes, new: bytes) -> None:
        """See `WritableStorage`."""
        with _translated(old):
            source, destination = self._place(old), self._place(new)
            if os.path.lexists(destination):
                raise StorageError("EXISTS", f"'{_text(new)}' is there already")
            os.rename(source, destination)  # noqa: PTH104

    def lose(self, path: bytes) -> None:
        """See `Storage`."""
        with _translated(path):
            os.unlink(self._place(path))  # noqa: PTH108

    def alter(self, path: bytes, *, keep_mtime: bool) -> None:
        """See `Storage`."""
        facts = self.stat(path)
        self.write(path, 0, bytes(byte ^ 1 for byte in self.read(path, 0, facts.size)))
        self.set_mtime(path, facts.mtime if keep_mtime else facts.mtime + 1)

    def _place(self, path: bytes) -> bytes:
        root = os.path.realpath(os.fsencode(self.root))
        place = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
        if place != root and not place.startswith(root.rstrip(b"/") + b"/"):
            raise StorageError("PERMISSION_DENIED", "500 Command failed : Path not allowed.")
        return place

    @staticmethod
    def _listed(place: bytes, name: bytes) -> Listed:
        target = os.readlink(place) if os.path.islink(place) else None  # noqa: PTH114, PTH115
        try:
            facts = os.stat(place)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            if target is None:
                raise
            return Listed(name, "invalid_symlink", 0, 0, target)
        kind: Kind = "dir" if os.path.isdir(place) else "file"  # noqa: PTH112
        return Listed(name, kind, facts.st_size, int(facts.st_mtime), target)


@dataclass(slots=True, kw_only=True, eq=False)
class Collection:
    """A collection as the service sees it. Tests may change any of this while tasks run."""

    collection_id: str
    display_name: str
    storage: ArchiveStorage | FolderStorage
    #: Where the storage's root is in the collection.
    base_path: bytes = b"/"
    read_only: bool = False
    #: It was deleted: nobody finds it any more.
    gone: bool = False
    #: Its server does not answer.
    reachable: bool = True
    #: Whether a subscription covers it.
    managed: bool = True
    #: A mapped collection, to which the user must consent by name.
    needs_data_access: bool = False
    #: Bytes a second of one task from or to it; None: no limit of its own.
    bytes_per_s: float | None = None
    entity_type: str = "GCSv5_mapped_collection"

    def inner(self, path: bytes) -> bytes:
        """The storage's path for the collection's `path`.

        Raises:
            StorageError: the path leads out of the storage, or the collection cannot be reached.
        """
        if not self.reachable:
            raise StorageError("CONNECT_FAILED", "The collection's server did not answer")
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise StorageError("PERMISSION_DENIED", "500 Command failed : Path not allowed.")
        base = [part for part in self.base_path.split(b"/") if part]
        if parts[:1] == [b"~"]:
            parts[:1] = base
        if parts[: len(base)] != base:
            raise _not_found(path)
        return b"/".join(parts[len(base) :])

    def writable(self) -> WritableStorage:
        """Its storage, for writing.

        Raises:
            StorageError: nothing may be written there.
        """
        if self.read_only or isinstance(self.storage, ArchiveStorage):
            raise StorageError("PERMISSION_DENIED", "550 Permission denied")
        return self.storage


class _translated:  # noqa: N801 - reads as a word of the language where it stands
    """Errors of the operating system about `path` become those of a storage."""

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise StorageError("INVALID_PATH", "500 Invalid path") from error
        if isinstance(error, OSError):
            code = _CODES.get(error.errno or 0, "ENDPOINT_ERROR")
            raise StorageError(code, f"'{_text(self._path)}': {error.strerror}") from error


_CODES = {
    errno.ENOENT: "FILE_NOT_FOUND",
    errno.EACCES: "PERMISSION_DENIED",
    errno.EPERM: "PERMISSION_DENIED",
    errno.EROFS: "PERMISSION_DENIED",
    errno.ENOTDIR: "NOT_A_DIRECTORY",
    errno.EISDIR: "IS_A_DIRECTORY",
    errno.EEXIST: "EXISTS",
    errno.EDQUOT: "QUOTA_EXCEEDED",
    errno.ENOSPC: "NO_SPACE_LEFT",
    errno.ENAMETOOLONG: "INVALID_PATH",
    errno.ELOOP: "INVALID_PATH",
}


def _not_found(path: bytes) -> StorageError:
    return StorageError("FILE_NOT_FOUND", f"550 '{_text(path)}': No such file or directory")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")
