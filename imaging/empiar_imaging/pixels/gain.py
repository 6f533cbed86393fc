"""Gain references: which way round one lies on the frames, by shape, by word, or by the pixels' own testimony.

A detector's pixels differ in sensitivity, so the sum of uncorrected frames carries the gain's pattern, pixel by
pixel: where the reference is high, the frames are low. Under the right orientation the two correlate strongly, under the seven wrong
ones not at all. Shape alone leaves four orientations (or eight, of a square), and programs disagree about which end of
a TIFF or DM4 is the top; so nothing is guessed from suffixes here.

EER: references in files called ``.gain`` are multiplied like any other; others hold the reciprocal (as RELION reads them).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from empiar_imaging.pixels.limits import images_extra
from empiar_imaging.pixels.raw import Pixels

Operation = Literal["multiply", "divide"]
Floats = npt.NDArray[np.float32]


class Orientation(StrEnum):
    """What is done to the rows and columns of a reference as stored, so that it lies on the frames as stored."""

    AS_IS = "as_is"
    FLIP_UP_DOWN = "flip_up_down"
    FLIP_LEFT_RIGHT = "flip_left_right"
    ROTATE_180 = "rotate_180"
    #: Counter-clockwise, as the rows are numbered downwards.
    ROTATE_90 = "rotate_90"
    ROTATE_270 = "rotate_270"
    TRANSPOSE = "transpose"
    ANTI_TRANSPOSE = "anti_transpose"


#: Correlation over its standard error when there is none. The largest of eight by chance stays below 4.
_LEAST_SIGNIFICANCE: Final = 12.0
#: The best must beat the next by this factor.
_LEAST_LEAD: Final = 2.0
#: Differences beyond so many typical ones are defects, and say nothing about the orientation.
_OUTLIER: Final = 6.0
_MIDDLE_PIXELS: Final = 1024


@dataclass(frozen=True, slots=True)
class GainChoice:
    """Which way round the reference lies, and why; `orientation` is None where that is not certain."""

    orientation: Orientation | None
    reason: str
    #: Correlation of the frames' pattern with the reciprocal of the reference, by orientation that fits the shape.
    correlations: dict[Orientation, float]


def oriented(gain: Pixels, orientation: Orientation) -> Pixels:
    """`gain` turned; a view, nothing is copied."""
    match orientation:
        case Orientation.AS_IS:
            return gain
        case Orientation.FLIP_UP_DOWN:
            return gain[::-1]
        case Orientation.FLIP_LEFT_RIGHT:
            return gain[:, ::-1]
        case Orientation.ROTATE_180:
            return gain[::-1, ::-1]
        case Orientation.ROTATE_90:
            return np.rot90(gain)
        case Orientation.ROTATE_270:
            return np.rot90(gain, -1)
        case Orientation.TRANSPOSE:
            return gain.T
        case Orientation.ANTI_TRANSPOSE:
            return gain[::-1, ::-1].T


def same(gain: Pixels, one: Orientation, other: Orientation) -> bool:
    """Whether both orientations of this reference are one and the same, as they are of a symmetric one."""
    return one == other or np.array_equal(oriented(gain, one), oriented(gain, other), equal_nan=True)


def fitting(gain: tuple[int, ...], frame: tuple[int, ...]) -> tuple[Orientation, ...]:
    """The orientations in which a reference of shape `gain` covers a frame of shape `frame` exactly."""
    shape = np.empty((1, 1))
    return tuple(
        orientation
        for orientation in Orientation
        if oriented(np.broadcast_to(shape, gain), orientation).shape == frame
    )


def choose_orientation(mean: Pixels, gain: Pixels, *, operation: Operation = "multiply") -> GainChoice:
    """The orientation for which `mean`, the mean of uncorrected frames, speaks clearly.

    Compared are the differences of each pixel from its neighbours, in the middle of the frame, about 1024 pixels a
    side. Certain is a correlation of 12 standard errors that is twice that of any other orientation.

    Raises:
        ConfigFault: SciPy is not installed.
    """
    candidates = fitting(gain.shape, mean.shape)
    if not candidates:
        return GainChoice(
            None,
            f"the gain reference has {gain.shape[1]} × {gain.shape[0]} pixels, "
            f"the frames {mean.shape[1]} × {mean.shape[0]}",
            {},
        )
    frames = _fine_pattern(_middle(mean))
    reference = _middle(gain).astype(np.float64)
    with np.errstate(all="ignore"):
        response = _fine_pattern(1 / reference if operation == "multiply" else reference)
    # The pattern turns with the reference, since its neighbourhood is the same from all sides.
    scores = {
        orientation: _correlation(frames, np.ascontiguousarray(oriented(response, orientation)))
        for orientation in candidates
    }
    return _judged(scores, gain, pixels=frames.size)


def _judged(scores: dict[Orientation, float], gain: Pixels, *, pixels: int) -> GainChoice:
    if len(np.unique(gain[:: max(1, gain.shape[0] // 64)])) <= 1:
        return GainChoice(None, "the gain reference has one value throughout", scores)
    ranked = sorted(scores, key=lambda orientation: scores[orientation], reverse=True)
    best = ranked[0]
    significance = scores[best] * np.sqrt(pixels)
    opposite = min(scores.values())
    if -opposite > scores[best] and -opposite * np.sqrt(pixels) >= _LEAST_SIGNIFICANCE:
        return GainChoice(
            None,
            "the frames are high where the gain reference says that they should be low: "
            "it may hold the reciprocal, or they are corrected already",
            scores,
        )
    if significance < _LEAST_SIGNIFICANCE:
        return GainChoice(
            None,
            "the frames do not carry the pattern of the gain reference: perhaps they are corrected already, "
            "or it belongs to other frames",
            scores,
        )
    rivals = [o for o in ranked[1:] if scores[o] * _LEAST_LEAD > scores[best] and not same(gain, o, best)]
    if rivals:
        reason = f"the orientations {best} and {rivals[0]} of the gain reference fit about equally well"
        return GainChoice(None, reason, scores)
    return GainChoice(
        best, f"the frames' pattern speaks for {best} ({significance:.0f} standard errors)", scores
    )


def _middle(values: Pixels) -> Pixels:
    # The same margin on both sides, so that it stays the middle whichever way it is turned.
    top, left = (max(0, (side - _MIDDLE_PIXELS) // 2) for side in values.shape)
    return values[top : values.shape[0] - top, left : values.shape[1] - left]


def _fine_pattern(values: Pixels) -> Floats:
    """Differences from the mean of 3 × 3 pixels; 0 at defects and what is no number."""
    with images_extra():
        from scipy import ndimage
    finite = np.isfinite(values)
    clean = values.astype(np.float32)
    clean[~finite] = np.mean(clean[finite], dtype=np.float64) if finite.any() else 0
    fine = clean - ndimage.uniform_filter(clean, 3, mode="nearest")
    typical = float(np.median(np.abs(fine[::3, ::3]))) * 1.4826 or float(fine.std())
    fine[np.abs(fine) > _OUTLIER * typical] = 0
    fine[~finite] = 0
    pattern: Floats = fine
    return pattern


def _correlation(one: Floats, other: Floats) -> float:
    norm = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.einsum("ij,ij->", one, other)) / norm if norm > 0 else 0.0


def operation_for(*, movie_counts_events: bool, gain_suffix: str) -> Operation:
    """Whether frames are multiplied by the reference or divided by it."""
    return "divide" if movie_counts_events and gain_suffix != ".gain" else "multiply"


def apply_gain(mean: Floats, gain: Pixels, operation: Operation) -> int:
    """`mean` is corrected in place by a reference that already lies on it; returns the number of dead pixels.

    Division is by the reference relative to its mean, so that counts keep their scale. Pixels for which the
    reference holds 0, less, or no number are dead; they are filled with the mean of the others.
    """
    dead = ~(np.isfinite(gain) & np.greater(gain, 0))
    scale = float(gain[~dead].mean(dtype=np.float64)) if operation == "divide" and not dead.all() else 1.0
    with np.errstate(all="ignore"):
        for row, reference in zip(mean, gain, strict=True):
            if operation == "multiply":
                np.multiply(row, reference, out=row, casting="unsafe")
            else:
                np.divide(row * np.float32(scale), reference, out=row, casting="unsafe")
    count = int(np.count_nonzero(dead))
    if count:
        alive = ~dead & np.isfinite(mean)
        mean[dead] = mean[alive].mean(dtype=np.float64) if alive.any() else 0
    return count
