"""A picture prepared for looking at it piece by piece: its pixels in 16 bits, at full size and halved again and again, in one file.

It is turned as CryoPPP shows micrographs: the last row of the image comes first. The file begins with a line of JSON in a block of its own; the levels follow,
row by row, so that any piece is read without the rest. It is made in a worker process, and read by whoever shows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from empiar_imaging.pixels.contrast import PERCENTILES, sample_step
from empiar_imaging.pixels.raw import Pixels
from empiar_schema.faults import UnreadableImage

Values = npt.NDArray[np.uint16]

HEAD_BYTES: Final = 8192
#: A level whose longer side is not longer is the last.
_SMALLEST_PX: Final = 256
_MOST: Final = 65_535
_ROWS: Final = 256
#: Shares of pixels, per cent, between which 16 bits are certain to distinguish; what lies farther outside than that range is wide is cut.
_CORE: Final = (0.1, 99.9)


@dataclass(frozen=True, slots=True)
class Level:
    """The picture at one size; `low` and `high` are the values, in 16 bits, that look black and white."""

    width: int
    height: int
    #: Of its first byte in the file.
    offset: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pyramid:
    """What is in a prepared file."""

    width: int
    height: int
    levels: tuple[Level, ...]


def bytes_needed(width: int, height: int) -> int:
    """At most so many bytes has the prepared file of an image of this size."""
    return HEAD_BYTES + 3 * width * height + 64 * (width + height)


def write_pyramid(image: Pixels, target: Path) -> Pyramid:
    """The image is prepared in `target`. In memory: the image, and half of it as float32.

    Raises:
        OSError: the disk refused.
        UnreadableImage: no pixel is a finite number.
    """
    height, width = image.shape
    black, white = _range(image)
    levels: list[Level] = []
    with target.open("xb") as file:
        file.write(b" " * HEAD_BYTES)
        values = _quantised(image, black, white)
        while True:
            low, high = _look(values)
            levels.append(Level(values.shape[1], values.shape[0], file.tell(), low, high))
            file.write(np.ascontiguousarray(values, "<u2").data)
            if max(values.shape) <= _SMALLEST_PX:
                break
            values = _halved(values)
        found = Pyramid(width, height, tuple(levels))
        head = json.dumps(asdict(found)).encode()
        assert len(head) < HEAD_BYTES, "a few levels of a few numbers"
        file.seek(0)
        file.write(head)
    return found


def read_head(file: IO[bytes]) -> Pyramid:
    """What is in the prepared file, which we wrote."""
    head = json.loads(os.pread(file.fileno(), HEAD_BYTES, 0))
    levels = tuple(Level(**level) for level in head["levels"])
    return Pyramid(head["width"], head["height"], levels)


def read_piece(file: IO[bytes], level: Level, *, left: int, top: int, width: int, height: int) -> Values:
    """Pixels of a level, from `left` and `top`; where the piece reaches beyond an edge, the nearest pixel stands.

    Raises:
        UnreadableImage: the file has become shorter.
        OSError: the disk could not be read.
    """
    first, last = max(0, min(top, level.height - 1)), max(1, min(top + height, level.height))
    line = level.width * 2
    start, length = level.offset + first * line, (last - first) * line
    data = os.pread(file.fileno(), length, start)
    if len(data) < length:
        raise UnreadableImage("the prepared picture is cut")
    rows = np.frombuffer(data, "<u2").reshape(last - first, level.width)
    down = np.clip(np.arange(top, top + height), first, last - 1) - first
    across = np.clip(np.arange(left, left + width), 0, level.width - 1)
    return np.ascontiguousarray(rows[down][:, across], np.uint16)


def _range(image: Pixels) -> tuple[float, float]:
    """The values that become 0 and 65,535."""
    if image.dtype.kind == "c":
        raise UnreadableImage("complex pixels are a transform, not an image")
    step = sample_step(*image.shape)
    sample = np.asarray(image[::step, ::step], np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        raise UnreadableImage("no pixel of the image is a finite number")
    low, high = np.percentile(sample, _CORE)
    span = high - low
    return float(low - span), float(high + span)


def _quantised(image: Pixels, black: float, white: float) -> Values:
    """The image in 16 bits, its last row first; pixels that are no numbers lie in the middle."""
    height, width = image.shape
    values = np.empty((height, width), np.uint16)
    if not white > black:
        values.fill(_MOST // 2)
        return values
    scale = _MOST / (white - black)
    for start in range(0, height, _ROWS):
        rows = np.asarray(image[start : start + _ROWS], np.float64)
        with np.errstate(all="ignore"):
            grey = (rows - black) * scale
            grey[np.isnan(grey)] = _MOST / 2
            np.clip(np.rint(grey, out=grey), 0, _MOST, out=grey)
        stop = height - start
        values[stop - rows.shape[0] : stop] = grey[::-1]
    return values


def _look(values: Values) -> tuple[float, float]:
    """Which values look black and white: the same shares of pixels as in thumbnails."""
    step = sample_step(*values.shape)
    low, high = np.percentile(values[::step, ::step], PERCENTILES)
    return float(low), float(high)


def _halved(values: Values) -> Values:
    """Each pixel the mean of four; at an odd edge, of those that there are."""
    height, width = values.shape
    halved = np.empty((-(-height // 2), -(-width // 2)), np.uint16)
    for start in range(0, height, 2 * _ROWS):
        rows = values[start : start + 2 * _ROWS].astype(np.uint32)
        rows = np.pad(rows, ((0, rows.shape[0] % 2), (0, width % 2)), mode="edge")
        means = (rows[0::2, 0::2] + rows[0::2, 1::2] + rows[1::2, 0::2] + rows[1::2, 1::2] + 2) // 4
        halved[start // 2 : start // 2 + means.shape[0]] = means
    return halved


def limits_of(pieces: Sequence[npt.NDArray[np.float32]]) -> tuple[float, float]:
    """The values that look black and white in these pieces of a picture."""
    low, high = np.percentile(np.concatenate([piece.ravel() for piece in pieces]), PERCENTILES)
    return float(low), float(high)
