"""Power spectrum of a micrograph as a small picture: Thon rings, drift, ice, and missing gain correction show in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from empiar_imaging.pixels.contrast import Grey, find_limits, to_grey
from empiar_imaging.pixels.limits import images_extra
from empiar_imaging.pixels.raw import Pixels
from empiar_schema.faults import UnreadableImage

_LEAST_TILE: Final = 16
_MOST_TILES_A_SIDE: Final = 16
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A power spectrum ready to draw: zero frequency in the middle, Nyquist at the edges, square."""

    grey: Grey
    #: Pixels of a side, and of the tiles that were averaged.
    size: int
    tiles: int
    #: The finest detail at the edge, if the pixel size is known: two pixels.
    nyquist_angstrom: float | None


def power_spectrum(image: Pixels, *, size: int = 512, pixel_size_angstrom: float | None = None) -> Spectrum:
    """The mean power of tiles of `size` pixels (less in a small image), log, flat over the radius.

    Averaged tiles (Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70), each less its mean and under a Hann window,
    have much less noise than one transform of the whole, and frequencies of equal scale in both directions whatever
    the image's shape. From the logarithm the mean at each radius is subtracted, and divided by the
    standard deviation there. Rows are flipped as in the renditions.

    Raises:
        UnreadableImage: the image is smaller than 16 pixels, or no pixel is a finite number.
        ConfigFault: SciPy is not installed.
    """
    height, width = image.shape
    tile = min(size, height, width) // 2 * 2
    if tile < _LEAST_TILE:
        raise UnreadableImage(f"{width} × {height} pixels are too few for a power spectrum")
    power, tiles = _mean_power(image, tile)
    flat = _radially_flat(np.log(power + np.finfo(np.float32).tiny))
    grey, _ = to_grey(flat, find_limits(flat, "percentile"), flip=True)
    nyquist = None if pixel_size_angstrom is None else 2 * pixel_size_angstrom
    return Spectrum(grey, tile, tiles, nyquist)


def _mean_power(image: Pixels, tile: int) -> tuple[Floats, int]:
    with images_extra():
        from scipy import fft
    window = np.hanning(tile + 1)[:-1].astype(np.float32)
    window = window[:, None] * window[None, :]
    # Real and imaginary parts side by side, as the transform has them.
    parts = np.zeros((tile, 2 * (tile // 2 + 1)), np.float32)
    tiles = 0
    for top in _starts(image.shape[0], tile):
        for left in _starts(image.shape[1], tile):
            values = image[top : top + tile, left : left + tile].astype(np.float32)
            mean = values.mean(dtype=np.float64)
            if not np.isfinite(mean):
                finite = np.isfinite(values)
                if not finite.any():
                    continue
                mean = values[finite].mean(dtype=np.float64)
                values[~finite] = mean
            values -= np.float32(mean)
            values *= window
            transform = fft.rfft2(values, overwrite_x=True, workers=1)
            squares = transform.view(np.float32)
            np.multiply(squares, squares, out=squares)
            parts += squares
            tiles += 1
    if tiles == 0:
        raise UnreadableImage("no pixel of the image is a finite number")
    return _whole((parts[:, 0::2] + parts[:, 1::2]) / np.float32(tiles)), tiles


def _starts(length: int, tile: int) -> list[int]:
    """Where tiles begin: from edge to edge with as little overlap as that takes, at most 16."""
    count = min(math.ceil(length / tile), _MOST_TILES_A_SIDE)
    return [round(at) for at in np.linspace(0, length - tile, count)]


def _whole(half: Floats) -> Floats:
    """The full plane, zero frequency at ``(size / 2, size / 2)``, from the half that a real transform gives."""
    size = half.shape[0]
    whole = np.empty((size, size), np.float32)
    whole[:, : size // 2 + 1] = half
    # |F(−u, −v)| = |F(u, v)| for an image without imaginary part.
    whole[1:, size // 2 + 1 :] = half[1:, 1 : size // 2][::-1, ::-1]
    whole[0, size // 2 + 1 :] = half[0, 1 : size // 2][::-1]
    shifted: Floats = np.fft.fftshift(whole)
    return shifted


def _radially_flat(values: Floats) -> Floats:
    """Each ring one pixel wide has mean 0 and standard deviation 1."""
    middle = values.shape[0] // 2
    distance = np.arange(values.shape[0]) - middle
    ring = np.sqrt(distance[:, None] ** 2 + distance[None, :] ** 2).astype(np.intp)
    count = np.bincount(ring.ravel())
    mean = np.bincount(ring.ravel(), values.ravel()) / count
    centred = values - mean[ring].astype(np.float32)
    spread = np.sqrt(np.bincount(ring.ravel(), centred.ravel() ** 2) / count)
    # The innermost rings have too few pixels for a spread of their own.
    spread = np.maximum(spread, np.median(spread) / 2)
    spread[spread == 0] = 1
    flat: Floats = centred / spread[ring].astype(np.float32)
    return flat
