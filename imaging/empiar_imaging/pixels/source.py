"""One way to open any image: MRC, TIFF, EER, and these inside gzip, bzip2, Zstandard or xz.

Rows are given as stored: row 0 is the first in the file. Programs differ in which end of a TIFF they call the
top (RELION and IMOD turn TIFF upside down when they read it); nothing is turned here.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

import numpy as np
import numpy.typing as npt

from empiar_imaging.formats import mrc, tiff
from empiar_imaging.formats.evidence import FileBytes, Inspection
from empiar_imaging.formats.inspect import inspect
from empiar_imaging.formats.tiff_walk import MAGICS as TIFF_MAGICS
from empiar_imaging.pixels.dm_layout import dm_layout
from empiar_imaging.pixels.limits import ReadLimits
from empiar_imaging.pixels.mrc_layout import mrc_layout
from empiar_imaging.pixels.raw import Pixels, RawFrames, RawLayout
from empiar_imaging.pixels.tiff import EerFrames, check_frame, open_tiff
from empiar_imaging.pixels.unpack import compression_of, unpack
from empiar_schema.disk import storage_fault
from empiar_schema.faults import EmpiarMirrorError, UnreadableImage
from empiar_schema.paths import suffix_of, text_from_bytes

#: Other formats whose pixels stand uncompressed: suffix → what finds them. A format joins by an entry here.
RAW_FORMATS: Final[dict[str, Callable[[FileBytes], RawLayout]]] = {".dm3": dm_layout, ".dm4": dm_layout}

#: Endings of finding codes that mean the pixels cannot be had, or not all of them.
_FATAL: Final = (".bad_header", ".truncated", ".ifd_loop", ".short_data", ".empty")
_ERROR_TEXT: Final = "body.error_text"
_JUDGED_BY_NAME: Final = mrc.SUFFIXES | tiff.SUFFIXES | frozenset(RAW_FORMATS)


class Frames(Protocol):
    """What each format gives: frames of one size and number type."""

    width: int
    height: int
    frames: int
    dtype: np.dtype[np.generic]

    def frame(self, index: int) -> Pixels:
        """Frame `index`, ``(height, width)``, native byte order."""
        ...

    def add_to(self, total: Pixels, index: int) -> None:
        """Frame `index` is added to `total`."""
        ...


class ImageSource:
    """An open image, movie or stack of `frames` frames of `height` × `width` pixels."""

    def __init__(self, name: str, frames: Frames, *, pixel_size_angstrom: float | None) -> None:
        self.name = name
        self._frames = frames
        self.width, self.height, self.frames = frames.width, frames.height, frames.frames
        self.dtype = frames.dtype
        self.pixel_size_angstrom = pixel_size_angstrom
        #: The frames count single electrons (EER): what means something is their sum.
        self.counts_events = isinstance(frames, EerFrames)

    def frame(self, index: int) -> Pixels:
        """Frame `index` (from 0), ``(height, width)``, native byte order; perhaps read-only.

        Raises:
            UnreadableImage: there is no such frame, or it cannot be decoded.
            StorageFault: the disk could not be read.
        """
        if not 0 <= index < self.frames:
            raise UnreadableImage(f"{self.name}: image {index + 1} is asked for, there are {self.frames}")
        with _translated(self.name):
            return self._frames.frame(index)

    def __iter__(self) -> Iterator[Pixels]:
        return (self.frame(index) for index in range(self.frames))

    def total(self) -> Pixels:
        """The sum of all frames, exact for whole numbers. In memory: the sum and one frame.

        Raises:
            UnreadableImage: complex pixels, or a frame that cannot be decoded.
            StorageFault: the disk could not be read.
        """
        if self.dtype.kind == "c":
            raise UnreadableImage(f"{self.name}: complex pixels are a transform, not an image")
        total = np.zeros((self.height, self.width), self._sum_dtype())
        for index in range(self.frames):
            with _translated(self.name):
                self._frames.add_to(total, index)
        return total

    def _sum_dtype(self) -> type[np.generic]:
        if self.dtype.kind not in "uib" or self.dtype.itemsize > 2:
            return np.float64 if self.dtype.itemsize > 4 else np.float32
        most = 255 if self.dtype.itemsize == 1 else 65_535
        if self.counts_events and self.frames <= 65_535:
            return np.uint16  # a frame can count a pixel once only
        return np.int32 if self.frames * most < 2**31 else np.float64


def shown_name(path: Path) -> str:
    """The file's name as stored text, fit for a sentence whatever its bytes are."""
    return text_from_bytes(os.fsencode(path.name))


@contextmanager
def open_image(
    path: Path, *, name: str | None = None, limits: ReadLimits | None = None
) -> Iterator[ImageSource]:
    """The image at `path`, open; its `name` (default: the path's own) says what to expect by its suffix.

    Raises:
        UnreadableImage: cut, damaged, beyond the limits, of no known format, or an error message in place of data.
        StorageFault: the disk could not be read.
        ConfigFault: a library that is needed is not installed.
    """
    limits = limits or ReadLimits()
    name = shown_name(path) if name is None else name
    with ExitStack() as stack:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise storage_fault(error, f"cannot read {path}") from error
        file: IO[bytes] = stack.enter_context(os.fdopen(fd, "rb"))
        with _translated(name):
            source = _open(file, name, limits, stack)
        yield source


def _open(file: IO[bytes], name: str, limits: ReadLimits, stack: ExitStack) -> ImageSource:
    data = FileBytes(file.fileno(), os.fstat(file.fileno()).st_size)
    kind = compression_of(data.read(0, 8))
    suffix = suffix_of(name)
    if kind is not None:
        file = stack.enter_context(unpack(file, kind, limits))
        data = FileBytes(file.fileno(), os.fstat(file.fileno()).st_size)
        suffix = suffix.removesuffix(kind)
        name = name[: -len(kind)] if name.lower().endswith(kind) else name
    head = data.read(0, mrc.HEADER_BYTES)
    # A TIFF called .gain, or an MRC without a suffix, is looked through like any other.
    judged = name if suffix in _JUDGED_BY_NAME else name + _suffix_by_content(head, data.size)
    inspection = inspect(file.fileno(), name=judged, size=data.size)
    _refuse_unsound(inspection)
    frames = _frames(file, data, head, suffix, limits)
    if frames.frames > limits.frames:
        raise UnreadableImage(f"{frames.frames} frames; {limits.frames} are allowed")
    facts = inspection.facts
    return ImageSource(name, frames, pixel_size_angstrom=facts.pixel_size_angstrom if facts else None)


def _suffix_by_content(head: bytes, size: int) -> str:
    if head[:4] in TIFF_MAGICS:
        return ".tif"
    header = mrc.parse_header(head, size=size)
    return ".mrc" if header is not None and header.map_stamp else ""


def _refuse_unsound(inspection: Inspection) -> None:
    for item in inspection.evidence:
        error_page = item.code == _ERROR_TEXT and item.start == 0
        if error_page or item.code.endswith(_FATAL):
            what = "an error message stands in place of data" if error_page else item.detail
            raise UnreadableImage(
                what, hint="`empiar-mirror verify` says whether the archive holds the file like this."
            )


def _frames(file: IO[bytes], data: FileBytes, head: bytes, suffix: str, limits: ReadLimits) -> Frames:
    if head[:4] in TIFF_MAGICS:
        return open_tiff(file, limits)
    if suffix in RAW_FORMATS:
        return _raw(data, RAW_FORMATS[suffix](data), limits)
    header = mrc.parse_header(head, size=data.size)
    if suffix in mrc.SUFFIXES or (header is not None and header.map_stamp):
        if header is not None and not mrc.is_mrc(header):
            raise UnreadableImage("the name says MRC, the content is something else")
        return _raw(data, mrc_layout(data), limits)
    raise UnreadableImage(f"the pixels of a {suffix or 'nameless'} file cannot be read")


def _raw(data: FileBytes, layout: RawLayout, limits: ReadLimits) -> RawFrames:
    given = layout.width * layout.height * layout.given_dtype.itemsize
    check_frame(layout.width, layout.height, max(given, layout.frame_bytes), limits)
    return RawFrames(data.fd, layout)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Whatever a decoder raises becomes one sentence about the file.

    Decoders of foreign bytes raise many classes (struct.error, zlib.error, IndexError, their own); none of them
    means anything but that the file is not as it should be.
    """
    try:
        yield
    except UnreadableImage as fault:
        if str(fault).startswith(f"{name}: "):
            raise
        raise UnreadableImage(f"{name}: {fault}", hint=fault.hint) from fault
    except EmpiarMirrorError:
        raise
    except MemoryError as error:
        raise UnreadableImage(f"{name}: not enough memory for one frame") from error
    except struct.error as error:
        raise UnreadableImage(f"{name}: its structure is damaged: {error}") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # a seek to where no file can reach
            raise UnreadableImage(f"{name}: its structure is damaged: {error}") from error
        raise storage_fault(error, f"cannot read {name}") from error
    except Exception as error:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UnreadableImage(f"{name}: it cannot be decoded: {text}") from error


def read_image(path: Path, *, name: str | None = None, limits: ReadLimits | None = None) -> Pixels:
    """The one image in a file: its frame as stored; of several frames their mean, of an EER file their sum.

    Means are float32. In memory: two frames at most.

    Raises:
        UnreadableImage: cut, damaged, beyond the limits, complex, or of no known format.
        StorageFault: the disk could not be read.
        ConfigFault: a library that is needed is not installed.
    """
    with open_image(path, name=name, limits=limits) as source:
        return one_image(source)


def one_image(source: ImageSource) -> Pixels:
    """What `read_image` gives, of an open file."""
    if source.dtype.kind == "c":
        raise UnreadableImage(f"{source.name}: complex pixels are a transform, not an image")
    if source.frames == 1:
        return source.frame(0)
    total = source.total()
    return total if source.counts_events else mean_of(total, source.frames)


def mean_of(total: Pixels, frames: int) -> npt.NDArray[np.float32]:
    """``total / frames`` as float32; where `total` has 4 bytes a pixel, in its own memory."""
    mean: npt.NDArray[np.float32]
    mean = total.view(np.float32) if total.dtype.itemsize == 4 else np.empty(total.shape, np.float32)
    # Row by row, since the same memory is read as one type and written as another.
    for row, out in zip(total, mean, strict=True):
        out[...] = row.astype(np.float64) / frames
    return mean
