"""Particle coordinates as programs write them, by hand: STAR, cryoSPARC's .cs, EMAN's .box, crYOLO's .cbox, Topaz, CryoPPP's CSV.

Pixels count from the first column and row in the file, centres unless said otherwise; each writer turns them
into its own program's frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Value = int | float | str
#: A column of a structured array: name, numpy's type without byte order (``u8``, ``f4``, ``S60``), numbers in a row.
Column = tuple[str, str, int]

_CODES = {"u8": "Q", "u4": "I", "f4": "f", "f8": "d"}


@dataclass(frozen=True, slots=True)
class Loop:
    """A STAR table: block name without ``data_``, columns without the underscore, and rows in their order."""

    block: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]


def star(loops: Iterable[Loop], *, comment: str = "version 30001") -> bytes:
    """A STAR file as RELION writes it; names with blanks stand in double quotes."""
    lines: list[str] = []
    for loop in loops:
        lines += ["", f"# {comment}", "", f"data_{loop.block}", "", "loop_"]
        lines += [f"_{name} #{number}" for number, name in enumerate(loop.columns, start=1)]
        lines += [" ".join(_star_value(value) for value in row) for row in loop.rows]
        lines.append("")
    return "\n".join([*lines, ""]).encode()


def _star_value(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:12.6f}"
    if isinstance(value, int):
        return f"{value:12d}"
    return f'"{value}"' if " " in value or not value else value


def npy(columns: Sequence[Column], rows: Iterable[Mapping[str, object]]) -> bytes:
    """A structured array as ``numpy.save`` writes it, which is what a .cs file is; packed, little-endian."""
    packed = [_npy_row(columns, row) for row in rows]
    described = ", ".join(_npy_column(*column) for column in columns)
    return npy_head(f"[{described}]", len(packed)) + b"".join(packed)


def npy_head(described: str, rows: int) -> bytes:
    """Magic, version and header of an array of `rows` rows whose type is written as Python source."""
    text = f"{{'descr': {described}, 'fortran_order': False, 'shape': ({rows},), }}"
    # Magic, version and length take 10 bytes, and the data begin at a multiple of 64.
    padded = text + " " * (-(10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode("latin-1")


def _npy_column(name: str, kind: str, count: int) -> str:
    order = "|" if kind.startswith("S") else "<"
    return f"('{name}', '{order}{kind}'" + (f", ({count},))" if count > 1 else ")")


def _npy_row(columns: Sequence[Column], row: Mapping[str, object]) -> bytes:
    pieces = []
    for name, kind, count in columns:
        value = row[name]
        if kind.startswith("S"):
            pieces.append(struct.pack(f"{kind[1:]}s", value))
        else:
            values = value if isinstance(value, tuple) else (value,)
            pieces.append(struct.pack(f"<{count}{_CODES[kind]}", *values))
    return b"".join(pieces)


def box(centres: Iterable[tuple[int, int]], *, side: int) -> bytes:
    """EMAN 1: corner nearest to the first column and row, width and height, parted by tabs."""
    return b"".join(b"%d\t%d\t%d\t%d\n" % (x - side // 2, y - side // 2, side, side) for x, y in centres)


def cbox(centres: Iterable[tuple[int, int]], *, side: int, confidence: float) -> bytes:
    """Boxes of crYOLO 1.8: a STAR file with corners, the confidence in the ninth column."""
    columns = ("CoordinateX", "CoordinateY", "CoordinateZ", "Width", "Height", "Depth",
               "EstWidth", "EstHeight", "Confidence", "NumBoxes", "Angle")  # fmt: skip
    lines = ["", "data_global", "", "_cbox_format_version 1.0", "", "data_cryolo", "", "loop_"]
    lines += [f"_{name} #{number}" for number, name in enumerate(columns, start=1)]
    for x, y in centres:
        corner = f"{x - side / 2} {y - side / 2} <NA>"
        lines.append(
            f"{corner} {float(side)} {float(side)} <NA> {float(side)} {float(side)} {confidence} <NA> <NA>"
        )
    lines += ["", "data_cryolo_include", "", "loop_", "_slice_index #1", "<NA>", ""]
    return "\n".join([*lines, ""]).encode()


def topaz(picks: Iterable[tuple[str, int, int]], *, score: float) -> bytes:
    """Topaz: image name without suffix, centre and score, parted by tabs."""
    lines = ["image_name\tx_coord\ty_coord\tscore"]
    lines += [f"{name}\t{x}\t{y}\t{score}" for name, x, y in picks]
    return "\n".join([*lines, ""]).encode()


def cryoppp_csv(picks: Iterable[tuple[object, object]], *, height: int, diameter: int) -> bytes:
    """CryoPPP's first generation: centre and diameter; Y counts from the edge opposite to the first row."""
    lines = ["X-Coordinate,Y-Coordinate,Diameter"]
    lines += [f"{x},{height - y if isinstance(y, int) else y},{diameter}" for x, y in picks]
    return "\n".join([*lines, ""]).encode()
