"""Particle stacks, one for each micrograph: split from deposited stacks, or cut out of the micrograph.

In both, the images stand in the order of the rows that asked for them. A row that has no image is left out and reported
with its number, so that the others can still be joined to theirs.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from empiar_imaging.pixels.limits import ReadLimits
from empiar_imaging.pixels.mrc_files import new_stack, stored_dtype
from empiar_imaging.pixels.raw import Pixels
from empiar_imaging.pixels.source import ImageSource, open_image, shown_name
from empiar_schema.faults import ConfigFault, UnreadableImage

EdgePolicy = Literal["skip", "fill", "clamp"]
BoxDtype = Literal["float32", "source"]

_REFERENCE: Final = re.compile(r"\s*(\d{1,12})@(.+)", re.DOTALL)
_OPEN_STACKS: Final = 16
#: Radius of the particle over half the box where none is given (RELION's own default is a circle of 75 % of the box).
_BACKGROUND_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class StackSlice:
    """One image of a deposited stack. Images count from 1, as in ``000001@stack.mrcs``."""

    number: int
    stack: Path


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row (from 0) that has no image in the stack, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class StackReport:
    """What was written. Without any image there is no file, and `path` is None."""

    path: Path | None
    images: int
    #: Pixels of a side; 0 without images.
    width: int
    height: int
    dtype: str
    pixel_size_angstrom: float | None
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """How particles are cut out."""

    #: Pixels of a side.
    box: int
    #: Boxes that reach beyond the edge: left out; kept, with the micrograph's mean outside; or moved inside.
    edge: EdgePolicy = "skip"
    invert: bool = False
    #: Mean 0 and standard deviation 1 of the pixels outside of `background_radius`.
    normalise: bool = True
    #: Pixels; None: three eighths of the box.
    background_radius: float | None = None
    #: ``source`` keeps the micrograph's number type, and goes with neither `invert` nor `normalise`.
    dtype: BoxDtype = "float32"


def parse_reference(text: str) -> tuple[int, str] | None:
    """``000012@Extract/a.mrcs`` as ``(12, "Extract/a.mrcs")``; None for anything else."""
    match = _REFERENCE.fullmatch(text)
    return (int(match.group(1)), match.group(2)) if match else None


def split_stack(
    slices: Sequence[StackSlice],
    target: Path,
    *,
    pixel_size_angstrom: float | None = None,
    limits: ReadLimits | None = None,
) -> StackReport:
    """`target` holds the images that `slices` name, in their order; numbers are kept as they are in the deposited stacks.

    Number types that MRC does not have become the next wider one. The pixel size is the caller's, else the first stack's.
    One image is in memory at a time. Rows whose stack is missing or damaged, whose number is beyond
    its end, or whose image has another size than the first, are left out.

    Raises:
        UnreadableImage: a stack broke while its images were read, or all images together exceed the limits.
        StorageFault: the disk refused.
    """
    limits = limits or ReadLimits()
    with _open_stacks(limits) as stacks:
        kept, left_out = _checked(slices, stacks)
        if not kept:
            return StackReport(None, 0, 0, 0, "", pixel_size_angstrom, tuple(left_out), ())
        first = stacks.get(slices[kept[0]].stack)
        shape = (len(kept), first.height, first.width)
        dtype = stored_dtype(first.dtype)
        _check_total(shape, dtype, limits)
        pixel = pixel_size_angstrom or first.pixel_size_angstrom
        label = "particles split from deposited stacks, order of the rows kept"
        with new_stack(target, shape, dtype, pixel_size_angstrom=pixel, label=label) as writer:
            for row in kept:
                source = stacks.get(slices[row].stack)
                writer.append(source.frame(slices[row].number - 1))
    notes = () if dtype == first.dtype else (f"{first.dtype} pixels are written as {dtype}",)
    return StackReport(target, *shape[:1], shape[2], shape[1], dtype.name, pixel, tuple(left_out), notes)


def _check_total(shape: tuple[int, int, int], dtype: np.dtype[np.generic], limits: ReadLimits) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if needed > limits.unpacked_bytes:
        raise UnreadableImage(
            f"a stack of {shape[0]} images of {shape[2]} × {shape[1]} pixels takes {needed} bytes; "
            f"{limits.unpacked_bytes} are allowed"
        )


class _Stacks:
    """Deposited stacks, the last few used kept open."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._open: OrderedDict[Path, tuple[ImageSource, ExitStack]] = OrderedDict()

    def get(self, path: Path) -> ImageSource:
        if path not in self._open:
            keeper = ExitStack()
            source = keeper.enter_context(open_image(path, limits=self._limits))
            self._open[path] = (source, keeper)
            if len(self._open) > _OPEN_STACKS:
                _, (_, oldest) = self._open.popitem(last=False)
                oldest.close()
        self._open.move_to_end(path)
        return self._open[path][0]

    def close(self) -> None:
        for _, keeper in self._open.values():
            keeper.close()


@contextmanager
def _open_stacks(limits: ReadLimits) -> Iterator[_Stacks]:
    stacks = _Stacks(limits)
    try:
        yield stacks
    finally:
        stacks.close()


def _checked(slices: Sequence[StackSlice], stacks: _Stacks) -> tuple[list[int], list[LeftOut]]:
    """The rows whose images are there and alike, and the others."""
    kept: list[int] = []
    left_out: list[LeftOut] = []
    broken: dict[Path, str] = {}
    alike: tuple[int, int, np.dtype[np.generic]] | None = None
    for row, item in enumerate(slices):
        if item.stack not in broken and not item.stack.is_file():
            broken[item.stack] = f"{shown_name(item.stack)} is not here"
        if item.stack not in broken:
            try:
                source = stacks.get(item.stack)
            except UnreadableImage as fault:
                broken[item.stack] = str(fault)
        if item.stack in broken:
            left_out.append(LeftOut(row, broken[item.stack]))
            continue
        kind = (source.width, source.height, source.dtype)
        if not 1 <= item.number <= source.frames:
            reason = f"{shown_name(item.stack)} has {source.frames} images, number {item.number} is asked for"
            left_out.append(LeftOut(row, reason))
        elif alike is not None and kind != alike:
            reason = f"{shown_name(item.stack)} holds {kind[0]} × {kind[1]} {kind[2]}, the rows before it {alike[0]} × {alike[1]} {alike[2]}"
            left_out.append(LeftOut(row, reason))
        else:
            alike = kind
            kept.append(row)
    return kept, left_out


def extract_stack(
    micrograph: Pixels,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    target: Path,
    options: BoxOptions,
    *,
    pixel_size_angstrom: float | None = None,
    limits: ReadLimits | None = None,
) -> StackReport:
    """`target` holds a box around each centre, in the order of `x` and `y` (pixels, rows as stored).

    A box of B pixels begins at ``floor(centre + 0.5) − B // 2``, as in RELION. A centre that is no number, or outside of the
    micrograph, is noted; with ``skip`` it has no image, with the others one that is empty (no number) or treated like any box
    at the edge. Normalised, and then inverted. One box is in memory besides the micrograph.

    Raises:
        ConfigFault: options that contradict each other, or a box that cannot be.
        UnreadableImage: complex pixels, or the stack would exceed the limits.
        StorageFault: the disk refused.
    """
    limits = limits or ReadLimits()
    _check_options(options, micrograph)
    places = _places(micrograph.shape, np.asarray(x, np.float64), np.asarray(y, np.float64), options)
    if not places.kept:
        return StackReport(None, 0, 0, 0, "", pixel_size_angstrom, places.left_out, places.notes)
    dtype = np.dtype(np.float32) if options.dtype == "float32" else stored_dtype(micrograph.dtype)
    shape = (len(places.kept), options.box, options.box)
    _check_total(shape, dtype, limits)
    fill = _mean(micrograph) if options.edge != "skip" else 0.0
    background = _background(options)
    label = "particles cut out of a micrograph, order of the rows kept"
    with new_stack(target, shape, dtype, pixel_size_angstrom=pixel_size_angstrom, label=label) as writer:
        for corner in places.kept:
            box = _cut(micrograph, corner, options.box, fill, dtype)
            if options.normalise:
                _normalise(box, background)
            if options.invert:
                np.negative(box, out=box)
            writer.append(box)
    return StackReport(
        target,
        shape[0],
        options.box,
        options.box,
        dtype.name,
        pixel_size_angstrom,
        places.left_out,
        places.notes,
    )


def _check_options(options: BoxOptions, micrograph: Pixels) -> None:
    if micrograph.dtype.kind == "c":
        raise UnreadableImage("complex pixels are a transform, not an image")
    if not 2 <= options.box <= 8192:
        raise ConfigFault(f"a box of {options.box} pixels", hint="boxes have 2 to 8192 pixels a side")
    if options.dtype == "source" and (options.invert or options.normalise):
        raise ConfigFault(
            "particles that are inverted or normalised are not of the micrograph's number type",
            hint="ask for float32, or for neither invert nor normalise",
        )
    radius = options.background_radius
    if radius is not None and not 0 < radius < options.box / 2:
        raise ConfigFault(
            f"a background outside of {radius} pixels does not lie in a box of {options.box}",
            hint="the radius is less than half the box",
        )
    if options.edge == "clamp" and options.box > min(micrograph.shape):
        raise ConfigFault(
            f"a box of {options.box} pixels cannot be moved into {micrograph.shape[1]} × {micrograph.shape[0]}",
            hint="take a smaller box, or another policy for the edge",
        )


@dataclass(frozen=True, slots=True)
class _Places:
    #: Row and column of each box's first pixel; None: an empty box.
    kept: list[tuple[int, int] | None]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def _places(
    shape: tuple[int, ...], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], options: BoxOptions
) -> _Places:
    height, width = shape
    kept: list[tuple[int, int] | None] = []
    left_out: list[LeftOut] = []
    notes: list[str] = []
    for number, (column, row) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        numbers = math.isfinite(column) and math.isfinite(row)
        outside = not (numbers and 0 <= column <= width and 0 <= row <= height)
        where = f"({column:g}, {row:g})"
        reason = "is no pair of numbers" if not numbers else "lies outside of the micrograph"
        if outside and options.edge != "skip":
            notes.append(f"row {number}: the centre {where} {reason}")
        if outside and options.edge == "skip":
            left_out.append(LeftOut(number, f"the centre {where} {reason}"))
        elif not numbers:
            kept.append(None)
        else:
            corner = _corner(row, height, options), _corner(column, width, options)
            if options.edge == "skip" and not _within(corner, shape, options.box):
                left_out.append(LeftOut(number, f"the box around {where} reaches beyond the edge"))
            else:
                kept.append(corner)
    return _Places(kept, tuple(left_out), tuple(notes))


def _corner(centre: float, side: int, options: BoxOptions) -> int:
    # Far outside is far outside, whatever the number.
    first = math.floor(min(max(centre, -1e9), 1e9) + 0.5) - options.box // 2
    return min(max(first, 0), side - options.box) if options.edge == "clamp" else first


def _within(corner: tuple[int, int], shape: tuple[int, ...], box: int) -> bool:
    return all(first >= 0 and first + box <= side for first, side in zip(corner, shape, strict=True))


def _cut(
    micrograph: Pixels, corner: tuple[int, int] | None, box: int, fill: float, dtype: np.dtype[np.generic]
) -> Pixels:
    if corner is not None and _within(corner, micrograph.shape, box):
        top, left = corner
        return micrograph[top : top + box, left : left + box].astype(dtype)
    whole = round(fill) if dtype.kind in "ui" else fill
    cut: Pixels = np.full((box, box), whole, dtype)
    if corner is not None:
        inner, outer = zip(
            *(_overlap(*pair, box) for pair in zip(corner, micrograph.shape, strict=True)), strict=True
        )
        cut[inner] = micrograph[outer]
    return cut


def _overlap(first: int, side: int, box: int) -> tuple[slice, slice]:
    """Which of a box's pixels lie on the micrograph, and where there."""
    start, stop = max(first, 0), min(first + box, side)
    if start >= stop:
        return slice(0, 0), slice(0, 0)
    return slice(start - first, stop - first), slice(start, stop)


def _mean(micrograph: Pixels) -> float:
    with np.errstate(all="ignore"):
        mean = float(micrograph.mean(dtype=np.float64))
        if math.isfinite(mean):
            return mean
        finite = micrograph[np.isfinite(micrograph)]
        return float(finite.mean(dtype=np.float64)) if finite.size else 0.0


def _background(options: BoxOptions) -> npt.NDArray[np.intp]:
    """Which pixels of a box, counted row by row, lie outside of the particle's circle."""
    radius = options.background_radius or _BACKGROUND_SHARE * options.box / 2
    distance = np.arange(options.box) - options.box // 2
    return np.flatnonzero(distance[:, None] ** 2 + distance[None, :] ** 2 > radius**2)


def _normalise(box: Pixels, background: npt.NDArray[np.intp]) -> None:
    values = box.ravel().take(background).astype(np.float64)
    mean = values.mean()
    values -= mean
    spread = np.sqrt(np.einsum("i,i->", values, values) / values.size)
    np.subtract(box, np.float32(mean), out=box)
    if spread > 0:
        np.divide(box, np.float32(spread), out=box)
