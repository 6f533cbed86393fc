"""MRC files as pixels: the header's mode, byte order and size as a `RawLayout`.

Sources: the MRC2014 format (Cheng et al., J. Struct. Biol. 192 (2015) 146); bytes that are not signed, mode 101
and two pixels a byte in mode 0 from IMOD's description of the format.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.formats.mrc import HEADER_BYTES, MrcHeader, parse_header
from empiar_imaging.pixels.raw import Packing, RawLayout
from empiar_schema.faults import UnreadableImage

_CODES: Final[dict[int, str]] = {
    0: "i1", 1: "i2", 2: "f4", 3: "i2", 4: "c8", 6: "u2", 12: "f2", 101: "u1",
}  # fmt: skip
_PACKINGS: Final[dict[int, Packing]] = {3: "complex_int16", 101: "nibbles"}
#: ``IMOD`` as a number at byte 152, and what its flags behind it say.
_IMOD_STAMP: Final = 1146047817
_SIGNED_BYTES: Final = 1
_TWO_PIXELS_A_BYTE: Final = 16


def mrc_layout(data: FileBytes) -> RawLayout:
    """Where the pixels of an MRC file stand. Old files without stamps are read like any others.

    Raises:
        UnreadableImage: no header, sizes that no image has, an unknown mode, or fewer bytes than the header states.
    """
    raw = data.read(0, HEADER_BYTES)
    header = parse_header(raw, size=data.size)
    if header is None:
        raise UnreadableImage(f"{data.size} bytes are fewer than an MRC header of {HEADER_BYTES:,}")
    shape = f"{header.nx} × {header.ny} × {header.nz}"
    if not header.plausible:
        raise UnreadableImage(f"the MRC header states {shape} pixels, which no image has")
    if header.mode not in _CODES:
        raise UnreadableImage(f"the MRC header states mode {header.mode}, which is in no standard")
    layout = _layout(header, _imod_flags(raw, header.byte_order))
    needed = layout.offset + layout.frames * layout.frame_bytes
    if needed > data.size:
        raise UnreadableImage(
            f"the file is cut: its MRC header of {shape} pixels states {needed} bytes, there are {data.size}"
        )
    return layout


def _layout(header: MrcHeader, imod_flags: int | None) -> RawLayout:
    code, packing, width = _CODES[header.mode], _PACKINGS.get(header.mode, "plain"), header.nx
    if header.mode == 0 and imod_flags is not None:
        if imod_flags & _TWO_PIXELS_A_BYTE:
            code, packing, width = "u1", "nibbles", 2 * header.nx
        elif not imod_flags & _SIGNED_BYTES:
            code = "u1"
    return RawLayout(
        offset=HEADER_BYTES + header.extended_bytes,
        width=width,
        height=header.ny,
        frames=header.nz,
        dtype=np.dtype(f"{header.byte_order}{code}"),
        packing=packing,
    )


def _imod_flags(raw: bytes, byte_order: str) -> int | None:
    stamp, flags = struct.unpack_from(f"{byte_order}2i", raw, 152)
    return int(flags) if stamp == _IMOD_STAMP else None
