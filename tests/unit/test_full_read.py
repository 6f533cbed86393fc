"""What only reading every byte shows: images of one value, NaN, compressed data that do not unpack."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import random
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.formats.evidence import MEANING, FileBytes
from empiar_imaging.formats.full_read import scan_of
from zstandard_frames import zstd

NOISE = random.Random(8).randbytes(300_000)
PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd.compress}
KIND = {"gz": "gzip", "bz2": "bzip2", "zst": "zstd"}


def read_through(content: bytes, name: str, *, piece: int = 1000) -> list[str]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        scan = scan_of(FileBytes(file.fileno(), len(content)), name=name)
    if scan is None:
        return []
    buffer = bytearray(piece)
    for start in range(0, len(content), piece):
        part = content[start : start + piece]
        buffer[: len(part)] = part
        scan.feed(memoryview(buffer)[: len(part)])
    found = scan.end()
    assert all(item.code in MEANING for item in found)
    return [item.code for item in found]


Order = Literal["<", ">"]


def mrc_bytes(data: np.ndarray, mode: int, *, order: Order = "<", extended: int = 0) -> bytes:
    nz, ny, nx = data.shape
    raw = bytearray(1024 + extended)
    struct.pack_into(f"{order}4i", raw, 0, nx, ny, nz, mode)
    struct.pack_into(f"{order}i", raw, 92, extended)
    raw[208:216] = b"MAP \x44\x44\0\0" if order == "<" else b"MAP \x11\x11\0\0"
    return bytes(raw) + data.astype(data.dtype.newbyteorder(order)).tobytes()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(50, 9, shape)


MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("piece", [7, 1000, 100_000])
def test_constant_images_and_frames_are_found_and_others_are_not(mode: int, order: Order, piece: int) -> None:
    data = noise(4, 9, 11).astype(MODES[mode])
    assert read_through(mrc_bytes(data, mode, order=order, extended=13), "a.mrc", piece=piece) == []
    data[2] = 7
    content = mrc_bytes(data, mode, order=order, extended=13)
    assert read_through(content, "a.mrcs", piece=piece) == ["image.constant_frames"]
    data[:] = 7
    assert read_through(mrc_bytes(data, mode, order=order), "a.mrc", piece=piece) == ["image.constant"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", [2, 12])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("place", [0, 98, 395])
def test_a_single_value_that_is_not_finite_is_found_wherever_it_stands(
    value: float, mode: int, order: Order, place: int
) -> None:
    data = noise(4, 9, 11).astype(MODES[mode])
    data.reshape(-1)[place] = value
    assert read_through(mrc_bytes(data, mode, order=order), "a.mrc", piece=333) == ["image.not_finite"]


def test_an_image_of_nan_alone_is_not_called_constant() -> None:
    assert read_through(mrc_bytes(np.full((1, 5, 5), np.nan, "f4"), 2), "a.mrc") == ["image.not_finite"]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_uncompressed_tiff_frames_are_read_like_those_of_mrc(dtype: str, byteorder: Order, rows: int) -> None:
    data = noise(3, 40, 33).astype(dtype)

    def written(frames: np.ndarray) -> bytes:
        out = io.BytesIO()
        tifffile.imwrite(
            out, frames, byteorder=byteorder, rowsperstrip=rows, photometric="minisblack", metadata=None
        )
        return out.getvalue()

    assert read_through(written(data), "a.tif") == []
    data[1] = 3
    assert read_through(written(data), "a.tif") == ["image.constant_frames"]
    data[:] = 3
    assert read_through(written(data), "a.tif") == ["image.constant"]


def test_compressed_tiff_pixels_are_not_judged_by_their_bytes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 40, 33), "uint8"), compression="zlib", metadata=None, photometric="minisblack")  # fmt: skip
    assert read_through((tmp_path / "a.tif").read_bytes(), "a.tif") == []


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("piece", [13, 1000, 2**20])
def test_what_unpacks_is_sound_and_streams_may_follow_each_other(suffix: str, piece: int) -> None:
    pack = PACK[suffix]
    assert read_through(pack(NOISE), f"a.mrc.{suffix}", piece=piece) == []
    assert read_through(pack(NOISE[:999]) + pack(bytes(10**6)) + pack(b""), f"a.{suffix}", piece=piece) == []


def test_padding_behind_a_stream_is_no_damage() -> None:
    assert read_through(gzip.compress(NOISE) + bytes(700), "a.gz") == []


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_flipped_bit_within_is_damage(suffix: str, place: float) -> None:
    text = b"".join(b"%06d a line of a table\n" % n for n in range(9000))
    raw = bytearray(zstd.compress(text, options={zstd.CompressionParameter.checksum_flag: 1}) if suffix == "zst" else PACK[suffix](text))  # fmt: skip
    raw[int(place * len(raw))] ^= 4
    assert read_through(bytes(raw), f"a.star.{suffix}") in (
        [f"{KIND[suffix]}.damaged"],
        [f"{KIND[suffix]}.truncated"],
    )


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("cut", [1, 5, 100, 5000])
def test_a_stream_that_ends_early_is_truncated(suffix: str, cut: int) -> None:
    assert read_through(PACK[suffix](NOISE)[:-cut], f"a.mrc.{suffix}") == [f"{KIND[suffix]}.truncated"]


def test_a_bomb_is_given_up_and_said_so() -> None:
    bomb = bz2.compress(bytes(900_000)) * 2000  # 1.8 GB of zeros in 90 kB
    begin = time.process_time()
    assert read_through(bomb, "a.mrc.bz2", piece=2**20) == ["packed.not_fully_checked"]
    assert time.process_time() - begin < 30


@given(st.sampled_from(sorted(PACK)), st.data())
def test_damage_never_raises(suffix: str, data: st.DataObject) -> None:
    raw = bytearray(PACK[suffix](NOISE[:500] + bytes(500)))
    for _ in range(data.draw(st.integers(0, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read_through(bytes(raw[: data.draw(st.integers(1, len(raw)))]), f"a.mrc.{suffix}", piece=50)


@given(st.binary(max_size=600), st.integers(1, 700))
def test_any_content_under_an_image_name_is_read_through(content: bytes, piece: int) -> None:
    for head in (b"", mrc_bytes(noise(2, 3, 5).astype("f4"), 2)[:1024], b"II*\0\x08\0\0\0"):
        for name in ("a.mrc", "a.tif"):
            read_through(head + content, name, piece=piece)
