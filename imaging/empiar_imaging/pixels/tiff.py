"""TIFF, BigTIFF and EER as pixels, by tifffile and imagecodecs, after the structure has been checked.

EER: each frame is a run-length list of the pixels that an electron hit (Guo et al., IUCrJ 7 (2020) 860). It is drawn at
the detector's own 4k grid; the sub-pixel positions are left out.
"""

from __future__ import annotations

import logging
import os
from typing import IO, TYPE_CHECKING, Final

import numpy as np

from empiar_imaging.formats.tiff_walk import EER_COMPRESSIONS
from empiar_imaging.pixels.limits import ReadLimits, images_extra
from empiar_imaging.pixels.raw import Pixels, RawFrames, RawLayout
from empiar_schema.faults import UnreadableImage

if TYPE_CHECKING:
    import tifffile

_UNCOMPRESSED: Final = 1
#: Compressions whose output is bounded by the image's size: LZW, Deflate (two numbers), PackBits, LZMA, Zstandard.
_BOUNDED: Final = frozenset({_UNCOMPRESSED, 5, 8, 32946, 32773, 34925, 34926, 50000})
#: Bits of the run lengths by the kind of EER (65002 states them in tags).
_SKIP_BITS: Final = {65000: 8, 65001: 7}
_SKIP_TAG, _X_BITS_TAG, _Y_BITS_TAG = 65007, 65008, 65009


def open_tiff(file: IO[bytes], limits: ReadLimits) -> RawFrames | TiffFrames | EerFrames:
    """The frames of an open TIFF or EER file. What tifffile raises is left to the caller to translate.

    Raises:
        UnreadableImage: colour, a compression that is not read, or a frame larger than the limits allow.
        ConfigFault: tifffile or imagecodecs is not installed.
    """
    with images_extra():
        import imagecodecs  # noqa: F401 - tifffile asks for it only when it meets a compressed frame
        import tifffile
    # What it finds odd is in our own findings already, or ends as a fault.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # The name is for its messages only; an open descriptor has none.
    tiff = tifffile.TiffFile(file, name="image")
    count = len(tiff.pages)
    first = tiff.pages[0].aspage()
    if (
        first.compression == _UNCOMPRESSED
        and count > 1
        and tiff.pages[1].aspage().compression in EER_COMPRESSIONS
    ):
        # Some writers put the sum before the frames.
        return EerFrames(file.fileno(), tiff, limits, skipped=1)
    if first.compression in EER_COMPRESSIONS:
        return EerFrames(file.fileno(), tiff, limits, skipped=0)
    _check(first, limits)
    if count == 1 and tiff.is_imagej:
        layout = _imagej_layout(tiff, os.fstat(file.fileno()).st_size)
        if layout is not None:
            return RawFrames(file.fileno(), layout)
    return TiffFrames(tiff, count, limits)


def _check(page: tifffile.TiffPage, limits: ReadLimits) -> None:
    if page.samplesperpixel != 1:
        raise UnreadableImage(
            f"the TIFF has {page.samplesperpixel} colours a pixel: it is a picture, not data"
        )
    if page.compression not in _BOUNDED:
        raise UnreadableImage(f"TIFF compression {int(page.compression)} is not read")
    if page.dtype is None or page.dtype.kind not in "uifcb":
        raise UnreadableImage(
            f"TIFF pixels of {page.bitspersample} bits, sample format {page.sampleformat}, are not read"
        )
    tile = int(page.tilewidth or 0) * int(page.tilelength or 0) * page.dtype.itemsize
    bytes_needed = max(int(page.imagewidth) * int(page.imagelength) * page.dtype.itemsize, tile)
    check_frame(int(page.imagewidth), int(page.imagelength), bytes_needed, limits)


def check_frame(width: int, height: int, needed: int, limits: ReadLimits) -> None:
    """A frame of this size is allowed.

    Raises:
        UnreadableImage: it is empty, or takes more than ``limits.frame_bytes``.
    """
    if min(width, height) < 1:
        raise UnreadableImage(f"the header states {width} × {height} pixels, which no image has")
    if needed > limits.frame_bytes:
        raise UnreadableImage(
            f"a frame of {width} × {height} pixels takes {needed} bytes; {limits.frame_bytes} are allowed",
            hint="raise the limit for one frame if the image is meant to be so large",
        )


def _imagej_layout(tiff: tifffile.TiffFile, size: int) -> RawLayout | None:
    """ImageJ writes a large stack behind one directory that describes its first image only."""
    series = tiff.series[0]
    if len(series.shape) != 3 or series.dataoffset is None:
        return None
    frames, height, width = (int(side) for side in series.shape)
    dtype = np.dtype(f"{tiff.byteorder}{series.dtype.str[1:]}")
    layout = RawLayout(int(series.dataoffset), width, height, frames, dtype)
    needed = layout.offset + layout.frames * layout.frame_bytes
    if needed > size:
        raise UnreadableImage(
            f"the file is cut: {frames} images of {width} × {height} pixels need {needed} bytes, there are {size}"
        )
    return layout


class TiffFrames:
    """The frames of a TIFF file, one directory each."""

    def __init__(self, tiff: tifffile.TiffFile, count: int, limits: ReadLimits) -> None:
        page = tiff.pages[0].aspage()
        self._tiff = tiff
        self._limits = limits
        self.width, self.height, self.frames = int(page.imagewidth), int(page.imagelength), count
        self.dtype: np.dtype[np.generic] = np.dtype(page.dtype).newbyteorder("=")

    def frame(self, index: int) -> Pixels:
        """Frame `index` (from 0), decoded.

        Raises:
            UnreadableImage: it is unlike the first frame, or beyond the limits.
        """
        page = self._tiff.pages[index].aspage()
        _check(page, self._limits)
        if (int(page.imagelength), int(page.imagewidth)) != (self.height, self.width):
            raise UnreadableImage(
                f"image {index + 1} of the TIFF has {page.imagewidth} × {page.imagelength} pixels, "
                f"the first {self.width} × {self.height}"
            )
        # One worker: the pool that called us has one process for each core already.
        pixels: Pixels = page.asarray(maxworkers=1)
        return pixels.reshape(self.height, self.width).astype(self.dtype, copy=False)

    def add_to(self, total: Pixels, index: int) -> None:
        """Frame `index` is added to `total`."""
        np.add(total, self.frame(index), out=total, casting="unsafe")


class EerFrames:
    """The frames of an EER file: how many electrons hit each pixel, 0 or 1 as a rule."""

    def __init__(self, fd: int, tiff: tifffile.TiffFile, limits: ReadLimits, *, skipped: int) -> None:
        page = tiff.pages[skipped].aspage()
        self._fd, self._tiff, self._limits, self._skipped = fd, tiff, limits, skipped
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        self.frames = len(tiff.pages) - skipped
        self.dtype: np.dtype[np.generic] = np.dtype(np.uint8)
        # A sum needs two bytes a pixel.
        check_frame(self.width, self.height, 2 * self.width * self.height, limits)

    def frame(self, index: int) -> Pixels:
        """Frame `index` (from 0)."""
        counts = np.zeros((self.height, self.width), np.uint8)
        self._decode(counts, index)
        return counts

    def add_to(self, total: Pixels, index: int) -> None:
        """Frame `index` is added to `total`; straight into it, which is quickest, where it is uint16."""
        if total.dtype == np.uint16:
            self._decode(total, index)
        else:
            np.add(total, self.frame(index), out=total, casting="unsafe")

    def _decode(self, counts: Pixels, index: int) -> None:
        import imagecodecs

        page = self._tiff.pages[index + self._skipped].aspage()
        if page.compression not in EER_COMPRESSIONS or (page.imagelength, page.imagewidth) != counts.shape:
            raise UnreadableImage(f"frame {index + 1} of the EER file is unlike the first")
        data = self._events(page, index)
        skip, x_bits, y_bits = _SKIP_BITS.get(int(page.compression), 7), 2, 2
        if int(page.compression) not in _SKIP_BITS:
            skip, x_bits, y_bits = (
                int(page.tags.valueof(tag, default))
                for tag, default in ((_SKIP_TAG, 7), (_X_BITS_TAG, 2), (_Y_BITS_TAG, 2))
            )
        # The decoder refuses an odd number of bytes.
        imagecodecs.eer_decode(
            data + b"\0" * (len(data) % 2), counts.shape, skip, x_bits, y_bits, superres=0, out=counts
        )

    def _events(self, page: tifffile.TiffPage, index: int) -> bytes:
        strips = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        length = sum(count for _, count in strips)
        if length == 0:
            raise UnreadableImage(f"frame {index + 1} of the EER file is empty")
        if length > self._limits.frame_bytes:
            raise UnreadableImage(f"frame {index + 1} of the EER file states {length} bytes of events")
        data = b"".join(os.pread(self._fd, count, offset) for offset, count in strips)
        if len(data) < length:
            raise UnreadableImage(f"the EER file is cut in frame {index + 1}")
        return data
