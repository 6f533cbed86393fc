"""Compressed files: whole ones are sound, cut ones are found."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tempfile
import zipfile
from pathlib import Path

import imagecodecs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.formats.evidence import MEANING
from empiar_imaging.formats.inspect import inspect

NOISE = random.Random(4).randbytes(200_000)
TEXT = b"stack_0002_2x_SumCorr.mrc\n" * 9000


def mrc(length: int = 10_000) -> bytes:
    raw = bytearray(1024 + length)
    struct.pack_into("<4i", raw, 0, length, 1, 1, 0)
    raw[208:216] = b"MAP \x44\x44\0\0"
    return bytes(raw)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def zstd(content: bytes) -> bytes:
    return bytes(imagecodecs.zstd_encode(content))


WHOLE = {
    "noise.dat.gz": gzip.compress(NOISE),
    "text.star.gz": gzip.compress(TEXT),
    "empty.gz": gzip.compress(b""),
    "inner.mrc.gz": gzip.compress(mrc()),
    "members.txt.gz": gzip.compress(TEXT) + gzip.compress(b"end\n"),
    "noise.dat.bz2": bz2.compress(NOISE),
    "text.bz2": bz2.compress(TEXT),
    "empty.bz2": bz2.compress(b""),
    "streams.bz2": bz2.compress(TEXT) + bz2.compress(NOISE),
    "noise.dat.zst": zstd(NOISE),
    "text.zst": zstd(TEXT),
    "frames.zst": zstd(TEXT) + zstd(NOISE),
    "noise.xz": lzma.compress(NOISE),
    "a.zip": zipped(a=NOISE, b=TEXT),
    "empty.zip": zipped(),
}


def look(name: str, content: bytes) -> list[str]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        found = inspect(file.fileno(), name=name, size=len(content))
    assert all(item.code in MEANING for item in found.evidence)
    assert all(item.start + item.length <= len(content) for item in found.evidence)
    return [item.code for item in found.evidence]


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_whole_file_is_sound(name: str) -> None:
    assert look(name, WHOLE[name]) == []


@pytest.mark.parametrize("name", sorted(name for name in WHOLE if not name.endswith(".gz")))
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 13, 40])
def test_a_cut_file_is_found(name: str, cut: int) -> None:
    content = WHOLE[name]
    assert cut >= len(content) or look(name, content[:-cut])


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 13, 20])
def test_a_cut_gzip_of_an_mrc_is_found_by_the_length_in_its_header(cut: int) -> None:
    assert look("inner.mrc.gz", WHOLE["inner.mrc.gz"][:-cut]) == ["gzip.truncated"]


def test_a_small_gzip_with_an_impossible_length_is_found() -> None:
    assert look("a.txt.gz", WHOLE["text.star.gz"][:-4] + b"\xff\xff\xff\xff") == ["gzip.truncated"]
    assert look("a.txt.gz", WHOLE["text.star.gz"][:15]) == ["gzip.truncated"]


def test_the_evidence_of_a_cut_bzip2_is_its_end() -> None:
    content = WHOLE["noise.dat.bz2"][:-50]
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        (found,) = inspect(file.fileno(), name="a.mrc.bz2", size=len(content)).evidence
    assert (found.start, found.start + found.length) == (len(content) - 11, len(content))


@pytest.mark.parametrize("length", range(1, 120))
def test_the_end_marker_of_bzip2_is_found_at_every_bit(length: int) -> None:
    assert look("a.bz2", bz2.compress(NOISE[:length])) == []


@pytest.mark.parametrize(
    ("suffix", "kind"), [("gz", "gzip"), ("bz2", "bzip2"), ("zst", "zstd"), ("xz", "xz"), ("zip", "zip")]
)
def test_other_content_under_the_name_is_called_so(suffix: str, kind: str) -> None:
    assert look(f"a.{suffix}", b"\x93NUMPY" + NOISE[:1000]) == [f"{kind}.bad_header"]


def test_a_zip_beyond_four_gigabytes_is_known_by_its_wide_records() -> None:
    wide = b"PK\6\7" + struct.pack("<IQI", 0, 1000, 1)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    content = b"PK\3\4" + NOISE[:2000]
    assert look("a.zip", content + wide + end) == []
    assert look("a.zip", content + end) == ["zip.truncated"]


def test_a_compressed_file_under_an_image_name_is_recognised(tmp_path: Path) -> None:
    content = WHOLE["noise.dat.gz"]
    path = tmp_path / "a.mrc"
    path.write_bytes(content)
    found = inspect(path, name="a.mrc", size=len(content))
    assert found.facts is not None
    assert (found.facts.format, found.facts.problems) == ("gzip", ("mrc.suffix_but_not_mrc",))


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_damaged_files_never_raise(name: str, data: st.DataObject) -> None:
    raw = bytearray(WHOLE[name][:2000] + WHOLE[name][-2000:])
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    look(name, bytes(raw[: data.draw(st.integers(1, len(raw)))]))
