"""Images of entries 10110 to 10115 by the word of other programs: sound files are sound, damaged ones are damaged."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
import tifffile
from mrcfile.mrcinterpreter import MrcInterpreter

from cryoppp_loader import Floats, brightness
from empiar_mirror.rehearsal.archive import RehearsalArchive
from empiar_mirror.rehearsal.damaged import BOMB_BYTES, DAMAGE, Damage
from empiar_mirror.rehearsal.drawings import Cut, Even, Gain, Micrograph, Movie, ParticleStack
from empiar_mirror.rehearsal.entries import standard_entries
from rehearsal_files import (
    ARCHIVE,
    BOXES,
    BRIGHT,
    CRYOSPARC,
    DAMAGED,
    DM4,
    MOVIES,
    RELION,
    bytes_of,
    paths,
    pixels,
    places,
)


def test_sound_mrc_files_are_accepted_by_mrcfile_and_have_the_stated_size(tmp_path: Path) -> None:
    checked = 0
    for entry in ARCHIVE.entries.values():
        for path, file in entry.walk():
            if path in DAMAGE or path.rpartition(b".")[2] not in (b"mrc", b"mrcs"):
                continue
            copy = tmp_path / path.decode().replace("/", "_")
            copy.write_bytes(bytes_of(entry.empiar_id, path.decode()))
            report = io.StringIO()
            assert mrcfile.validate(copy, print_file=report), report.getvalue()
            if isinstance(file.drawing, Micrograph):
                with mrcfile.open(copy, header_only=True) as mrc:
                    assert mrc.header.nx != mrc.header.ny
            checked += 1
    assert checked > 30


@pytest.mark.parametrize("empiar_id", [RELION, CRYOSPARC, BOXES, MOVIES, DM4])
def test_what_an_entry_states_of_its_images_is_what_their_headers_say(empiar_id: int) -> None:
    record = ARCHIVE.entries[empiar_id].record
    assert isinstance(record["imagesets"], list)
    for stated in record["imagesets"]:
        assert isinstance(stated, dict)
        suffix = {"MRC": ".mrc", "MRCS": ".mrcs", "TIFF": ".tif"}[str(stated["data_format"])]
        found = paths(empiar_id, under=f"{stated['directory']}/", suffix=suffix)
        images = [path for path in found if "gain" not in path and "CountRef" not in path]
        shapes, headers = set(), set()
        sections = 0
        for path in images:
            data = bytes_of(empiar_id, path)
            if suffix == ".tif":
                frames = tifffile.imread(io.BytesIO(data))
                shapes.add(frames.shape)
                continue
            with MrcInterpreter(io.BytesIO(data)) as mrc:
                shapes.add(mrc.data.shape if mrc.data.ndim == 3 else (1, *mrc.data.shape))
                sections += len(mrc.data) if mrc.data.ndim == 3 else 1
                headers.add(round(float(mrc.voxel_size.x), 4))
        assert {str(width) for *_, width in shapes} == {stated["image_width"]}
        assert {str(height) for _, height, _ in shapes} == {stated["image_height"]}
        assert headers <= {stated["pixel_width"]}
        if "particles" in str(stated["category"]):
            assert sections == stated["num_images_or_tilt_series"]
        else:
            assert len(images) == stated["num_images_or_tilt_series"]
            assert {count for count, *_ in shapes} == {stated["frames_per_image"]}


@pytest.mark.parametrize("empiar_id", [MOVIES, DM4])
def test_the_mean_of_a_tiff_movie_times_its_gain_shows_the_particles_on_an_even_ground(
    empiar_id: int,
) -> None:
    reference = flipped_dm4() if empiar_id == DM4 else pixels(MOVIES, paths(MOVIES, suffix=".mrc")[0])
    for path in paths(empiar_id, suffix=".tif"):
        frames = tifffile.imread(io.BytesIO(bytes_of(empiar_id, path)))
        assert (frames.shape, frames.dtype) == ((5, 431, 509), np.dtype("u1"))
        assert_corrects(frames.mean(axis=0), reference, path, empiar_id)


def test_the_mean_of_an_mrc_movie_times_the_gain_shows_the_particles_on_an_even_ground() -> None:
    [path] = paths(MOVIES, suffix=".mrcs")
    frames = pixels(MOVIES, path)
    assert frames.shape == (5, 431, 509)
    assert_corrects(frames.mean(axis=0), pixels(MOVIES, paths(MOVIES, suffix=".mrc")[0]), path, MOVIES)


def assert_corrects(mean: Floats, reference: Floats, path: str, empiar_id: int) -> None:
    """The reference as it is evens the ground out, and in no other orientation; the particles are where they should be."""
    drawn = places(empiar_id, path)
    assert len(drawn) >= 7
    assert brightness(mean * reference, np.array(drawn, dtype=float)).min() > BRIGHT
    right = unevenness(mean * reference)
    wrong = [
        unevenness(mean * other) for other in (reference[::-1], reference[:, ::-1], reference[::-1, ::-1])
    ]
    assert 10 * right < min(*wrong, unevenness(mean))


def unevenness(image: Floats) -> float:
    """How much the medians of six by six fields differ: particles are too small to matter."""
    fields = [
        np.median(field) for rows in np.array_split(image, 6) for field in np.array_split(rows, 6, axis=1)
    ]
    return float(np.ptp(fields) / np.median(fields))


def walk_dm4(data: bytes) -> dict[str, object]:
    """Values of a DM4 file by the path of their tags; a reader of its own, which knows no more than the format's notes."""
    found: dict[str, object] = {}
    version, length, little = struct.unpack_from(">IQI", data)
    assert (version, length, little) == (4, len(data) - 24, 1)

    def group(at: int, name: str) -> int:
        (count,) = struct.unpack_from(">Q", data, at + 2)
        at += 10
        for number in range(count):
            kind, letters = struct.unpack_from(">BH", data, at)
            label = data[at + 3 : at + 3 + letters].decode() or f"[{number}]"
            (body,) = struct.unpack_from(">Q", data, at + 3 + letters)
            start = at + 11 + letters
            end = group(start, f"{name}/{label}") if kind == 20 else value(start, f"{name}/{label}")
            assert end == start + body, label
            at = end
        return at

    def value(at: int, name: str) -> int:
        assert data[at : at + 4] == b"%%%%"
        (infos,) = struct.unpack_from(">Q", data, at + 4)
        info = struct.unpack_from(f">{infos}Q", data, at + 12)
        at += 12 + 8 * infos
        code, count = (info[1], info[2]) if info[0] == 20 else (info[0], 1)
        kind = {4: "<u2", 5: "<u4", 6: "<f4"}[code]
        array = np.frombuffer(data, kind, count, at)
        found[name] = array if info[0] == 20 else array[0].item()
        return at + array.nbytes

    assert group(16, "") == len(data) - 8
    assert data[-8:] == bytes(8)
    return found


def flipped_dm4() -> Floats:
    """The DM4 reference's pixels with the last row first, as the entry says it is to be used."""
    tags = walk_dm4(bytes_of(DM4, paths(DM4, suffix=".dm4")[0]))
    data = tags["/ImageList/[1]/ImageData/Data"]
    assert isinstance(data, np.ndarray)
    return data.reshape(431, 509).astype(np.float64)[::-1]


def test_the_dm4_file_is_whole_and_states_size_type_and_pixel_of_its_second_image() -> None:
    tags = walk_dm4(bytes_of(DM4, paths(DM4, suffix=".dm4")[0]))
    image = "/ImageList/[1]/ImageData"
    assert (tags[f"{image}/Dimensions/[0]"], tags[f"{image}/Dimensions/[1]"]) == (509, 431)
    assert (tags[f"{image}/DataType"], tags[f"{image}/PixelDepth"]) == (2, 4)
    assert tags[f"{image}/Calibrations/Dimension/[0]/Scale"] == pytest.approx(0.177)
    units = tags[f"{image}/Calibrations/Dimension/[1]/Units"]
    assert isinstance(units, np.ndarray)
    assert units.tobytes().decode("utf-16-le") == "nm"
    assert tags["/ImageList/[0]/ImageData/DataType"] == 23, "a thumbnail comes first"


def damaged(damage: Damage) -> list[tuple[str, bytes]]:
    """Names and bytes of the files with this damage."""
    return [(p.decode(), bytes_of(DAMAGED, p.decode())) for p, kind in DAMAGE.items() if kind is damage]


def test_every_kind_of_damage_is_there_and_nothing_else_of_the_entry_is_damaged() -> None:
    assert set(DAMAGE.values()) == set(Damage)
    sound = set(paths(DAMAGED)) - {path.decode() for path in DAMAGE}
    assert {path.rpartition("/")[2] for path in sound} == {
        "10115.xml",
        *(f"mic_000{n}_DW.mrc" for n in (1, 2, 3)),
        "mov_0001_frames.tif",
        "sound_particles.star",
    }


def test_cut_images_and_error_messages_are_refused(tmp_path: Path) -> None:
    (mrc_path, mrc), (tiff_path, tiff) = damaged(Damage.CUT)
    [(_, message)] = damaged(Damage.ERROR_TEXT)
    assert (mrc_path[-4:], tiff_path[-4:]) == (".mrc", ".tif")
    for data in (mrc, message):
        (tmp_path / "image.mrc").write_bytes(data)
        assert not mrcfile.validate(tmp_path / "image.mrc", print_file=io.StringIO())
    with tifffile.TiffFile(io.BytesIO(tiff)) as pages, pytest.raises(ValueError, match="failed to read"):
        pages.asarray()


def test_images_without_content_are_valid_files_of_equal_pixels_or_of_none_at_all() -> None:
    [(constant, _)], [(nothing, _)] = damaged(Damage.CONSTANT), damaged(Damage.NOT_A_NUMBER)
    assert np.unique(pixels(DAMAGED, constant)).tolist() == [3.0]
    assert np.isnan(pixels(DAMAGED, nothing)).all()


def test_the_packed_zeros_are_a_thousand_times_their_packed_size() -> None:
    [(_, packed)] = damaged(Damage.EXPANDS)
    assert len(packed) * 1000 < BOMB_BYTES
    assert gzip.decompress(packed) == bytes(BOMB_BYTES)


@pytest.mark.parametrize("damage", [Damage.CUT_ROW, Damage.RAGGED])
def test_broken_tables_are_refused_and_the_sound_one_is_not(damage: Damage) -> None:
    [(_, table)] = damaged(damage)
    with pytest.raises(ValueError, match="Wrong number of values"):
        gemmi.cif.read_string(table.decode())
    sound = bytes_of(DAMAGED, "data/particle_coordinates/sound_particles.star")
    assert len(gemmi.cif.read_string(sound.decode())[0].find(["_rlnCoordinateX"])) == 10


def test_the_pickle_is_refused_where_pickles_are_not_allowed_and_is_not_harmless_where_they_are() -> None:
    [(_, table)] = damaged(Damage.PICKLED)
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(io.BytesIO(table), allow_pickle=False)
    with pytest.raises(SystemExit, match="a pickle was run"):
        np.load(io.BytesIO(table), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [(Damage.OUTSIDE, {"nan", "inf", "1e300", "-70"}), (Damage.WORDS, {"", "middle"})],
)
def test_coordinates_are_wrong_among_right_ones(damage: Damage, wrong: set[str]) -> None:
    [(path, table)] = damaged(damage)
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    texts = [(row["X-Coordinate"], row["Y-Coordinate"]) for row in rows]
    assert wrong <= {text for row in texts for text in row}
    right = np.array([row for row in texts if all(text.isdigit() and int(text) < 509 for text in row)], float)
    assert len(right) == 10
    assert {row["Diameter"] for row in rows} == {"25"}
    image = pixels(DAMAGED, path.replace("particle_coordinates", "micrographs").replace(".csv", ".mrc"))
    assert brightness(image, np.column_stack([right[:, 0], 431 - right[:, 1]])).min() > BRIGHT


def test_rival_gains_are_each_others_mirror_image() -> None:
    one, other = (pixels(DAMAGED, path) for path, _ in damaged(Damage.RIVAL))
    assert np.array_equal(one, other[::-1])
    assert not np.array_equal(one, other)


def test_any_piece_of_a_drawn_file_equals_the_same_piece_of_the_whole() -> None:
    source = random.Random(7)
    kinds = set()
    for empiar_id, entry in ARCHIVE.entries.items():
        for path, file in entry.walk():
            if file.drawing is None or type(file.drawing) in kinds:
                continue
            kinds.add(type(file.drawing))
            data = bytes_of(empiar_id, path.decode())
            for _ in range(20):
                offset, count = source.randrange(file.size), source.randrange(100_000)
                piece = ARCHIVE.read(empiar_id, path, file, offset, count)
                assert piece == data[offset : offset + count], path
    assert kinds == {Cut, Even, Gain, Micrograph, Movie, ParticleStack}


def test_another_version_of_a_drawn_file_has_other_bytes_under_the_same_header() -> None:
    archive = RehearsalArchive(standard_entries())
    for empiar_id in range(RELION, DAMAGED + 1):
        for path, file in archive.entries[empiar_id].walk():
            if file.drawing is not None and not isinstance(file.drawing, Cut):
                changed = archive.change_file(empiar_id, path)
                old, new = (archive.read(empiar_id, path, f, 0, f.size) for f in (file, changed))
                assert (len(old), old[:100]) == (len(new), new[:100]), path
                assert old != new, path
                longer = archive.change_file(empiar_id, path, size=file.size + 1)
                assert len(archive.read(empiar_id, path, longer, 0, longer.size)) == file.size + 1
