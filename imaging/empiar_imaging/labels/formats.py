"""All coordinate formats behind two functions: bytes to a table, and a table to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from empiar_imaging.labels.boxes import read_box, read_cbox, write_box, write_cbox
from empiar_imaging.labels.cryoppp_csv import read_cryoppp, write_cryoppp, write_cryoppp_entry
from empiar_imaging.labels.cryosparc import left_out_of_cs, read_cs, write_cs
from empiar_imaging.labels.frames import to_origin
from empiar_imaging.labels.names import micrograph_stem, of_name
from empiar_imaging.labels.star import left_out_of_star, read_star, write_star
from empiar_imaging.labels.table import CoordinateOrigin, LabelTable, scaled
from empiar_imaging.labels.topaz import read_topaz, write_topaz
from empiar_schema.faults import BadLabels
from empiar_schema.paths import suffix_of

#: A file beyond this is not read: in memory it would take several times as much.
MOST_BYTES: Final = 1024 * 1024 * 1024
#: Rows and columns of micrographs: of all, or by name as in the table, or by stem. 0 columns: the width is not known.
Shapes = tuple[int, int] | Mapping[str, tuple[int, int]] | None


class LabelFormat(StrEnum):
    """A format of coordinate files."""

    STAR = "star"
    CRYOPPP = "cryoppp"
    CRYOPPP_ENTRY = "cryoppp-entry"
    CRYOSPARC = "cs"
    EMAN = "box"
    CRYOLO = "cbox"
    TOPAZ = "topaz"

    @property
    def origin(self) -> CoordinateOrigin:
        """From where the format's own programs count Y."""
        return CoordinateOrigin.BOTTOM if self in _FROM_BOTTOM else CoordinateOrigin.TOP

    @property
    def one_micrograph(self) -> bool:
        """Whether a file holds one micrograph, named by the file."""
        return self in _ONE_MICROGRAPH

    @property
    def suffix(self) -> str:
        """Of files of this format."""
        return _SUFFIXES[self]


_FROM_BOTTOM: Final = frozenset({LabelFormat.CRYOPPP, LabelFormat.CRYOPPP_ENTRY, LabelFormat.CRYOSPARC})
_ONE_MICROGRAPH: Final = frozenset({LabelFormat.CRYOPPP, LabelFormat.EMAN, LabelFormat.CRYOLO})
_SUFFIXES: Final = {
    LabelFormat.STAR: ".star",
    LabelFormat.CRYOPPP: ".csv",
    LabelFormat.CRYOPPP_ENTRY: ".csv",
    LabelFormat.CRYOSPARC: ".cs",
    LabelFormat.EMAN: ".box",
    LabelFormat.CRYOLO: ".cbox",
    LabelFormat.TOPAZ: ".txt",
}
_BY_SUFFIX: Final = {suffix: form for form, suffix in reversed(_SUFFIXES.items())} | {
    ".tsv": LabelFormat.TOPAZ
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader is told beside the bytes."""

    #: Of a file that does not name its micrograph; by default the file's stem.
    micrograph: str | None = None
    #: cryoSPARC's passthrough file.
    passthrough: bytes | None = None
    #: For fractions in a file that states no micrograph shapes.
    shapes: Shapes = None
    #: Coordinates times this are pixels of the micrograph.
    scale: float = 1.0
    #: From where this file counts Y, where it is not as usual for its format.
    origin: CoordinateOrigin | None = None


@dataclass(frozen=True, slots=True)
class Writing:
    """What a writer is told beside the table."""

    box_px: float | None = None
    diameter_px: float | None = None
    pixel_size_angstrom: float | None = None
    #: Pixels of the micrograph divided by this are the coordinates written.
    scale: float = 1.0
    shapes: Shapes = None
    origin: CoordinateOrigin | None = None


@dataclass(frozen=True, slots=True)
class WrittenLabels:
    """The contents of the files that a table became, by the stem of the micrograph; one with the stem "" for formats of many."""

    files: dict[str, bytes]
    origin: CoordinateOrigin
    notes: tuple[str, ...]


def format_of(name: str) -> LabelFormat | None:
    """The format that a file's suffix promises; None for any other suffix."""
    return _BY_SUFFIX.get(suffix_of(name))


def read_labels(raw: bytes, *, name: str, form: LabelFormat, reading: Reading = Reading()) -> LabelTable:
    """The particles of a file called `name`, in pixels of the micrograph.

    Raises:
        BadLabels: the file is not what `form` says, or is damaged.
    """
    if len(raw) > MOST_BYTES:
        raise BadLabels(
            f"{name} has {len(raw):,} bytes, more than coordinates are read from ({MOST_BYTES:,})"
        )
    match form:
        case LabelFormat.STAR:
            table = read_star(raw, what=name, micrograph=reading.micrograph)
        case LabelFormat.CRYOPPP | LabelFormat.CRYOPPP_ENTRY:
            table = read_cryoppp(raw, what=name, micrograph=reading.micrograph)
        case LabelFormat.CRYOSPARC:
            table = read_cs(raw, what=name, passthrough=reading.passthrough, shapes=reading.shapes)
        case LabelFormat.EMAN:
            table = read_box(raw, what=name, micrograph=reading.micrograph)
        case LabelFormat.CRYOLO:
            table = read_cbox(raw, what=name, micrograph=reading.micrograph)
        case LabelFormat.TOPAZ:
            table = read_topaz(raw, what=name)
    if reading.origin is not None:
        table = replace(table, origin=reading.origin)
    return scaled(table, reading.scale)


def write_labels(table: LabelTable, *, form: LabelFormat, writing: Writing = Writing()) -> WrittenLabels:
    """The table as one or several files of the format, Y counted as the format does (or as `writing.origin` says).

    Raises:
        BadLabels: something that the format needs is not known (a height, a box size), or a name cannot stand in it.
    """
    origin = writing.origin or form.origin
    notes = _left_out(table, form)
    shapes = writing.shapes
    heights = shapes[0] if isinstance(shapes, tuple) else {n: h for n, (h, _) in (shapes or {}).items()}
    table = to_origin(table, heights, origin)
    if form is LabelFormat.CRYOSPARC:
        table = replace(table, shapes=_all_shapes(table, shapes))
    table = scaled(
        replace(
            table,
            diameter_px=writing.diameter_px or table.diameter_px,
            box_px=writing.box_px or table.box_px,
            pixel_size_angstrom=writing.pixel_size_angstrom or table.pixel_size_angstrom,
        ),
        1 / writing.scale,
    )
    # The writers of formats count as their programs do; where the user wants another origin, only the name of it differs.
    table = replace(table, origin=form.origin) if form is not LabelFormat.STAR else table
    if not form.one_micrograph:
        return WrittenLabels({"": _of_many(table, form)}, origin, notes)
    files: dict[str, bytes] = {}
    for name, rows in _one_by_one(table).items():
        files[name] = _of_one(rows, form)
    return WrittenLabels(files, origin, notes)


def _of_many(table: LabelTable, form: LabelFormat) -> bytes:
    if form is LabelFormat.STAR:
        return write_star(table)
    if form is LabelFormat.CRYOPPP_ENTRY:
        return write_cryoppp_entry(table)
    if form is LabelFormat.CRYOSPARC:
        return write_cs(table, table.shapes)
    return write_topaz(table)


def _of_one(table: LabelTable, form: LabelFormat) -> bytes:
    if form is LabelFormat.CRYOPPP:
        return write_cryoppp(table)
    if table.box_px is None:
        raise BadLabels("boxes have a size, and the coordinates come without one", hint="give --box PIXELS")
    if form is LabelFormat.EMAN:
        return write_box(table, max(1, round(table.box_px)))
    return write_cbox(table, table.box_px)


def _one_by_one(table: LabelTable) -> dict[str, LabelTable]:
    """A table for each micrograph, by stem.

    Raises:
        BadLabels: two micrographs in different folders have one stem, so that their files would have one name.
    """
    parts: dict[str, LabelTable] = {}
    folders: dict[str, str] = {}
    found = {name: table.rows(rows) for name, rows in table.by_micrograph().items()}
    nothing = table.rows(table.x.argsort()[:0])
    for name, part in (
        found | {name: nothing for name in table.without_particles if name not in found}
    ).items():
        stem = micrograph_stem(name)
        if stem in parts:
            raise BadLabels(
                f"{folders[stem]} and {name} have one stem, so that their files would have one name",
                hint="convert them one by one, or into a format of many micrographs (star, topaz)",
            )
        parts[stem], folders[stem] = part, name
    return parts


def _all_shapes(table: LabelTable, shapes: Shapes) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for name in table.micrographs:
        shape = shapes if isinstance(shapes, tuple) or shapes is None else of_name(shapes, name)
        shape = shape or table.shapes.get(name)
        if shape is None or min(shape) < 1:
            raise BadLabels(
                f"cryoSPARC's coordinates are fractions, and the size of {name} is not known",
                hint="give --height and --width, or --micrographs FOLDER with the images",
            )
        found[name] = shape
    return found


def _left_out(table: LabelTable, form: LabelFormat) -> tuple[str, ...]:
    """A sentence for what the format has no place for."""
    match form:
        case LabelFormat.STAR:
            lost = left_out_of_star(table)
        case LabelFormat.CRYOSPARC:
            lost = left_out_of_cs(table)
        case LabelFormat.CRYOPPP | LabelFormat.CRYOPPP_ENTRY:
            from empiar_imaging.labels.cryoppp_csv import ENTRY_FURTHER, FURTHER

            kept = FURTHER if form is LabelFormat.CRYOPPP else ENTRY_FURTHER
            lost = [name for name in table.columns if name not in kept.values()]
        case _:
            lost = list(table.columns)
    if not lost:
        return ()
    return (f"columns without a place in this format: {', '.join(lost[:8])}{' …' if len(lost) > 8 else ''}",)
