"""DM3 and DM4 files as pixels: the largest image in them, as a `RawLayout`."""

from __future__ import annotations

from typing import Final

import numpy as np

from empiar_imaging.formats.dm import find_pixels
from empiar_imaging.formats.evidence import FileBytes
from empiar_imaging.pixels.raw import RawLayout
from empiar_schema.faults import UnreadableImage

#: Number types of pixels that are read, by NumPy's names for them.
_MODES: Final = frozenset(
    {"int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64", "complex64", "complex128"}
)


def dm_layout(data: FileBytes) -> RawLayout:
    """Where the pixels of a DM3 or DM4 file stand.

    Raises:
        UnreadableImage: its tags do not say so with certainty, the pixels are of an unusual type, or the file is cut.
    """
    found = find_pixels(data)
    if found is None:
        raise UnreadableImage("the tags of the DM file do not say with certainty where its image stands")
    width, height, frames = found.facts.width or 0, found.facts.height or 0, found.facts.frames or 0
    mode = found.facts.mode
    if mode is None or mode not in _MODES or min(width, height, frames) < 1:
        raise UnreadableImage(f"DM pixels of type {mode} are not read")
    dtype = np.dtype(mode).newbyteorder(found.order)
    layout = RawLayout(found.start, width, height, frames, dtype)
    if layout.offset + layout.frames * layout.frame_bytes > data.size:
        raise UnreadableImage("the DM file is cut: it ends within its image")
    return layout
