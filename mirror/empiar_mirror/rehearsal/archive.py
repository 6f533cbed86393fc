"""What the rehearsal archive holds now: one model that all its servers show and that tests change while they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from empiar_mirror.rehearsal import content

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Drawing(Protocol):
    """A file that is made as a whole, and anew, when somebody reads it."""

    @property
    def size(self) -> int:
        """Its bytes."""

    def draw(self, path: bytes, version: int) -> bytes:
        """All its bytes, for a `path` that begins with the entry's number; another version has others."""

    def __hash__(self) -> int:
        """Equal drawings make equal files."""


#: What an entry is made of: sizes where name and size say all, drawings, or the bytes themselves.
Files = dict[bytes, int | bytes | Drawing]


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file of one version. `mtime` in Unix seconds.

    `body` or `drawing` where the bytes are not a function of name and size alone.
    """

    size: int
    mtime: int
    version: int = 0
    body: bytes | None = None
    drawing: Drawing | None = None

    @property
    def etag(self) -> str:
        """A strong validator in Apache's form: size and modification time."""
        return f'"{self.size:x}-{self.mtime * 1_000_000 + self.version:x}"'


#: A file, or None for a folder.
Node = ArchiveFile | None


class Tree(Protocol):
    """Files and folders of one entry below its root; paths are bytes without leading or trailing slash."""

    def children(self, folder: bytes) -> Iterator[tuple[bytes, Node]] | None:
        """Names and nodes directly in `folder` (``b""`` is the root) in byte order; None where no such folder is."""

    def file(self, path: bytes) -> ArchiveFile | None:
        """The file at `path`, if there is one."""


class FileTree:
    """A tree held in dictionaries, which can change."""

    def __init__(self, files: Mapping[bytes, ArchiveFile]) -> None:
        self._folders: dict[bytes, dict[bytes, Node]] = {b"": {}}
        for path, file in files.items():
            self.put(path, file)

    def children(self, folder: bytes) -> Iterator[tuple[bytes, Node]] | None:
        """See `Tree`."""
        names = self._folders.get(folder)
        return None if names is None else iter(sorted(names.items()))

    def file(self, path: bytes) -> ArchiveFile | None:
        """See `Tree`."""
        folder, _, name = path.rpartition(b"/")
        return self._folders.get(folder, {}).get(name)

    def put(self, path: bytes, file: ArchiveFile) -> None:
        """`file` stands at `path`, and its folders exist."""
        folder, _, name = path.rpartition(b"/")
        self.make_folder(folder)
        self._folders[folder][name] = file

    def make_folder(self, folder: bytes) -> None:
        """`folder` and those above it exist."""
        while folder not in self._folders:
            self._folders[folder] = {}
            parent, _, name = folder.rpartition(b"/")
            if parent in self._folders:
                self._folders[parent][name] = None
                return
            self.make_folder(parent)
            self._folders[parent][name] = None

    def remove(self, path: bytes) -> None:
        """`path` is gone; a folder that becomes empty stays.

        Raises:
            KeyError: it was not there.
        """
        folder, _, name = path.rpartition(b"/")
        del self._folders[folder][name]


class CountedTree:
    """Very many equal files, whose names are computed when asked for: `files` of them spread over `folders`.

    A path is ``data/grid_003/square_0151/FoilHole_0015123.mrc``; fifty squares make a grid.
    """

    _SQUARES_PER_GRID = 50

    def __init__(self, *, files: int, folders: int, file_bytes: int, mtime: int) -> None:
        self._files = files
        self._folders = folders
        self._per_folder = -(-files // folders)
        self._file = ArchiveFile(file_bytes, mtime)

    def children(self, folder: bytes) -> Iterator[tuple[bytes, Node]] | None:
        """See `Tree`."""
        grids = -(-self._folders // self._SQUARES_PER_GRID)
        if folder == b"":
            return iter([(b"data", None)])
        if folder == b"data":
            return ((b"grid_%03d" % grid, None) for grid in range(grids))
        parts = folder.split(b"/")
        number = self._number(parts[-1])
        if len(parts) == 2 and folder == b"data/grid_%03d" % number and number < grids:
            first = number * self._SQUARES_PER_GRID
            last = min(first + self._SQUARES_PER_GRID, self._folders)
            return ((b"square_%04d" % square, None) for square in range(first, last))
        if len(parts) == 3 and folder == self._square_path(number) and number < self._folders:
            first = number * self._per_folder
            last = min(first + self._per_folder, self._files)
            return ((b"FoilHole_%07d.mrc" % index, self._file) for index in range(first, last))
        return None

    def file(self, path: bytes) -> ArchiveFile | None:
        """See `Tree`."""
        folder, _, name = path.rpartition(b"/")
        index = self._number(name.removesuffix(b".mrc"))
        right_name = name == b"FoilHole_%07d.mrc" % index
        right_folder = folder == self._square_path(index // self._per_folder)
        return self._file if right_name and right_folder and index < self._files else None

    def _square_path(self, square: int) -> bytes:
        return b"data/grid_%03d/square_%04d" % (square // self._SQUARES_PER_GRID, square)

    @staticmethod
    def _number(name: bytes) -> int:
        digits = name.rpartition(b"_")[2]
        return int(digits) if digits.isdigit() else 0


@dataclass(slots=True)
class Entry:
    """One entry: its API record and its files. `tree` is None where the archive has a record and no files."""

    empiar_id: int
    record: dict[str, Json]
    tree: FileTree | CountedTree | None

    @property
    def accession(self) -> str:
        """``EMPIAR-10101``."""
        return f"EMPIAR-{self.empiar_id}"

    def walk(self) -> Iterator[tuple[bytes, ArchiveFile]]:
        """Every file with its path, depth first."""
        stack = [b""] if self.tree is not None else []
        while stack and self.tree is not None:
            folder = stack.pop()
            for name, node in self.tree.children(folder) or ():
                path = folder + b"/" + name if folder else name
                if node is None:
                    stack.append(path)
                else:
                    yield path, node


#: Is told of every file that is about to stand at a path of an entry, or (None) stands there no longer.
Witness = Callable[[int, bytes, ArchiveFile | None], None]


class RehearsalArchive:
    """All entries. Changes are seen by every server at once."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: dict[int, Entry] = {entry.empiar_id: entry for entry in entries}
        #: What EMDB's API says of each map, by accession.
        self.maps: dict[str, Json] = {}
        self._witness: Witness | None = None

    def watched_by(self, witness: Witness) -> None:
        """`witness` is told of all files that are there, and of every change from now on, before anybody can see it."""
        self._witness = witness
        for entry in self.entries.values():
            for path, file in entry.walk():
                witness(entry.empiar_id, path, file)

    def add_entry(self, entry: Entry) -> None:
        """`entry` is there, in place of one with the same number."""
        before = self.entries.get(entry.empiar_id)
        if self._witness is not None:
            coming = dict(entry.walk())
            for path in dict(before.walk()).keys() - coming.keys() if before is not None else ():
                self._witness(entry.empiar_id, path, None)
            for path, file in coming.items():
                self._witness(entry.empiar_id, path, file)
        self.entries[entry.empiar_id] = entry

    def remove_entry(self, empiar_id: int) -> None:
        """The entry, its record and its files are gone."""
        entry = self.entries.pop(empiar_id)
        if self._witness is not None:
            for path, _ in entry.walk():
                self._witness(empiar_id, path, None)

    def file(self, empiar_id: int, path: bytes) -> ArchiveFile | None:
        """The file at `path` of the entry, if there is one."""
        entry = self.entries.get(empiar_id)
        return entry.tree.file(path) if entry is not None and entry.tree is not None else None

    def add_file(self, empiar_id: int, path: bytes, file: ArchiveFile) -> None:
        """`file` stands at `path`, new or in place of another."""
        self._put(empiar_id, path, file)

    def remove_file(self, empiar_id: int, path: bytes) -> None:
        """The file is gone.

        Raises:
            KeyError: it was not there.
        """
        self._changeable(empiar_id).remove(path)
        if self._witness is not None:
            self._witness(empiar_id, path, None)

    def change_file(
        self,
        empiar_id: int,
        path: bytes,
        *,
        size: int | None = None,
        body: bytes | None = None,
        keep_mtime: bool = False,
    ) -> ArchiveFile:
        """The file has another content, at equal size if none is given, and a later modification time.

        With `keep_mtime` size and time do not betray the change, as after a careless restore from backup; the ETag does.

        Raises:
            KeyError: there is no such file.
        """
        old = self.file(empiar_id, path)
        if old is None:
            raise KeyError(path)
        if body is None and old.body is not None and size is None:
            body = bytes(byte ^ 1 if byte > 32 else byte for byte in old.body)
        new = replace(
            old,
            size=len(body) if body is not None else old.size if size is None else size,
            mtime=old.mtime if keep_mtime else max(old.mtime + 1, int(time.time())),
            version=old.version + 1,
            body=body,
            drawing=old.drawing if body is None and size in (None, old.size) else None,
        )
        self._put(empiar_id, path, new)
        return new

    def touch_record(self, empiar_id: int, update_date: str) -> None:
        """The entry's record says that it changed on `update_date` (``YYYY-MM-DD``)."""
        self.entries[empiar_id].record["update_date"] = update_date

    def obsolete_entry(self, empiar_id: int, day: str) -> None:
        """The entry is obsolete since `day` (``YYYY-MM-DD``): its record says so, and its files are gone."""
        entry = self.entries[empiar_id]
        entry.record |= {"status": "OBS", "obsolete_date": day, "update_date": day}
        entry.tree = None

    @staticmethod
    def read(entry_id: int, path: bytes, file: ArchiveFile, offset: int, count: int) -> bytes:
        """Bytes ``[offset, offset + count)`` of `file`, which stands or stood at `path` of the entry."""
        if file.body is not None:
            return file.body[offset : offset + count]
        if file.drawing is not None:
            return _drawn(file.drawing, b"%d/%s" % (entry_id, path), file.version)[offset : offset + count]
        return content.read(b"%d/%s" % (entry_id, path), file.size, offset, count, version=file.version)

    def _put(self, empiar_id: int, path: bytes, file: ArchiveFile) -> None:
        tree = self._changeable(empiar_id)
        if self._witness is not None:
            self._witness(empiar_id, path, file)
        tree.put(path, file)

    def _changeable(self, empiar_id: int) -> FileTree:
        tree = self.entries[empiar_id].tree
        if not isinstance(tree, FileTree):
            raise TypeError(f"the files of entry {empiar_id} are computed and cannot be changed one by one")
        return tree


@lru_cache(maxsize=16)
def _drawn(drawing: Drawing, path: bytes, version: int) -> bytes:
    """Servers read a file piece by piece, and several at a time."""
    return drawing.draw(path, version)
