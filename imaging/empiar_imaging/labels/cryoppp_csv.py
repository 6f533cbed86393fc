"""CryoPPP's CSV files: the coordinates of one micrograph (3 or 11 columns), and those of an entry (14 columns).

Consumers read the first three columns of a micrograph's file by position: centre X and Y in whole pixels, and the
diameter, the same in every row. Y counts from the bottom edge: row = H − Y.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from empiar_imaging.labels.frames import whole_centres
from empiar_imaging.labels.names import base_name, base_stem, micrograph_stem
from empiar_imaging.labels.star import floats
from empiar_imaging.labels.table import (
    ANGLE_PSI,
    CLASS_NUMBER,
    CTF_BFACTOR,
    DEFOCUS_ANGLE,
    DEFOCUS_U,
    DEFOCUS_V,
    OPTICS_GROUP,
    ORIGIN_X,
    ORIGIN_Y,
    PHASE_SHIFT,
    Column,
    CoordinateOrigin,
    LabelTable,
    coded,
    texts,
)
from empiar_schema.faults import BadLabels
from empiar_schema.paths import bytes_from_text, text_from_bytes

X: Final = "X-Coordinate"
Y: Final = "Y-Coordinate"
DIAMETER: Final = "Diameter"
MICROGRAPH: Final = "Micrographs Filename"
IMAGE: Final = "Particles Filename"
#: Further columns in the order of the files, and RELION's word for each.
FURTHER: Final[dict[str, str]] = {
    "Angle-Psi": ANGLE_PSI,
    "Origin X (Ang)": ORIGIN_X,
    "Origin Y (Ang)": ORIGIN_Y,
    "Defocus U": DEFOCUS_U,
    "Defocus V": DEFOCUS_V,
    "Defocus Angle": DEFOCUS_ANGLE,
    "Phase Shift": PHASE_SHIFT,
    "CTF B Factor": CTF_BFACTOR,
}
ENTRY_FURTHER: Final[dict[str, str]] = FURTHER | {"Optics Group": OPTICS_GROUP, "Class Number": CLASS_NUMBER}
#: The 11 columns of a micrograph's file and the 14 of an entry's.
COLUMNS: Final = (X, Y, DIAMETER, *FURTHER)
ENTRY_COLUMNS: Final = (IMAGE, MICROGRAPH, X, Y, *ENTRY_FURTHER)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns by the header's words, texts as Latin-1 for bytes."""

    columns: dict[str, list[str]]
    whole: bool


def read_cryoppp(raw: bytes, *, what: str, micrograph: str | None = None) -> LabelTable:
    """The particles of a CSV called `what`, of whichever generation; columns are found by their names.

    `micrograph` names the micrograph of a file that has no column for it; by default it is the stem of `what`,
    less ``_false_positives``.

    Raises:
        BadLabels: it has no columns for X and Y, a row of another length, or text where a number belongs.
    """
    rows = _rows(raw, what)
    columns = dict(rows.columns)
    if not {X, Y} <= columns.keys():
        raise BadLabels(
            f"{what} has no columns {X} and {Y}: it is no CSV of CryoPPP",
            hint="see --from for the other formats",
        )
    x, y = (floats(columns.pop(name), name, what) for name in (X, Y))
    names = columns.pop(MICROGRAPH, None)
    name = micrograph or base_stem(what).removesuffix("_false_positives")
    stored = {text: text_from_bytes(text.encode("latin-1")) for text in set(names or ())}
    notes = [] if rows.whole else ["the file does not end with a line end: its last row may be cut"]
    diameter = _diameter(columns.pop(DIAMETER, None), what, notes)
    further: dict[str, Column] = {
        ENTRY_FURTHER.get(title, title): column for title, column in columns.items()
    }
    return LabelTable(
        micrograph=[name] * len(x) if names is None else [stored[text] for text in names],
        x=x,
        y=y,
        origin=CoordinateOrigin.BOTTOM,
        diameter_px=diameter,
        columns=further,
        without_particles=(name,) if names is None and not len(x) else (),
        notes=tuple(notes),
    ).finite()


def _rows(raw: bytes, what: str) -> _Rows:
    if b"\0" in raw:
        raise BadLabels(
            f"{what} holds NUL bytes: it is binary, or text in UTF-16", hint="save it as plain text"
        )
    reader = csv.reader(io.StringIO(raw.removeprefix(b"\xef\xbb\xbf").decode("latin-1"), newline=""))
    try:
        titles = [title.strip() for title in next(reader, [])]
        rows = []
        for row in reader:
            if len(row) != len(titles):
                if not row:
                    continue
                raise _ragged(raw, len(row), len(titles), reader.line_num, what)
            rows.append(row)
    except csv.Error as error:
        raise BadLabels(f"{what} is no sound CSV: {error} (line {reader.line_num})") from error
    if len(set(titles)) != len(titles):
        raise BadLabels(f"{what} names a column twice in its header")
    columns = zip(*rows, strict=True) if rows else ([] for _ in titles)
    return _Rows(
        {title: list(column) for title, column in zip(titles, columns, strict=True)},
        whole=not rows or raw.endswith((b"\n", b"\r")),
    )


def _ragged(raw: bytes, found: int, width: int, line: int, what: str) -> BadLabels:
    if not raw.endswith((b"\n", b"\r")) and line >= raw.count(b"\n") + 1:
        return BadLabels(
            f"{what} is cut: its last line, {line}, has {found} of {width} values",
            hint="fetch or export it again",
        )
    return BadLabels(f"{what}: line {line} has {found} values, but the header names {width} columns")


def _diameter(column: list[str] | None, what: str, notes: list[str]) -> float | None:
    if not column:
        return None
    stated = np.unique(floats(column, DIAMETER, what))
    stated = stated[np.isfinite(stated) & (stated > 0)]
    if len(stated) > 1:
        notes.append(
            f"rows differ in diameter, from {stated[0]:g} to {stated[-1]:g} pixels, so that none stands"
        )
    return float(stated[0]) if len(stated) == 1 else None


def write_cryoppp(table: LabelTable) -> bytes:
    """A CSV of one micrograph's particles: the 11 columns, X and Y whole, an empty cell for what is not known."""
    assert table.origin is CoordinateOrigin.BOTTOM
    diameter = "" if table.diameter_px is None else f"{table.diameter_px:g}"
    x, y = whole_texts(table)
    return _csv(COLUMNS, [x, y, [diameter] * len(table), *further_cells(table, FURTHER)])


def write_cryoppp_entry(table: LabelTable) -> bytes:
    """A CSV of an entry's particles: the 14 columns; names without folders, particles named after their micrograph's stack."""
    assert table.origin is CoordinateOrigin.BOTTOM
    names, codes = coded(table.micrograph)
    plain = [bytes_from_text(base_name(name)).decode("latin-1") for name in names]
    stacks = [f"{bytes_from_text(micrograph_stem(name)).decode('latin-1')}_particles.mrc" for name in names]
    places = codes.tolist()
    cells = [[stacks[place] for place in places], [plain[place] for place in places], *whole_texts(table)]
    return _csv(ENTRY_COLUMNS, [*cells, *further_cells(table, ENTRY_FURTHER)])


def whole_texts(table: LabelTable) -> tuple[list[str], list[str]]:
    """X and Y in whole pixels, as texts."""
    x, y = (list(map(str, values.astype("int64").tolist())) for values in whole_centres(table))
    return x, y


def further_cells(table: LabelTable, titles: dict[str, str]) -> list[list[str]]:
    """The further columns as they are in the table; an empty cell for what is missing, and for what is no number.

    Only numbers pass, because a spreadsheet would take a text such as ``=…`` for a formula.
    """
    return [_number_cells(table.columns.get(name), len(table)) for name in titles.values()]


def _number_cells(column: Column | None, rows: int) -> list[str]:
    if column is None:
        return [""] * rows
    cells = texts(column)
    try:
        all_numbers = np.isfinite(np.fromiter(map(float, cells), "float64", rows)).all()
    except ValueError:
        all_numbers = np.False_
    return cells if all_numbers else [cell if _is_number(cell) else "" for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _csv(titles: Sequence[str], columns: Sequence[Sequence[str]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(zip(*columns, strict=True))
    return stream.getvalue().encode("latin-1")
