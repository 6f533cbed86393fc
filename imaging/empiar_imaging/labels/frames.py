"""Coordinate frames: the one place where Y changes its direction, and where corners become centres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from empiar_imaging.labels.names import of_name
from empiar_imaging.labels.table import CoordinateOrigin, Floats, LabelTable, coded
from empiar_schema.faults import BadLabels

#: Heights of micrographs in rows: one for all, or by name as in the table, or by stem.
Heights = int | Mapping[str, int] | None


def to_origin(table: LabelTable, heights: Heights, origin: CoordinateOrigin) -> LabelTable:
    """The same particles with Y counted from `origin`: ``Y' = H − Y``, exactly, in both directions.

    It is H − Y, not H − 1 − Y: coordinates are positions, and CryoPPP's Y is a fraction of the height
    (reference: pyem's ``Y = fraction × H``). ``Y = 0`` becomes row H, legal for a centre; clamp it where it becomes an
    index. Heights that the table states itself serve where `heights` has none.

    Angles, shifts and the defocus angle are carried through untouched. A change of Y's direction would change the sign
    of in-plane rotations, of shifts in Y and of the defocus angle; whether a source's angles are in
    the frame of its coordinates is not on record in any of the formats, so that no sign is changed here.

    Raises:
        BadLabels: the frame changes, and the height of a micrograph is not known.
    """
    if origin is table.origin:
        return table
    rows = heights_of_rows(table, heights)
    return replace(table, y=rows - table.y, origin=origin)


def heights_of_rows(table: LabelTable, heights: Heights) -> Floats:
    """The height of each row's micrograph.

    Raises:
        BadLabels: one is not known.
    """
    if isinstance(heights, int):
        return np.full(len(table), float(heights))
    names, codes = coded(table.micrograph)
    known = [height_of(name, table, heights) for name in names]
    if missing := [name for name, height in zip(names, known, strict=True) if height is None]:
        raise BadLabels(
            f"the frame changes, so the image height is needed, and it is not known for {missing[0]}"
            + (f" and {len(missing) - 1} more micrographs" if len(missing) > 1 else ""),
            hint="give --height, or --micrographs FOLDER with the images",
        )
    return np.array(known, "float64")[codes] if names else np.zeros(0)


def height_of(name: str, table: LabelTable, heights: Heights) -> int | None:
    """The height of the micrograph `name`, from `heights` or else from the table itself."""
    if isinstance(heights, int):
        return heights
    found = None if heights is None else of_name(heights, name)
    if found is None and name in table.shapes:
        found = table.shapes[name][0]
    return found


def centres(corner: Floats, side: Floats | float) -> Floats:
    """Centres of boxes whose corner with the smallest coordinate is `corner`: ``corner + side / 2``."""
    return corner + np.asarray(side, "float64") / 2


def corners(centre: Floats, side: float) -> Floats:
    """The corner with the smallest coordinate of boxes around `centre`: ``centre − side / 2``."""
    return centre - side / 2


def whole_corners(centre: Floats, side: float) -> Floats:
    """`corners` in whole pixels; halves go up.

    Halves arise for every odd box. `whole_centres` sends halves down, so that a trip through both ends where it began.
    """
    return np.floor(corners(centre, side) + 0.5)


def whole_centres(table: LabelTable) -> tuple[Floats, Floats]:
    """X and Y in whole pixels, at most half a pixel off; halves go to the smaller column and to the smaller *row*."""
    x = np.ceil(table.x - 0.5)
    if table.origin is CoordinateOrigin.TOP:
        return x, np.ceil(table.y - 0.5)
    return x, np.floor(table.y + 0.5)
