"""Every format, cut everywhere and with every bit of its structure flipped: a finding or sound, never an exception, never long."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tempfile
import time
from collections.abc import Callable
from typing import BinaryIO, Literal

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from dm_files import dm_file
from empiar_imaging.formats.evidence import MEANING, FileBytes, Stretches
from empiar_imaging.formats.full_read import scan_of
from empiar_imaging.formats.inspect import inspect, peek
from zstandard_frames import zstd

PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd.compress}
#: More than any of these small files may take.
SECONDS = 0.5


def mrc(order: str = "<") -> bytes:
    raw = bytearray(1024 + 40)
    struct.pack_into(f"{order}4i", raw, 0, 7, 5, 2, 6)
    struct.pack_into(f"{order}3i3f", raw, 28, 7, 5, 2, 7.0, 5.0, 2.0)
    struct.pack_into(f"{order}i", raw, 92, 40)
    raw[104:108] = b"FEI1"
    raw[208:216] = b"MAP \x44\x44\0\0" if order == "<" else b"MAP \x11\x11\0\0"
    return bytes(raw) + np.arange(70, dtype=f"{order}u2").tobytes()


def tiff(*, bigtiff: bool = False, byteorder: Literal["<", ">"] = "<") -> bytes:
    out = io.BytesIO()
    data = np.arange(3 * 8 * 8, dtype="uint8").reshape(3, 8, 8)
    tifffile.imwrite(
        out,
        data,
        bigtiff=bigtiff,
        byteorder=byteorder,
        rowsperstrip=3,
        photometric="minisblack",
        metadata=None,
        resolution=(1e8, 1e8),
        resolutionunit="CENTIMETER",
    )
    return out.getvalue()


PLAIN = {
    "little.mrc": mrc(),
    "big.mrcs": mrc(">"),
    "little.tif": tiff(),
    "big.tiff": tiff(byteorder=">"),
    "wide.tif": tiff(bigtiff=True),
    "wide.eer": tiff(bigtiff=True),
    "a.dm3": dm_file(version=3),
    "a.dm4": dm_file(),
}
FILES = PLAIN | {
    f"{name}.{suffix}": pack(content) for name, content in PLAIN.items() for suffix, pack in PACK.items()
}


def look(file: BinaryIO, content: bytes, name: str) -> list[str]:
    """The codes found, by a look at the file, by a look at its first half, and by reading it through."""
    file.seek(0)
    file.truncate()
    file.write(content)
    file.flush()
    begin = time.process_time()
    found = inspect(file.fileno(), name=name, size=len(content)).evidence
    half = Stretches(len(content))
    half.add(0, content[: len(content) // 2])
    first = peek(half, name=name).evidence
    scan = scan_of(FileBytes(file.fileno(), len(content)), name=name)
    read: tuple[object, ...] = ()
    if scan is not None:
        scan.feed(memoryview(content))
        read = scan.end()
    assert time.process_time() - begin < SECONDS
    for item in (*found, *first):
        assert item.code in MEANING
        assert 0 <= item.start <= item.start + item.length <= max(len(content), 1)
    return [item.code for item in found] + [str(item) for item in read]


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_sound(name: str) -> None:
    with tempfile.TemporaryFile() as file:
        assert look(file, FILES[name], name) == []


@pytest.mark.parametrize("name", FILES)
def test_every_cut_is_a_finding(name: str) -> None:
    content = FILES[name]
    # The zeros at the end of DM files belong to nothing; tifffile leaves up to 22 bytes that nothing points to.
    spare = {"mrc": 0, "mrcs": 0, "dm3": 8, "dm4": 8}.get(name.rpartition(".")[2], 22 if name in PLAIN else 0)
    with tempfile.TemporaryFile() as file:
        for length in range(1, len(content) - spare):
            assert look(file, content[:length], name), length


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_a_finding_or_nothing(name: str) -> None:
    content = bytearray(FILES[name])
    with tempfile.TemporaryFile() as file:
        for bit in range(0, 8 * min(len(content), 700), 3):
            content[bit // 8] ^= 1 << bit % 8
            look(file, bytes(content), name)
            content[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("target", [0, 8, 2**31, 2**32 - 1])
@pytest.mark.parametrize("name", ["little.tif", "big.tiff"])
def test_lists_of_images_that_lead_back_or_out_of_the_file_are_findings(name: str, target: int) -> None:
    content = bytearray(PLAIN[name])
    order = "<" if content[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, first)
    struct.pack_into(f"{order}I", content, first + 2 + 12 * count, target)
    with tempfile.TemporaryFile() as file:
        found = look(file, bytes(content), name)
    # With 0 the list ends there: fewer images, which nothing contradicts.
    assert bool(found) == (target != 0)


@given(st.sampled_from(sorted(FILES)), st.data())
def test_any_damage_ends_as_a_finding_or_as_nothing(name: str, data: st.DataObject) -> None:
    raw = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        piece = data.draw(st.binary(min_size=1, max_size=8))
        raw[at : at + len(piece)] = piece
    with tempfile.TemporaryFile() as file:
        look(file, bytes(raw[: data.draw(st.integers(1, len(raw)))]), name)
