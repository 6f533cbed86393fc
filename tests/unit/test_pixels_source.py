"""Reading pixels: every mode and container against what other libraries wrote, and what damaged files say."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import pickle
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empiar_imaging.pixels.limits import ReadLimits
from empiar_imaging.pixels.source import open_image, read_image
from empiar_schema.faults import ConfigFault, StorageFault, UnreadableImage
from image_files import EER_8_BIT, asymmetric, eer_file, mrc_bytes, nibbles, write_mrc

SMALL = ReadLimits(frame_bytes=1024**2, unpacked_bytes=4 * 1024**2, frames=1000)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float16", "float32", "complex64"])
def test_a_stack_reads_as_mrcfile_wrote_it(tmp_path: Path, dtype: str) -> None:
    data = asymmetric(3 * 5, 7, dtype).reshape(3, 5, 7)
    path = write_mrc(tmp_path / "a.mrcs", data, extended=b"x" * 161)
    with open_image(path) as source:
        assert (source.frames, source.height, source.width) == (3, 5, 7)
        assert source.dtype == np.dtype(dtype)
        assert source.pixel_size_angstrom == pytest.approx(1.34)
        np.testing.assert_array_equal(np.stack(list(source)), data)


@pytest.mark.parametrize(
    ("mode", "code"), [(0, "i1"), (1, "i2"), (2, "f4"), (4, "c8"), (6, "u2"), (12, "f2")]
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [True, False])
def test_both_byte_orders_read_with_and_without_stamps(
    tmp_path: Path, mode: int, code: str, order: str, stamp: bool
) -> None:
    data = asymmetric(6, 9, code)
    path = tmp_path / "old.mrc"
    path.write_bytes(
        mrc_bytes(
            data.astype(f"{order}{code}").tobytes(), shape=(9, 6, 1), mode=mode, order=order, stamp=stamp
        )
    )
    with open_image(path) as source:
        np.testing.assert_array_equal(source.frame(0), data)
        assert source.frame(0).dtype.isnative


def test_a_large_frame_is_mapped_at_any_offset(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=(2, 1201, 1100)).astype("float32")
    path = write_mrc(tmp_path / "large.mrcs", data, extended=b"y" * 99)
    with open_image(path) as source:
        np.testing.assert_array_equal(source.frame(1), data[1])


@pytest.mark.parametrize("width", [8, 9])
def test_four_bit_pixels_read_with_the_lower_half_first(tmp_path: Path, width: int) -> None:
    frames = np.random.default_rng(2).integers(0, 16, (2, 5, width))
    path = tmp_path / "a.mrcs"
    path.write_bytes(mrc_bytes(b"".join(map(nibbles, frames)), shape=(width, 5, 2), mode=101))
    with open_image(path) as source:
        np.testing.assert_array_equal(np.stack(list(source)), frames)


@pytest.mark.parametrize(("flags", "values"), [(0, [200, 3]), (1, [-56, 3])])
def test_bytes_are_signed_unless_imod_says_otherwise(tmp_path: Path, flags: int, values: list[int]) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(bytes([200, 3]), shape=(2, 1, 1), mode=0, imod_flags=flags))
    assert read_image(path).tolist() == [values]


def test_two_pixels_a_byte_in_mode_0_read_as_twice_the_width(tmp_path: Path) -> None:
    image = np.random.default_rng(3).integers(0, 16, (4, 6))
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(nibbles(image), shape=(3, 4, 1), mode=0, imod_flags=16))
    np.testing.assert_array_equal(read_image(path), image)


def test_complex_pairs_of_16_bits_read_as_complex_and_are_no_image(tmp_path: Path) -> None:
    pairs = np.arange(2 * 3 * 2, dtype="<i2")
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(pairs.tobytes(), shape=(3, 2, 1), mode=3))
    with open_image(path) as source:
        assert source.frame(0).tolist() == [[0 + 1j, 2 + 3j, 4 + 5j], [6 + 7j, 8 + 9j, 10 + 11j]]
    with pytest.raises(UnreadableImage, match="complex"):
        read_image(path)


COMPRESSIONS = [None, "lzw", "zlib", "zstd", "packbits", "lzma"]
LAYOUTS: list[dict[str, Any]] = [{}, {"bigtiff": True}, {"byteorder": ">"}, {"tile": (16, 16)}]
WAYS = [(compression, layout) for compression in COMPRESSIONS for layout in LAYOUTS]
WAYS += [(compression, {"predictor": True}) for compression in ("lzw", "zlib", "zstd", "lzma")]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize(("compression", "options"), WAYS)
def test_a_tiff_movie_reads_as_tifffile_wrote_it(
    tmp_path: Path, dtype: str, compression: str | None, options: dict[str, Any]
) -> None:
    data = asymmetric(3 * 21, 34, dtype).reshape(3, 21, 34)
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, data, photometric="minisblack", compression=compression, metadata=None, **options)
    with open_image(path) as source:
        assert (source.frames, source.height, source.width, source.dtype) == (3, 21, 34, np.dtype(dtype))
        np.testing.assert_array_equal(np.stack(list(source)), data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_imagej_stack_behind_one_directory_has_all_its_frames(
    tmp_path: Path, order: Literal["<", ">"]
) -> None:
    data = asymmetric(4 * 6, 5, "uint16").reshape(4, 6, 5)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, data, imagej=True, byteorder=order)
    raw = bytearray(path.read_bytes())
    whole: Literal["little", "big"] = "little" if order == "<" else "big"
    start = int.from_bytes(raw[4:8], whole)
    link = start + 2 + 12 * int.from_bytes(raw[start : start + 2], whole)
    raw[link : link + 4] = bytes(4)  # as ImageJ itself does for stacks beyond 4 GB
    path.write_bytes(raw)
    with open_image(path) as source:
        assert source.frames == 4
        np.testing.assert_array_equal(np.stack(list(source)), data)


@pytest.mark.parametrize("compression", [65001, EER_8_BIT])
def test_an_eer_file_reads_as_the_sum_of_its_events(tmp_path: Path, compression: int) -> None:
    hits = [[0, 3, 700], [3, 4], [3, 1023], []]
    path = tmp_path / "a.eer"
    path.write_bytes(eer_file(hits, height=32, width=32, compression=compression))
    with open_image(path) as source:
        assert (source.frames, source.height, source.width, source.counts_events) == (4, 32, 32, True)
        assert np.flatnonzero(source.frame(2)).tolist() == [3, 1023]
    total = read_image(path)
    assert {int(i): int(total.flat[i]) for i in np.flatnonzero(total)} == {0: 1, 3: 3, 4: 1, 700: 1, 1023: 1}


def test_the_sum_that_some_writers_put_before_eer_frames_is_no_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    summed = tmp_path / "sum.tif"
    tifffile.imwrite(summed, np.ones((32, 32), "float32"), bigtiff=True, metadata=None)
    first = bytearray(summed.read_bytes())
    frames = eer_file([[5], [6]], height=32, width=32)
    # The chain goes on from the sum's directory to the first frame's, every offset moved along.
    path.write_bytes(_chained(first, frames))
    with open_image(path) as source:
        assert (source.frames, source.counts_events) == (2, True)
    assert np.flatnonzero(read_image(path)).tolist() == [5, 6]


def _chained(first: bytearray, second: bytes) -> bytes:
    shift = len(first) - 16
    moved = bytearray(second)
    at = int.from_bytes(second[8:16], "little")
    while at:
        count = int.from_bytes(second[at : at + 8], "little")
        for entry in range(at + 8, at + 8 + 20 * count, 20):
            if int.from_bytes(second[entry : entry + 2], "little") == 273:
                offset = int.from_bytes(second[entry + 12 : entry + 20], "little") + shift
                moved[entry + 12 : entry + 20] = offset.to_bytes(8, "little")
        link = at + 8 + 20 * count
        at = int.from_bytes(second[link : link + 8], "little")
        if at:
            moved[link : link + 8] = (at + shift).to_bytes(8, "little")
    start = int.from_bytes(first[8:16], "little")
    link = start + 8 + 20 * int.from_bytes(first[start : start + 8], "little")
    first[link : link + 8] = (16 + shift).to_bytes(8, "little")
    return bytes(first) + bytes(moved[16:])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: bytes(imagecodecs.zstd_encode(raw)),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_an_image_inside_a_compressed_file_reads_like_the_image(tmp_path: Path, kind: str) -> None:
    data = asymmetric(2 * 9, 11, "int16").reshape(2, 9, 11)
    plain = write_mrc(tmp_path / "a.mrcs", data)
    packed = tmp_path / f"a.mrcs{kind}"
    packed.write_bytes(PACKERS[kind](plain.read_bytes()))
    with open_image(packed, limits=ReadLimits(scratch=tmp_path)) as source:
        np.testing.assert_array_equal(np.stack(list(source)), data)
        assert source.pixel_size_angstrom == pytest.approx(1.34)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mrcs", packed.name]


@pytest.mark.parametrize("kind", PACKERS)
def test_a_cut_compressed_file_is_one_sentence(tmp_path: Path, kind: str) -> None:
    raw = mrc_bytes(np.random.default_rng(4).bytes(30_000), shape=(100, 150, 2), mode=0)
    path = tmp_path / f"a.mrcs{kind}"
    path.write_bytes(PACKERS[kind](raw)[:-2000])
    with pytest.raises(UnreadableImage, match=r"cut|damaged|shorter|make"):
        read_image(path)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bomb.mrc{kind}"
    path.write_bytes(PACKERS[kind](bytes(16 * 1024**2)))
    with pytest.raises(UnreadableImage, match="unpacks to at least") as caught:
        read_image(path, limits=SMALL)
    assert str(SMALL.unpacked_bytes) in str(caught.value)
    assert caught.value.hint


def test_a_bomb_whose_header_tells_is_refused_by_its_header(tmp_path: Path) -> None:
    header = mrc_bytes(b"", shape=(60_000, 60_000, 1000), mode=2)
    path = tmp_path / "bomb.mrc.gz"
    path.write_bytes(gzip.compress(header + bytes(3000)))
    with pytest.raises(UnreadableImage, match="unpacks to at least 14400000001024"):
        read_image(path)


def test_a_frame_beyond_the_limit_is_refused_whatever_format_states_it(tmp_path: Path) -> None:
    mrc = tmp_path / "wide.mrc"
    with mrc.open("wb") as file:
        file.write(mrc_bytes(b"", shape=(2000, 2000, 1), mode=2))
        file.truncate(1024 + 16_000_000)
    tif = tmp_path / "wide.tif"
    tifffile.imwrite(tif, np.zeros((2000, 2000), "float32"), compression="zlib")
    eer = tmp_path / "wide.eer"
    eer.write_bytes(
        eer_file([[1]], height=32, width=32).replace(
            b"\0\1\4\0\1\0\0\0\0\0\0\0\x20\0", b"\0\1\4\0\1\0\0\0\0\0\0\0\xff\xff"
        )
    )
    for path in (mrc, tif, eer):
        with pytest.raises(UnreadableImage, match="are allowed"):
            read_image(path, limits=SMALL)


def test_a_tile_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tile.tif"
    tifffile.imwrite(path, np.zeros((8, 8), "float32"), tile=(2048, 2048), compression="zlib")
    with pytest.raises(UnreadableImage, match="are allowed"):
        read_image(path, limits=SMALL)


def test_a_strip_that_unpacks_to_more_than_its_rows_stays_within_them(tmp_path: Path) -> None:
    path = tmp_path / "strip.tif"
    tifffile.imwrite(path, np.zeros((512, 512), "uint8"), compression="zlib", rowsperstrip=512, metadata=None)
    raw = bytearray(path.read_bytes())
    bomb = zlib.compress(bytes(64 * 1024**2), 9)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0].aspage()
        offset, count = page.tags[273], page.tags[279]
    raw[offset.valueoffset : offset.valueoffset + 4] = len(raw).to_bytes(4, "little")
    raw[count.valueoffset : count.valueoffset + 4] = len(bomb).to_bytes(4, "little")
    path.write_bytes(bytes(raw) + bomb)
    tracemalloc.start()
    try:
        with contextlib.suppress(UnreadableImage):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


def test_more_frames_than_allowed_are_refused(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrcs", np.zeros((1001, 2, 2), "int8"))
    with pytest.raises(UnreadableImage, match="1001 frames"):
        read_image(path, limits=SMALL)


@pytest.mark.parametrize("length", [0, 1, 100, 1023, 1024, 1100, 1024 + 4 * 35 - 1])
def test_a_cut_mrc_is_one_sentence(tmp_path: Path, length: int) -> None:
    path = write_mrc(tmp_path / "a.mrc", asymmetric(5, 7))
    os.truncate(path, length)
    with pytest.raises(UnreadableImage, match=r"^a\.mrc: "):
        read_image(path)


def test_a_longer_mrc_is_read_as_far_as_its_header_says(tmp_path: Path) -> None:
    data = asymmetric(5, 7)
    path = write_mrc(tmp_path / "a.mrc", data)
    path.write_bytes(path.read_bytes() + b"more")
    np.testing.assert_array_equal(read_image(path), data)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".tif", ".eer"])
def test_a_cut_tiff_or_eer_is_one_sentence_and_not_fewer_frames(
    tmp_path: Path, share: float, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        noise = np.random.default_rng(5).integers(0, 99, (8, 32, 32)).astype("uint8")
        tifffile.imwrite(path, noise, photometric="minisblack", compression="zlib", metadata=None)
    else:
        path.write_bytes(eer_file([range(0, 1024, 7)] * 8, height=32, width=32))
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(UnreadableImage):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "page.mrc",
            b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>gone away</Message></Error>" * 20,
        ),
        ("noise.mrc", b"\xee" * 5000),
        ("empty.tif", b""),
        ("a.hdf", b"\x89HDF\r\n\x1a\n" + bytes(2000)),
        ("noname", bytes(3000)),
        ("a.mrc.gz", gzip.compress(b"", mtime=0)),
        ("a.tar.gz", gzip.compress(b"hello" * 1000, mtime=0)),
    ],
)
def test_what_is_no_image_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableImage):
        read_image(path)


def test_a_coloured_tiff_and_a_lossy_one_are_refused(tmp_path: Path) -> None:
    colour = tmp_path / "colour.tif"
    tifffile.imwrite(colour, np.zeros((8, 8, 3), "uint8"), photometric="rgb")
    with pytest.raises(UnreadableImage, match="3 colours"):
        read_image(colour)
    lossy = tmp_path / "lossy.tif"
    tifffile.imwrite(lossy, np.zeros((16, 16), "uint8"), compression="jpeg")
    with pytest.raises(UnreadableImage, match="compression 7"):
        read_image(lossy)


def test_images_of_different_size_in_one_tiff_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((8, 8), "uint8"), metadata=None)
        tiff.write(np.zeros((4, 4), "uint8"), metadata=None)
    with pytest.raises(UnreadableImage, match="image 2 of the TIFF has 4 × 4"):
        read_image(path)


def test_a_frame_that_is_not_there_is_told(tmp_path: Path) -> None:
    with open_image(write_mrc(tmp_path / "a.mrc", asymmetric(5, 7))) as source:
        for index in (-1, 1):
            with pytest.raises(UnreadableImage, match="there are 1"):
                source.frame(index)


def test_a_missing_file_and_a_link_are_about_the_disk(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", asymmetric(5, 7))
    (tmp_path / "link.mrc").symlink_to(tmp_path / "a.mrc")
    for name in ("none.mrc", "link.mrc"):
        with pytest.raises(StorageFault, match="cannot read"):
            read_image(tmp_path / name)


def test_a_full_disk_while_unpacking_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mrc.gz"
    path.write_bytes(gzip.compress(write_mrc(tmp_path / "a.mrc", asymmetric(5, 7)).read_bytes()))

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: Full())  # noqa: A006
    with pytest.raises(StorageFault) as caught:
        read_image(path)
    assert caught.value.full


def test_a_missing_library_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), "uint8"))
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(ConfigFault) as caught:
        read_image(path)
    assert "empiar-mirror[images]" in caught.value.hint


def test_a_fault_survives_the_way_back_from_a_worker() -> None:
    fault = pickle.loads(pickle.dumps(UnreadableImage("a.mrc: cut", hint="look")))
    assert (str(fault), fault.hint) == ("a.mrc: cut", "look")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1023), value=st.integers(0, 255), suffix=st.sampled_from([".mrc", ".tif", ".eer"]))
def test_a_wrong_byte_in_a_header_reads_or_is_told_but_never_breaks(
    tmp_path: Path, at: int, value: int, suffix: str
) -> None:
    path = tmp_path / f"flipped{suffix}"
    if suffix == ".mrc":
        write_mrc(path, asymmetric(5, 7))
    elif suffix == ".tif":
        tifffile.imwrite(
            path, asymmetric(15, 7, "uint8").reshape(3, 5, 7), photometric="minisblack", compression="lzw"
        )
    else:
        path.write_bytes(eer_file([[1, 2], [3]], height=8, width=16))
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] = value
    path.write_bytes(raw)
    try:
        image = read_image(path, limits=SMALL)
    except UnreadableImage:
        return
    assert image.ndim == 2
    assert image.nbytes <= SMALL.frame_bytes


def test_a_tiff_by_another_name_is_looked_through_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "x.gain"
    data = asymmetric(9, 11)
    tifffile.imwrite(path, data, metadata=None)
    np.testing.assert_array_equal(read_image(path), data)
    raw = bytearray(path.read_bytes())
    start = int.from_bytes(raw[4:8], "little")
    link = start + 2 + 12 * int.from_bytes(raw[start : start + 2], "little")
    raw[link : link + 4] = start.to_bytes(4, "little")  # the list of images leads back into itself
    path.write_bytes(raw)
    with pytest.raises(UnreadableImage, match="returns to byte"):
        read_image(path)


def test_a_name_that_is_no_text_can_stand_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff\n.mrc")
    path.write_bytes(b"short")
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    assert str(caught.value).encode().startswith(b"a%FF%0A.mrc: ")
