"""Tiles of a prepared picture (`pyramid`), low-passed if that is wanted, as PNG files. NumPy alone."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from empiar_imaging.pixels.contrast import Limits, to_grey
from empiar_imaging.pixels.pyramid import Level, limits_of, read_piece

Floats = npt.NDArray[np.float32]

#: Side of a tile, pixels.
TILE: Final = 256
#: The widest blur, pixels of a level: beyond it a coarser level shows as much, and the margin of a tile would be most of its work.
_MOST_SIGMA: Final = 96.0
#: Beyond so many standard deviations a Gaussian is nothing.
_REACH: Final = 3.5
#: Pieces of a level on which limits are found, along each side, and the side of one.
_SAMPLES, _SAMPLE_PX = 2, 384


@dataclass(frozen=True, slots=True)
class LowPass:
    """A Gaussian low-pass: amplitudes fall to a half at a resolution of `resolution_px` pixels of the full picture."""

    resolution_px: float

    def sigma(self, level: int) -> float:
        """Its standard deviation in pixels of that level: exp(−2π²σ²f²) is ½ where f is 1 / resolution."""
        full = self.resolution_px * math.sqrt(math.log(2) / 2) / math.pi
        return min(full / (1 << level), _MOST_SIGMA)


def tile_count(level: Level) -> tuple[int, int]:
    """Columns and rows of tiles of a level."""
    return -(-level.width // TILE), -(-level.height // TILE)


def look(file: IO[bytes], levels: tuple[Level, ...], number: int, low_pass: LowPass | None) -> Limits:
    """The values that become black and white in all tiles of a level, so that no seam shows."""
    level = levels[number]
    if low_pass is None:
        return Limits(level.low, level.high)
    width, height = min(_SAMPLE_PX, level.width), min(_SAMPLE_PX, level.height)
    pieces = []
    for across in range(_SAMPLES):
        for down in range(_SAMPLES):
            left = round((level.width - width) * (across + 0.5) / _SAMPLES)
            top = round((level.height - height) * (down + 0.5) / _SAMPLES)
            pieces.append(_piece(file, level, left, top, width, height, low_pass.sigma(number)))
    return Limits(*limits_of(pieces))


def tile_png(
    file: IO[bytes],
    levels: tuple[Level, ...],
    number: int,
    column: int,
    row: int,
    low_pass: LowPass | None,
    limits: Limits,
) -> bytes:
    """The tile in that column and row of a level; at the right and lower edges it is smaller."""
    level = levels[number]
    left, top = column * TILE, row * TILE
    width, height = min(TILE, level.width - left), min(TILE, level.height - top)
    sigma = 0.0 if low_pass is None else low_pass.sigma(number)
    grey, _ = to_grey(_piece(file, level, left, top, width, height, sigma), limits, flip=False)
    return png(grey)


def _piece(
    file: IO[bytes], level: Level, left: int, top: int, width: int, height: int, sigma: float
) -> Floats:
    # With a margin, so that tiles join as if the whole level had been filtered.
    margin = math.ceil(_REACH * sigma)
    values = read_piece(
        file,
        level,
        left=left - margin,
        top=top - margin,
        width=width + 2 * margin,
        height=height + 2 * margin,
    ).astype(np.float32)
    if not margin:
        return values
    across = _gaussian(values.shape[1], sigma)
    down = _gaussian(values.shape[0], sigma)
    transform = np.fft.rfft2(values) * down[:, None] * across[: values.shape[1] // 2 + 1]
    smooth = np.fft.irfft2(transform, s=values.shape)
    return smooth[margin : margin + height, margin : margin + width].astype(np.float32)


def _gaussian(length: int, sigma: float) -> npt.NDArray[np.float64]:
    """The filter along one side, by the transform's frequencies."""
    gaussian: npt.NDArray[np.float64] = np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(length)) ** 2)
    return gaussian


def png(grey: npt.NDArray[np.uint8]) -> bytes:
    """An 8-bit grey PNG. Noise does not compress, so little time is spent on that."""
    height, width = grey.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    lines[:, 1:] = grey
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
