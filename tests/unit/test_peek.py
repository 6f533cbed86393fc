"""Facts from the first kilobytes: of files not fetched yet, and of images inside of compressed files."""

from __future__ import annotations

import bz2
import gzip
import io
import resource
import struct
import tempfile
import time
from collections.abc import Callable

import numpy as np
import pytest
import tifffile

from dm_files import dm_file
from empiar_imaging.formats.evidence import UNKNOWN_SIZE, Stretches
from empiar_imaging.formats.inspect import Inspection, can_peek, inspect, peek
from empiar_schema.image_facts import ImageFacts
from zstandard_frames import zstd

PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd.compress}


def mrc(nx: int = 60, ny: int = 50, nz: int = 3) -> bytes:
    raw = bytearray(1024)
    struct.pack_into("<4i", raw, 0, nx, ny, nz, 1)
    struct.pack_into("<3i3f", raw, 28, nx, ny, nz, 1.5 * nx, 1.5 * ny, 1.5 * nz)
    raw[208:216] = b"MAP \x44\x44\0\0"
    pixels = np.random.default_rng(2).integers(0, 99, (nz, ny, nx)).astype("<i2")
    return bytes(raw) + pixels.tobytes()


def tiff(shape: tuple[int, ...] = (4, 50, 60)) -> bytes:
    out = io.BytesIO()
    data = np.random.default_rng(2).integers(0, 9, shape, "uint8")
    tifffile.imwrite(out, data, photometric="minisblack", metadata=None)
    return out.getvalue()


def eer(frames: int = 5, metadata: bytes = b"") -> bytes:
    """BigTIFF, one directory a frame; the first one has the acquisition metadata."""
    out = bytearray(b"II" + struct.pack("<HHHQ", 43, 8, 0, 16))
    for frame in range(frames):
        tags = [(256, 4, 1, 4096), (257, 4, 1, 4096), (258, 3, 1, 1), (259, 3, 1, 65001)]
        ifd_bytes = 8 + 20 * (len(tags) + 3 + bool(metadata and not frame)) + 8
        text_at = len(out) + ifd_bytes
        strip = text_at + (len(metadata) if not frame else 0)
        tags += [(273, 16, 1, strip), (278, 4, 1, 4096), (279, 16, 1, 2000)]
        if metadata and not frame:
            tags.append((65001, 7, len(metadata), text_at))
        following = strip + 2000 if frame < frames - 1 else 0
        out += struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
        out += struct.pack("<Q", following) + (metadata if not frame else b"") + bytes(2000)
    return bytes(out)


METADATA = (
    b'<metadata><item name="cameraName">Falcon</item><item name="numberOfFrames">5</item>'
    b'<item name="sensorPixelSize.height" unit="m">7.3e-11</item>'
    b'<item name="sensorPixelSize.width" unit="m">7.3e-11</item></metadata>'
)


def look(content: bytes, name: str) -> Inspection:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return inspect(file.fileno(), name=name, size=len(content))


def peeked(content: bytes, name: str, *, first: int = 64 * 1024, size: int | None = None) -> Inspection:
    data = Stretches(len(content) if size is None else size)
    data.add(0, content[:first])
    return peek(data, name=name)


IMAGES = {
    "mrc": mrc(),
    "tif": tiff(),
    "eer": eer(metadata=METADATA),
    "dm4": dm_file(),
    "dm3": dm_file(version=3),
}


@pytest.mark.parametrize("suffix", IMAGES)
def test_the_first_bytes_tell_what_the_whole_file_tells(suffix: str) -> None:
    whole = look(IMAGES[suffix], f"a.{suffix}")
    assert whole.evidence == ()
    assert whole.facts is not None
    assert whole.facts.width
    assert peeked(IMAGES[suffix], f"a.{suffix}") == Inspection(whole.facts)


@pytest.mark.parametrize("packer", PACK)
@pytest.mark.parametrize("suffix", IMAGES)
def test_inside_of_a_compressed_file_the_facts_are_the_same(suffix: str, packer: str) -> None:
    plain = look(IMAGES[suffix], f"a.{suffix}").facts
    assert plain is not None
    name = f"a.{suffix}.{packer}"
    packed = PACK[packer](IMAGES[suffix])
    for found in (look(packed, name), peeked(packed, name)):
        assert found.evidence == ()
        facts = found.facts
        assert facts is not None
        assert facts.format == f"{plain.format}.{packer}"
        assert (facts.width, facts.height, facts.frames, facts.mode, facts.pixel_size_angstrom) == (
            plain.width, plain.height, plain.frames, plain.mode, plain.pixel_size_angstrom,
        )  # fmt: skip


@pytest.mark.parametrize("packer", PACK)
def test_other_content_is_called_by_its_compressor(packer: str) -> None:
    kinds = {"gz": "gzip", "bz2": "bzip2", "zst": "zstd"}
    found = look(PACK[packer](b"loop_\n" * 300), f"a.star.{packer}")
    assert found == Inspection(ImageFacts(kinds[packer]))


@pytest.mark.parametrize("packer", PACK)
def test_an_image_name_over_other_content_is_found_inside_too(packer: str) -> None:
    found = look(PACK[packer](b"\xd3" * 5000), f"a.mrc.{packer}")
    assert [item.code for item in found.evidence] == ["mrc.suffix_but_not_mrc"]
    assert found.evidence[0].start == 0


@pytest.mark.parametrize("packer", PACK)
@pytest.mark.parametrize("name", ["a.mrc", "a.tif", "a.dm4"])
def test_a_bomb_costs_no_more_than_its_first_mebibyte(packer: str, name: str) -> None:
    heads = {
        "a.mrc": mrc()[:1024],
        # The list of images is promised far behind the beginning.
        "a.tif": b"II*\0" + struct.pack("<I", 2**31),
        "a.dm4": dm_file()[:200],
    }
    bomb = PACK[packer](heads[name] + bytes(48 * 2**20))
    assert len(bomb) < 2**20
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for found in (look(bomb, f"{name}.{packer}"), peeked(bomb, f"{name}.{packer}", first=len(bomb))):
        assert found.lacking is None
    assert time.process_time() - begin < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24 * 1024


def test_frames_stay_unknown_while_the_list_of_images_is_not_at_hand() -> None:
    content = tiff((6, 200, 200))
    found = peeked(content, "a.tif", first=60_000)
    assert found.facts is not None
    assert (found.facts.width, found.facts.frames) == (200, None)
    assert found.lacking is not None
    assert found.lacking[0] > 60_000
    assert peeked(content, "a.tif", first=len(content)).facts == look(content, "a.tif").facts


def test_further_stretches_bring_the_frames() -> None:
    content = tiff((6, 200, 200))
    data = Stretches(len(content))
    data.add(0, content[:30_000])
    for _ in range(12):
        found = peek(data, name="a.tif")
        if found.lacking is None:
            break
        start, length = found.lacking
        data.add(start, content[start : start + max(length, 600)])
    assert found.facts is not None
    assert found.facts.frames == 6


def test_an_eer_file_states_its_frames_and_pixel_size_in_its_metadata() -> None:
    content = eer(metadata=METADATA)
    facts = look(content, "a.eer").facts
    assert facts is not None
    assert facts.frames == 5
    assert facts.pixel_size_angstrom == pytest.approx(0.73)
    found = peeked(content, "a.eer", first=2500)
    assert found.lacking is None
    assert found.facts == facts


@pytest.mark.parametrize("metadata", [
    b'<item name="sensorPixelSize.width" unit="m">1e99</item>',
    b'<item name="sensorPixelSize.width" unit="m">e.e-+</item><item name="numberOfFrames">-5</item>',
    b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + b"<" * 5000,
])  # fmt: skip
def test_metadata_without_sense_state_nothing(metadata: bytes) -> None:
    found = look(eer(metadata=metadata), "a.eer")
    assert found.evidence == ()
    assert found.facts is not None
    assert (found.facts.frames, found.facts.pixel_size_angstrom) == (5, None)


def test_the_sum_that_an_eer_file_ends_with_is_no_frame() -> None:
    raw = bytearray(eer(frames=5))
    last = raw.rindex(struct.pack("<HHQQ", 259, 3, 1, 65001))
    raw[last : last + 20] = struct.pack("<HHQQ", 259, 3, 1, 5)
    facts = look(bytes(raw), "a.eer").facts
    assert facts is not None
    assert facts.frames == 4


def test_an_unknown_size_is_no_finding() -> None:
    found = peeked(mrc(), "a.mrc", first=1024, size=UNKNOWN_SIZE)
    assert found.evidence == ()
    assert found.facts is not None
    assert found.facts.frames == 3


def test_a_listed_size_that_the_header_contradicts_is_found_before_download() -> None:
    found = peeked(mrc()[:-100], "a.mrc", first=2000)
    assert [item.code for item in found.evidence] == ["mrc.truncated"]


def test_an_error_page_is_known_by_its_first_bytes() -> None:
    page = b"<!DOCTYPE html>\n<html><head><title>503 busy</title></head></html>" + b" " * 100
    assert [item.code for item in peeked(page, "a.mrc").evidence] == ["body.error_text"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.mrc", True), ("a.MRC.bz2", True), ("a.tif.gz", True), ("a.eer", True), ("a.gain", True), ("a.dm4", True),
     ("a.star", False), ("a.zip", False), ("a.gz", False), ("mrc", False), ("a.mrc.xz", False)],
)  # fmt: skip
def test_kinds_of_which_first_bytes_tell_something(name: str, expected: bool) -> None:
    assert can_peek(name) is expected


def test_a_gain_reference_is_read_as_the_tiff_it_mostly_is_and_otherwise_let_be() -> None:
    facts = look(tiff((32, 32)), "a.gain").facts
    assert facts is not None
    assert (facts.format, facts.width) == ("tiff", 32)
    assert look(b"\x01\x02" * 500, "a.gain") == Inspection(None)
