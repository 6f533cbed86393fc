"""MRC files as pixels: what `formats.mrc` reads of a header, as a `RawLayout`."""

from __future__ import annotations

from typing import Final

import numpy as np

from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.formats.mrc import HEADER_BYTES, MODES, MrcHeader, parse_header
from empiar_imaging.pixels.raw import Packing, RawLayout
from empiar_schema.faults import UnreadableImage

#: How pixels are stored whose number type NumPy lacks.
_PACKED: Final[dict[str, tuple[str, Packing]]] = {
    "complex_int16": ("int16", "complex_int16"),
    "uint4": ("uint8", "nibbles"),
}


def mrc_layout(data: FileBytes) -> RawLayout:
    """Where the pixels of an MRC file stand. Old files without stamps are read like any others.

    Raises:
        UnreadableImage: no header, sizes that no image has, an unknown mode, or fewer bytes than the header states.
    """
    header = parse_header(data.read(0, HEADER_BYTES), size=data.size)
    if header is None:
        raise UnreadableImage(f"{data.size} bytes are fewer than an MRC header of {HEADER_BYTES:,}")
    shape = f"{header.nx} × {header.ny} × {header.nz}"
    if not header.plausible:
        raise UnreadableImage(f"the MRC header states {shape} pixels, which no image has")
    if header.mode not in MODES:
        raise UnreadableImage(f"the MRC header states mode {header.mode}, which is in no standard")
    layout = _layout(header)
    needed = layout.offset + layout.frames * layout.frame_bytes
    if needed > data.size:
        raise UnreadableImage(
            f"the file is cut: its MRC header of {shape} pixels states {needed} bytes, there are {data.size}"
        )
    return layout


def _layout(header: MrcHeader) -> RawLayout:
    stored, packing = _PACKED.get(header.mode_name, (header.mode_name, "plain"))
    return RawLayout(
        offset=HEADER_BYTES + header.extended_bytes,
        width=header.width,
        height=header.ny,
        frames=header.nz,
        dtype=np.dtype(stored).newbyteorder(header.byte_order),
        packing=packing,
    )
