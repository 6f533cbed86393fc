"""What only reading every byte of a file shows: images of one value, NaN, compressed data that do not unpack.

Nothing here reads: whoever streams a file for its digest hands the pieces on. What is needed before (where the pixels
of a TIFF stand) is read from the structure when the scan begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from empiar_imaging.formats import mrc, tiff
from empiar_imaging.formats.evidence import Evidence, FileBytes
from empiar_imaging.formats.unpack import KINDS, UnpackScan
from empiar_schema.paths import suffix_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Frames that a finding names one by one.
NAMED: Final = 5
_MAGICS: Final = {"gzip": b"\x1f\x8b\x08", "bzip2": b"BZh", "zstd": b"\x28\xb5\x2f\xfd"}
#: How pixels of an MRC mode are compared: complex numbers as pairs, what is packed by the byte.
_MRC_TYPES: Final = {0: "i1", 1: "i2", 2: "f4", 3: "i2", 4: "f4", 6: "u2", 12: "f2", 101: "u1"}
_TIFF_TYPES: Final = {
    ("uint", 8): "u1", ("uint", 16): "u2", ("uint", 32): "u4",
    ("int", 8): "i1", ("int", 16): "i2", ("int", 32): "i4",
    ("float", 16): "f2", ("float", 32): "f4", ("float", 64): "f8",
}  # fmt: skip
_HALF_EXPONENT: Final = 0x7C00

#: First byte, end, and number of a frame or of a part of it.
Run = tuple[int, int, int]


class Scan(Protocol):
    """A check of a file that passes by in pieces."""

    def feed(self, data: memoryview) -> None:
        """`data` follows what came before; the buffer may be reused afterwards."""

    def end(self) -> tuple[Evidence, ...]:
        """The file is over: what was found."""


def scan_of(data: FileBytes, *, name: str) -> Scan | None:
    """The check that fits the file; None where there is none. It wants all bytes, from the first to the last.

    Raises:
        OSError: the file could not be read.
    """
    suffix = suffix_of(name)
    kind = KINDS.get(f".{suffix.rpartition('.')[2]}")
    if kind is not None:
        return UnpackScan(kind) if data.read(0, 4).startswith(_MAGICS[kind]) else None
    if suffix in mrc.SUFFIXES:
        return _mrc_scan(data)
    if suffix in tiff.SUFFIXES or suffix == ".gain":
        return _tiff_scan(data)
    return None


def _mrc_scan(data: FileBytes) -> Scan | None:
    header = mrc.parse_header(data.read(0, mrc.HEADER_BYTES), size=data.size)
    if header is None or not mrc.is_mrc(header) or not header.plausible or header.mode not in mrc.MODES:
        return None
    first = mrc.HEADER_BYTES + header.extended_bytes
    frame_bytes = (header.expected_bytes or first) - first
    frame_bytes //= header.nz
    runs = ((first + n * frame_bytes, first + (n + 1) * frame_bytes, n) for n in range(header.nz))
    return PixelScan(runs, f"{header.byte_order}{_MRC_TYPES[header.mode]}")


def _tiff_scan(data: FileBytes) -> Scan | None:
    plain = tiff.plain_frames(data)
    if plain is None or (plain.sample, plain.bits) not in _TIFF_TYPES:
        return None
    return PixelScan(iter(plain.runs), f"{plain.order}{_TIFF_TYPES[plain.sample, plain.bits]}")


@dataclass(slots=True)
class _Frames:
    """Frames with a finding: how many, and the first by number."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, frame: int) -> None:
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(frame)

    def __str__(self) -> str:
        named = ", ".join(str(number + 1) for number in self.first)
        return f"{self.count} ({named}{', …' if self.count > len(self.first) else ''})"


class PixelScan:
    """Looks for frames of one value and for NaN. `runs` are the stretches of pixels, in the order of the file.

    Least and greatest value of every stretch are all that is worked out: NaN and infinity show in them.
    """

    def __init__(self, runs: Iterator[Run], dtype: str) -> None:
        import numpy

        self._runs = runs
        self._dtype = numpy.dtype(dtype)
        self._half = self._dtype.kind == "f" and self._dtype.itemsize == 2
        #: Half floats are slow to compare; as whole numbers they show the same.
        self._seen_as = numpy.dtype(f"{dtype[0]}u2") if self._half else self._dtype
        self._run: Run | None = next(runs, None)
        self._at = 0
        self._rest = b""
        self._frames = 0
        self._frame: int | None = None
        self._low: float | None = None
        self._varies = False
        self._infinite = False
        self._constant = _Frames()
        self._not_finite = _Frames()

    def feed(self, data: memoryview) -> None:
        """`data` follows what came before; the buffer may be reused afterwards."""
        start, stop = self._at, self._at + len(data)
        while self._run is not None and self._run[0] < stop:
            first, last, frame = self._run
            piece = data[max(first, start) - start : min(last, stop) - start]
            if frame != self._frame:
                self._close()
                self._frame = frame
            self._look(piece)
            if last > stop:
                break
            self._rest = b""  # what is less than a pixel at a stretch's end belongs to nothing
            self._run = next(self._runs, None)
        self._at = stop

    def _look(self, piece: memoryview) -> None:
        import numpy

        width = self._dtype.itemsize
        if self._rest:
            missing = width - len(self._rest)
            joined = self._rest + bytes(piece[:missing])
            piece = piece[missing:]
            if len(joined) < width:
                self._rest = joined
                return
            self._compare(numpy.frombuffer(joined, self._seen_as))
        whole = len(piece) - len(piece) % width
        self._rest = bytes(piece[whole:])
        if whole:
            self._compare(numpy.frombuffer(piece[:whole], self._seen_as))

    def _compare(self, pixels: npt.NDArray[np.generic]) -> None:
        import numpy

        if self._varies and (self._infinite or self._dtype.kind != "f"):
            return
        with numpy.errstate(invalid="ignore"):
            low, high = float(pixels.min()), float(pixels.max())
        if self._half:
            exponents = pixels.astype(numpy.uint16) & _HALF_EXPONENT
            self._infinite = self._infinite or bool((exponents == _HALF_EXPONENT).any())
        elif self._dtype.kind == "f":
            self._infinite = self._infinite or not (numpy.isfinite(low) and numpy.isfinite(high))
        self._low = low if self._low is None else self._low
        # NaN is equal to nothing, itself included.
        self._varies = self._varies or not low == high == self._low

    def _close(self) -> None:
        """The frame at hand is over."""
        if self._frame is not None and self._low is not None:
            self._frames += 1
            if self._infinite:
                self._not_finite.add(self._frame)
            if not self._varies:
                self._constant.add(self._frame)
        self._low, self._varies, self._infinite, self._rest = None, False, False, b""

    def end(self) -> tuple[Evidence, ...]:
        """The file is over: what was found. There is nothing to fetch again, since the bytes are the proven ones."""
        self._close()
        found = []
        if self._not_finite.count:
            found.append(
                Evidence("image.not_finite", f"in {self._not_finite} of {self._frames} frames", 0, 0)
            )
        if self._constant.count == self._frames > 0:
            found.append(Evidence("image.constant", f"in all {self._frames} frames", 0, 0))
        elif self._constant.count:
            detail = f"in {self._constant} of {self._frames} frames"
            found.append(Evidence("image.constant_frames", detail, 0, 0))
        return tuple(found)
