"""The door for a process pool: one function for each kind of derived file, a small request in, a small result out.

Requests and results hold paths, numbers and words only, so they pickle; nothing heavy is imported before a function
runs. Each function holds one image in memory (a frame average: two frames), writes below the paths of its request
alone, and leaves nothing behind when it fails. All may raise UnreadableImage (about the file; final), StorageFault
(about the disk; pause) and ConfigFault (a missing library, contradicting options), which pickle too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from empiar_imaging.pixels.limits import ReadLimits

if TYPE_CHECKING:
    from empiar_imaging.pixels.contrast import Method
    from empiar_imaging.pixels.gain import Operation, Orientation
    from empiar_imaging.pixels.jpeg import Rendition
    from empiar_imaging.pixels.raw import Pixels
    from empiar_imaging.pixels.stacks import BoxOptions, StackReport, StackSlice
    from empiar_imaging.pixels.thumbnail import PickLayer, PictureFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegRequest:
    """A rendition of `source` at `target`."""

    source: Path
    target: Path
    method: Method = "percentile"
    #: 1 to 100, as libjpeg counts.
    quality: int = 90
    limits: ReadLimits = field(default_factory=ReadLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegResult:
    """What was written; of several frames the picture shows the mean, of an EER file the sum."""

    path: Path
    bytes: int
    rendition: Rendition
    frames: int


def make_jpeg(request: JpegRequest) -> JpegResult:
    """The rendition stands at ``request.target``, durably."""
    from empiar_imaging.pixels.durable import write_durably
    from empiar_imaging.pixels.jpeg import render_jpeg
    from empiar_imaging.pixels.source import one_image, open_image

    with open_image(request.source, limits=request.limits) as source:
        data, rendition = render_jpeg(one_image(source), method=request.method, quality=request.quality)
        write_durably(request.target, data)
        return JpegResult(path=request.target, bytes=len(data), rendition=rendition, frames=source.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailRequest:
    """A thumbnail at `target`, and a power spectrum at `spectrum_target` if that is given; the source is read once."""

    source: Path
    target: Path
    spectrum_target: Path | None = None
    layers: tuple[PickLayer, ...] = ()
    size: int = 512
    picture: PictureFormat = "jpeg"
    #: None: the file's own, if it states one.
    pixel_size_angstrom: float | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailResult:
    """What was written and drawn."""

    path: Path
    spectrum_path: Path | None
    width: int
    height: int
    reduction: float
    drawn: int
    nyquist_angstrom: float | None
    notes: tuple[str, ...]


def make_thumbnail(request: ThumbnailRequest) -> ThumbnailResult:
    """The thumbnail stands at its target, and the power spectrum at its own; an image too small for one has a note."""
    from empiar_imaging.pixels.durable import write_durably
    from empiar_imaging.pixels.source import one_image, open_image
    from empiar_imaging.pixels.thumbnail import render_thumbnail

    notes: list[str] = []
    with open_image(request.source, limits=request.limits) as source:
        image = one_image(source)
        pixel = request.pixel_size_angstrom or source.pixel_size_angstrom
    thumbnail = render_thumbnail(image, request.layers, size=request.size, picture=request.picture)
    write_durably(request.target, thumbnail.data)
    if thumbnail.not_drawn:
        notes.append(
            f"{thumbnail.not_drawn} picks are not drawn: outside of the image, no numbers, or too many"
        )
    spectrum_path, nyquist = None, None
    if request.spectrum_target is not None:
        spectrum_path, nyquist = _make_spectrum(request, image, pixel, notes)
    return ThumbnailResult(
        path=request.target,
        spectrum_path=spectrum_path,
        width=thumbnail.width,
        height=thumbnail.height,
        reduction=thumbnail.reduction,
        drawn=thumbnail.drawn,
        nyquist_angstrom=nyquist,
        notes=tuple(notes),
    )


def _make_spectrum(
    request: ThumbnailRequest, image: Pixels, pixel: float | None, notes: list[str]
) -> tuple[Path | None, float | None]:
    from empiar_imaging.pixels.durable import write_durably
    from empiar_imaging.pixels.spectrum import power_spectrum
    from empiar_imaging.pixels.thumbnail import picture_of
    from empiar_schema.faults import UnreadableImage

    assert request.spectrum_target is not None
    try:
        spectrum = power_spectrum(image, size=request.size, pixel_size_angstrom=pixel)
    except UnreadableImage as fault:
        notes.append(f"no power spectrum: {fault}")
        return None, None
    write_durably(request.spectrum_target, picture_of(spectrum.grey, request.picture))
    return request.spectrum_target, spectrum.nyquist_angstrom


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageRequest:
    """The unaligned mean of a movie's frames at `target`, gain-corrected where that is certain."""

    movie: Path
    target: Path
    gain: Path | None = None
    orientation: Orientation | Literal["auto"] = "auto"
    #: None: multiplied, but divided for EER with a reference that is not called ``.gain``.
    operation: Operation | None = None
    #: None: the movie's own, if it states one.
    pixel_size_angstrom: float | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageResult:
    """What was written; `orientation` None: no gain was applied, and the notes say why."""

    path: Path
    label: str
    width: int
    height: int
    frames: int
    orientation: Orientation | None
    operation: Operation | None
    dead_pixels: int
    pixel_size_angstrom: float | None
    notes: tuple[str, ...]


def make_frame_average(request: AverageRequest) -> AverageResult:
    """An MRC file (float32) stands at the target; its label says what it is. An unreadable gain reference is a note."""
    from contextlib import ExitStack

    from empiar_imaging.pixels.movies import average_movie
    from empiar_imaging.pixels.mrc_files import write_image
    from empiar_imaging.pixels.source import open_image
    from empiar_schema.faults import UnreadableImage

    notes: list[str] = []
    with ExitStack() as stack:
        movie = stack.enter_context(open_image(request.movie, limits=request.limits))
        gain = None
        if request.gain is not None:
            try:
                gain = stack.enter_context(open_image(request.gain, limits=request.limits))
            except UnreadableImage as fault:
                notes.append(f"gain not applied: {fault}")
        average = average_movie(movie, gain, orientation=request.orientation, operation=request.operation)
        pixel = request.pixel_size_angstrom or movie.pixel_size_angstrom
    write_image(request.target, average.mean, pixel_size_angstrom=pixel, label=average.label)
    return AverageResult(
        path=request.target,
        label=average.label,
        width=average.mean.shape[1],
        height=average.mean.shape[0],
        frames=average.frames,
        orientation=average.orientation,
        operation=average.operation,
        dead_pixels=average.dead_pixels,
        pixel_size_angstrom=pixel,
        notes=(*notes, *average.notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRequest:
    """One micrograph's particles from deposited stacks, in the order of `slices`."""

    slices: tuple[StackSlice, ...]
    target: Path
    #: None: the first stack's own.
    pixel_size_angstrom: float | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)


def make_split_stack(request: SplitRequest) -> StackReport:
    """The stack stands at the target; rows without an image are in the report."""
    from empiar_imaging.pixels.stacks import split_stack

    return split_stack(
        request.slices,
        request.target,
        pixel_size_angstrom=request.pixel_size_angstrom,
        limits=request.limits,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest:
    """One micrograph's particles cut out at centres `x`, `y` (pixels, rows as stored, origin at the top)."""

    micrograph: Path
    target: Path
    x: tuple[float, ...]
    y: tuple[float, ...]
    options: BoxOptions
    #: None: the micrograph's own, if it states one.
    pixel_size_angstrom: float | None = None
    limits: ReadLimits = field(default_factory=ReadLimits)


def make_extracted_stack(request: ExtractRequest) -> StackReport:
    """The stack stands at the target; rows without an image are in the report."""
    from empiar_imaging.pixels.source import one_image, open_image
    from empiar_imaging.pixels.stacks import extract_stack

    with open_image(request.micrograph, limits=request.limits) as source:
        return extract_stack(
            one_image(source),
            request.x,
            request.y,
            request.target,
            request.options,
            pixel_size_angstrom=request.pixel_size_angstrom or source.pixel_size_angstrom,
            limits=request.limits,
        )
