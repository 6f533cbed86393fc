"""Movies as the unaligned mean of their frames, corrected by the gain reference where it is certain how.

This is no motion correction: frames are added as they lie, so fine detail is smeared by the specimen's drift.
Good for looking, for picking large particles, and for judging a movie; not for reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from empiar_imaging.pixels.gain import (
    Operation,
    Orientation,
    apply_gain,
    choose_orientation,
    fitting,
    operation_for,
    oriented,
    same,
)
from empiar_imaging.pixels.raw import Pixels
from empiar_imaging.pixels.source import ImageSource, mean_of
from empiar_schema.paths import suffix_of

_EER_GAIN: Final = ".gain"


@dataclass(frozen=True, slots=True)
class FrameAverage:
    """The mean of a movie's frames, and what was done to it."""

    mean: npt.NDArray[np.float32]
    frames: int
    #: How the reference was laid on the frames; None: it was not applied.
    orientation: Orientation | None
    operation: Operation | None
    dead_pixels: int
    #: Sentences for the record.
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What the picture is, for the header of the file."""
        corrected = "no gain applied" if self.orientation is None else f"gain-corrected ({self.orientation})"
        return f"unaligned, {corrected} average of {self.frames} frames"


def average_movie(
    movie: ImageSource,
    gain: ImageSource | None = None,
    *,
    orientation: Orientation | Literal["auto"] = "auto",
    operation: Operation | None = None,
) -> FrameAverage:
    """The mean of all frames, rows as stored in the movie; memory is the sum, one frame, and the reference at the end.

    With ``auto`` the reference is applied only if the frames' own pattern shows which way round it lies
    (`gain.choose_orientation`); otherwise, and where it does not cover the frames exactly, the mean stays uncorrected and a
    note says why. `operation` None: as the formats have it (`gain.operation_for`).

    Raises:
        UnreadableImage: a frame cannot be decoded, or pixels are complex.
        StorageFault: the disk could not be read.
        ConfigFault: a library that is needed is not installed.
    """
    mean = mean_of(movie.total(), movie.frames)
    if gain is None:
        return FrameAverage(mean, movie.frames, None, None, 0, ())
    suffix = suffix_of(gain.name)
    if gain.frames != 1 and suffix != _EER_GAIN:
        note = f"gain not applied: the gain reference has {gain.frames} images"
        return FrameAverage(mean, movie.frames, None, None, 0, (note,))
    reference = gain.frame(0)
    how = operation or operation_for(movie_counts_events=movie.counts_events, gain_suffix=suffix)
    chosen, note = _orientation(mean, reference, orientation, how)
    if chosen is None:
        return FrameAverage(mean, movie.frames, None, None, 0, (f"gain not applied: {note}",))
    dead = apply_gain(mean, oriented(reference, chosen), how)
    notes = [note]
    if dead:
        notes.append(f"{dead} pixels are dead in the gain reference; they hold the mean of the others")
    return FrameAverage(mean, movie.frames, chosen, how, dead, tuple(notes))


def _orientation(
    mean: Pixels, gain: Pixels, wanted: Orientation | Literal["auto"], operation: Operation
) -> tuple[Orientation | None, str]:
    if gain.dtype.kind == "c":
        return None, "the gain reference is complex"
    if wanted != "auto" and wanted not in fitting(gain.shape, mean.shape):
        shapes = f"{gain.shape[1]} × {gain.shape[0]} pixels, the frames {mean.shape[1]} × {mean.shape[0]}"
        return None, f"laid on {wanted} it does not cover the frames: it has {shapes}"
    choice = choose_orientation(mean, gain, operation=operation)
    if wanted == "auto":
        return choice.orientation, choice.reason
    if choice.orientation is None:
        return wanted, f"gain laid on {wanted}, as asked"
    agrees = same(gain, wanted, choice.orientation)
    return wanted, f"gain laid on {wanted}, as asked" + ("" if agrees else f", though {choice.reason}")
