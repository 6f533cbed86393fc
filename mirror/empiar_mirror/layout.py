"""Places of an entry's deposited files in the CryoPPP layout (pure); `derived_layout` adds what was made of them.

The layout is flat, EMPIAR's folders are not: two files of one name need two places. The rules: a name that
is the only one of its kind in the entry stays bare; where names clash, **all** members get the shortest folder
prefix that tells them apart (``Micrographs_part1__061.mrc``). Spaces, dots and anything else in a name stay, but for
what cryoSPARC added, where the view is to have CryoPPP's own names (`empiar_schema.stems`).

Taken in are deposited micrographs and movies (``micrographs/``) and gain references (``gain/``). Tilt
series are not: a picker's or importer's glob would take their tilted images for micrographs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from empiar_schema.layout_views import Style
from empiar_schema.paths import NAME_MAX_BYTES, bytes_from_text
from empiar_schema.products import Product
from empiar_schema.states import Role
from empiar_schema.stems import cryoppp_name, stem_of

#: Role → folder of the layout.
FOLDERS: Final[Mapping[Role, str]] = MappingProxyType(
    {Role.MICROGRAPH: "micrographs", Role.MOVIE: "micrographs", Role.GAIN: "gain"}
)
#: RELION tells movies from micrographs by folder.
RELION_FOLDERS: Final[Mapping[Role, str]] = MappingProxyType({**FOLDERS, Role.MOVIE: "movies"})
IMAGES: Final = frozenset({Role.MICROGRAPH, Role.MOVIE})

_DIGITS = re.compile(r"([0-9]+)")
_LENGTHS: Final = tuple(f"0{chr(0x30 + length)}" for length in range(32))


class Rule(StrEnum):
    """Why a file has its name in the layout."""

    NAME = "name"
    CRYOPPP_NAME = "CryoPPP name"
    FOLDER_PREFIX = "folder prefix"
    FULL_PATH = "full path"
    #: A derived file is called after its micrograph's place, or after the entry.
    MICROGRAPH = "micrograph's stem"
    ENTRY = "entry"


class Origin(StrEnum):
    """Whether a file is as it was deposited in EMPIAR, or was made here."""

    DEPOSITED = "deposited"
    DERIVED = "derived"


@dataclass(frozen=True, slots=True)
class LaidFile:
    """A deposited file that could stand in a layout. Texts are stored texts; `directory` is that below the entry."""

    file_id: int
    #: One object for all files of a folder, where memory counts.
    directory: str
    name: str
    role: Role
    sha256: bytes | None = None
    size: int | None = None
    #: Whether it has arrived.
    here: bool = True

    @classmethod
    def of(
        cls, file_id: int, path: str, role: Role, sha256: bytes | None = None, *, here: bool = True
    ) -> LaidFile:
        """The file at `path` below the entry."""
        directory, _, name = path.rpartition("/")
        return cls(file_id, directory, name, role, sha256, here=here)

    @property
    def path(self) -> str:
        """The stored text below the entry."""
        return f"{self.directory}/{self.name}" if self.directory else self.name

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders above it, nearest first."""
        return tuple(reversed(self.directory.split("/"))) if self.directory else ()


@dataclass(frozen=True, slots=True)
class Place:
    """One file's place: ``<folder>/<name>`` below ``datasets/<view>/<id>`` (stored texts)."""

    file: LaidFile | Product
    folder: str
    name: str
    rule: Rule

    @property
    def path(self) -> str:
        """``micrographs/a.mrc``."""
        return f"{self.folder}/{self.name}"

    @property
    def stem(self) -> str:
        """What labels are joined by: the name without its last suffix and a compressor's."""
        return stem_of(self.name)

    @property
    def origin(self) -> Origin:
        """Whether the file is below ``archive/`` or ``derived/``."""
        return Origin.DERIVED if isinstance(self.file, Product) else Origin.DEPOSITED


@dataclass(frozen=True, slots=True)
class LayoutPlan:
    """Places in natural order of the source paths, then derived ones. No two files share one."""

    places: tuple[Place, ...]
    #: Places that differ by letter case or Unicode form only: one file on a Mac or a Windows share.
    alike: tuple[tuple[Place, ...], ...] = ()
    #: Files without a place, each with the reason in a sentence.
    unplaced: tuple[tuple[LaidFile | Product, str], ...] = ()
    #: How images and gains were chosen among the entry's: ``first 10 of 300``.
    image_choice: str = "all"
    gain_choice: str = "all"
    #: Sentences about what the view lacks.
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Clash:
    """The files of one folder of the layout that would share a name, and how they are told apart."""

    folder: str
    name: str
    files: list[LaidFile]
    rule: Rule

    def names(self) -> list[str]:
        if self.rule is Rule.FOLDER_PREFIX:
            return _prefixed(self.name, self.files)
        return ["__".join(file.path.split("/")) for file in self.files]


#: Folder of the layout → name → the file that would have it, or all that would.
_Wishes = dict[str, dict[str, "LaidFile | list[LaidFile]"]]


def plan_layout(
    files: Iterable[LaidFile], *, style: Style = "cryoppp", cryoppp_names: bool = False
) -> LayoutPlan:
    """A place for every micrograph, movie and gain reference among `files`; the order of `files` does not matter."""
    folders = RELION_FOLDERS if style == "relion" else FOLDERS
    ordered = [file for file in files if file.role in folders]
    ordered.sort(key=natural_order)

    def wished(file: LaidFile) -> str:
        return cryoppp_name(file.name) if cryoppp_names and file.role in IMAGES else file.name

    bare: _Wishes = {folder: {} for folder in folders.values()}
    for file in ordered:
        _wish(bare[folders[file.role]], wished(file), file)
    renamed, ambiguous = _told_apart(bare)
    del bare
    places, unplaced = [], []
    for file in ordered:
        name = wished(file)
        usual = Rule.NAME if name == file.name else Rule.CRYOPPP_NAME
        place = Place(file, folders[file.role], *renamed.get(file.file_id, (name, usual)))
        reason = _why_not(place, ambiguous)
        if reason is None:
            places.append(place)
        else:
            unplaced.append((file, reason))
    return LayoutPlan(tuple(places), _alike(places), tuple(unplaced))


def _wish(names: dict[str, LaidFile | list[LaidFile]], name: str, file: LaidFile) -> None:
    # Most names are wished for once: a list for each would cost more than the name.
    others = names.get(name)
    if others is None:
        names[name] = file
    elif isinstance(others, list):
        others.append(file)
    else:
        names[name] = [others, file]


def _told_apart(bare: _Wishes) -> tuple[dict[int, tuple[str, Rule]], set[tuple[str, str]]]:
    """New names, with their rules, of the files that cannot have the wished one; and the names that no rule tells apart."""
    clashes = [
        _Clash(folder, name, files, Rule.FOLDER_PREFIX)
        for folder, names in bare.items()
        for name, files in names.items()
        if isinstance(files, list)
    ]
    for clash in clashes:
        del bare[clash.folder][clash.name]
    ambiguous = _settle(clashes, bare)
    renamed = {
        file.file_id: (name, clash.rule)
        for clash in clashes
        for file, name in zip(clash.files, clash.names(), strict=True)
    }
    return renamed, ambiguous


def natural_key(path: str) -> str:
    """Sorts ``2.mrc`` before ``10.mrc``; total, so equal only for equal paths.

    Runs of digits compare by their length, then digit by digit, not as numbers: a hostile name may hold thousands.
    What paths may differ in besides, zeros before a number, stands at the end of the key.
    """
    key, zeros = _natural(path)
    return f"{key}\0{zeros}"


def natural_order(file: LaidFile) -> str:
    """`natural_key` of the file's path; quicker for many files of one folder. One text, because many are held at once."""
    folder, folder_zeros = _natural_folder(file.directory)
    key, zeros = _natural(file.name)
    return f"{folder}{key}\0{folder_zeros}{zeros}"


def _natural(text: str) -> tuple[str, str]:
    """The text with the length before each number, and how many zeros stood there."""
    parts = _DIGITS.split(text)
    runs = parts[1::2]
    numbers = [run.lstrip("0") for run in runs]
    parts[1::2] = [_length(len(number)) + number for number in numbers]
    zeros = [_length(len(run) - len(number)) for run, number in zip(runs, numbers, strict=True)]
    return "".join(parts), "".join(zeros)


def _length(count: int) -> str:
    return _LENGTHS[count] if count < len(_LENGTHS) else f"0{chr(0x30 + min(count, 0xD000))}"


@lru_cache(maxsize=4096)
def _natural_folder(directory: str) -> tuple[str, str]:
    return _natural(f"{directory}/") if directory else ("", "")


def _settle(clashes: list[_Clash], bare: _Wishes) -> set[tuple[str, str]]:
    """Every clash has a rule under which its names meet no other's; returns the names for which no rule did.

    A prefixed name may meet a file that is really called so; then the prefixed ones take their full paths. Where even
    those meet a bare name, its file leaves `bare` for `clashes` and takes its full path too.
    """
    while True:
        owners: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, clash in enumerate(clashes):
            for name in clash.names():
                owners[clash.folder, name].append(index)
        shared = {key for key, indices in owners.items() if len(indices) > 1 or key[1] in bare[key[0]]}
        prefixed = {i for key in shared for i in owners[key] if clashes[i].rule is Rule.FOLDER_PREFIX}
        met = [] if prefixed else [key for key in shared if key[1] in bare[key[0]]]
        if not prefixed and not met:
            return shared
        for index in prefixed:
            clashes[index].rule = Rule.FULL_PATH
        for folder, name in met:
            file = bare[folder].pop(name)
            assert isinstance(file, LaidFile)
            clashes.append(_Clash(folder, name, [file], Rule.FULL_PATH))


def _prefixed(name: str, files: Sequence[LaidFile]) -> list[str]:
    """`name` for each after the folders that tell it from the others: as few levels as can be, near ones first."""
    folders = [file.folders for file in files]
    levels = _telling_levels(folders)
    names = []
    for own in folders:
        prefix = [own[level] for level in reversed(levels) if level < len(own)]
        names.append("__".join([*prefix, name]))
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
    return why_no_place(place)


def why_no_place(place: Place) -> str | None:
    """Why no file system takes it; None where they do."""
    if len(place.name) <= NAME_MAX_BYTES and place.name.isascii():
        return None  # an escape is longer than its byte
    length = len(bytes_from_text(place.name))
    if length > NAME_MAX_BYTES:
        return f"its name in the layout would have {length} bytes, {NAME_MAX_BYTES} are possible"
    return None


def _alike(places: Sequence[Place]) -> tuple[tuple[Place, ...], ...]:
    # Hashes first: they cost a third of the names, and nearly all are different.
    seen: set[int] = set()
    twice: set[int] = set()
    for place in places:
        key = hash(_folded(place.path))
        (twice if key in seen else seen).add(key)
    groups: dict[str, list[Place]] = defaultdict(list)
    if twice:
        for place in places:
            folded = _folded(place.path)
            if hash(folded) in twice:
                groups[folded].append(place)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
