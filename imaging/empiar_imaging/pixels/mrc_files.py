"""MRC files that are made here: headers by mrcfile, pixels in plain writes, so that a full disk is an error and no signal.

Stacks are image stacks of the MRC2014 format (space group 0, mz 1), which is what RELION expects behind ``.mrcs``; the
name is the caller's business. Nothing in a file depends on the time, so the same input gives the same bytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import mrcfile
import numpy as np

from empiar_imaging.pixels.durable import durable_file
from empiar_imaging.pixels.raw import Pixels

LABEL_BYTES: Final = 80
_PIECE_PIXELS: Final = 2**15

#: Number types that a file can have, and their modes. Others are written as the narrowest of these that holds them.
MODES: Final[dict[str, int]] = {
    "int8": 0,
    "int16": 1,
    "float32": 2,
    "complex64": 4,
    "uint16": 6,
    "float16": 12,
}
_WIDER: Final[dict[str, str]] = {"bool": "int8", "uint8": "int16"}


def stored_dtype(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """The number type, of those that an MRC file can have, in which pixels of `dtype` are written."""
    name = _WIDER.get(dtype.name, dtype.name)
    return np.dtype(name if name in MODES else np.float32)


def write_image(target: Path, image: Pixels, *, pixel_size_angstrom: float | None, label: str) -> None:
    """`target` is an MRC file of one image, float32, with `label` (at most 80 bytes count) in its header; durable.

    Raises:
        StorageFault: the disk refused.
    """
    shape = (1, image.shape[0], image.shape[1])
    dtype = np.dtype(np.float32)
    with new_stack(target, shape, dtype, pixel_size_angstrom=pixel_size_angstrom, label=label) as writer:
        writer.append(image)


class StackWriter:
    """Takes the images of a stack one after the other; the header's statistics come from what it saw."""

    def __init__(self, file: BinaryIO, dtype: np.dtype[np.generic]) -> None:
        self._file = file
        self._dtype = dtype
        self.images = 0
        self._low, self._high = math.inf, -math.inf
        self._sum = self._squares = 0.0
        self._pixels = 0

    def append(self, image: Pixels) -> None:
        """`image` is the next of the stack."""
        stored = np.ascontiguousarray(image, self._dtype)
        self._file.write(stored.data)
        self.images += 1
        if self._dtype.kind == "c":
            return
        numbers = stored.ravel()
        with np.errstate(all="ignore"):
            self._low = min(self._low, float(numbers.min()))
            self._high = max(self._high, float(numbers.max()))
            # In pieces: a second copy of a whole micrograph in float64 would be twice its size.
            for start in range(0, numbers.size, _PIECE_PIXELS):
                piece = numbers[start : start + _PIECE_PIXELS].astype(np.float64)
                self._sum += float(piece.sum())
                self._squares += float(np.einsum("i,i->", piece, piece))
        self._pixels += stored.size

    def statistics(self) -> tuple[float, float, float, float] | None:
        """Least, greatest, mean, and standard deviation; None where they would not be numbers."""
        if not self._pixels:
            return None
        mean = self._sum / self._pixels
        spread = (
            math.sqrt(max(0.0, self._squares / self._pixels - mean**2)) if math.isfinite(mean) else math.nan
        )
        found = (self._low, self._high, mean, spread)
        return found if all(math.isfinite(value) for value in found) else None


@contextmanager
def new_stack(
    target: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype[np.generic],
    *,
    pixel_size_angstrom: float | None,
    label: str,
) -> Iterator[StackWriter]:
    """A writer for exactly ``shape[0]`` images of ``shape[1:]``; on leaving without an error, `target` is durable.

    Raises:
        StorageFault: the disk refused.
    """
    with durable_file(target) as part:
        header = _header(part, shape, dtype, pixel_size_angstrom, label)
        with part.open("w+b") as file:
            file.write(header.tobytes())
            writer = StackWriter(file, dtype)
            yield writer
            assert writer.images == shape[0], "as many images as were announced"
            _set_statistics(header, writer.statistics())
            file.seek(0)
            file.write(header.tobytes())


def _header(
    part: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype[np.generic],
    pixel_size_angstrom: float | None,
    label: str,
) -> np.recarray:
    """The header of the images that will follow; `part` served for making it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mrcfile sets array shapes in a way that NumPy deprecates
        with mrcfile.new(part, np.zeros((1, 1), dtype)) as mrc:
            header: np.recarray = mrc.header.copy()
    header.nz, header.ny, header.nx = shape
    header.mz, header.my, header.mx = 1, shape[1], shape[2]
    header.mode = MODES[dtype.name]
    header.ispg = 0
    pixel = pixel_size_angstrom or 0.0
    header.cella.x, header.cella.y, header.cella.z = shape[2] * pixel, shape[1] * pixel, pixel
    header.label[:] = b""
    header.label[0] = label.encode("ascii", "replace")[:LABEL_BYTES]
    header.nlabl = 1
    return header


def _set_statistics(header: np.recarray, found: tuple[float, float, float, float] | None) -> None:
    # Not determined, by the format's own convention: least above greatest, mean below both, deviation negative.
    header.dmin, header.dmax, header.dmean, header.rms = found or (0, -1, -2, -1)
