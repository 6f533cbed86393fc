"""DM3 and DM4: facts of the image, not of the thumbnail; nothing where the walk is not sure."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dm_files import DmFile, dm_file
from empiar_imaging.formats.evidence import MEANING, Stretches
from empiar_imaging.formats.inspect import Inspection, inspect, peek


def look(content: bytes, name: str = "a.dm4") -> Inspection:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        found = inspect(file.fileno(), name=name, size=len(content))
    assert all(item.code in MEANING for item in found.evidence)
    return found


def codes(found: Inspection) -> list[str]:
    return [item.code for item in found.evidence]


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["int16", "float32", "uint8", "uint16", "int32"])
@pytest.mark.parametrize(("shape", "frames"), [((7, 5), 1), ((6, 4, 3), 3)])
def test_facts_are_those_of_the_image_and_nanometres_become_angstroms(
    version: int, order: str, kind: str, shape: tuple[int, ...], frames: int
) -> None:
    found = look(dm_file(version=version, order=order, kind=kind, shape=shape), f"a.dm{version}")
    facts = found.facts
    assert facts is not None
    assert codes(found) == []
    assert (facts.format, facts.width, facts.height, facts.frames, facts.mode) == (
        f"dm{version}", shape[0], shape[1], frames, kind,
    )  # fmt: skip
    assert facts.pixel_size_angstrom == pytest.approx(0.529, rel=1e-5)


@pytest.mark.parametrize(
    ("units", "scale", "expected"),
    [("nm", 0.1, 1.0), ("µm", 1e-4, 1.0), ("Å", 1.5, 1.5), ("1/nm", 0.1, None), ("", 1.0, None), ("nm", 0.0, None)],
)  # fmt: skip
def test_only_lengths_are_taken_for_pixel_sizes(units: str, scale: float, expected: float | None) -> None:
    facts = look(dm_file(units=units, scale=scale)).facts
    assert facts is not None
    assert facts.pixel_size_angstrom == (None if expected is None else pytest.approx(expected, rel=1e-5))


def test_a_file_of_which_only_the_header_is_known_is_sound_and_without_facts() -> None:
    content = (4).to_bytes(4, "big") + (976).to_bytes(8, "big") + (1).to_bytes(4, "big") + b"\x93" * 984
    found = look(content)
    assert codes(found) == []
    assert found.facts is not None
    assert (found.facts.format, found.facts.width) == ("dm4", None)


def test_dimensions_that_do_not_fit_the_pixels_are_no_facts() -> None:
    writer = DmFile()
    image = writer.image((7, 5), "uint16", bytes(2 * 7 * 4), scale=1.0, units="nm")
    facts = look(writer.file(image)).facts
    assert facts is not None
    assert facts.width is None


def test_other_content_under_the_name_is_called_so() -> None:
    assert codes(look(b"\x89PNG\r\n\x1a\n" + bytes(100))) == ["dm.suffix_but_not_dm"]


@pytest.mark.parametrize("version", [3, 4])
def test_every_cut_is_found_whatever_it_leaves(version: int) -> None:
    whole = dm_file(version=version)
    # The eight zeros at the end belong to no tag.
    for length in range(1, len(whole) - 8):
        found = codes(look(whole[:length], f"a.dm{version}"))
        assert found in (["dm.truncated"], ["dm.suffix_but_not_dm"]), length


def test_the_walk_steps_over_gigabytes_of_pixels_with_one_further_read() -> None:
    writer = DmFile()
    whole = writer.file(writer.image((4096, 4096), "float32", bytes(4 * 4096 * 4096), scale=0.1, units="nm"))
    data = Stretches(len(whole))
    data.add(0, whole[:65536])
    first = peek(data, name="a.dm4")
    assert first.lacking is not None
    start, length = first.lacking
    assert start > 4 * 4096 * 4096
    data.add(start, whole[start : start + max(length, 4096)])
    facts = peek(data, name="a.dm4").facts
    assert facts is not None
    assert (facts.width, facts.height, facts.mode) == (4096, 4096, "float32")


@given(st.sampled_from([3, 4]), st.data())
def test_flipped_bits_are_never_an_exception(version: int, data: st.DataObject) -> None:
    raw = bytearray(dm_file(version=version))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    look(bytes(raw), f"a.dm{version}")


def test_directories_within_directories_without_end_are_given_up() -> None:
    writer = DmFile(3)
    inner = b""
    for _ in range(1000):
        inner = writer.directory("ImageList", inner)
    found = look(writer.file(inner), "a.dm3")
    assert codes(found) == []
    assert found.facts is not None
    assert found.facts.width is None
