"""MRC and its family (MRCS, ST, ALI, REC, MAP): 1,024 bytes say how long the file must be.

Source: Cheng et al., J. Struct. Biol. 192 (2015) 146, the MRC2014 format; modes 101 and the rules for odd
rows from IMOD's description of the format.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, Literal

from empiar_imaging.formats.evidence import Evidence, FileBytes, Inspection
from empiar_schema.image_facts import ImageFacts

HEADER_BYTES: Final = 1024
SUFFIXES: Final = frozenset({".mrc", ".mrcs", ".st", ".ali", ".rec", ".map", ".preali"})

#: Mode → name and bits of one pixel.
MODES: Final[dict[int, tuple[str, int]]] = {
    0: ("int8", 8),
    1: ("int16", 16),
    2: ("float32", 32),
    3: ("complex_int16", 32),
    4: ("complex64", 64),
    6: ("uint16", 16),
    12: ("float16", 16),
    101: ("uint4", 4),
}
_MACHINE_STAMPS: Final = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
#: Pixels between a thousandth of an Ångström and a tenth of a millimetre; anything else is an unset field.
_PIXEL_RANGE_ANGSTROM = (1e-3, 1e6)


@dataclass(frozen=True, slots=True)
class MrcHeader:
    """The fields of a header that decide the file's length, and the pixel size."""

    byte_order: Literal["<", ">"]
    nx: int
    ny: int
    nz: int
    mode: int
    extended_bytes: int
    pixel_size_angstrom: float | None
    #: ``MAP `` stands at 208 and a known machine stamp at 212.
    map_stamp: bool
    machine_stamp: bool

    @property
    def plausible(self) -> bool:
        """Whether an image can have these dimensions."""
        return min(self.nx, self.ny, self.nz) > 0 and self.extended_bytes >= 0

    @property
    def expected_bytes(self) -> int | None:
        """The file's length by its header; None for a mode whose pixel size is not known.

        ``1024 + nsymbt + nx·ny·nz·bytes(mode)``; rows of 4-bit pixels are padded to whole bytes.
        """
        if self.mode not in MODES:
            return None
        row_bytes = (self.nx * MODES[self.mode][1] + 7) // 8
        return HEADER_BYTES + self.extended_bytes + row_bytes * self.ny * self.nz


def parse_header(raw: bytes, *, size: int | None = None) -> MrcHeader | None:
    """The header in the byte order that makes sense; None for fewer than 1,024 bytes.

    Old files have no machine stamp and some have a wrong one, so the order that gives the file's `size` wins,
    then a plausible one with a known mode, then the stamped one, then the one that needs the smaller file.
    """
    if len(raw) < HEADER_BYTES:
        return None
    stamped = _MACHINE_STAMPS.get(raw[212:214])

    def rank(header: MrcHeader) -> tuple[bool, bool, bool, int]:
        expected = header.expected_bytes
        return (
            not (header.plausible and expected is not None and expected == size),
            not (header.plausible and expected is not None),
            header.byte_order != stamped,
            abs(expected) if expected is not None else 0,
        )

    return min((_parse(raw, "<"), _parse(raw, ">")), key=rank)


def _parse(raw: bytes, byte_order: Literal["<", ">"]) -> MrcHeader:
    nx, ny, nz, mode = struct.unpack_from(f"{byte_order}4i", raw)
    (mx,) = struct.unpack_from(f"{byte_order}i", raw, 28)
    (cell_x,) = struct.unpack_from(f"{byte_order}f", raw, 40)
    (extended_bytes,) = struct.unpack_from(f"{byte_order}i", raw, 92)
    pixel = cell_x / mx if mx > 0 and math.isfinite(cell_x) else 0.0
    smallest, largest = _PIXEL_RANGE_ANGSTROM
    return MrcHeader(
        byte_order=byte_order,
        nx=nx,
        ny=ny,
        nz=nz,
        mode=mode,
        extended_bytes=extended_bytes,
        # The field is a 32-bit float: more digits than it holds would be invented.
        pixel_size_angstrom=float(f"{pixel:.7g}") if smallest <= pixel <= largest else None,
        map_stamp=raw[208:211] == b"MAP",
        machine_stamp=raw[212:214] in _MACHINE_STAMPS,
    )


def is_mrc(header: MrcHeader | None) -> bool:
    """Whether these can be called MRC at all: stamped, or dimensions and mode that make sense."""
    return header is not None and (header.map_stamp or (header.plausible and header.mode in MODES))


def inspect_mrc(data: FileBytes) -> Inspection:
    """The header's facts, and what does not fit between them and the file's length."""
    header = parse_header(data.read(0, HEADER_BYTES), size=data.size)
    if header is None:
        found = Evidence(
            "mrc.truncated", f"{data.size} bytes are fewer than a header of 1,024", 0, max(data.size, 1)
        )
        return Inspection(ImageFacts("mrc"), (found,))
    if not is_mrc(header):
        detail = "no MAP stamp, and no dimensions and mode that make sense"
        return Inspection(None, (_about_header("mrc.suffix_but_not_mrc", detail),))
    return Inspection(_facts(header), tuple(_findings(header, data.size)))


def _facts(header: MrcHeader) -> ImageFacts:
    if not header.plausible:
        return ImageFacts("mrc")
    name = MODES[header.mode][0] if header.mode in MODES else f"mode {header.mode}"
    return ImageFacts(
        format="mrc",
        width=header.nx,
        height=header.ny,
        frames=header.nz,
        mode=name,
        pixel_size_angstrom=header.pixel_size_angstrom,
    )


def _findings(header: MrcHeader, size: int) -> list[Evidence]:
    shape = f"{header.nx} × {header.ny} × {header.nz}"
    if not header.plausible:
        return [
            _about_header("mrc.bad_header", f"{shape} pixels, extended header {header.extended_bytes} bytes")
        ]
    found = []
    expected = header.expected_bytes
    if expected is None:
        found.append(_about_header("mrc.unknown_mode", f"mode {header.mode}"))
    elif expected != size:
        code = "mrc.truncated" if size < expected else "mrc.oversize"
        mode = MODES[header.mode][0]
        found.append(_about_header(code, f"{size} bytes, but {shape} pixels of {mode} make {expected} bytes"))
    if not (header.map_stamp and header.machine_stamp):
        missing = "machine stamp" if header.map_stamp else "MAP stamp"
        found.append(Evidence("mrc.no_map_stamp", f"no {missing}", 0, 0))
    return found


def _about_header(code: str, detail: str) -> Evidence:
    return Evidence(code, detail, 0, HEADER_BYTES)
