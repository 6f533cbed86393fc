"""DM3 and DM4 files as pixels: the largest image in them, as a `RawLayout`."""

from __future__ import annotations

from typing import Final

import numpy as np

from empiar_imaging.formats.dm import find_pixels
from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.pixels.raw import RawLayout
from empiar_schema.faults import UnreadableImage

_CODES: Final = {
    "int16": "i2", "float32": "f4", "complex64": "c8", "uint8": "u1", "int32": "i4", "int8": "i1", "uint16": "u2",
    "uint32": "u4", "float64": "f8", "complex128": "c16",
}  # fmt: skip


def dm_layout(data: FileBytes) -> RawLayout:
    """Where the pixels of a DM3 or DM4 file stand.

    Raises:
        UnreadableImage: its tags do not say so with certainty, the pixels are of an unusual type, or the file is cut.
    """
    found = find_pixels(data)
    if found is None:
        raise UnreadableImage("the tags of the DM file do not say with certainty where its image stands")
    width, height, frames = found.facts.width or 0, found.facts.height or 0, found.facts.frames or 0
    if found.facts.mode not in _CODES or min(width, height, frames) < 1:
        raise UnreadableImage(f"DM pixels of type {found.facts.mode} are not read")
    dtype = np.dtype(f"{found.order}{_CODES[found.facts.mode]}")
    layout = RawLayout(found.start, width, height, frames, dtype)
    if layout.offset + layout.frames * layout.frame_bytes > data.size:
        raise UnreadableImage("the DM file is cut: it ends within its image")
    return layout
