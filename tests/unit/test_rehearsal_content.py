"""The rehearsal archive's bytes: a function of name and size, valid where the name says so, no two blocks alike."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import zipfile
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from empiar_mirror.rehearsal import content
from empiar_mirror.rehearsal.archive import CountedTree, RehearsalArchive
from empiar_mirror.rehearsal.entries import awkward_names, big_entry, many_files_entry, standard_entries
from empiar_mirror.rehearsal.http import apache_size
from empiar_mirror.rehearsal.records import size_text


def whole(path: bytes, size: int) -> bytes:
    data = content.read(path, size, 0, size)
    assert len(data) == size
    return data


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("sum.mrc", content.mrc_size(512, 384 + 128, 1, 2), (512, 512)),
        ("stack.mrcs", content.mrc_size(256, 256, 8, 1), (8, 256, 256)),
        ("UPPER.MRC", content.mrc_size(100, 100, 1, 2), (100, 100)),
        ("odd.mrc", 100_003, (157, 157)),
        ("volume.rec", content.mrc_size(256, 256, 12, 2), (12, 256, 256)),
    ],
)
def test_mrc_files_are_valid_at_any_size(
    tmp_path: Path, name: str, size: int, shape: tuple[int, ...]
) -> None:
    path = tmp_path / name
    path.write_bytes(whole(name.encode(), size))
    report = io.StringIO()
    assert mrcfile.validate(path, print_file=report), report.getvalue()
    with mrcfile.open(path) as mrc:
        assert mrc.data.shape == shape
        assert np.isfinite(mrc.data).all()


def test_particles_are_brighter_than_the_noise(tmp_path: Path) -> None:
    path = tmp_path / "mic_001.mrc"
    path.write_bytes(whole(b"mic_001.mrc", content.mrc_size(512, 512, 1, 2)))
    places = content.particles(b"mic_001", 512, 512)
    assert len(places) == 16
    with mrcfile.open(path) as mrc:
        assert abs(float(mrc.data.mean())) < 0.5
        assert all(mrc.data[y, x] == pytest.approx(4.0) for x, y in places)


@pytest.mark.parametrize(("side", "frames"), [(256, 8), (192, 4), (384, 1), (96, 2)])
def test_tiff_movies_have_the_frames_they_were_sized_for(side: int, frames: int) -> None:
    data = whole(b"movie.tif", content.tiff_size(side, side, frames))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert len(tiff.pages) == frames
        assert {page.shape for page in tiff.pages} == {(side, side)}
        assert max(page.dataoffsets[0] + page.databytecounts[0] for page in tiff.pages) == len(data)


def test_eer_is_a_big_tiff_of_coded_frames_with_metadata() -> None:
    data = whole(b"movie.eer", content.eer_size(24))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.is_bigtiff
        assert len(tiff.pages) == 24
        assert tiff.pages[0].aspage().tags[65001].value.startswith(b"<metadata>")
        assert {page.aspage().tags["Compression"].value for page in tiff.pages} == {65001}
        assert max(page.dataoffsets[0] + page.databytecounts[0] for page in tiff.pages) == len(data)


def test_packed_files_unpack_to_what_their_name_says() -> None:
    inner = content.tiff_size(64, 64, 2)
    assert gzip.decompress(content.packed(b"a.tif.gz", inner)) == whole(b"a.tif", inner)
    assert bz2.decompress(content.packed(b"a.tif.bz2", inner)) == whole(b"a.tif", inner)
    with zipfile.ZipFile(io.BytesIO(content.packed(b"a.zip", inner))) as archive:
        assert archive.testzip() is None
        assert archive.read("a.tif") == whole(b"a.tif", inner)


@pytest.mark.parametrize("name", [b"a.mrc", b"a.tif", b"a.eer", b"a.txt", b"a.bin", b"a.dm4"])
def test_any_piece_equals_the_same_piece_of_the_whole(name: bytes) -> None:
    size = 300_001
    data = whole(name, size)
    source = random.Random(7)
    for _ in range(100):
        offset, count = source.randrange(size), source.randrange(100_000)
        assert content.read(name, size, offset, count) == data[offset : offset + count]
    assert content.read(name, size, size, 10) == b""


def test_no_two_blocks_files_or_versions_are_alike() -> None:
    size = 64 * 2**20
    blocks = {content.read(b"a.bin", size, offset, 65536) for offset in range(0, size, 65536)}
    assert len(blocks) == size // 65536
    assert not blocks & {content.read(b"b.bin", size, offset, 65536) for offset in range(0, size, 65536)}
    assert content.read(b"a.bin", size, 0, 65536, version=1) not in blocks


def test_the_standard_set_has_its_sizes_and_its_headers_agree() -> None:
    entries = standard_entries()
    total = sum(file.size for entry in entries for _, file in entry.walk())
    assert 100e6 < total < 150e6
    assert [entry.empiar_id for entry in entries] == list(range(10101, 10116))
    archive = RehearsalArchive(entries)
    for entry in entries:
        for path, file in entry.walk():
            data = archive.read(entry.empiar_id, path, file, 0, file.size)
            assert len(data) == file.size, path
            geometry = content.mrc_geometry(path, file.size)
            # Where an entry says more than name and size, another program judges (test_rehearsal_images.py).
            by_name_alone = file.drawing is None and file.body is None
            assert not by_name_alone or geometry is None or geometry.size == file.size


def test_star_coordinates_name_the_entrys_micrographs() -> None:
    entry = standard_entries()[0]
    files = dict(entry.walk())
    star = files[b"data/particles/particles_selected.star"].body
    assert star is not None
    rows = [line.split() for line in star.splitlines() if line.startswith(b"micrographs/")]
    names = {b"data/" + row[0] for row in rows}
    assert len(rows) == 30 * 16
    assert names == {path for path in files if path.endswith(b".mrc")}


def test_awkward_names_are_distinct_and_possible() -> None:
    names = awkward_names()
    assert len(set(names)) == len(names)
    assert all(0 < len(name) <= 255 and b"/" not in name and b"\0" not in name for name in names)
    assert {len(name) for name in names} >= {255}


def test_two_hundred_thousand_files_are_made_when_asked_for() -> None:
    entry = many_files_entry(10191)
    assert isinstance(entry.tree, CountedTree)
    assert sum(1 for _ in entry.walk()) == 200_000
    for path in (
        b"data/grid_000/square_0000/FoilHole_0000000.mrc",
        b"data/grid_039/square_1999/FoilHole_0199999.mrc",
    ):
        assert entry.tree.file(path) is not None
    assert entry.tree.file(b"data/grid_000/square_0001/FoilHole_0000000.mrc") is None
    assert entry.tree.children(b"data/grid_040") is None


def test_changing_a_file_changes_its_bytes_and_validators() -> None:
    archive = RehearsalArchive([big_entry(10190, {"a.mrc": 100_000})])
    before = archive.file(10190, b"data/a.mrc")
    assert before is not None
    old = archive.read(10190, b"data/a.mrc", before, 0, 100_000)
    silent = archive.change_file(10190, b"data/a.mrc", keep_mtime=True)
    assert (silent.size, silent.mtime) == (before.size, before.mtime)
    assert silent.etag != before.etag
    assert archive.read(10190, b"data/a.mrc", silent, 0, 100_000) != old
    assert archive.change_file(10190, b"data/a.mrc").mtime > before.mtime


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "  0 "),
        (972, "972 "),
        (973, "1.0K"),
        (1843, "1.8K"),
        (569_560_224, "543M"),
        (871_730_744, "831M"),
        (57_547_614, " 55M"),
    ],
)
def test_sizes_are_rounded_as_the_real_index_rounds_them(size: int, shown: str) -> None:
    assert apache_size(size) == shown


def test_dataset_size_is_in_binary_units() -> None:
    assert size_text(327_980_789_226) == "305.5 GB"
