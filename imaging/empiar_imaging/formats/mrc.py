"""MRC and its family (MRCS, ST, ALI, REC, MAP): 1,024 bytes say how long the file must be.

Source: Cheng et al., J. Struct. Biol. 192 (2015) 146, the MRC2014 format; mode 101, the rules for odd rows and the
flags behind the stamp ``IMOD`` from IMOD's description of the format. A stack of volumes (space group 401 and above)
holds ``nz / mz`` volumes of ``mz`` sections; its sections are its frames like those of any other stack.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, Literal

from empiar_imaging.formats.evidence import UNKNOWN_SIZE, Evidence, Inspection, Readable
from empiar_schema.image_facts import ImageFacts

HEADER_BYTES: Final = 1024
SUFFIXES: Final = frozenset({".mrc", ".mrcs", ".st", ".ali", ".rec", ".map", ".preali", ".ccp4"})

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
_MACHINE_STAMPS: Final[dict[bytes, Literal["<", ">"]]] = {
    b"\x44\x44": "<",
    b"\x44\x41": "<",
    b"\x11\x11": ">",
}
#: Pixels between a hundredth of an Ångström and a tenth of a millimetre; anything else is an unset field.
_PIXEL_RANGE_ANGSTROM = (1e-2, 1e6)
#: Width and height of a pixel that differ by more than this factor come from fields that were never filled in.
_MOST_OBLONG: Final = 1.5
#: ``IMOD`` as a number, and the flags that stand behind it.
_IMOD_STAMP: Final = 1146047817
_IMOD_SIGNED_BYTES: Final = 1
_IMOD_TWO_PIXELS_A_BYTE: Final = 16


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
    #: ``FEI1``, ``SERI``, …; None without an extended header, ``untyped`` where its type is not stated.
    extended_type: str | None = None
    #: IMOD's flags; None where IMOD has not written the header.
    imod_flags: int | None = None

    @property
    def width(self) -> int:
        """Pixels of a row: twice `nx` where two 4-bit pixels share what the mode calls a byte."""
        return 2 * self.nx if self._two_pixels_a_byte else self.nx

    @property
    def mode_name(self) -> str:
        """The number type of a pixel.

        Bytes are signed by the standard; IMOD says by a flag whether its own are.
        """
        if self._two_pixels_a_byte:
            return "uint4"
        if self.mode == 0 and self.imod_flags is not None and not self.imod_flags & _IMOD_SIGNED_BYTES:
            return "uint8"
        return MODES[self.mode][0] if self.mode in MODES else f"mode {self.mode}"

    @property
    def _two_pixels_a_byte(self) -> bool:
        return self.mode == 0 and bool((self.imod_flags or 0) & _IMOD_TWO_PIXELS_A_BYTE)

    @property
    def plausible(self) -> bool:
        """Whether an image can have these dimensions."""
        return self.nx > 0 and self.ny > 0 and self.nz > 0 and self.extended_bytes >= 0

    @property
    def expected_bytes(self) -> int | None:
        """The file's length by its header; None for a mode whose pixel size is not known.

        ``1024 + nsymbt + nx·ny·nz·bytes(mode)``; rows of 4-bit pixels are padded to whole bytes.
        """
        if self.mode not in MODES:
            return None
        row_bytes = (self.nx * MODES[self.mode][1] + 7) // 8
        return HEADER_BYTES + self.extended_bytes + row_bytes * self.ny * self.nz

    @property
    def vouched_bytes(self) -> int | None:
        """`expected_bytes` where stamp and dimensions vouch for it, though the file's length is not known."""
        return self.expected_bytes if self.map_stamp and self.plausible else None


def parse_header(raw: bytes, *, size: int | None = None) -> MrcHeader | None:
    """The header in the byte order that makes sense; None for fewer than 1,024 bytes.

    Old files have no machine stamp and some have a wrong one, so the order that gives the file's `size` wins,
    then a plausible one with a known mode, then the stamped one, then the one that needs the smaller file.
    """
    if len(raw) < HEADER_BYTES:
        return None
    stamped = _MACHINE_STAMPS.get(raw[212:214])
    first = _parse(raw, stamped or "<")
    if stamped and first.plausible and first.expected_bytes == size:
        return first

    def rank(header: MrcHeader) -> tuple[bool, bool, bool, int]:
        expected = header.expected_bytes
        return (
            not (header.plausible and expected is not None and expected == size),
            not (header.plausible and expected is not None),
            header.byte_order != stamped,
            abs(expected) if expected is not None else 0,
        )

    return min((_parse(raw, "<"), _parse(raw, ">")), key=rank)


#: nx, ny, nz, mode; mx, my; the cell's two first sides; bytes and type of the extended header; IMOD's stamp and flags.
_FIELDS: Final = {order: struct.Struct(f"{order}4i12x2i4x2f44x i8x4s44x2i") for order in "<>"}


def _parse(raw: bytes, byte_order: Literal["<", ">"]) -> MrcHeader:
    nx, ny, nz, mode, mx, my, cell_x, cell_y, extended_bytes, extended_type, imod_stamp, imod_flags = _FIELDS[
        byte_order
    ].unpack_from(raw)
    return MrcHeader(
        byte_order=byte_order,
        nx=nx,
        ny=ny,
        nz=nz,
        mode=mode,
        extended_bytes=extended_bytes,
        pixel_size_angstrom=_pixel_size(cell_x, mx, cell_y, my),
        map_stamp=raw[208:211] == b"MAP",
        machine_stamp=raw[212:214] in _MACHINE_STAMPS,
        extended_type=_extended_type(extended_type) if extended_bytes > 0 else None,
        imod_flags=imod_flags if imod_stamp == _IMOD_STAMP else None,
    )


def _pixel_size(cell_x: float, mx: int, cell_y: float, my: int) -> float | None:
    """The cell's width over the samples along it, if the header was filled in with sense."""
    width = cell_x / mx if mx > 0 and math.isfinite(cell_x) else 0.0
    smallest, largest = _PIXEL_RANGE_ANGSTROM
    if not smallest <= width <= largest:
        return None
    height = cell_y / my if my > 0 and math.isfinite(cell_y) else 0.0
    if height > 0 and not 1 / _MOST_OBLONG <= width / height <= _MOST_OBLONG:
        return None
    # The field is a 32-bit float: more digits than it holds would be invented.
    return float(f"{width:.7g}")


def _extended_type(raw: bytes) -> str:
    text = raw.rstrip(b"\0 ")
    return text.decode("ascii") if text.isalnum() and text.isascii() else "untyped"


def is_mrc(header: MrcHeader | None) -> bool:
    """Whether these can be called MRC at all: stamped, or dimensions and mode that make sense."""
    return header is not None and (header.map_stamp or (header.plausible and header.mode in MODES))


def inspect_mrc(data: Readable) -> Inspection:
    """The header's facts, and what does not fit between them and the file's length, if that is known."""
    raw = data.read(0, HEADER_BYTES)
    header = parse_header(raw, size=data.size)
    if header is None:
        detail = f"{len(raw)} bytes are fewer than a header of 1,024"
        found = Evidence("mrc.truncated", detail, 0, max(len(raw), 1))
        return Inspection(ImageFacts("mrc"), (found,))
    if not is_mrc(header):
        detail = "no MAP stamp, and no dimensions and mode that make sense"
        return Inspection(None, (_about_header("mrc.suffix_but_not_mrc", detail),))
    return Inspection(_facts(header), tuple(_findings(header, data.size)))


def _facts(header: MrcHeader) -> ImageFacts:
    if not header.plausible:
        return ImageFacts("mrc")
    return ImageFacts(
        format="mrc",
        width=header.width,
        height=header.ny,
        frames=header.nz,
        mode=header.mode_name,
        pixel_size_angstrom=header.pixel_size_angstrom,
        extended_header=header.extended_type,
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
    elif size not in (expected, UNKNOWN_SIZE):
        code = "mrc.truncated" if size < expected else "mrc.oversize"
        mode = MODES[header.mode][0]
        found.append(_about_header(code, f"{size} bytes, but {shape} pixels of {mode} make {expected} bytes"))
    if not (header.map_stamp and header.machine_stamp):
        missing = "machine stamp" if header.map_stamp else "MAP stamp"
        found.append(Evidence("mrc.no_map_stamp", f"no {missing}", 0, 0))
    return found


def _about_header(code: str, detail: str) -> Evidence:
    return Evidence(code, detail, 0, HEADER_BYTES)
