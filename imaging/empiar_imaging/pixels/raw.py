"""Pixels that stand uncompressed in a file: where, in which number type, and reading them frame by frame."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from empiar_schema.faults import UnreadableImage

Pixels = npt.NDArray[np.generic]

#: Smaller frames are copied: mapping costs more than reading, and particle stacks have many of them.
_MAP_FROM_BYTES: Final = 4 * 1024 * 1024

Packing = Literal["plain", "nibbles", "complex_int16"]


@dataclass(frozen=True, slots=True)
class RawLayout:
    """Where the frames of a file stand: one after the other from `offset`, rows without gaps."""

    offset: int
    width: int
    height: int
    frames: int
    #: Of a number as stored, byte order included.
    dtype: np.dtype[np.generic]
    #: ``nibbles``: two 4-bit pixels a byte, the first in the lower half, rows padded to whole bytes (IMOD's
    #: description of mode 101). ``complex_int16``: pairs of 16-bit numbers.
    packing: Packing = "plain"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame in the file."""
        if self.packing == "nibbles":
            return (self.width + 1) // 2 * self.height
        return self.width * self.height * self.dtype.itemsize * (2 if self.packing == "complex_int16" else 1)

    @property
    def given_dtype(self) -> np.dtype[np.generic]:
        """Of a pixel as `RawFrames.frame` gives it: native byte order; 4-bit pixels as int8 from 0 to 15."""
        match self.packing:
            case "nibbles":
                return np.dtype(np.int8)
            case "complex_int16":
                return np.dtype(np.complex64)
        return self.dtype.newbyteorder("=")


class RawFrames:
    """The frames of an open file, each mapped or read when it is asked for."""

    def __init__(self, fd: int, layout: RawLayout) -> None:
        self._fd = fd
        self._layout = layout
        self.width, self.height, self.frames = layout.width, layout.height, layout.frames
        self.dtype = layout.given_dtype

    def frame(self, index: int) -> Pixels:
        """Frame `index` (from 0), ``(height, width)``; read-only where it is mapped.

        Raises:
            UnreadableImage: the file has become shorter.
            OSError: the disk could not be read.
        """
        layout = self._layout
        stored = self._stored(layout.offset + index * layout.frame_bytes, layout.frame_bytes)
        match layout.packing:
            case "nibbles":
                rows = stored.view(np.uint8).reshape(layout.height, -1)
                pixels = np.empty((layout.height, rows.shape[1] * 2), np.int8)
                pixels[:, 0::2] = rows & 15
                pixels[:, 1::2] = rows >> 4
                return pixels[:, : layout.width]
            case "complex_int16":
                pairs = stored.reshape(layout.height, layout.width, 2).astype(np.float32)
                return np.ascontiguousarray(pairs).view(np.complex64)[..., 0]
        return stored.reshape(layout.height, layout.width).astype(layout.given_dtype, copy=False)

    def add_to(self, total: Pixels, index: int) -> None:
        """Frame `index` is added to `total`."""
        np.add(total, self.frame(index), out=total, casting="unsafe")

    def _stored(self, start: int, length: int) -> Pixels:
        dtype = self._layout.dtype
        if length < _MAP_FROM_BYTES:
            data = os.pread(self._fd, length, start)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), start + len(data))
                if not more:
                    raise UnreadableImage(f"the file ended at byte {start + len(data)} while it was read")
                data += more
            return np.frombuffer(data, dtype)
        page = start - start % mmap.ALLOCATIONGRANULARITY
        try:
            # A map a frame, not one of the file: what is done with is unmapped, so that memory stays small.
            mapped = mmap.mmap(self._fd, start - page + length, prot=mmap.PROT_READ, offset=page)
        except ValueError as error:
            raise UnreadableImage(f"the file ended before byte {start + length} while it was read") from error
        return np.frombuffer(mapped, dtype, count=length // dtype.itemsize, offset=start - page)
