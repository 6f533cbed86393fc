"""Do the picks lie on particles, or does their mirror image? Judged by contrast; reported, never acted upon. Pure.

A particle is darker (or lighter) than what is around it. So the mean difference between a square as wide as the particle and the
frame around it stands out at true positions, and not at mirrored ones. How much is chance is measured at random positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from empiar_imaging.labels.frames import to_origin
from empiar_imaging.labels.table import CoordinateOrigin, Floats, LabelTable

#: The particle's width after binning: enough for its contrast, and little work.
_WIDTH_PX: Final = 8
_RANDOM_POSITIONS: Final = 4000
#: Contrast at the picks in standard errors of as many random positions: below this nothing is seen …
_LEAST: Final = 5.0
#: … and so much more than the other way it must be.
_LEAST_LEAD: Final = 4.0
#: Of an unknown diameter: this share of the image's width.
_USUAL_SHARE: Final = 0.04


class Orientation(StrEnum):
    """What the contrast at the picks says of their Y."""

    AGREES = "agrees"
    #: The picks fit when Y is counted from the other edge.
    MIRRORED = "mirrored"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class OrientationCheck:
    """Contrast in standard errors, signed: negative for dark particles. `score` > 0 speaks for the picks as they are."""

    orientation: Orientation
    score: float
    as_given: float
    mirrored: float
    picks: int


_NOTHING: Final = OrientationCheck(Orientation.UNDECIDED, 0.0, 0.0, 0.0, 0)


def check_orientation(
    image: NDArray[np.generic], table: LabelTable, *, diameter_px: float | None = None, seed: int = 0
) -> OrientationCheck:
    """Whether the picks of one micrograph agree with `image` (rows as stored, two axes), or their mirror image does.

    The table's origin says how its Y counts; mirrored means that this is wrong for these images. Picks outside of the image do not
    count. Undecided where the contrast is within chance, both ways fit alike, or the image has nothing in it. Work and memory are some times those
    of the binned image.
    """
    if image.ndim != 2 or min(image.shape) < 2 * _WIDTH_PX or not len(table):
        return _NOTHING
    height, width = image.shape
    diameter = diameter_px or table.diameter_px or _USUAL_SHARE * width
    step = max(1, int(diameter / _WIDTH_PX))
    binned = _binned(image, step)
    contrast = None if binned is None else _contrast(binned, max(1, round(diameter / step / 2)))
    if contrast is None:
        return _NOTHING
    top = to_origin(table, height, CoordinateOrigin.TOP)
    given = _at(contrast, top.x / step, top.y / step)
    mirrored = _at(contrast, top.x / step, (height - top.y) / step)
    rng = np.random.default_rng(seed)
    rows, columns = (rng.uniform(0, length, _RANDOM_POSITIONS) for length in contrast.shape)
    chance = _at(contrast, columns, rows)
    spread = float(chance.std())
    if not spread > 0 or not len(given):
        return _NOTHING
    middle = float(chance.mean())
    scores = [
        float((v.mean() - middle) / spread * np.sqrt(len(v))) if len(v) else 0.0 for v in (given, mirrored)
    ]
    return _judged(scores[0], scores[1], len(given))


def combined(checks: Sequence[OrientationCheck]) -> OrientationCheck:
    """The checks of several micrographs as one: their contrasts added, divided by the root of their number."""
    useful = [check for check in checks if check.picks]
    if not useful:
        return _NOTHING
    root = np.sqrt(len(useful))
    given = sum(check.as_given for check in useful) / root
    mirrored = sum(check.mirrored for check in useful) / root
    return _judged(float(given), float(mirrored), sum(check.picks for check in useful))


def _judged(given: float, mirrored: float, picks: int) -> OrientationCheck:
    score = abs(given) - abs(mirrored)
    if max(abs(given), abs(mirrored)) < _LEAST or abs(score) < _LEAST_LEAD:
        orientation = Orientation.UNDECIDED
    else:
        orientation = Orientation.AGREES if score > 0 else Orientation.MIRRORED
    return OrientationCheck(orientation, round(score, 3), round(given, 3), round(mirrored, 3), picks)


def _binned(image: NDArray[np.generic], step: int) -> Floats | None:
    """Means of `step` × `step` pixels, extreme pixels cut off; None for an image of one value.

    A thin rest at the right and lower edge is left out.
    """
    if np.iscomplexobj(image):
        return None
    rows, columns = (length // step for length in image.shape)
    stride = max(1, min(image.shape) // 512)
    sample = image[::stride, ::stride].astype("float64")
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None
    low, middle, high = np.quantile(sample, [0.001, 0.5, 0.999])
    if not high > low:
        return None
    binned = np.empty((rows, columns))
    for row in range(rows):
        # One band at a time: the whole image in 64 bits would be as large as eight of 8 bits.
        band = image[row * step : (row + 1) * step, : columns * step].astype("float64")
        band = np.clip(np.nan_to_num(band, nan=float(middle)), low, high)
        binned[row] = band.reshape(step, columns, step).mean(axis=(0, 2))
    return binned


def _contrast(binned: Floats, radius: int) -> Floats | None:
    """Mean of the square of ± `radius` around each pixel minus that of the frame around it, twice as wide; NaN near the edges."""
    outer = 2 * radius
    if min(binned.shape) < 2 * outer + 3:
        return None
    sums = np.zeros((binned.shape[0] + 1, binned.shape[1] + 1))
    sums[1:, 1:] = (binned - binned.mean()).cumsum(axis=0).cumsum(axis=1)
    inner, whole = _squares(sums, radius, outer), _squares(sums, outer, outer)
    inner_area, whole_area = (2 * radius + 1) ** 2, (2 * outer + 1) ** 2
    result = np.full(binned.shape, np.nan)
    result[outer:-outer, outer:-outer] = inner / inner_area - (whole - inner) / (whole_area - inner_area)
    return result


def _squares(sums: Floats, radius: int, margin: int) -> Floats:
    """Sums of the squares of ± `radius` around all pixels that are `margin` from the edges."""
    rows, columns = (length - 1 - 2 * margin for length in sums.shape)
    low, high = margin - radius, margin + radius + 1
    cut = [sums[r : r + rows, c : c + columns] for r in (low, high) for c in (low, high)]
    squares: Floats = cut[3] - cut[1] - cut[2] + cut[0]
    return squares


def _at(contrast: Floats, x: Floats, y: Floats) -> Floats:
    """The contrast at positions in binned pixels, those near or beyond the edges left out."""
    rows, columns = contrast.shape
    inside = (x >= 0) & (y >= 0) & (x < columns) & (y < rows)
    found = contrast[np.floor(y[inside]).astype(np.intp), np.floor(x[inside]).astype(np.intp)]
    seen: Floats = found[np.isfinite(found)]
    return seen
