"""Labels of a released CryoPPP tree: full or Lite, with today's folder names or those of older scripts, as a folder or a tar archive.

Source of the names: the folders that the project's scripts of several generations made. Y counts from the bottom in all of these files, whatever their format.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from empiar_imaging.labels.cryoppp_csv import read_cryoppp
from empiar_imaging.labels.ground_truth import GroundTruth, build_ground_truth
from empiar_imaging.labels.matching import LabelledMicrograph
from empiar_imaging.labels.names import base_name
from empiar_imaging.labels.star import read_star
from empiar_imaging.labels.table import CoordinateOrigin, LabelTable, concatenated
from empiar_imaging.labels.tree_members import TreeMember, tree_members
from empiar_schema.faults import BadLabels
from empiar_schema.paths import suffix_of
from empiar_schema.stems import stem_of

MICROGRAPH_FOLDERS: Final = frozenset({"micrographs", "micrograph_images", "data"})
LABEL_FOLDERS: Final = frozenset({"ground_truth", "metadata"})
COORDINATE_FOLDERS: Final = frozenset({"particle_coordinates", "coordinates"})
EXCLUDED_FOLDER: Final = "false_positives"
_FOLDERS: Final = MICROGRAPH_FOLDERS | LABEL_FOLDERS | {"particles_stack", "gain"}
_IMAGES: Final = frozenset({".mrc", ".tif", ".tiff", ".jpg", ".jpeg", ".png"})

_ID: Final = re.compile(r"(?:EMPIAR-)?([1-9][0-9]{3,7})", re.IGNORECASE)
_ENTRY_FILE: Final = re.compile(r"empiar-[0-9]+_particles_(selected|excluded)\.(star|csv)", re.IGNORECASE)
_MOST_MEMBERS: Final = 2_000_000
_MOST_CSV_BYTES: Final = 64 * 1024 * 1024
_MOST_ENTRY_BYTES: Final = 512 * 1024 * 1024
#: Of all files of coordinates together.
_MOST_LABEL_BYTES: Final = 2 * 1024 * 1024 * 1024
_MOST_NOTES: Final = 50


@dataclass(frozen=True, slots=True)
class ReleasedEntry:
    """The labels that a released tree has for one entry, and the micrographs it has them for."""

    empiar_id: int
    selected: LabelTable | None
    excluded: LabelTable | None
    #: Stems of its images: annotated or not.
    micrographs: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Gathering:
    """What was seen of one entry so far."""

    stems: dict[str, None] = field(default_factory=dict)
    tables: dict[str, list[LabelTable]] = field(default_factory=lambda: defaultdict(list))
    #: Entry-level files, read only if there are none of single micrographs: by (kind, format).
    whole: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_released(source: Path) -> tuple[ReleasedEntry, ...]:
    """The entries of a released tree (a folder that holds entries or is one, or a tar archive of either), by number.

    Coordinates come from the files of single micrographs; where there are none, from the entry's CSV, else from its STAR. A file
    that cannot be read becomes a note, and the others go on.

    Raises:
        BadLabels: there is no entry in it, or the archive is damaged or hostile.
        OSError: it could not be read.
    """
    gathered: dict[int, _Gathering] = defaultdict(_Gathering)
    own = _own_id(source)
    used = members = 0
    for member in tree_members(source):
        members += 1
        if members > _MOST_MEMBERS:
            raise BadLabels(
                f"{source.name} holds more than {_MOST_MEMBERS:,} files, more than any released tree"
            )
        place = _place(member.path, own)
        if place is None:
            continue
        empiar_id, parts = place
        used += _gather(gathered[empiar_id], member, parts)
        if used > _MOST_LABEL_BYTES:
            raise BadLabels(f"{source.name} holds more than {_MOST_LABEL_BYTES:,} bytes of coordinates")
    entries = tuple(_entry(empiar_id, gathered[empiar_id]) for empiar_id in sorted(gathered))
    if not entries:
        raise BadLabels(
            f"{source.name} is no CryoPPP tree: no folder <id>/ground_truth or <id>/micrographs is in it",
            hint="give the folder that holds the entries' folders, one entry's folder such as 10017, or an archive of one",
        )
    return entries


def merge_released(
    entry: ReleasedEntry,
    micrographs: Iterable[LabelledMicrograph],
    *,
    diameter_px: float | None = None,
    stacks: bool = False,
) -> GroundTruth:
    """The ground truth that a released entry gives to the micrographs of a view, joined by stem; unmatched names are listed on both sides."""
    return build_ground_truth(
        entry.empiar_id,
        list(micrographs),
        selected=[] if entry.selected is None else [entry.selected],
        excluded=[] if entry.excluded is None else [entry.excluded],
        diameter_px=diameter_px,
        cryoppp=True,
        stacks=stacks,
    )


def _own_id(source: Path) -> int | None:
    """The entry that the source's own name means: ``10017``, ``10017.tar.gz``."""
    match = _ID.fullmatch(source.absolute().name.partition(".")[0])
    return int(match[1]) if match else None


def _place(path: str, own: int | None) -> tuple[int, list[str]] | None:
    """The entry of a file, and its path below the entry; None for what is no part of the layout."""
    parts = path.split("/")
    for at in range(len(parts) - 2):
        match = _ID.fullmatch(parts[at])
        if match and parts[at + 1] in _FOLDERS:
            return int(match[1]), parts[at + 1 :]
    if own is not None and len(parts) >= 2 and parts[0] in _FOLDERS:
        return own, parts
    return None


def _gather(entry: _Gathering, member: TreeMember, parts: list[str]) -> int:
    """What one file adds to its entry; returns how many bytes of coordinates were read."""
    match parts:
        case [folder, name] if folder in MICROGRAPH_FOLDERS:
            if suffix_of(name) in _IMAGES:
                entry.stems[stem_of(name)] = None
        case [folder, name] if folder in LABEL_FOLDERS and (found := _ENTRY_FILE.fullmatch(name)):
            return _read(entry, member, kind=found[1].lower(), whole=found[2].lower())
        case [folder, below, name] if folder in LABEL_FOLDERS and suffix_of(name) == ".csv":
            if below in COORDINATE_FOLDERS:
                return _read(entry, member, kind="selected")
            if below == EXCLUDED_FOLDER:
                return _read(entry, member, kind="excluded")
    return 0


def _read(entry: _Gathering, member: TreeMember, *, kind: str, whole: str = "") -> int:
    try:
        raw = member.read(_MOST_ENTRY_BYTES if whole else _MOST_CSV_BYTES)
        if whole:
            entry.whole[kind, whole] = (base_name(member.path), raw)
        else:
            entry.tables[kind].append(read_cryoppp(raw, what=base_name(member.path)))
    except BadLabels as error:
        _note(entry, str(error))
        return 0
    return len(raw)


def _note(entry: _Gathering, sentence: str) -> None:
    if len(entry.notes) < _MOST_NOTES:
        entry.notes.append(sentence)


def _entry(empiar_id: int, entry: _Gathering) -> ReleasedEntry:
    tables = {kind: _table(entry, kind) for kind in ("selected", "excluded")}
    return ReleasedEntry(
        empiar_id=empiar_id,
        selected=tables["selected"],
        excluded=tables["excluded"],
        micrographs=tuple(entry.stems),
        notes=tuple(entry.notes),
    )


def _table(entry: _Gathering, kind: str) -> LabelTable | None:
    if entry.tables[kind]:
        return concatenated(entry.tables[kind])
    for form in ("csv", "star"):
        name, raw = entry.whole.get((kind, form), ("", b""))
        if not name:
            continue
        try:
            if form == "csv":
                return read_cryoppp(raw, what=name)
            return replace(read_star(raw, what=name), origin=CoordinateOrigin.BOTTOM)
        except BadLabels as error:
            _note(entry, str(error))
    return None
