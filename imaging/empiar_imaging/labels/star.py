"""RELION STAR: particles and picks, with optics groups (3.1 and later) or without (3.0).

`_rlnCoordinateX` and `_rlnCoordinateY` are centres in pixels of the micrograph, Y in rows as stored. Blocks and columns are
found by name; further columns are kept. Tables of three-dimensional positions (RELION 4 and 5 tomography) are refused with a
sentence, so that nobody takes them for positions in an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from empiar_imaging.labels.names import micrograph_of_file
from empiar_imaging.labels.star_tables import StarTable, star_tables, star_text, without
from empiar_imaging.labels.table import OPTICS_GROUP, CoordinateOrigin, Floats, LabelTable, texts
from empiar_schema.faults import BadLabels

X: Final = "_rlnCoordinateX"
Y: Final = "_rlnCoordinateY"
MICROGRAPH: Final = "_rlnMicrographName"
IMAGE: Final = "_rlnImageName"
SCORE: Final = "_rlnAutopickFigureOfMerit"
MICROGRAPH_PIXEL: Final = "_rlnMicrographPixelSize"
#: A comment by which a STAR of ours says that its Y does not count rows; other programs skip comments.
BOTTOM_COMMENT: Final = "coordinate_origin bottom: row = image height - _rlnCoordinateY (CryoPPP)"

#: Columns of tables whose particles have a place in a tomogram.
TOMOGRAPHY: Final = frozenset(
    {"_rlnTomoName", "_rlnCoordinateZ", "_rlnCenteredCoordinateXAngst", "_rlnTomoParticleName"}
)
_NULLS: Final = frozenset({"?", ".", "", "<NA>", "None", "none", "null"})


def read_star(raw: bytes, *, what: str, micrograph: str | None = None) -> LabelTable:
    """The particles of a STAR file called `what`.

    `micrograph` names the micrograph of a table that has no column for it (RELION's picks); by default it is the stem of `what`.

    Raises:
        BadLabels: it is no STAR, is cut or ragged, holds no coordinates, or those of a tomogram.
    """
    tables = star_tables(raw, what=what)
    table = _particles(tables, what)
    optics = dict(next((t.columns for t in tables if OPTICS_GROUP in t.columns and t is not table), {}))
    columns = table.columns
    x, y = (floats(columns[tag], tag, what) for tag in (X, Y))
    notes = []
    if not raw.endswith(b"\n") and len(x):
        notes.append("the file does not end with a line end: its last row may be cut")
    names = columns.get(MICROGRAPH)
    return LabelTable(
        micrograph=[micrograph or micrograph_of_file(what)] * len(x) if names is None else names,
        x=x,
        y=y,
        origin=CoordinateOrigin.BOTTOM if _says_bottom(raw) else CoordinateOrigin.TOP,
        image=columns.get(IMAGE),
        score=floats(columns[SCORE], SCORE, what) if SCORE in columns else None,
        pixel_size_angstrom=_pixel_size(optics, columns),
        columns=without(columns, (X, Y, MICROGRAPH, IMAGE, SCORE)),
        optics=optics,
        notes=tuple(notes),
    ).finite()


def _says_bottom(raw: bytes) -> bool:
    return BOTTOM_COMMENT.encode() in raw[:1024]


def _particles(tables: Sequence[StarTable], what: str) -> StarTable:
    """The table with coordinates; the one called "particles" if there are several."""
    spatial = [table for table in tables if TOMOGRAPHY & table.columns.keys()]
    flat = [t for t in tables if {X, Y} <= t.columns.keys() and t not in spatial]
    if not flat and spatial:
        raise BadLabels(
            f"{what} holds particles of tomograms (three-dimensional positions), which are no positions in a micrograph",
            hint="it is left as it is; only tables of single micrographs can be read here",
        )
    if not flat:
        blocks = ", ".join(table.block or "(no name)" for table in tables[:5]) or "none"
        raise BadLabels(
            f"{what} has no table with {X} and {Y} (its tables: {blocks})",
            hint="class averages and optimiser files hold no coordinates; take the STAR of the particles",
        )
    return next((table for table in flat if table.block == "particles"), flat[0])


def _pixel_size(optics: Mapping[str, Sequence[str]], columns: Mapping[str, Sequence[str]]) -> float | None:
    stated = set(optics.get(MICROGRAPH_PIXEL, ())) or set(columns.get(MICROGRAPH_PIXEL, ()))
    sizes = set()
    for text in stated:
        try:
            sizes.add(float(text))
        except ValueError:
            return None
    size = sizes.pop() if len(sizes) == 1 else 0.0
    return size if math.isfinite(size) and size > 0 else None


def floats(values: Sequence[str], name: str, what: str) -> Floats:
    """The numbers of a column; NaN for a null (``?``, ``<NA>``).

    Raises:
        BadLabels: a value is something else, naming the column and the row.
    """
    try:
        return np.fromiter(map(float, values), "float64", len(values))
    except ValueError:
        return np.fromiter(
            (_float(value, row, name, what) for row, value in enumerate(values, 1)), "float64", len(values)
        )


def _float(value: str, row: int, name: str, what: str) -> float:
    if value in _NULLS:
        return math.nan
    try:
        return float(value)
    except ValueError:
        raise BadLabels(
            f"{what}: row {row} has {value[:40]!r} for {name}, which is no number",
            hint="a name with spaces that is not in quotes shifts the columns behind it",
        ) from None


def write_star(table: LabelTable, *, order: Sequence[str] = ()) -> bytes:
    """A STAR file: blocks ``optics`` and ``particles`` where the table has optics groups, else one without name (RELION 3.0).

    Coordinates keep all their digits. `order` names the columns that come first. Where Y counts from the bottom, a comment says so.
    Of the further columns those with STAR's names (``_…``) are written.

    Raises:
        BadLabels: a name cannot stand in STAR.
    """
    columns = star_columns(table)
    ordered = {name: columns[name] for name in (*order, *columns) if name in columns}
    comments = [BOTTOM_COMMENT] if table.origin is CoordinateOrigin.BOTTOM else []
    if not table.optics:
        return star_text([("", ordered)], comments=comments)
    return star_text([("optics", table.optics), ("particles", ordered)], comments=comments)


def star_columns(table: LabelTable) -> dict[str, list[str]]:
    """What of the table has a name in STAR, as texts."""
    columns: dict[str, list[str]] = {
        MICROGRAPH: table.micrograph,
        X: list(map(repr, table.x.tolist())),
        Y: list(map(repr, table.y.tolist())),
    }
    if table.image is not None and all(table.image):
        columns = {IMAGE: table.image, **columns}
    if table.score is not None:
        columns[SCORE] = list(map(repr, table.score.tolist()))
    return columns | {name: texts(column) for name, column in table.columns.items() if name.startswith("_")}


def left_out_of_star(table: LabelTable) -> list[str]:
    """Names of the columns that `write_star` has no place for."""
    return [name for name in table.columns if not name.startswith("_")]
