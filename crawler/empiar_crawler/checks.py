"""Where an entry's metadata and its listing contradict each other. Pure, and fed a folder at a time.

Nothing here is an error of the mirror: files are mirrored as they are, and what does not fit is recorded, so that
whoever uses the data is not the first to notice (EMPIAR-10318, 10511 and 10934 are such entries).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from empiar_imaging.roles import base_suffix, role_of_category, suffixes_of
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.paths import RemotePath, text_from_bytes
from empiar_schema.sizes import format_bytes, parse_dataset_size
from empiar_schema.states import Role

SIZE: Final = "dataset size"
DIRECTORY: Final = "image set directory"
COUNT: Final = "image count"
UNUSABLE: Final = "unusable name"
CLASH: Final = "name clash on case-insensitive storage"
TOO_LONG: Final = "name too long for a file system"
NO_FILES: Final = "files of the entry"
#: All kinds that a new listing decides anew.
KINDS: Final = (SIZE, DIRECTORY, COUNT, UNUSABLE, CLASH, TOO_LONG, NO_FILES)

#: Findings of one kind that are named one by one; the rest is counted.
NAMED: Final = 50
#: EMPIAR states one decimal, so the truth lies within half of it.
ROUNDING: Final = 0.05
#: Apache shows as little as two digits, so an estimated size may be off by this share.
ESTIMATE_SHARE: Final = 0.05
_UNIT: Final = re.compile(r"[0-9.]+\s*([A-Za-z]*)")
_COUNTED: Final = frozenset({Role.MICROGRAPH, Role.MOVIE, Role.TILT_SERIES})


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One disagreement. `path` is below the entry, None where the entry as a whole is meant."""

    what: str
    path: str | None
    stated: str | None
    found: str | None


@dataclass(slots=True)
class _Group:
    """Image sets of one folder and format, and the files that belong to them."""

    directory: str
    suffixes: frozenset[str]
    stated: int
    stated_frames: int
    files: int = 0


@dataclass(slots=True)
class _Named:
    """Findings of one kind, named up to a bound."""

    what: str
    first: list[Contradiction] = field(default_factory=list)
    count: int = 0

    def add(self, path: str, *, found: str) -> None:
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(Contradiction(self.what, path, None, found))

    def all(self) -> list[Contradiction]:
        if self.count <= len(self.first):
            return self.first
        return [*self.first, Contradiction(self.what, None, None, f"{self.count} in all, {NAMED} are named")]


class EntryCheck:
    """Reads an entry's listing folder by folder and tells what contradicts its metadata.

    Memory grows with the numbers of image sets and folders, not with the number of files.
    """

    def __init__(self, empiar_id: int, imagesets: Sequence[ImageSet], *, dataset_size: str | None) -> None:
        self._empiar_id = empiar_id
        self._dataset_size = dataset_size
        self._stated_folders = {s.directory for s in imagesets if s.directory}
        self._seen_folders: set[str] = set()
        self._like_folders: dict[str, str] = {}
        self._groups = _groups_of(imagesets)
        self._exact_bytes = 0
        self._estimated_bytes = 0
        self._files = 0
        self._unsized = 0
        self._clash = _Named(CLASH)
        self._too_long = _Named(TOO_LONG)
        self._unusable = _Named(UNUSABLE)

    def folders(self, paths: Iterable[str]) -> None:
        """All folders that hold files, in any order; to be told before `files`."""
        told: set[str] = set()
        by_form: dict[str, str] = {}
        stated_forms = {folded(directory) for directory in self._stated_folders}
        for path in paths:
            parts = path.split("/") if path else []
            for depth in range(len(parts), 0, -1):
                folder = "/".join(parts[:depth])
                if folder in told:
                    break  # then so were those above it
                told.add(folder)
                self._see_folder(folder, by_form, stated_forms)

    def _see_folder(self, path: str, by_form: dict[str, str], stated_forms: set[str]) -> None:
        form = folded(path)
        if path in self._stated_folders:
            self._seen_folders.add(path)
        if form in stated_forms:
            self._like_folders.setdefault(form, path)
        twin = by_form.setdefault(form, path)
        if twin != path:
            self._clash.add(path, found=f"like {twin}")

    def files(self, directory: str, files: Sequence[ListedFile], roles: Sequence[Role]) -> None:
        """A part of one folder's files and their roles."""
        groups = [
            g
            for g in self._groups
            if g.directory in ("", directory) or directory.startswith(f"{g.directory}/")
        ]
        room = RemotePath(self._empiar_id, directory, "").fits_file_system
        for file, role in zip(files, roles, strict=True):
            self._files += 1
            self._add_size(file)
            if groups and role in _COUNTED:
                _count(groups, base_suffix(file.name))
            # Characters have up to four bytes, and escapes only shrink: short texts need no closer look.
            if not room or len(file.name) > 63 or len(directory) > 800:
                path = RemotePath(self._empiar_id, directory, file.name)
                if not path.fits_file_system:
                    self._too_long.add(path.path, found=f"{len(path.raw)} bytes")

    def clashes(self, directory: str, names: Sequence[str]) -> None:
        """Names of one folder of which each falls together with another one (see `falling_together`)."""
        first: dict[str, str] = {}
        for name in names:
            twin = first.setdefault(folded(name), name)
            if twin != name:
                self._clash.add(f"{directory}/{name}".lstrip("/"), found=f"like {twin}")

    def refused(self, directory: str, names: Sequence[bytes]) -> None:
        """Names that the listing showed and no file can have."""
        for raw in names:
            self._unusable.add(f"{directory}/{text_from_bytes(raw[:300])}".lstrip("/"), found="left out")

    def _add_size(self, file: ListedFile) -> None:
        if file.bytes is None:
            self._unsized += 1
        elif file.bytes_exact:
            self._exact_bytes += file.bytes
        else:
            self._estimated_bytes += file.bytes

    def contradictions(self) -> list[Contradiction]:
        """All that was found; to be asked when every folder was told."""
        named = [c for kind in (self._unusable, self._clash, self._too_long) for c in kind.all()]
        if not self._files:
            return named  # an entry without files (obsolete, or not public yet) contradicts nothing
        return [*self._about_size(), *self._about_folders(), *self._about_counts(), *named]

    def _about_size(self) -> list[Contradiction]:
        stated = parse_dataset_size(self._dataset_size)
        if stated is None or self._unsized:
            return []
        found = self._exact_bytes + self._estimated_bytes
        slack = ROUNDING * _unit_bytes(self._dataset_size or "") + ESTIMATE_SHARE * self._estimated_bytes
        if abs(found - stated) <= slack + 1:
            return []
        how = "about " if self._estimated_bytes else ""
        text = f"{how}{found} bytes ({format_bytes(found)}) in {self._files} files"
        return [Contradiction(SIZE, None, self._dataset_size, text)]

    def _about_folders(self) -> list[Contradiction]:
        result = []
        for directory in sorted(self._stated_folders - self._seen_folders):
            like = self._like_folders.get(folded(directory))
            found = "no files there" if like is None else f"differs in letters: {like}"
            result.append(Contradiction(DIRECTORY, directory, directory, found))
        return result

    def _about_counts(self) -> list[Contradiction]:
        result = []
        for group in self._groups:
            if group.directory and group.directory not in self._seen_folders:
                continue
            # Depositors of volumes count volumes, files, or slices; each is meant well.
            if group.files and group.files not in (group.stated, group.stated_frames):
                kinds = ", ".join(sorted(group.suffixes))
                result.append(
                    Contradiction(
                        COUNT,
                        group.directory or None,
                        f"{group.stated} images",
                        f"{group.files} image files ({kinds})",
                    )
                )
        return result


def folded(text: str) -> str:
    """The text as a storage that heeds neither case nor Unicode form compares it."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


def falling_together(names: Iterable[str], seen: set[int], twice: set[int]) -> None:
    """Notes in `twice` the `folded_key` of every name whose folded form is among `seen`; for folders of any size."""
    for name in names:
        key = folded_key(name)
        if key in seen:
            twice.add(key)
        else:
            seen.add(key)


def folded_key(name: str) -> int:
    """A number that names of the same folded form share; 64 bits instead of the name itself."""
    return hash(folded(name))


def _groups_of(imagesets: Sequence[ImageSet]) -> list[_Group]:
    """Image sets whose images can be counted as files, those of one folder and format together; deepest first."""
    groups: dict[tuple[str, frozenset[str]], _Group] = {}
    uncountable: set[tuple[str, frozenset[str]]] = set()
    for imageset in imagesets:
        suffixes = suffixes_of(imageset)
        if imageset.directory is None or not suffixes:
            continue
        key = (imageset.directory, suffixes)
        countable = role_of_category(imageset.category) in (Role.MICROGRAPH, Role.MOVIE)
        if not countable or imageset.image_count is None:
            uncountable.add(key)
            continue
        group = groups.setdefault(key, _Group(*key, stated=0, stated_frames=0))
        group.stated += imageset.image_count
        group.stated_frames += imageset.image_count * (imageset.frames_per_image or 1)
    kept = [group for key, group in groups.items() if key not in uncountable]
    return sorted(kept, key=lambda group: -len(group.directory))


def _count(groups: Sequence[_Group], suffix: str) -> None:
    """The file counts for the group that lies closest above it."""
    for group in groups:
        if suffix in group.suffixes:
            group.files += 1
            return


def _unit_bytes(stated: str) -> int:
    match = _UNIT.fullmatch(stated.strip())
    return (parse_dataset_size(f"1 {match.group(1)}") if match else None) or 1
