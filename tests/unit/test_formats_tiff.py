"""TIFF, BigTIFF and EER structure, with tifffile as oracle."""

from __future__ import annotations

import struct
import tempfile
import time
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from empiar_imaging.formats.evidence import MEANING
from empiar_imaging.formats.inspect import Inspection, inspect

SHAPE = (3, 40, 56)


class Options(TypedDict, total=False):
    """What the tests ask of tifffile."""

    bigtiff: bool
    byteorder: Literal["<", ">"]
    tile: tuple[int, int]
    rowsperstrip: int
    compression: str
    resolution: tuple[float, float]
    resolutionunit: str


def look(path: Path, name: str | None = None) -> Inspection:
    return inspect(path, name=name or path.name, size=path.stat().st_size)


def codes(found: Inspection) -> list[str]:
    assert all(item.code in MEANING for item in found.evidence)
    stated = [item.code for item in found.evidence]
    assert list(found.facts.problems if found.facts else ()) == list(dict.fromkeys(stated))
    return stated


def movie(path: Path, dtype: str = "uint16", **options: Unpack[Options]) -> Path:
    data = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    tifffile.imwrite(path, data, photometric="minisblack", metadata=None, **options)
    return path


def eer(frames: int = 4) -> bytes:
    """A BigTIFF as Falcon cameras write it: electron-counting strips, one IFD a frame, metadata in the first."""
    strip, metadata = (
        b"\xe5" * 333,
        b'<?xml version="1.0"?><metadata><item name="exposureTime">1</item></metadata>',
    )
    out = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16))
    for frame in range(frames):
        tags = [
            (256, 3, 4096),
            (257, 3, 4096),
            (259, 3, 65001),
            (273, 16, 0),
            (278, 3, 4096),
            (279, 4, len(strip)),
        ]
        start = len(out)
        body = start + 8 + 20 * (len(tags) + (frame == 0)) + 8
        tags[3] = (273, 16, body)
        raw = b"".join(struct.pack("<HHQQ", tag, kind, 1, value) for tag, kind, value in tags)
        if frame == 0:
            raw += struct.pack("<HHQQ", 65001, 7, len(metadata), body + len(strip))
        end = body + len(strip) + (len(metadata) if frame == 0 else 0)
        following = end if frame + 1 < frames else 0
        out += struct.pack("<Q", len(raw) // 20) + raw + struct.pack("<Q", following) + strip
        out += metadata if frame == 0 else b""
    return bytes(out)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"byteorder": ">", "bigtiff": True},
        {"tile": (16, 16)},
        {"rowsperstrip": 1},
        {"compression": "zlib"},
        {"compression": "lzw", "rowsperstrip": 3, "bigtiff": True},
        {"compression": "zstd", "tile": (32, 32)},
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_facts_are_those_that_tifffile_wrote(tmp_path: Path, dtype: str, options: Options) -> None:
    found = look(movie(tmp_path / "a.tif", dtype, **options))
    facts = found.facts
    assert facts is not None
    assert codes(found) == []
    assert (facts.format, facts.width, facts.height, facts.frames, facts.mode) == ("tiff", 56, 40, 3, dtype)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"rowsperstrip": 1},
        {"compression": "zlib", "tile": (16, 16)},
        {"byteorder": ">"},
    ],
)
def test_every_truncation_is_found(tmp_path: Path, options: Options) -> None:
    path = tmp_path / "a.tif"
    whole = movie(path, "uint8", **options).read_bytes()
    needed = bytes_needed(path)
    missed = []
    with path.open("r+b") as file:
        for length in range(len(whole) - 1, 0, -1):
            file.truncate(length)
            if not inspect(file.fileno(), name="a.tif", size=length).evidence:
                missed.append(length)
    # tifffile leaves some bytes behind the last image's list that nothing points to.
    assert missed == list(range(len(whole) - 1, needed - 1, -1))


def bytes_needed(path: Path) -> int:
    with tifffile.TiffFile(path) as oracle:
        counter, entry, pointer = (8, 20, 8) if oracle.is_bigtiff else (2, 12, 4)
        pages = [page.aspage() for page in oracle.pages]
        ends = [page.offset + counter + entry * len(page.tags) + pointer for page in pages]
        for page in pages:
            ends += [
                start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
            ends += [tag.valueoffset + tag.valuebytecount for tag in page.tags]
        return int(max(ends))


def test_a_cut_file_that_tifffile_shows_as_a_shorter_movie_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    path.write_bytes(eer(10)[:2500])
    assert codes(look(path)) == ["tiff.truncated"]


def test_an_eer_is_read_frame_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    path.write_bytes(eer(12))
    found = look(path)
    assert codes(found) == []
    assert found.facts is not None
    assert (found.facts.format, found.facts.frames, found.facts.width) == ("eer", 12, 4096)
    with tifffile.TiffFile(path) as oracle:
        assert len(oracle.pages) == 12


@pytest.mark.parametrize("length", [*range(1, 500, 7), *range(500, 2600, 61)])
def test_a_cut_eer_is_found_at_any_length(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.eer"
    whole = eer(6)
    path.write_bytes(whole[: min(length, len(whole) - 1)])
    assert codes(look(path))[0] in ("tiff.truncated", "tiff.bad_header", "tiff.suffix_but_not_tiff")


def test_the_evidence_is_where_the_structure_points_away(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    path.write_bytes(eer(4)[:-100])
    (found,) = look(path).evidence
    assert found.code == "tiff.truncated"
    assert 0 < found.start < path.stat().st_size
    assert found.start + found.length <= path.stat().st_size


def test_a_list_of_images_that_returns_into_itself_ends(tmp_path: Path) -> None:
    raw = bytearray(eer(3))
    last = raw.rfind(struct.pack("<HHQQ", 279, 4, 1, 333)) + 20
    struct.pack_into("<Q", raw, last, 16)
    path = tmp_path / "a.eer"
    path.write_bytes(raw)
    found = look(path)
    assert codes(found) == ["tiff.ifd_loop"]
    assert found.evidence[0].start == last


def test_a_file_whose_writer_never_finished_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\0\0\0\0" + bytes(4000))
    assert codes(look(path)) == ["tiff.bad_header"]


def test_an_absurd_number_of_tags_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, 65535) + bytes(1_000_000))
    assert codes(look(path)) == ["tiff.bad_header"]


def test_other_bytes_under_the_name_are_called_so_and_read_as_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(struct.pack("<4i", 4, 4, 1, 0) + bytes(192) + b"MAP \x44\x44\0\0" + bytes(808 + 16))
    found = look(path)
    assert codes(found) == ["tiff.suffix_but_not_tiff"]
    assert found.facts is not None
    assert (found.facts.format, found.facts.width) == ("mrc", 4)


def test_the_pixel_size_is_the_resolution_where_that_is_one_of_a_microscope(tmp_path: Path) -> None:
    for resolution, unit, expected in (
        ((1e8 / 0.822, 1e8 / 0.822), "CENTIMETER", 0.822),
        ((72, 72), "INCH", None),
    ):
        path = movie(tmp_path / "a.tif", resolution=resolution, resolutionunit=unit)
        facts = look(path).facts
        assert facts is not None
        assert facts.pixel_size_angstrom == (None if expected is None else pytest.approx(expected, rel=1e-4))


def test_smaller_versions_are_checked_and_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((64, 64), "uint8"), subifds=1, metadata=None)
        writer.write(np.zeros((32, 32), "uint8"), subfiletype=1, metadata=None)
    found = look(path)
    assert codes(found) == []
    assert found.facts is not None
    assert (found.facts.frames, found.facts.width) == (1, 64)
    path.write_bytes(path.read_bytes()[:-200])
    assert codes(look(path)) == ["tiff.truncated"]


def test_an_imagej_stack_is_as_long_as_its_text_says(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 30, 20), "uint16"), imagej=True)
    found = look(path)
    assert codes(found) == []
    assert found.facts is not None
    assert found.facts.frames == 5
    size = path.stat().st_size
    # One image directory and the rest of the stack behind it: only the text tells what is missing.
    raw = path.read_bytes()
    with tifffile.TiffFile(path) as oracle:
        first = oracle.pages.first
        end = first.dataoffsets[0] + first.databytecounts[0] * 5
        following = first.offset + 2 + 12 * len(first.tags)
    single = raw[:following] + bytes(4) + raw[following + 4 : end]
    path.write_bytes(single)
    assert len(single) <= size
    assert codes(look(path)) == []
    path.write_bytes(single[:-10])
    assert codes(look(path)) == ["tiff.truncated"]


def test_less_data_than_the_size_needs_is_found(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.tif", "uint16")
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as oracle:
        at = oracle.pages.first.tags[256].valueoffset
    struct.pack_into("<H", raw, at, 1024)
    path.write_bytes(raw)
    assert codes(look(path)) == ["tiff.short_data"]


def test_thousands_of_frames_take_well_under_a_second(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    path.write_bytes(eer(3000))
    begin = time.process_time()
    facts = look(path).facts
    assert facts is not None
    assert facts.frames == 3000
    assert time.process_time() - begin < 1


def test_overlapping_lists_cannot_cost_unbounded_time(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    # Every 4 bytes an image directory of thousands of tags could begin: the walk must stop by its limits.
    count = 60_000
    raw = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    raw += struct.pack("<H", 4000) + b"".join(
        struct.pack("<HHII", 256 + i % 2, 4, 1, 1) for i in range(count)
    )
    path.write_bytes(raw)
    begin = time.process_time()
    assert codes(look(path))
    assert time.process_time() - begin < 5


@settings(max_examples=150, deadline=2000)
@given(st.data())
def test_damaged_structures_never_raise(data: st.DataObject) -> None:
    raw = bytearray(eer(3))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(1, len(raw)))]
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.flush()
        found = inspect(file.fileno(), name="a.eer", size=len(raw))
    assert all(item.code in MEANING and item.start >= 0 and item.length >= 0 for item in found.evidence)


@settings(max_examples=150, deadline=2000)
@given(st.binary(min_size=1, max_size=300), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b""]))
def test_noise_behind_a_magic_never_raises(noise: bytes, magic: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(magic + noise)
        file.flush()
        found = inspect(file.fileno(), name="a.tiff", size=len(magic + noise))
    assert found.evidence
