"""Bytes as a function of name and size, so that an archive of any size costs no disk.

A file is noise with patches over it: the headers, directories and bright particles that its name promises. Noise
of every 64 KiB unit starts elsewhere in one fixed pattern and carries a stamp of file and unit number, so no two
units of a file, and no two files, are equal: a client that puts a block in the wrong place cannot go unnoticed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import random
import struct
import zipfile
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from math import isqrt
from typing import Literal

UNIT = 64 * 1024
_PERIOD = 1024 * 1024
_MASK = 2**64 - 1

#: Å per pixel of MRC files that do not say otherwise, and what the API says of them.
PIXEL_ANGSTROM = 1.77
#: Pixels; no two particles of a micrograph are closer.
PARTICLE_CELL = 128
_PARTICLE_RADIUS = 12
_PARTICLES_AT_MOST = 64
#: Pixels; of several square stacks that fill a size, the one nearest to this side is meant.
_STACK_SIDE = 256
_EER_FRAME_BYTES = 32768

Noise = Literal["bytes", "int16", "float32", "text"]
Patch = tuple[int, bytes]

_TEXT_SUFFIXES = {"txt", "log", "mdoc", "csv", "tsv", "json", "xml", "md", "tlt", "star", "cfg"}
_TIFF_SUFFIXES = {"tif", "tiff", "gain"}
#: Mode and whether the file is a stack, by suffix.
_MRC_SUFFIXES = {
    "mrc": (2, False),
    "map": (2, False),
    "rec": (2, True),
    "mrcs": (1, True),
    "st": (1, True),
    "ali": (1, True),
}
_MODE_BYTES = {0: 1, 1: 2, 2: 4, 6: 2, 12: 2}


@dataclass(frozen=True, slots=True)
class MrcGeometry:
    """Columns, rows, sections, mode and extended-header bytes of an MRC file."""

    nx: int
    ny: int
    nz: int
    mode: int
    nsymbt: int = 0

    @property
    def size(self) -> int:
        """Bytes of the whole file: ``1024 + nsymbt + nx·ny·nz·bytes(mode)``."""
        return 1024 + self.nsymbt + self.nx * self.ny * self.nz * _MODE_BYTES[self.mode]


@dataclass(frozen=True, slots=True)
class _Layout:
    noise: Noise
    noise_start: int
    patches: tuple[Patch, ...]
    patch_ends: tuple[int, ...]


def mrc_size(nx: int, ny: int, nz: int, mode: int) -> int:
    """Bytes of an MRC file without extended header."""
    return MrcGeometry(nx, ny, nz, mode).size


def tiff_size(width: int, height: int, frames: int) -> int:
    """Bytes of a TIFF file of 8-bit frames as `read` lays it out."""
    return _CLASSIC.header_bytes + frames * (_CLASSIC.ifd_bytes(_TIFF_TAGS) + width * height)


def eer_size(frames: int) -> int:
    """Bytes of an EER file of up to 40 frames as `read` lays it out."""
    room = frames * (_BIG.ifd_bytes(_EER_TAGS) + _EER_FRAME_BYTES)
    return _BIG.header_bytes + len(_EER_METADATA) + room


def read(path: bytes, size: int, offset: int, count: int, *, version: int = 0) -> bytes:
    """Bytes ``[offset, offset + count)`` of the file `path` of `size` bytes, shorter at its end.

    Another `version` of the same path and size has other noise under the same header.
    """
    stop = min(offset + count, size)
    if offset < 0 or stop <= offset:
        return b""
    layout = _layout(path, size)
    seed = _seed(path, size, version)
    if layout.noise == "text":
        return _text(seed, offset, stop)
    out = bytearray(_noise(layout, seed, offset, stop))
    first = bisect_left(layout.patch_ends, offset + 1)
    for start, data in layout.patches[first:]:
        if start >= stop:
            break
        low, high = max(start, offset), min(start + len(data), stop)
        out[low - offset : high - offset] = data[low - start : high - start]
    return bytes(out)


def mrc_geometry(path: bytes, size: int) -> MrcGeometry | None:
    """The geometry that makes `size` exact for the MRC file `path`; None where name or size allow none.

    Bytes that fill no square image stand in the extended header.
    """
    kind = _MRC_SUFFIXES.get(_suffix(path))
    if kind is None:
        return None
    mode, stack = kind
    pixels, rest = divmod(size - 1024, _MODE_BYTES[mode])
    if pixels < 1:
        return None
    if stack and rest == 0:
        sections = [nz for nz in range(2, 257) if isqrt(pixels // nz) ** 2 * nz == pixels]
        if sections:
            nz = min(sections, key=lambda nz: abs(isqrt(pixels // nz) - _STACK_SIDE))
            side = isqrt(pixels // nz)
            return MrcGeometry(side, side, nz, mode)
    side = isqrt(pixels)
    return MrcGeometry(side, side, 1, mode, size - 1024 - side * side * _MODE_BYTES[mode])


def particles(stem: bytes, nx: int, ny: int) -> list[tuple[int, int]]:
    """Centres (column, row) in pixels of the particles in the micrograph `stem` of `nx` × `ny`."""
    places: list[tuple[int, int]] = []
    jitter = PARTICLE_CELL // 2 - 2 * _PARTICLE_RADIUS
    for row in range(ny // PARTICLE_CELL):
        for column in range(nx // PARTICLE_CELL):
            mixed = _mix(_seed(stem, row, column))
            middle = PARTICLE_CELL // 2 - jitter // 2
            x = column * PARTICLE_CELL + middle + mixed % jitter
            y = row * PARTICLE_CELL + middle + (mixed >> 32) % jitter
            places.append((x, y))
    return places[:_PARTICLES_AT_MOST]


def noise(kind: Noise, key: bytes, size: int, *, version: int = 0) -> bytes:
    """`size` bytes of noise for `key`; another key, size or version has another one."""
    return _noise(_Layout(kind, 0, (), ()), _seed(key, size, version), 0, size)


def stem_of(path: bytes) -> bytes:
    """File name without folders and last suffix."""
    name = path.rpartition(b"/")[2]
    return name.rpartition(b".")[0] or name


def packed(path: bytes, inner_size: int) -> bytes:
    """A real ``.gz``, ``.bz2`` or ``.zip`` stream holding the file that its name promises.

    Its size results from the content, so the archive keeps these bytes and not a size alone.
    """
    inner, _, suffix = path.rpartition(b".")
    data = read(inner, inner_size, 0, inner_size)
    if suffix == b"bz2":
        return bz2.compress(data)
    if suffix == b"gz":
        return gzip.compress(data, compresslevel=1, mtime=0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo(inner.rpartition(b"/")[2].decode() + ".tif", (2023, 4, 14, 9, 0, 0))
        archive.writestr(member, read(inner + b".tif", inner_size, 0, inner_size))
    return buffer.getvalue()


def _suffix(path: bytes) -> str:
    return path.rpartition(b"/")[2].rpartition(b".")[2].decode("ascii", "replace").lower()


@lru_cache(maxsize=4096)
def _seed(path: bytes, size: int, version: int) -> int:
    key = struct.pack("<qq", size, version) + path
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


def _mix(number: int) -> int:
    # The finaliser of splitmix64: neighbouring numbers come out far apart.
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _MASK
    return number ^ (number >> 31)


@lru_cache(maxsize=4)
def _pattern(noise: Noise) -> bytes:
    """One period of the pattern and a unit more, so that every unit is one slice."""
    source = random.Random(0)  # noqa: S311 - a fixed pattern is wanted, not a secret
    if noise == "bytes":
        period = source.randbytes(_PERIOD)
    elif noise == "int16":
        period = array("h", [int(source.gauss(400.0, 60.0)) for _ in range(_PERIOD // 2)]).tobytes()
    else:
        period = array("f", [source.gauss(0.0, 1.0) for _ in range(_PERIOD // 4)]).tobytes()
    return period + period[:UNIT]


def _stamp(seed: int, unit: int) -> bytes:
    # Four numbers in [1, 2) as float32: no NaN appears among the pixels.
    bits = (_mix(seed ^ unit) << 32 | unit & 0xFFFFFFFF) & (2**92 - 1)
    return struct.pack("<4I", *(0x3F800000 | (bits >> shift) & 0x7FFFFF for shift in (0, 23, 46, 69)))


def _noise(layout: _Layout, seed: int, offset: int, stop: int) -> bytes:
    pattern = memoryview(_pattern(layout.noise))
    # Units are counted from the first pixel, so that float32 noise stays aligned behind any header.
    base = layout.noise_start % UNIT
    first, last = (offset - base) // UNIT, (stop - base - 1) // UNIT
    pieces: list[bytes | memoryview] = []
    for unit in range(first, last + 1):
        turn = _mix(seed + unit) % _PERIOD & ~3
        pieces += [_stamp(seed, unit), pattern[turn + 16 : turn + UNIT]]
    joined = memoryview(b"".join(pieces))
    skip = offset - base - first * UNIT
    return bytes(joined[skip : skip + stop - offset])


_LINE = 64


def _text(seed: int, offset: int, stop: int) -> bytes:
    first, last = offset // _LINE, (stop - 1) // _LINE
    lines = b"".join(
        b"%012d  %016x  %s\n"
        % (line, _mix(seed + line), b"rehearsal archive, line of text".ljust(_LINE - 33))
        for line in range(first, last + 1)
    )
    return lines[offset - first * _LINE : stop - first * _LINE]


@lru_cache(maxsize=256)
def _layout(path: bytes, size: int) -> _Layout:
    suffix = _suffix(path)
    noise: Noise = "bytes"
    start = 0
    patches: list[Patch] = []
    geometry = mrc_geometry(path, size)
    if geometry is not None:
        noise = "int16" if geometry.mode == 1 else "float32"
        start = 1024 + geometry.nsymbt
        patches = [(0, mrc_header(geometry)), *_bright_rows(path, geometry)]
    elif suffix in _TIFF_SUFFIXES and size > 1024:
        patches = _tiff_patches(size)
    elif suffix == "eer" and size > 65536:
        patches = _eer_patches(size)
    elif suffix == "dm4" and size > 24:
        patches = [(0, struct.pack(">IQI", 4, size - 24, 1)), (size - 8, bytes(8))]
    elif suffix in _TEXT_SUFFIXES:
        noise = "text"
    return _Layout(noise, start, tuple(patches), tuple(begin + len(data) for begin, data in patches))


def mrc_header(
    geometry: MrcGeometry, *, pixel: float = PIXEL_ANGSTROM, label: bytes = b"Rehearsal archive"
) -> bytes:
    """The MRC2014 header, `pixel` in Å; density statistics are marked as not determined, as the format allows."""
    header = bytearray(1024 + geometry.nsymbt)
    struct.pack_into("<4i", header, 0, geometry.nx, geometry.ny, geometry.nz, geometry.mode)
    struct.pack_into("<3i", header, 28, geometry.nx, geometry.ny, geometry.nz)
    cell = [length * pixel for length in (geometry.nx, geometry.ny, geometry.nz)]
    struct.pack_into("<6f", header, 40, *cell, 90.0, 90.0, 90.0)
    struct.pack_into("<3i", header, 64, 1, 2, 3)
    struct.pack_into("<3f", header, 76, 0.0, -1.0, -2.0)
    struct.pack_into("<i", header, 92, geometry.nsymbt)
    header[104:108] = b"MRCO" if geometry.nsymbt else bytes(4)
    struct.pack_into("<i", header, 108, 20140)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    struct.pack_into("<f", header, 216, -1.0)
    struct.pack_into("<i", header, 220, 1)
    header[224:304] = label.ljust(80)[:80]
    return bytes(header)


def _bright_rows(path: bytes, geometry: MrcGeometry) -> list[Patch]:
    """Bright discs at the particles of a single micrograph, as runs of pixels."""
    name = path.rpartition(b"/")[2].lower()
    if geometry.mode != 2 or geometry.nz != 1 or b"gain" in name or b"ref" in name:
        return []
    start, row_bytes = 1024 + geometry.nsymbt, 4 * geometry.nx
    rows: list[Patch] = []
    for x, y in particles(stem_of(path), geometry.nx, geometry.ny):
        for dy in range(-_PARTICLE_RADIUS, _PARTICLE_RADIUS + 1):
            half = isqrt(_PARTICLE_RADIUS**2 - dy * dy)
            bright = array("f", [4.0 - 0.1 * abs(dx) - 0.1 * abs(dy) for dx in range(-half, half + 1)])
            rows.append((start + (y + dy) * row_bytes + 4 * (x - half), bright.tobytes()))
    return sorted(rows)


@dataclass(frozen=True, slots=True)
class _Tiff:
    """The number widths of classic TIFF and of BigTIFF."""

    header_bytes: int
    count: str
    value: str

    def ifd_bytes(self, tags: int) -> int:
        return struct.calcsize(self.count) + tags * self.tag_bytes + struct.calcsize(self.value)

    @property
    def tag_bytes(self) -> int:
        return 4 + 2 * struct.calcsize(self.value)

    def ifd(self, tags: list[tuple[int, int, int, int]], next_ifd: int) -> bytes:
        """An image file directory of (tag, type, count, value); little-endian values stand left in their field."""
        value = "<HH" + self.value[1:] * 2
        body = b"".join(struct.pack(value, *tag) for tag in tags)
        return struct.pack(self.count, len(tags)) + body + struct.pack(self.value, next_ifd)


_CLASSIC = _Tiff(8, "<H", "<I")
_BIG = _Tiff(16, "<Q", "<Q")
_TIFF_TAGS = 10
_EER_TAGS = 9
_SHORT, _LONG, _UNDEFINED, _LONG8 = 3, 4, 7, 16


def _tiff_patches(size: int) -> list[Patch]:
    """Directories of a TIFF whose 8-bit square frames fill `size`; what fills none trails behind the last."""
    form = _BIG if size >= 2**32 else _CLASSIC
    ifd_bytes = form.ifd_bytes(_TIFF_TAGS)
    frames, side = 1, 0
    for guess in range(64, 0, -1):
        strip, rest = divmod(size - form.header_bytes - guess * ifd_bytes, guess)
        if strip > 0 and rest == 0 and isqrt(strip) ** 2 == strip:
            frames, side = guess, isqrt(strip)
            break
    side = side or isqrt(size - form.header_bytes - ifd_bytes)
    return _tiff_structure(form, side, side, frames)


def tiff_structure(width: int, height: int, frames: int) -> list[Patch]:
    """Header and directories of a classic TIFF of `tiff_size` bytes; each frame's pixels follow its directory."""
    return _tiff_structure(_CLASSIC, width, height, frames)


def _tiff_structure(form: _Tiff, width: int, height: int, frames: int) -> list[Patch]:
    patches: list[Patch] = [(0, _tiff_header(form, form.header_bytes))]
    place = form.header_bytes
    wide = _LONG8 if form is _BIG else _LONG
    for frame in range(frames):
        strip = place + form.ifd_bytes(_TIFF_TAGS)
        after = strip + width * height
        tags = [
            (256, _LONG, 1, width),
            (257, _LONG, 1, height),
            (258, _SHORT, 1, 8),
            (259, _SHORT, 1, 1),
            (262, _SHORT, 1, 1),
            (273, wide, 1, strip),
            (277, _SHORT, 1, 1),
            (278, _LONG, 1, height),
            (279, wide, 1, width * height),
            (339, _SHORT, 1, 1),
        ]
        patches.append((place, form.ifd(tags, after if frame < frames - 1 else 0)))
        place = after
    return patches


def _tiff_header(form: _Tiff, first_ifd: int) -> bytes:
    if form is _BIG:
        return b"II" + struct.pack("<HHHQ", 43, 8, 0, first_ifd)
    return b"II" + struct.pack("<HI", 42, first_ifd)


_EER_METADATA = (
    b'<metadata><item name="acquisitionID">rehearsal</item><item name="cameraName">Falcon</item>'
    b'<item name="exposureTime" unit="s">5.0</item></metadata>'
)


def _eer_patches(size: int) -> list[Patch]:
    """Directories of an EER file, whose frames are noise: the chain is right, the coded electrons are not."""
    ifd_bytes = _BIG.ifd_bytes(_EER_TAGS)
    room = size - _BIG.header_bytes - len(_EER_METADATA)
    frames = max(1, min(40, room // (ifd_bytes + _EER_FRAME_BYTES)))
    strip_bytes = room // frames - ifd_bytes
    metadata_at = _BIG.header_bytes
    place = metadata_at + len(_EER_METADATA)
    patches: list[Patch] = [(0, _tiff_header(_BIG, place)), (metadata_at, _EER_METADATA)]
    for frame in range(frames):
        strip = place + ifd_bytes
        after = strip + strip_bytes
        tags = [
            (256, _LONG, 1, 4096),
            (257, _LONG, 1, 4096),
            (258, _SHORT, 1, 1),
            (259, _SHORT, 1, 65001),
            (262, _SHORT, 1, 1),
            (273, _LONG8, 1, strip),
            (278, _LONG, 1, 4096),
            (279, _LONG8, 1, strip_bytes),
            (65001, _UNDEFINED, len(_EER_METADATA), metadata_at),
        ]
        patches.append((place, _BIG.ifd(tags, after if frame < frames - 1 else 0)))
        place = after
    return patches
