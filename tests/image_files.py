"""Image files built by hand: what no library writes (EER, old MRC, 4-bit MRC), and an image without any symmetry."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import mrcfile
import numpy as np

EER_7_BIT = 65001
EER_8_BIT = 65000


def asymmetric(height: int, width: int, dtype: str = "float32") -> np.ndarray:
    """Every pixel another value (as far as the type allows), no flip or rotation like another."""
    return (np.arange(height * width).reshape(height, width) % 120).astype(dtype)


def write_mrc(path: Path, data: np.ndarray, *, pixel_size: float = 1.34, extended: bytes = b"") -> Path:
    """An MRC file by mrcfile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mrcfile sets array shapes in a way that NumPy 2.5 deprecates
        with mrcfile.new(path, data, overwrite=True) as mrc:
            mrc.voxel_size = pixel_size
            if extended:
                mrc.set_extended_header(np.frombuffer(extended, dtype="V1"))
    return path


def read_mrc(path: Path) -> np.ndarray:
    """The data of an MRC file by mrcfile, strict."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        with mrcfile.open(path) as mrc:
            return np.array(mrc.data)


def mrc_bytes(
    pixels: bytes,
    *,
    shape: tuple[int, int, int],
    mode: int,
    order: str = "<",
    stamp: bool = True,
    extended: bytes = b"",
    imod_flags: int | None = None,
) -> bytes:
    """A header of (nx, ny, nz) = `shape` with cells of 2.5 Å, then `pixels`."""
    raw = bytearray(1024)
    struct.pack_into(f"{order}4i", raw, 0, *shape, mode)
    struct.pack_into(f"{order}3i3f", raw, 28, *shape, *(2.5 * n for n in shape))
    struct.pack_into(f"{order}i", raw, 92, len(extended))
    if imod_flags is not None:
        struct.pack_into(f"{order}2i", raw, 152, 1146047817, imod_flags)
    if stamp:
        raw[208:216] = b"MAP \x44\x44\0\0" if order == "<" else b"MAP \x11\x11\0\0"
    return bytes(raw) + extended + pixels


def nibbles(image: np.ndarray) -> bytes:
    """Rows of 4-bit pixels, the first of two in the lower half of a byte, each row padded to a whole byte."""
    padded = np.pad(image, ((0, 0), (0, image.shape[1] % 2))).astype(np.uint8)
    return (padded[:, 0::2] | padded[:, 1::2] << 4).tobytes()


def eer_events(hits: Sequence[int], pixels: int, *, skip_bits: int = 7) -> bytes:
    """One EER frame: the gap before each hit pixel, a sub-pixel of 4 bits, and the gap that is left at the end.

    RELION's documented reading: a gap of all ones means "so far, and more".
    """
    most = (1 << skip_bits) - 1
    bits: list[int] = []

    def put(value: int, count: int) -> None:
        bits.extend(value >> i & 1 for i in range(count))

    def gap(length: int) -> None:
        while length >= most:
            put(most, skip_bits)
            length -= most
        put(length, skip_bits)

    position = 0
    for hit in hits:
        gap(hit - position)
        put(5, 4)
        position = hit + 1
    gap(pixels - position)
    return np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def eer_file(
    frames: Sequence[Sequence[int]], *, height: int, width: int, compression: int = EER_7_BIT
) -> bytes:
    """A BigTIFF with one directory and one strip for each frame."""
    skip_bits = 8 if compression == EER_8_BIT else 7
    raw = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16))
    for number, hits in enumerate(frames):
        events = eer_events(hits, height * width, skip_bits=skip_bits)
        tags = [
            (256, 4, width), (257, 4, height), (258, 3, 1), (259, 3, compression), (262, 3, 1),
            (273, 16, 0), (277, 3, 1), (278, 4, height), (279, 16, len(events)),
        ]  # fmt: skip
        start = len(raw)
        data_at = start + 8 + 20 * len(tags) + 8
        following = data_at + len(events) + len(events) % 2 if number + 1 < len(frames) else 0
        raw += struct.pack("<Q", len(tags))
        for tag, kind, value in tags:
            raw += struct.pack("<HHQQ", tag, kind, 1, data_at if tag == 273 else value)
        raw += struct.pack("<Q", following) + events + b"\0" * (len(events) % 2)
    return bytes(raw)
