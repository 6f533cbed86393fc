"""Topaz: one text for many micrographs, ``image_name``, ``x_coord``, ``y_coord`` and perhaps ``score``, set apart by tabs.

Names have no suffix; coordinates are centres in whole pixels, Y in rows as stored (inverted, it is said, for some picks on TIFF files).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from empiar_imaging.labels.frames import whole_centres
from empiar_imaging.labels.names import micrograph_stem
from empiar_imaging.labels.table import CoordinateOrigin, LabelTable
from empiar_imaging.labels.text_rows import name_bytes, text_lines
from empiar_schema.faults import BadLabels

HEADER: Final = ("image_name", "x_coord", "y_coord")
_SCORE: Final = "score"


def read_topaz(raw: bytes, *, what: str) -> LabelTable:
    """The picks of a Topaz file; columns by the names in its first line, or in the usual order if it has none.

    Raises:
        BadLabels: a row has fewer values than columns, or text where a number belongs.
    """
    columns: dict[str, int] = {}
    names: dict[str, str] = {}
    micrograph, values = [], []
    for number, line in text_lines(raw, what):
        cells = line.split("\t")
        if not columns:
            titled = set(HEADER) <= set(cells)
            columns = {
                name: place for place, name in enumerate(cells if titled else (*HEADER, _SCORE)[: len(cells)])
            }
            if not set(HEADER) <= columns.keys():
                raise BadLabels(
                    f"{what}: line {number} has no three columns name, x and y, set apart by tabs"
                )
            if titled:
                continue
        name, row = _row(cells, columns, number, what)
        micrograph.append(names.setdefault(name, name))
        values.append(row)
    found = np.array(values, "float64").reshape(-1, 3)
    return LabelTable(
        micrograph=micrograph,
        x=found[:, 0],
        y=found[:, 1],
        origin=CoordinateOrigin.TOP,
        score=found[:, 2] if _SCORE in columns and len(found) else None,
        notes=()
        if not micrograph or raw.endswith(b"\n")
        else ("the file does not end with a line end: its last row may be cut",),
    ).finite()


def _row(
    cells: list[str], columns: dict[str, int], number: int, what: str
) -> tuple[str, tuple[float, float, float]]:
    if len(cells) != len(columns):
        raise BadLabels(
            f"{what}: line {number} has {len(cells)} values, but the table has {len(columns)} columns",
            hint="Topaz sets columns apart by tabs; if it is the last line, the file is cut",
        )
    try:
        x, y = float(cells[columns["x_coord"]]), float(cells[columns["y_coord"]])
        score = float(cells[columns[_SCORE]] or "nan") if _SCORE in columns else np.nan
    except ValueError:
        raise BadLabels(
            f"{what}: line {number} has text where a number belongs: {chr(9).join(cells)[:60]!r}"
        ) from None
    return cells[columns["image_name"]], (x, y, score)


def write_topaz(table: LabelTable) -> bytes:
    """A Topaz file of all micrographs, names without suffix, in whole pixels (Topaz reads whole numbers).

    Raises:
        BadLabels: a name holds a tab or a line end.
    """
    assert table.origin is CoordinateOrigin.TOP
    stems = {
        name: name_bytes(micrograph_stem(name), "Topaz").decode("latin-1") for name in set(table.micrograph)
    }
    x, y = (values.astype("int64").tolist() for values in whole_centres(table))
    header = (*HEADER, _SCORE) if table.score is not None else HEADER
    scores = [""] * len(table) if table.score is None else [f"\t{value!r}" for value in table.score.tolist()]
    rows = [
        f"{stems[name]}\t{column}\t{row}{score}"
        for name, column, row, score in zip(table.micrograph, x, y, scores, strict=True)
    ]
    return "\n".join(("\t".join(header), *rows, "")).encode("latin-1")
