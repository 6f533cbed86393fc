"""One value for particle coordinates, whatever file they came from. Column-oriented: an entry can have millions of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empiar_schema.faults import BadLabels

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
#: A further column: texts as written in the source, or an array whose first axis is the rows.
Column = list[str] | NDArray[np.generic]

#: Names of further columns that several formats know; RELION's words.
ANGLE_PSI: Final = "_rlnAnglePsi"
ORIGIN_X: Final = "_rlnOriginXAngst"
ORIGIN_Y: Final = "_rlnOriginYAngst"
DEFOCUS_U: Final = "_rlnDefocusU"
DEFOCUS_V: Final = "_rlnDefocusV"
DEFOCUS_ANGLE: Final = "_rlnDefocusAngle"
PHASE_SHIFT: Final = "_rlnPhaseShift"
CTF_BFACTOR: Final = "_rlnCtfBfactor"
OPTICS_GROUP: Final = "_rlnOpticsGroup"
CLASS_NUMBER: Final = "_rlnClassNumber"

#: No micrograph has so many rows or columns; what lies beyond is damage.
FARTHEST_PX: Final = 1e7


class CoordinateOrigin(StrEnum):
    """Where Y begins. X always counts columns from the left."""

    #: Y is the row as stored in the file, the first row being 0 (RELION, Topaz, EMAN, crYOLO).
    TOP = "top"
    #: Y counts from the opposite edge: row = H − Y (CryoPPP, cryoSPARC).
    BOTTOM = "bottom"


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Picked particles of one or many micrographs. All columns have one length, in the order of the source.

    `x` and `y` are the particle's centre in pixels of the micrograph; `origin` says where `y` begins.
    `empiar_imaging.labels.frames.to_origin` alone changes it.
    """

    #: Names as written in the source (stored texts), folders and suffix included; a stem where the format has only that.
    micrograph: list[str]
    x: Floats
    y: Floats
    origin: CoordinateOrigin
    #: ``000001@folder/stack.mrcs``: the particle's own image, slices counted from 1; an empty text where there is none.
    image: list[str] | None = None
    #: Figure of merit or confidence of the pick; NaN where there is none.
    score: Floats | None = None
    #: Diameter of the particle and side of its square box, where the source states one for all rows.
    diameter_px: float | None = None
    box_px: float | None = None
    #: Of the micrograph to which the coordinates refer.
    pixel_size_angstrom: float | None = None
    #: Rows and columns of micrographs, where the source states them, by name as in `micrograph`.
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    #: Further columns by name (`Column`).
    columns: Mapping[str, Column] = field(default_factory=dict)
    #: RELION's table of optics groups: columns by name.
    optics: Mapping[str, list[str]] = field(default_factory=dict)
    #: Micrographs that were looked at and have no particle: annotated, unlike those that are not named at all.
    without_particles: tuple[str, ...] = ()
    #: What was noticed on reading, a sentence each.
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.micrograph)
        # Columns that are made when they are asked for have been counted by their reader.
        further = self.columns.values() if isinstance(self.columns, dict) else ()
        columns = (self.x, self.y, self.image, self.score, *further)
        if any(column is not None and len(column) != rows for column in columns):
            raise ValueError("the columns of a label table differ in length")

    def __len__(self) -> int:
        return len(self.micrograph)

    @property
    def micrographs(self) -> list[str]:
        """The distinct names, in the order in which they appear; those without particles last."""
        return list(dict.fromkeys((*self.micrograph, *self.without_particles)))

    def noted(self, *notes: str) -> LabelTable:
        """The same table with further notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self

    def rows(self, index: Index) -> LabelTable:
        """The rows at `index`, in that order."""
        pick = _picker(index)
        return replace(
            self,
            micrograph=pick(self.micrograph),
            x=self.x[index],
            y=self.y[index],
            image=None if self.image is None else pick(self.image),
            score=None if self.score is None else self.score[index],
            columns={
                name: pick(column) if isinstance(column, list) else column[index]
                for name, column in self.columns.items()
            },
        )

    def by_micrograph(self) -> dict[str, Index]:
        """The rows of each micrograph, in their order; micrographs in the order in which they appear."""
        names, codes = coded(self.micrograph)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(names)))
        return dict(zip(names, np.split(order, ends[:-1]), strict=True)) if names else {}

    def finite(self) -> LabelTable:
        """Without the rows whose coordinates are no numbers, or none of any image, which a note counts."""
        good = (np.abs(self.x) < FARTHEST_PX) & (np.abs(self.y) < FARTHEST_PX)
        lost = len(self) - int(np.count_nonzero(good))
        if not lost:
            return self
        rows = "1 row whose coordinates are" if lost == 1 else f"{lost} rows whose coordinates are"
        return self.rows(np.flatnonzero(good)).noted(f"{rows} not finite, or beyond any image, left out")


def coded(names: Sequence[str]) -> tuple[list[str], Index]:
    """The distinct names in the order in which they appear, and for each row the place of its name among them."""
    code = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return list(code), np.fromiter(map(code.__getitem__, names), np.intp, len(names))


def _picker(index: Index) -> Callable[[list[str]], list[str]]:
    places = index.tolist()
    return lambda values: [values[place] for place in places]


def scaled(table: LabelTable, factor: float) -> LabelTable:
    """Coordinates, diameter and box multiplied by `factor`: 4 for picks made on micrographs binned by 4.

    Raises:
        BadLabels: the factor is no positive number.
    """
    if not (np.isfinite(factor) and factor > 0):
        raise BadLabels(f"a scale of {factor} makes no coordinates", hint="give a positive number, such as 4")
    if factor == 1:
        return table
    return replace(
        table,
        x=table.x * factor,
        y=table.y * factor,
        diameter_px=None if table.diameter_px is None else table.diameter_px * factor,
        box_px=None if table.box_px is None else table.box_px * factor,
        pixel_size_angstrom=None if table.pixel_size_angstrom is None else table.pixel_size_angstrom / factor,
        shapes={name: (round(h * factor), round(w * factor)) for name, (h, w) in table.shapes.items()},
    )


def concatenated(tables: Sequence[LabelTable]) -> LabelTable:
    """All rows one after the other. What only some tables have is empty or NaN in the rows of the others.

    Diameter, box and pixel size stand only if all tables that state one agree; optics groups are numbered anew where they
    clash. An array column that is not in every table becomes text.

    Raises:
        BadLabels: the tables count Y from different edges, or there are none.
    """
    if not tables or len({table.origin for table in tables}) != 1:
        raise BadLabels("tables that count Y from different edges cannot be joined")
    if len(tables) == 1:
        return tables[0]
    optics, tables = _joined_optics(tables)
    names = dict.fromkeys(name for table in tables for name in table.columns)
    has_image = any(table.image is not None for table in tables)
    has_score = any(table.score is not None for table in tables)
    return LabelTable(
        micrograph=[name for table in tables for name in table.micrograph],
        x=np.concatenate([table.x for table in tables]),
        y=np.concatenate([table.y for table in tables]),
        origin=tables[0].origin,
        image=[image for table in tables for image in table.image or [""] * len(table)]
        if has_image
        else None,
        score=np.concatenate([_or_nan(table.score, len(table)) for table in tables]) if has_score else None,
        diameter_px=_agreed([table.diameter_px for table in tables]),
        box_px=_agreed([table.box_px for table in tables]),
        pixel_size_angstrom=_agreed([table.pixel_size_angstrom for table in tables]),
        shapes={name: shape for table in tables for name, shape in table.shapes.items()},
        columns={name: _joined(name, tables) for name in names},
        optics=optics,
        without_particles=tuple(dict.fromkeys(name for table in tables for name in table.without_particles)),
        notes=tuple(dict.fromkeys(note for table in tables for note in table.notes)),
    )


def _or_nan(values: Floats | None, rows: int) -> Floats:
    return np.full(rows, np.nan) if values is None else values


def _agreed(values: Sequence[float | None]) -> float | None:
    stated = {value for value in values if value is not None}
    return stated.pop() if len(stated) == 1 else None


def _joined(name: str, tables: Sequence[LabelTable]) -> Column:
    parts = [table.columns.get(name) for table in tables]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts) and len({part.shape[1:] for part in arrays}) == 1:
        return np.concatenate(arrays)
    return [
        text
        for part, table in zip(parts, tables, strict=True)
        for text in ([""] * len(table) if part is None else texts(part))
    ]


def texts(column: Column) -> list[str]:
    """A further column as texts: floats with six digits after the point, without zeros at the end."""
    if isinstance(column, list):
        return column
    if column.ndim > 1:
        return [" ".join(texts(row)) for row in column]
    if column.dtype.kind == "f":
        return [f"{value:.6f}".rstrip("0").rstrip(".") for value in column.tolist()]
    if column.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in column.tolist()]
    return [str(value) for value in column.tolist()]


def _joined_optics(tables: Sequence[LabelTable]) -> tuple[dict[str, list[str]], Sequence[LabelTable]]:
    """One table of optics groups, and the label tables with the numbers it gives them."""
    distinct = [table.optics for table in tables if table.optics]
    if all(dict(optics) == dict(distinct[0]) for optics in distinct[1:]):
        return (dict(distinct[0]) if distinct else {}), tables
    names = list(dict.fromkeys(name for optics in distinct for name in optics))
    joined: dict[str, list[str]] = {name: [] for name in names}
    numbered = []
    for table in tables:
        groups = table.optics.get(OPTICS_GROUP, [])
        before = len(joined[OPTICS_GROUP]) if OPTICS_GROUP in joined else 0
        numbers = {group: str(before + place + 1) for place, group in enumerate(groups)}
        for name in names:
            joined[name] += table.optics.get(name, [""] * len(groups))
        if OPTICS_GROUP in joined:
            joined[OPTICS_GROUP][before:] = numbers.values()
        column = table.columns.get(OPTICS_GROUP)
        if column is not None and numbers:
            renumbered: Column = [numbers.get(group, group) for group in texts(column)]
            table = replace(table, columns={**table.columns, OPTICS_GROUP: renumbered})
        numbered.append(table)
    return joined, numbered
