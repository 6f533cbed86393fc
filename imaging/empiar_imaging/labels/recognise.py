"""Which of an entry's files hold coordinates, by name and the first kilobytes. Pure, and cheap: no file is read whole."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from empiar_imaging.labels import star
from empiar_imaging.labels.cryoppp_csv import MICROGRAPH, X, Y
from empiar_imaging.labels.formats import LabelFormat
from empiar_imaging.labels.names import base_name
from empiar_imaging.labels.npy_records import MAGIC
from empiar_imaging.labels.topaz import HEADER as TOPAZ_HEADER
from empiar_schema.paths import suffix_of

#: So much of a file's beginning is enough.
HEAD_BYTES: Final = 64 * 1024
#: Suffixes of files whose beginning is worth a look.
SUFFIXES: Final = frozenset({".star", ".cs", ".csv", ".box", ".cbox", ".txt", ".tsv"})

_EXCLUDED: Final = re.compile(
    r"(?<![a-z])(?:excluded?|rejected?|false[_ -]?positives?|discarded?|removed|bad|junk)(?![a-z])",
    re.IGNORECASE,
)
_PASSTHROUGH: Final = re.compile(r"(.*?)passthrough_(particles.*\.cs)", re.IGNORECASE)
_JOB: Final = re.compile(r"(?:P[0-9]+_)?(J[0-9]+)_")
_ENTRY_STAR: Final = re.compile(r"empiar-[0-9]+_particles_(?:selected|excluded)\.star", re.IGNORECASE)
_TAG: Final = re.compile(rb"^[ \t]*(_[A-Za-z][A-Za-z0-9]*)", re.MULTILINE)
_NUMBERS: Final = re.compile(rb"(?:[ \t]*[-+0-9.eE]+(?:[ \t]+|[ \t]*$)){4,}")


class LabelKind(StrEnum):
    """What the rows of a file are."""

    SELECTED = "selected"
    #: Picks that were rejected: no particles.
    EXCLUDED = "excluded"
    #: What cryoSPARC keeps beside a file of particles; to be read with it.
    PASSTHROUGH = "passthrough"
    #: Positions in tomograms: set aside, never read as positions in an image.
    TOMOGRAPHY = "tomography"


@dataclass(frozen=True, slots=True)
class LabelFile:
    """What a file is, as far as its beginning says."""

    form: LabelFormat
    kind: LabelKind


def recognise(name: str, head: bytes) -> LabelFile | None:
    """What the file called `name` holds that begins with `head` (`HEAD_BYTES` are enough); None if no coordinates.

    Class averages, optimiser and micrograph tables have no coordinates, so they are none. Texts of numbers without a header count
    only under the suffix of their format, because any table of numbers looks like them.
    """
    suffix = suffix_of(name)
    if suffix not in SUFFIXES:
        return None
    kind = LabelKind.EXCLUDED if _EXCLUDED.search(base_name(name)) else LabelKind.SELECTED
    if head.startswith(MAGIC):
        return _cryosparc(name, head, kind)
    if b"\0" in head:
        return None
    form = _form_of_text(suffix, head)
    if form is LabelFormat.STAR and star.TOMOGRAPHY & _tags(head):
        kind = LabelKind.TOMOGRAPHY
    return None if form is None else LabelFile(form, kind)


def _cryosparc(name: str, head: bytes, kind: LabelKind) -> LabelFile | None:
    if _PASSTHROUGH.search(base_name(name)):
        return LabelFile(LabelFormat.CRYOSPARC, LabelKind.PASSTHROUGH)
    particles = b"'location/center_x_frac'" in head or (b"'blob/path'" in head and b"'uid'" in head)
    return (
        LabelFile(LabelFormat.CRYOSPARC, kind) if particles and b"micrograph_blob/path" not in head else None
    )


def _form_of_text(suffix: str, head: bytes) -> LabelFormat | None:
    head = head.removeprefix(b"\xef\xbb\xbf")
    tags = _tags(head)
    if {"_CoordinateX", "_Width"} <= tags:
        return LabelFormat.CRYOLO
    if {star.X, star.Y} <= tags or "_rlnCenteredCoordinateXAngst" in tags:
        return LabelFormat.STAR
    first = next((line for line in head.splitlines() if line.strip()), b"")
    cells = {cell.strip() for cell in first.decode("latin-1").replace(",", "\t").split("\t")}
    if {X, Y} <= cells:
        return LabelFormat.CRYOPPP_ENTRY if MICROGRAPH in cells else LabelFormat.CRYOPPP
    if set(TOPAZ_HEADER) <= cells and b"\t" in first:
        return LabelFormat.TOPAZ
    if suffix in (".box", ".cbox") and _NUMBERS.match(first):
        return LabelFormat.EMAN if suffix == ".box" else LabelFormat.CRYOLO
    return None


def _tags(head: bytes) -> frozenset[str]:
    return frozenset(tag.decode("ascii") for tag in _TAG.findall(head))


def _job(base: str) -> str:
    """``J12`` of ``J12_particles.cs`` and of ``P3_J12_particles.cs``; nothing where no job is named."""
    found = _JOB.match(base)
    return found[1] if found else ""


def counts_from_bottom(name: str) -> bool:
    """Whether a STAR file of this name counts Y from the bottom, though RELION's do not: CryoPPP's entry-level files."""
    return _ENTRY_STAR.fullmatch(base_name(name)) is not None


def passthrough_of(name: str, names: Iterable[str]) -> str | None:
    """The name among `names` of the passthrough file that belongs to the particles `name`; None if there is none, or a choice.

    cryoSPARC writes ``J12_particles_selected.cs``, ``J12_003_particles.cs`` or, without the job, ``particles_selected.cs``, and beside it
    ``J12_passthrough_particles_selected.cs`` (``P3_J12_…`` in exports): the folder must agree, and the job where both names have one, and
    then the words after "particles", if more than one is left.
    """
    folder, base = name[: len(name) - len(base_name(name))], base_name(name)
    job = _job(base)
    found = []
    for other in names:
        match = _PASSTHROUGH.fullmatch(base_name(other))
        if match and other == folder + base_name(other) and (not job or _job(base_name(other)) in ("", job)):
            found.append((other, match[2]))
    exact = [other for other, tail in found if base.endswith(tail)]
    chosen = exact or [other for other, _ in found]
    return chosen[0] if len(chosen) == 1 else None
