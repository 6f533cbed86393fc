"""MRC headers against the file's length, with mrcfile as oracle."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.formats.evidence import MEANING
from empiar_imaging.formats.inspect import Inspection, inspect
from empiar_imaging.formats.mrc import HEADER_BYTES, MODES, parse_header


def write_mrc(path: Path, data: np.ndarray, *, pixel_size: float = 1.34, extended: bytes = b"") -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mrcfile sets array shapes in a way that NumPy 2.5 deprecates
        with mrcfile.new(path, data) as mrc:
            mrc.voxel_size = pixel_size
            if extended:
                mrc.set_extended_header(np.frombuffer(extended, dtype="V1"))
    return path


def look(path: Path, name: str | None = None) -> Inspection:
    return inspect(path, name=name or path.name, size=path.stat().st_size)


def codes(found: Inspection) -> list[str]:
    assert all(item.code in MEANING for item in found.evidence)
    stated = [item.code for item in found.evidence]
    assert list(found.facts.problems if found.facts else ()) == list(dict.fromkeys(stated))
    return stated


def header(
    *,
    shape: tuple[int, int, int] = (8, 6, 2),
    mode: int = 2,
    order: str = "<",
    stamp: bool = True,
    extended: int = 0,
) -> bytes:
    raw = bytearray(HEADER_BYTES)
    struct.pack_into(f"{order}4i", raw, 0, *shape, mode)
    struct.pack_into(f"{order}3i3f", raw, 28, *shape, *(2.5 * n for n in shape))
    struct.pack_into(f"{order}i", raw, 92, extended)
    if stamp:
        raw[208:216] = b"MAP \x44\x44\0\0" if order == "<" else b"MAP \x11\x11\0\0"
    return bytes(raw)


@pytest.mark.parametrize(
    ("dtype", "mode"),
    [
        ("int8", "int8"),
        ("int16", "int16"),
        ("float32", "float32"),
        ("complex64", "complex64"),
        ("uint16", "uint16"),
        ("float16", "float16"),
    ],
)
def test_facts_are_those_that_mrcfile_wrote(tmp_path: Path, dtype: str, mode: str) -> None:
    path = write_mrc(tmp_path / "a.mrcs", np.zeros((3, 5, 7), dtype=dtype), extended=b"x" * 160)
    found = look(path)
    facts = found.facts
    assert facts is not None
    assert codes(found) == []
    assert (facts.format, facts.width, facts.height, facts.frames, facts.mode) == ("mrc", 7, 5, 3, mode)
    assert facts.pixel_size_angstrom == pytest.approx(1.34, rel=1e-6)


@pytest.mark.parametrize("cut", [1, 2, 100, 839, 840, 1000])
def test_every_truncation_is_found(tmp_path: Path, cut: int) -> None:
    path = write_mrc(tmp_path / "a.mrc", np.zeros((3, 10, 7), dtype="float32"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert codes(look(path)) == ["mrc.truncated"]


@pytest.mark.parametrize("length", [1, 4, 100, 1023])
def test_a_file_cut_within_the_header_is_truncated(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(header()[:length])
    found = look(path)
    assert codes(found) == ["mrc.truncated"]
    assert found.evidence[0].start == 0


@pytest.mark.parametrize("extra", [1, 1024, 100_000])
def test_bytes_behind_the_declared_end_are_found(tmp_path: Path, extra: int) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(header() + b"\1" * (8 * 6 * 2 * 4 + extra))
    found = look(path)
    assert codes(found) == ["mrc.oversize"]
    assert (found.evidence[0].start, found.evidence[0].length) == (0, HEADER_BYTES)


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [True, False])
def test_both_byte_orders_are_read_with_and_without_stamp(
    tmp_path: Path, mode: int, order: str, stamp: bool
) -> None:
    path = tmp_path / "a.mrc"
    row_bytes = (7 * MODES[mode][1] + 7) // 8
    path.write_bytes(header(shape=(7, 6, 2), mode=mode, order=order, stamp=stamp) + bytes(row_bytes * 12))
    found = look(path)
    facts = found.facts
    assert facts is not None
    assert codes(found) == ([] if stamp else ["mrc.no_map_stamp"])
    assert (facts.width, facts.height, facts.frames, facts.mode) == (7, 6, 2, MODES[mode][0])
    assert facts.pixel_size_angstrom == pytest.approx(2.5)


def test_a_missing_stamp_is_a_note_that_no_second_fetch_could_settle(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(header(stamp=False) + bytes(384))
    (note,) = look(path).evidence
    assert (note.code, note.length) == ("mrc.no_map_stamp", 0)


def test_a_wrong_machine_stamp_does_not_mislead(tmp_path: Path) -> None:
    raw = bytearray(header(order=">"))
    raw[212:214] = b"\x44\x44"
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(raw) + bytes(384))
    assert codes(look(path)) == []


def test_a_mode_outside_of_the_standard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(header(mode=77) + bytes(384))
    found = look(path)
    assert codes(found) == ["mrc.unknown_mode"]
    assert found.facts is not None
    assert found.facts.mode == "mode 77"


@pytest.mark.parametrize("shape", [(0, 6, 2), (8, -6, 2), (-1, -1, -1)])
def test_a_stamped_header_with_impossible_sizes_is_bad(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(header(shape=shape) + bytes(384))
    assert codes(look(path)) == ["mrc.bad_header"]


def test_a_negative_extended_header_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(header(extended=-384))
    assert codes(look(path)) == ["mrc.bad_header"]


@pytest.mark.parametrize("content", [bytes(5000), b"\xff" * 5000, b"\x89HDF\r\n\x1a\n" + b"\xd3" * 3000])
def test_other_content_under_the_name_is_called_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(content)
    assert codes(look(path)) == ["mrc.suffix_but_not_mrc"]


def test_a_tiff_under_the_name_is_read_as_a_tiff(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.mrc"
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), dtype="uint16"))
    (tmp_path / "a.tif").rename(path)
    found = look(path)
    assert codes(found) == ["mrc.suffix_but_not_mrc"]
    assert found.facts is not None
    assert (found.facts.format, found.facts.width) == ("tiff", 64)


def test_an_empty_file_is_called_empty_where_the_name_promises_data(tmp_path: Path) -> None:
    for name, expected in (
        ("a.mrc", ["file.empty"]),
        ("a.tif", ["file.empty"]),
        ("a.txt", []),
        ("README", []),
    ):
        (tmp_path / name).touch()
        assert codes(look(tmp_path / name)) == expected


@pytest.mark.parametrize("suffix", [".mrc", ".MRC", ".mrcs", ".st", ".ali", ".rec", ".map"])
def test_all_names_of_the_family_are_checked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(header() + bytes(383))
    assert codes(look(path)) == ["mrc.truncated"]


@pytest.mark.parametrize("bit", [*range(8 * 16), *range(92 * 8, 96 * 8)])
def test_every_flipped_bit_of_the_fields_that_decide_the_length_is_found(tmp_path: Path, bit: int) -> None:
    raw = bytearray(header(shape=(37, 29, 3), mode=1) + bytes(37 * 29 * 3 * 2))
    raw[bit // 8] ^= 1 << bit % 8
    path = tmp_path / "a.mrc"
    path.write_bytes(raw)
    found = codes(look(path))
    if bit // 8 == 12 and raw[12] in MODES and MODES[raw[12]][1] == 16:
        assert found == []  # int16 became another type of the same width: no length can show that
    else:
        assert found


def test_a_descriptor_is_read_and_stays_open(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", np.zeros((2, 2), dtype="int16"))
    with path.open("rb") as file:
        found = inspect(file.fileno(), name="a.mrc", size=path.stat().st_size)
        assert codes(found) == []
        assert file.read(4) == path.read_bytes()[:4]


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inspect(tmp_path / "a.mrc", name="a.mrc", size=1)


def test_what_mrcfile_calls_valid_is_sound_here(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", np.ones((4, 16, 16), dtype="float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert mrcfile.validate(path)
    assert codes(look(path)) == []


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES), st.integers(0, 2**50))
def test_any_header_gives_a_verdict_and_never_an_exception(raw: bytes, size: int) -> None:
    parsed = parse_header(raw, size=size)
    assert parsed is not None
    if parsed.plausible and parsed.expected_bytes is not None:
        assert parsed.expected_bytes > HEADER_BYTES
    assert parsed.pixel_size_angstrom is None or 0 < parsed.pixel_size_angstrom < float("inf")


def test_a_stack_of_volumes_has_all_their_sections_as_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.new(path, np.zeros((4, 3, 5, 6), dtype="float32")) as written:
            written.voxel_size = 2.0
            assert written.is_volume_stack()
            assert (written.header.nz, written.header.mz) == (12, 3)
    found = look(path)
    assert codes(found) == []
    assert found.facts is not None
    assert (found.facts.width, found.facts.height, found.facts.frames) == (6, 5, 12)
    assert found.facts.pixel_size_angstrom == 2.0


@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2", b"SERI", b"AGAR", b"CCP4", b"MRCO", b"HDF5"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_type_of_an_extended_header_is_told(tmp_path: Path, kind: bytes, order: str) -> None:
    raw = bytearray(header(order=order, extended=160))
    raw[104:108] = kind
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(raw) + bytes(160 + 384))
    facts = look(path).facts
    assert facts is not None
    assert facts.extended_header == kind.decode()


@pytest.mark.parametrize(("extended", "kind", "expected"), [(0, b"FEI1", None), (8, b"\0\0\0\0", "untyped"), (8, b"\xff\x01a\n", "untyped")])  # fmt: skip
def test_an_extended_header_without_type_is_untyped_and_none_is_none(
    tmp_path: Path, extended: int, kind: bytes, expected: str | None
) -> None:
    raw = bytearray(header(extended=extended))
    raw[104:108] = kind
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(raw) + bytes(extended + 384))
    facts = look(path).facts
    assert facts is not None
    assert facts.extended_header == expected


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("flags", "mode", "width"), [(None, "int8", 8), (1, "int8", 8), (0, "uint8", 8), (16, "uint4", 16)]
)
def test_imod_says_by_a_flag_what_its_bytes_are(
    tmp_path: Path, order: str, flags: int | None, mode: str, width: int
) -> None:
    raw = bytearray(header(mode=0, order=order))
    if flags is not None:
        struct.pack_into(f"{order}2i", raw, 152, 1146047817, flags)
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(raw) + bytes(96))
    found = look(path)
    assert codes(found) == []
    assert found.facts is not None
    assert (found.facts.mode, found.facts.width) == (mode, width)


@pytest.mark.parametrize(
    ("samples", "cell", "expected"),
    [
        ((8, 6), (20.0, 15.0), 2.5),
        ((8, 6), (20.0, 0.0), 2.5),
        ((0, 6), (20.0, 15.0), None),
        ((-8, 6), (20.0, 15.0), None),
        ((8, 6), (0.0, 0.0), None),
        ((8, 6), (float("nan"), 15.0), None),
        ((8, 6), (float("inf"), 15.0), None),
        ((8, 6), (0.008, 0.006), None),
        ((8, 6), (1e9, 1e9), None),
        ((8, 6), (20.0, 150.0), None),
        ((8, 6), (-20.0, -15.0), None),
    ],
)
def test_a_pixel_size_without_sense_is_none(
    tmp_path: Path, samples: tuple[int, int], cell: tuple[float, float], expected: float | None
) -> None:
    raw = bytearray(header())
    struct.pack_into("<2i4x2f", raw, 28, *samples, *cell)
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(raw) + bytes(384))
    facts = look(path).facts
    assert facts is not None
    assert facts.pixel_size_angstrom == expected
