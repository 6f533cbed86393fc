"""Images that no flip maps onto themselves, made whole from their path when somebody reads them.

Particles stand so that a pick that is mirrored in either direction, or whose X and Y are swapped, meets no particle;
each is brighter towards larger rows; and a bright "L" stands in the corner of row 0 and column 0. Whoever reads an image
upside down, or counts Y from the other edge, sees it at once.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from math import isqrt
from typing import Literal

from empiar_mirror.rehearsal import content
from empiar_mirror.rehearsal.archive import Drawing
from empiar_mirror.rehearsal.content import PIXEL_ANGSTROM, MrcGeometry, mrc_header
from empiar_mirror.rehearsal.dm4 import dm4_bytes

#: Pixels.
RADIUS = 12
#: No two particles, and no particle and the mirror image of one, are closer; pixels.
APART = 3 * RADIUS
#: Particles of one image.
AT_MOST = 10
#: Rows and columns of the corner that holds the mark.
_CORNER = 44
_MARK = ((4, 40, 4, 9), (35, 40, 4, 26))

Place = tuple[int, int]


def places(path: bytes, nx: int, ny: int, *, margin: int) -> list[Place]:
    """Centres (column, row) of the particles in the image at `path` of `nx` × `ny`, at least `margin` from its edges.

    Rows count from the first one in the file. Each image has its own number of particles, up to `AT_MOST`.
    """
    found: list[Place] = []
    wanted = AT_MOST - number_of(path) % 4
    for attempt in range(400):
        if len(found) == wanted:
            break
        digest = blake2b(b"%d %b" % (attempt, path), digest_size=8).digest()
        across, down = (int.from_bytes(half, "little") for half in (digest[:4], digest[4:]))
        place = margin + across % (nx - 2 * margin), margin + down % (ny - 2 * margin)
        images = list(mirrored(place, nx, ny))
        near_corner = any(x < _CORNER + RADIUS and y < _CORNER + RADIUS for x, y in (place, *images))
        if near_corner or any(_near(place, image) for image in images):
            continue
        if not any(_near(place, other) for old in found for other in (old, *mirrored(old, nx, ny))):
            found.append(place)
    return found


def mirrored(place: Place, nx: int, ny: int) -> Iterator[Place]:
    """Where a reader looks who mistakes the direction of X, of Y, of both, or takes one for the other."""
    x, y = place
    yield from ((x, ny - y), (nx - x, y), (nx - x, ny - y), (y, x))


def number_of(name: bytes) -> int:
    """A number of 32 bits that belongs to the name."""
    return int.from_bytes(blake2b(name, digest_size=4).digest(), "little")


def _near(one: Place, other: Place) -> bool:
    return math.dist(one, other) < APART


def _rows(places: list[Place], nx: int, ny: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The bright runs of an image: row, first column, end column, and offsets (dx, dy) of the first from its centre."""
    for x, y in places:
        for dy in range(max(-RADIUS, -y), min(RADIUS, ny - 1 - y) + 1):
            half = isqrt(RADIUS * RADIUS - dy * dy)
            first, end = max(0, x - half), min(nx, x + half + 1)
            yield y + dy, first, end, first - x, dy


def _label(version: int) -> bytes:
    # As long for every version: a label is no reason for another size.
    return (b"Rehearsal archive" + (b", version %d" % version if version else b"")).ljust(40)


@dataclass(frozen=True, slots=True)
class Micrograph:
    """One image of 32-bit floats: noise of deviation 1, discs of brightness 3, the mark of brightness 6."""

    nx: int = 509
    ny: int = 431
    #: Least distance of particles from the edges, in pixels.
    margin: int = 30
    #: Å, as the header says.
    pixel: float = PIXEL_ANGSTROM

    @property
    def size(self) -> int:
        """See `Drawing`."""
        return self._geometry.size

    @property
    def _geometry(self) -> MrcGeometry:
        return MrcGeometry(self.nx, self.ny, 1, 2)

    def places(self, path: bytes) -> list[Place]:
        """Centres of its particles, if it stands at `path`."""
        return places(path, self.nx, self.ny, margin=self.margin)

    def draw(self, path: bytes, version: int) -> bytes:
        """See `Drawing`."""
        header = mrc_header(self._geometry, pixel=self.pixel, label=_label(version))
        return header + self.pixels(path, version).tobytes()

    def pixels(self, path: bytes, version: int = 0) -> array[float]:
        """Its pixels row by row."""
        pixels = array("f", content.noise("float32", path, 4 * self.nx * self.ny, version=version))
        for row, first, end, dx, dy in _rows(self.places(path), self.nx, self.ny):
            for at in range(row * self.nx + first, row * self.nx + end):
                pixels[at] += 3.0 + dy / RADIUS + 0.3 * dx / RADIUS
                dx += 1
        for top, bottom, left, right in _MARK:
            for row in range(top, bottom):
                for at in range(row * self.nx + left, row * self.nx + right):
                    pixels[at] += 6.0
        return pixels


@dataclass(frozen=True, slots=True)
class Even:
    """An image that holds the same value everywhere."""

    value: float
    nx: int = 509
    ny: int = 431

    @property
    def size(self) -> int:
        """See `Drawing`."""
        return MrcGeometry(self.nx, self.ny, 1, 2).size

    def draw(self, path: bytes, version: int) -> bytes:
        """See `Drawing`."""
        header = mrc_header(MrcGeometry(self.nx, self.ny, 1, 2), label=_label(version))
        return header + array("f", [self.value]).tobytes() * (self.nx * self.ny)


@dataclass(frozen=True, slots=True)
class Cut:
    """The first `size` bytes of another drawing."""

    whole: Drawing
    size: int

    def draw(self, path: bytes, version: int) -> bytes:
        """See `Drawing`."""
        return self.whole.draw(path, version)[: self.size]


@dataclass(frozen=True, slots=True)
class ParticleStack:
    """Square boxes cut out of micrographs, as they are there: not normalised, not inverted, not scaled.

    A box of `side` pixels begins ``side // 2`` columns and rows before the particle's centre.
    """

    micrograph: Micrograph
    #: Path of the micrograph (with the entry's number) and centre, a section each.
    boxes: tuple[tuple[bytes, Place], ...]
    side: int

    @property
    def size(self) -> int:
        """See `Drawing`."""
        return self._geometry.size

    @property
    def _geometry(self) -> MrcGeometry:
        return MrcGeometry(self.side, self.side, len(self.boxes), 2)

    def draw(self, path: bytes, version: int) -> bytes:
        """See `Drawing`."""
        pieces = [mrc_header(self._geometry, pixel=self.micrograph.pixel, label=_label(version))]
        for source, (x, y) in self.boxes:
            pixels = _pixels(self.micrograph, source)
            for row in range(y - self.side // 2, y - self.side // 2 + self.side):
                start = row * self.micrograph.nx + x - self.side // 2
                pieces.append(pixels[start : start + self.side].tobytes())
        return b"".join(pieces)


@lru_cache(maxsize=16)
def _pixels(micrograph: Micrograph, path: bytes) -> array[float]:
    return micrograph.pixels(path)


#: Columns and rows at which a detector's gain changes, as shares of its width and height, and the gain from there on.
_COLUMNS = ((0.0, 0.7), (0.2, 1.0), (0.55, 1.4))
_ROWS = ((0.0, 0.8), (0.35, 1.25))
#: What single pixels add to that: each has one of these.
_PIXELS = (0.88, 0.96, 1.04, 1.12)
#: The gain of each class of pixels: six fields that no flip leaves in place, and four kinds of pixels in each.
_GAINS = tuple(down * across * own for _, down in _ROWS for _, across in _COLUMNS for own in _PIXELS)


#: Different counts of one pixel. With the class of the pixel, one of them fits into a byte.
_LEVELS = 8


@lru_cache(maxsize=4)
def _classes(nx: int, ny: int) -> bytes:
    """The class of each pixel of a detector: an index of `_GAINS`, a byte each."""
    bounds = [int(share * nx) for share, _ in _COLUMNS] + [nx]
    spans = [end - start for start, end in pairwise(bounds)]
    fields = []
    for y in range(ny):
        down = sum(y >= int(share * ny) for share, _ in _ROWS) - 1
        first = down * len(_COLUMNS)
        fields += [bytes([len(_PIXELS) * (first + n)]) * span for n, span in enumerate(spans)]
    own = content.noise("bytes", b"pixels of a detector", nx * ny).translate(bytes(n % 4 for n in range(256)))
    return _sum(b"".join(fields), own)


def _sum(one: bytes, other: bytes) -> bytes:
    # No two of these bytes add up to 256, so two images can be added as two numbers.
    return (int.from_bytes(one) + int.from_bytes(other)).to_bytes(len(one))


def _table(low: float, high: float) -> bytes:
    """From ``class * _LEVELS + level`` to a count: `low` to `high`, divided by the gain of the class."""
    step = (high - low) / (_LEVELS - 1)
    counts = [round((low + level * step) / gain) for gain in _GAINS for level in range(_LEVELS)]
    return bytes(counts).ljust(256, b"\0")


_GROUND, _BRIGHT = _table(20, 44), _table(50, 90)
_TO_LEVEL = bytes(number * _LEVELS // 256 for number in range(256))
_TO_FIRST = bytes(min(number * _LEVELS, 255) for number in range(256))


@dataclass(frozen=True, slots=True)
class Movie:
    """Frames of raw counts, in 8-bit TIFF or 16-bit MRC. Times the gain, their mean shows the particles on an even ground."""

    form: Literal["tiff", "mrc"]
    frames: int
    nx: int = 509
    ny: int = 431
    margin: int = 30

    @property
    def size(self) -> int:
        """See `Drawing`."""
        if self.form == "tiff":
            return content.tiff_size(self.nx, self.ny, self.frames)
        return self._geometry.size

    @property
    def _geometry(self) -> MrcGeometry:
        return MrcGeometry(self.nx, self.ny, self.frames, 1)

    def places(self, path: bytes) -> list[Place]:
        """Centres of its particles, if it stands at `path`."""
        return places(path, self.nx, self.ny, margin=self.margin)

    def draw(self, path: bytes, version: int) -> bytes:
        """See `Drawing`."""
        frames = [self.frame(path, number, version) for number in range(self.frames)]
        if self.form == "mrc":
            wide = bytearray(2 * self.nx * self.ny * self.frames)
            wide[::2] = b"".join(frames)
            return mrc_header(self._geometry, label=_label(version)) + wide
        pieces: list[bytes] = []
        # Each frame's pixels follow its directory.
        structure = content.tiff_structure(self.nx, self.ny, self.frames)
        pieces.append(structure[0][1])
        for (_, directory), pixels in zip(structure[1:], frames, strict=True):
            pieces += [directory, pixels]
        return b"".join(pieces)

    def frame(self, path: bytes, number: int, version: int = 0) -> bytes:
        """The counts of one frame, a byte each, row by row."""
        key = b"%b frame %d" % (path, number)
        noise = content.noise("bytes", key, self.nx * self.ny, version=version).translate(_TO_LEVEL)
        chosen = _sum(_classes(self.nx, self.ny).translate(_TO_FIRST), noise)
        out = bytearray(chosen.translate(_GROUND))
        for row, first, end, _, _ in _rows(self.places(path), self.nx, self.ny):
            at = slice(row * self.nx + first, row * self.nx + end)
            out[at] = chosen[at].translate(_BRIGHT)
        return bytes(out)


@dataclass(frozen=True, slots=True)
class Gain:
    """The reference of a detector: 32-bit floats to multiply counts by, in MRC or DM4."""

    form: Literal["mrc", "dm4"] = "mrc"
    nx: int = 509
    ny: int = 431
    #: The last row of the detector stands first.
    upside_down: bool = False

    @property
    def size(self) -> int:
        """See `Drawing`."""
        return len(self.draw(b"", 0))

    def draw(self, path: bytes, version: int) -> bytes:
        """See `Drawing`."""
        del path  # A reference is the same under any name.
        classes = _classes(self.nx, self.ny)
        rows = [classes[start : start + self.nx] for start in range(0, len(classes), self.nx)]
        stored = b"".join(rows[::-1] if self.upside_down else rows)
        pixels = array("f", [_GAINS[number] for number in stored]).tobytes()
        if self.form == "dm4":
            return dm4_bytes(self.nx, self.ny, pixels, name=_label(version).decode())
        return mrc_header(MrcGeometry(self.nx, self.ny, 1, 2), label=_label(version)) + pixels
