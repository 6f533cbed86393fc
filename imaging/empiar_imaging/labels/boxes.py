"""EMAN `.box` and crYOLO `.cbox`: squares by their corner with the smallest coordinates, one file a micrograph.

EMAN calls the corner "lower left" because it shows row 0 at the bottom: it is the smallest column and the smallest *row* as stored. A box of
side B around a centre c begins at c − B/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from empiar_imaging.labels.frames import centres, corners, whole_corners
from empiar_imaging.labels.names import base_stem
from empiar_imaging.labels.star import floats
from empiar_imaging.labels.star_tables import star_tables, star_text
from empiar_imaging.labels.table import CoordinateOrigin, Floats, LabelTable
from empiar_imaging.labels.text_rows import text_lines
from empiar_schema.faults import BadLabels

_CBOX_VERSION: Final = "_cbox_format_version"
#: Columns of `.cbox` since crYOLO 1.8, in its order; those that we know only as "<NA>" are written so.
_CBOX_COLUMNS: Final = (
    "_CoordinateX", "_CoordinateY", "_CoordinateZ", "_Width", "_Height", "_Depth", "_EstWidth", "_EstHeight",
    "_Confidence", "_NumBoxes", "_Angle",
)  # fmt: skip


def read_box(raw: bytes, *, what: str, micrograph: str | None = None) -> LabelTable:
    """The boxes of an EMAN file: x, y, width, height a line, set apart by tabs or blanks, further values left alone.

    Raises:
        BadLabels: a row has fewer than four numbers, or the file has a header and is some other table.
    """
    values, whole = _numbers(raw, what)
    if any(len(row) < 4 for row in values):
        raise BadLabels(f"{what}: a row has fewer than the four numbers x, y, width and height")
    name = micrograph or base_stem(what)
    table = _from_corners(np.array([row[:4] for row in values], "float64").reshape(-1, 4), None, name)
    return table if whole else table.noted("the file does not end with a line end: its last row may be cut")


def _numbers(raw: bytes, what: str) -> tuple[list[list[float]], bool]:
    rows = []
    for number, line in text_lines(raw, what):
        words = line.split()
        if words[0].startswith("#"):
            continue
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise BadLabels(
                f"{what}: line {number} is no row of numbers: {line[:60]!r}",
                hint="EMAN box files have no header; a table with names or a header is another format: see --from",
            ) from None
    return rows, not rows or raw.endswith(b"\n")


def _from_corners(boxes: Floats, score: Floats | None, name: str) -> LabelTable:
    """`boxes`: x, y, width, height a row."""
    sides = np.unique(boxes[:, 2:])
    notes = () if len(sides) <= 1 else (f"boxes differ in size, from {sides[0]:g} to {sides[-1]:g} pixels",)
    side = float(sides[0]) if len(sides) == 1 and np.isfinite(sides[0]) and sides[0] > 0 else None
    return LabelTable(
        micrograph=[name] * len(boxes),
        x=centres(boxes[:, 0], boxes[:, 2]),
        y=centres(boxes[:, 1], boxes[:, 3]),
        origin=CoordinateOrigin.TOP,
        score=score,
        box_px=side,
        without_particles=() if len(boxes) else (name,),
        notes=notes,
    ).finite()


def write_box(table: LabelTable, side: int) -> bytes:
    """An EMAN file of one micrograph's boxes of `side` pixels, in whole numbers, set apart by tabs.

    Programs read these numbers as integers, so that a corner is at most half a pixel off.
    """
    assert table.origin is CoordinateOrigin.TOP
    x, y = (whole_corners(centre, side).astype("int64").tolist() for centre in (table.x, table.y))
    rows = (f"{left}\t{low}\t{side}\t{side}\n" for left, low in zip(x, y, strict=True))
    return "".join(rows).encode("ascii")


def read_cbox(raw: bytes, *, what: str, micrograph: str | None = None) -> LabelTable:
    """The boxes of a crYOLO file: STAR since version 1.8, before that lines of x, y, width, height, confidence.

    Raises:
        BadLabels: it is neither, is cut, or holds boxes of a volume (in more than one slice).
    """
    name = micrograph or base_stem(what)
    if b"_CoordinateX" not in raw:
        values, whole = _numbers(raw, what)
        if any(len(row) < 5 for row in values):
            raise BadLabels(
                f"{what}: a row has fewer than the five numbers x, y, width, height and confidence"
            )
        boxes = np.array([row[:5] for row in values], "float64").reshape(-1, 5)
        table = _from_corners(boxes[:, :4], boxes[:, 4], name)
        return (
            table if whole else table.noted("the file does not end with a line end: its last row may be cut")
        )
    tables = star_tables(raw, what=what)
    found = next((table for table in tables if "_CoordinateX" in table.columns), None)
    wanted = ("_CoordinateX", "_CoordinateY", "_Width", "_Height")
    if found is None or not set(wanted) <= found.columns.keys():
        raise BadLabels(f"{what} has no table with {', '.join(wanted)}")
    if len(set(found.columns.get("_CoordinateZ", [])) - {"<NA>", "0", "0.0", "nan"}) > 1:
        raise BadLabels(
            f"{what} holds boxes of a volume, in several slices, which are no positions in a micrograph",
            hint="it is left as it is; only boxes of single micrographs can be read here",
        )
    boxes = np.stack([floats(found.columns[tag], tag, what) for tag in wanted], axis=1)
    confidence = found.columns.get("_Confidence")
    return _from_corners(boxes, None if confidence is None else floats(confidence, "_Confidence", what), name)


def write_cbox(table: LabelTable, side: float) -> bytes:
    """A crYOLO file (format version 1.0) of one micrograph's boxes of `side` pixels; coordinates keep all their digits."""
    assert table.origin is CoordinateOrigin.TOP
    rows = len(table)
    known: dict[str, Sequence[str]] = {
        "_CoordinateX": list(map(repr, corners(table.x, side).tolist())),
        "_CoordinateY": list(map(repr, corners(table.y, side).tolist())),
        "_Width": [f"{side:g}"] * rows,
        "_Height": [f"{side:g}"] * rows,
        "_Confidence": ["<NA>" if value != value else repr(value) for value in _scores(table)],  # NaN
    }
    columns = {tag: known.get(tag, ["<NA>"] * rows) for tag in _CBOX_COLUMNS}
    head = f"\ndata_global\n\n{_CBOX_VERSION} 1.0\n".encode("ascii")
    include: dict[str, Sequence[str]] = {"_slice_index": []}
    return head + star_text([("cryolo", columns), ("cryolo_include", include)])


def _scores(table: LabelTable) -> list[float]:
    # crYOLO shows boxes above a threshold of confidence only; picks without one are certain.
    return [1.0] * len(table) if table.score is None else table.score.tolist()
