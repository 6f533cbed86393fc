"""Places of an entry's files in the CryoPPP layout (pure).

The layout is flat, EMPIAR's folders are not: two files of one name need two places. The rules: a name that
is the only one of its kind in the entry stays bare; where names clash, **all** members get the shortest folder
prefix that tells them apart (``Micrographs_part1__061.mrc``). Spaces, dots and anything else in a name stay.

Taken in are deposited micrographs and movies (``micrographs/``) and gain references (``gain/``). Tilt
series are not: a picker's or importer's glob would take their tilted images for micrographs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from empiar_schema.paths import NAME_MAX_BYTES, bytes_from_text
from empiar_schema.states import Role

#: Role → folder of the layout.
FOLDERS: Final = {Role.MICROGRAPH: "micrographs", Role.MOVIE: "micrographs", Role.GAIN: "gain"}

_DIGITS = re.compile(r"[0-9]+")


class Rule(StrEnum):
    """Why a file has its name in the layout."""

    NAME = "name"
    FOLDER_PREFIX = "folder prefix"
    FULL_PATH = "full path"


@dataclass(frozen=True, slots=True)
class LaidFile:
    """A file that could stand in a layout. `path` is the stored text below the entry."""

    file_id: int
    path: str
    role: Role
    sha256: str | None = None

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders above it, nearest first."""
        return tuple(reversed(self.path.split("/")[:-1]))

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Place:
    """One file's place: ``<folder>/<name>`` below ``datasets/<view>/<id>`` (stored texts)."""

    file: LaidFile
    folder: str
    name: str
    rule: Rule

    @property
    def path(self) -> str:
        """``micrographs/a.mrc``."""
        return f"{self.folder}/{self.name}"

    @property
    def stem(self) -> str:
        """The name without its last suffix: what labels are joined by."""
        stem, dot, _suffix = self.name.rpartition(".")
        return stem if dot and stem else self.name


@dataclass(frozen=True, slots=True)
class LayoutPlan:
    """Places in natural order of the source paths. No two files share one."""

    places: tuple[Place, ...]
    #: Places that differ by letter case or Unicode form only: one file on a Mac or a Windows share.
    alike: tuple[tuple[Place, ...], ...] = ()
    #: Files without a place, each with the reason in a sentence.
    unplaced: tuple[tuple[LaidFile, str], ...] = ()


@dataclass(slots=True)
class _Clash:
    """The files of one folder of the layout that share a bare name, and how they are told apart."""

    folder: str
    files: list[LaidFile]
    rule: Rule

    def names(self) -> list[str]:
        if self.rule is Rule.FOLDER_PREFIX:
            return _prefixed(self.files)
        return ["__".join(file.path.split("/")) for file in self.files]


def plan_layout(files: Sequence[LaidFile]) -> LayoutPlan:
    """A place for every micrograph, movie and gain reference among `files`; the order of `files` does not matter."""
    by_name: dict[tuple[str, str], list[LaidFile]] = defaultdict(list)
    for file in sorted(files, key=lambda file: natural_key(file.path)):
        folder = FOLDERS.get(file.role)
        if folder is not None:
            by_name[folder, file.name].append(file)
    clashes = [
        _Clash(folder, by_name.pop((folder, name)), Rule.FOLDER_PREFIX)
        for (folder, name), members in tuple(by_name.items())
        if len(members) > 1
    ]
    ambiguous = _settle(clashes, by_name)
    wished = [Place(files[0], folder, name, Rule.NAME) for (folder, name), files in by_name.items()]
    by_name.clear()
    for clash in clashes:
        names = zip(clash.files, clash.names(), strict=True)
        wished += [Place(file, clash.folder, name, clash.rule) for file, name in names]
    wished.sort(key=lambda place: natural_key(place.file.path))
    reasons = [(place, _why_not(place, ambiguous)) for place in wished]
    places = tuple(place for place, reason in reasons if reason is None)
    unplaced = tuple((place.file, reason) for place, reason in reasons if reason is not None)
    return LayoutPlan(places, _alike(places), unplaced)


def natural_key(path: str) -> tuple[str, str]:
    """Sorts ``2.mrc`` before ``10.mrc``; total, so equal only for equal paths.

    Runs of digits compare by their length, then digit by digit, not as numbers: a hostile name may hold thousands.
    """
    return _DIGITS.sub(_by_length, path), path


def _by_length(digits: re.Match[str]) -> str:
    significant = digits.group().lstrip("0")
    return f"0{chr(0x30 + min(len(significant), 0xD000))}{significant}"


def _settle(clashes: list[_Clash], bare: dict[tuple[str, str], list[LaidFile]]) -> set[tuple[str, str]]:
    """Every clash has a rule under which its names meet no other's; returns the names for which no rule did.

    A prefixed name may meet a file that is really called so; then the prefixed ones take their full paths. Where even
    those meet a bare name, its file leaves `bare` for `clashes` and takes its full path too.
    """
    while True:
        owners: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, clash in enumerate(clashes):
            for name in clash.names():
                owners[clash.folder, name].append(index)
        shared = {name for name, indices in owners.items() if len(indices) > 1 or name in bare}
        prefixed = {i for name in shared for i in owners[name] if clashes[i].rule is Rule.FOLDER_PREFIX}
        met = [] if prefixed else [name for name in shared if name in bare]
        if not prefixed and not met:
            return shared
        for index in prefixed:
            clashes[index].rule = Rule.FULL_PATH
        clashes.extend(_Clash(name[0], bare.pop(name), Rule.FULL_PATH) for name in met)


def _prefixed(files: Sequence[LaidFile]) -> list[str]:
    """Each name after the folders that tell it from the others: as few levels as can be, near ones first."""
    folders = [file.folders for file in files]
    levels = _telling_levels(folders)
    names = []
    for file, own in zip(files, folders, strict=True):
        prefix = [own[level] for level in reversed(levels) if level < len(own)]
        names.append("__".join([*prefix, file.name]))
    return names


def _telling_levels(folders: Sequence[tuple[str, ...]]) -> list[int]:
    def told_apart(levels: Sequence[int]) -> bool:
        seen = {tuple(own[level] if level < len(own) else None for level in levels) for own in folders}
        return len(seen) == len(folders)

    levels: list[int] = []
    for depth in range(max(map(len, folders))):
        levels.append(depth)
        if told_apart(levels):
            break
    for level in tuple(levels):
        fewer = [other for other in levels if other != level]
        if fewer and told_apart(fewer):
            levels = fewer
    return levels


def _why_not(place: Place, ambiguous: set[tuple[str, str]]) -> str | None:
    if (place.folder, place.name) in ambiguous:
        return f"another file would have the same place, {place.path}"
    length = len(bytes_from_text(place.name))
    if length > NAME_MAX_BYTES:
        return f"its name in the layout would have {length} bytes, {NAME_MAX_BYTES} are possible"
    return None


def _alike(places: Sequence[Place]) -> tuple[tuple[Place, ...], ...]:
    seen: set[str] = set()
    twice: set[str] = set()
    for place in places:
        key = _folded(place.path)
        (twice if key in seen else seen).add(key)
    groups: dict[str, list[Place]] = defaultdict(list)
    if twice:
        for place in places:
            key = _folded(place.path)
            if key in twice:
                groups[key].append(place)
    return tuple(map(tuple, groups.values()))


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
