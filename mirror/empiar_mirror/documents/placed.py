"""The files of a layout as its ``mapping.tsv`` names them, and what can be said of them together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from empiar_mirror.arrange import MAPPING
from empiar_schema.faults import HostileName
from empiar_schema.paths import RemotePath, bytes_from_text, suffix_of

DEPOSITED: Final = "deposited"
_COLUMNS: Final = ("place", "path", "role", "origin", "stem", "sha256")
_NOWHERE: Final = frozenset({"", ".", ".."})
#: So many different suffixes of a folder are told apart.
_SUFFIXES: Final = 16


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """One row of ``mapping.tsv`` (stored texts) and its size on disk; `bytes` is None where no file stands."""

    place: str
    path: str
    role: str
    origin: str
    stem: str
    sha256: str
    bytes: int | None

    @property
    def folder(self) -> str:
        """``ground_truth/particle_coordinates``; empty at the top."""
        return self.place.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its name without folders, as a stored text."""
        return self.place.rpartition("/")[2]

    @property
    def utf8(self) -> str | None:
        """The place as the text that its bytes are in UTF-8; None where they are not UTF-8."""
        try:
            return bytes_from_text(self.place).decode()
        except UnicodeDecodeError:
            return None


@dataclass(slots=True)
class FolderSummary:
    """What a folder of a layout holds."""

    files: int = 0
    bytes: int = 0
    suffixes: Counter[str] = field(default_factory=Counter)

    @property
    def all_suffixes(self) -> tuple[str, ...] | None:
        """The suffixes in their order; None if there are too many to tell, or files without one."""
        known = len(self.suffixes) < _SUFFIXES and self.suffixes[""] == 0
        return tuple(sorted(self.suffixes)) if known else None


@dataclass(slots=True)
class LayoutSummary:
    """What a layout holds as a whole. Its size does not grow with the number of files."""

    folders: dict[str, FolderSummary] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    #: Why the layout cannot be described as a bag; None if it can.
    no_bag: str | None = None

    def add(self, file: PlacedFile) -> None:
        """`file` is counted."""
        folder = self.folders.setdefault(file.folder, FolderSummary())
        self.files += 1
        self.bytes += file.bytes or 0
        folder.files += 1
        folder.bytes += file.bytes or 0
        suffix = _suffix(file.name)
        if suffix in folder.suffixes or len(folder.suffixes) < _SUFFIXES:
            folder.suffixes[suffix] += 1
        self.no_bag = self.no_bag or _why_no_bag(file)


def summarize(files: Iterable[PlacedFile]) -> LayoutSummary:
    """What `files` are together; nothing of them is kept."""
    summary = LayoutSummary()
    for file in files:
        summary.add(file)
    return summary


def placed_files(layout: Path) -> Iterator[PlacedFile]:
    """The files that the mapping of `layout` names, in its order; none without a mapping.

    Columns are found by their names, so a mapping may have more of them. A row that is cut short, or whose place or path would
    leave its folder, is passed over: somebody has changed the mapping.

    Raises:
        OSError: the mapping cannot be read.
    """
    try:
        lines = (layout / MAPPING).open(encoding="utf-8", errors="surrogateescape", newline="\n")
    except (FileNotFoundError, NotADirectoryError):
        return
    top = f"{layout}/"
    with lines:
        names = lines.readline().rstrip("\n").split("\t")
        if not set(_COLUMNS) <= set(names):
            return
        columns = [names.index(name) for name in _COLUMNS]
        for line in lines:
            cells = line.rstrip("\n").split("\t")
            if len(cells) < len(names):
                continue
            place, path, role, origin, stem, sha256 = [cells[column] for column in columns]
            if stays_inside(place) and stays_inside(path):
                size = _size(top + os.fsdecode(bytes_from_text(place)))
                yield PlacedFile(place, path, role, origin, stem, sha256, size)


def stays_inside(path: str) -> bool:
    """Whether a stored path names something below the folder it is relative to."""
    if "%" not in path:
        return _NOWHERE.isdisjoint(path.split("/"))  # nearly all; a layout can hold a million
    try:
        RemotePath.parse(1, path)
    except HostileName:
        return False
    return True


def source_url(file: PlacedFile, empiar_id: int, https_url: str | None) -> str | None:
    """Where a deposited file comes from, percent-encoded byte for byte; None for a derived one, or without an archive."""
    if https_url is None or file.origin != DEPOSITED:
        return None
    return f"{https_url}/{empiar_id}/{quote(bytes_from_text(file.path), safe='/')}"


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a Path for each of a million files costs more than the call
    except OSError:
        return None


def _suffix(name: str) -> str:
    """The last suffix in its own letter case, for a glob pattern."""
    return name[-len(suffix.rpartition(".")[2]) - 1 :] if (suffix := suffix_of(name)) else ""


def _why_no_bag(file: PlacedFile) -> str | None:
    if file.utf8 is None:
        return f"the name of {file.place} is not UTF-8, and a bag cannot express it"
    if file.bytes is None:
        return f"{file.place} is not there"
    if len(file.sha256) != 64:
        return f"no SHA-256 of {file.place} is on record"
    return None
