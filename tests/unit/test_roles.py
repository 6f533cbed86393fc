"""What files are for: the words, the votes and the odd ones out. No rule names an entry."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.roles import base_suffix, classify, nearest_imagesets, readable, role_of_category
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.states import Role


def listed(name: str, size: int | None = 1_000_000) -> ListedFile:
    return ListedFile(name, size, True, None, 1)


def roles(directory: str, names: Sequence[str], *imagesets: ImageSet) -> list[Role]:
    return [judged.role for judged in classify(imagesets, directory, [listed(name) for name in names])]


def imageset(directory: str, category: str, data_format: str = "MRC", position: int = 0) -> ImageSet:
    return ImageSet(position=position, directory=directory, category=category, data_format=data_format)


TIFFS = [f"FoilHole_{n}_Data_{n + 7}_20200101_1145.tiff" for n in range(1000, 1300)]


@pytest.mark.parametrize(
    ("directory", "name", "role"),
    [
        ("data/Micrographs", "stack_0002_2x_SumCorr.mrc", Role.MICROGRAPH),
        ("data/movies", "a_frames_SumCorr.mrc", Role.MICROGRAPH),
        ("data", "FoilHole_1_Fractions_patch_aligned_doseweighted.mrc", Role.MICROGRAPH),
        ("data", "FoilHole_1_Fractions.mrc", Role.MOVIE),
        ("data", "FoilHole_1_EER.eer", Role.MOVIE),
        ("data", "x.tiff.bz2", Role.MOVIE),
        ("data/unaligned_movies", "x_0001.mrc", Role.MOVIE),
        ("data/Mouse Brain/Raw SEM Image", "SEM Image - SliceImage - 001.tif", Role.MICROGRAPH),
        ("data", "slice_00288_z=1.4263um.tif", Role.MICROGRAPH),
        ("data/tomograms", "TS_001.mrc", Role.VOLUME),
        ("data/labels", "TS_001_cytosol.mrc", Role.VOLUME),
        ("data", "TS_001.rec", Role.VOLUME),
        ("data/metadata", "TS_001.st", Role.TILT_SERIES),
        ("data/Particles", "stack_001_particles.mrcs", Role.PARTICLE_STACK),
        ("data", "class_averages.mrcs", Role.CLASS_AVERAGE),
        ("data/particle_lists", "TS_01.csv", Role.PARTICLE_COORDINATES),
        ("data/micrographs", "x_autopick.star", Role.PARTICLE_COORDINATES),
        ("data", "x.box", Role.PARTICLE_COORDINATES),
        ("data", "run_model.star", Role.METADATA),
        ("", "10017.xml", Role.METADATA),
        ("data", "README", Role.METADATA),
        ("data/frames", "TS_01.mrc.mdoc", Role.METADATA),
        ("data", "movie 1.avi", Role.PREVIEW),
        ("data/Search Map", "Tile_12.mrc", Role.PREVIEW),
        ("data", "atlas.jpg", Role.PREVIEW),
        ("data/E5", "Thumbs.db", Role.OTHER),
        ("data", "everything.zip", Role.OTHER),
        ("data", "defects_x.txt", Role.DEFECTS),
        ("data", "K3-1.gain", Role.GAIN),
    ],
)
def test_a_file_alone_is_judged_by_name_suffix_and_folder(directory: str, name: str, role: Role) -> None:
    assert roles(directory, [name]) == [role]


@pytest.mark.parametrize(
    "name",
    [
        "CountRef_20210209_133-1_000.mrc",
        "CountCDSRef_ja_115-1_0007_May14_21.29.53.mrc",
        "SuperRef_JP_0118_0001.dm4",
        "K3_gain.mrc",
        "gainref_x1.m1.tif",
        "my-GainRef.mrc",
        "20dec14a_14093302_01_4092x5760_norm_0.mrc",
        "Dark_2020.mrc",
        "flatfield.mrc",
        # No word says so, but it is the only one of its kind.
        "20200101_k3_4.dm4",
    ],
)
def test_reference_is_found_among_the_movies_of_its_folder(name: str) -> None:
    found = roles("data/raw", [*TIFFS, name])
    assert found[-1] is Role.GAIN
    assert set(found[:-1]) == {Role.MOVIE}


def test_words_of_references_mean_nothing_where_all_files_bear_them() -> None:
    assert set(roles("data", [f"mouse_norm_{n}.mrc" for n in range(300)])) == {Role.MICROGRAPH}
    assert set(roles("data", [f"gain_of_function_{n}.mrc" for n in range(300)])) == {Role.MICROGRAPH}


def test_images_that_were_gain_corrected_are_no_references() -> None:
    names = [f"x_{n}_gaincorrected.mrc" for n in range(5)]
    assert Role.GAIN not in roles("data/gain_corrected_movies", names)


def test_folder_of_references_holds_references() -> None:
    assert roles("data/gain_refs", ["x_norm_0.mrc", "y_1.mrc"]) == [Role.GAIN, Role.GAIN]


def test_aligned_sum_beside_its_movie_is_no_reference() -> None:
    assert roles("data", [*TIFFS, TIFFS[0].replace(".tiff", ".mrc")])[-1] is Role.MICROGRAPH


def test_small_stranger_among_equal_movies_is_their_reference() -> None:
    movies = [listed(f"movie_{n}.mrc", 4_000_000_000) for n in range(100)]
    found = classify([], "data", [*movies, listed("ref K2 camera.mrc", 60_000_000)])
    assert found[-1].role is Role.GAIN
    assert {judged.role for judged in found[:-1]} == {Role.MOVIE}


def test_category_of_the_nearest_image_set_decides_where_names_say_nothing() -> None:
    above = imageset("data", "micrographs - single frame")
    here = imageset("data/a", "micrographs - multiframe")
    assert roles("data/a", ["0001.mrc"], above, here) == [Role.MOVIE]
    assert roles("data/b", ["0001.mrc"], above, here) == [Role.MICROGRAPH]
    assert roles("data/ab", ["0001.mrc"], here) == [Role.MICROGRAPH]


def test_image_sets_of_one_folder_are_told_apart_by_their_format() -> None:
    movies = imageset("data", "micrographs - multiframe", "TIFF")
    stacks = imageset("data", "picked particles - single frame - processed", "MRCS", position=1)
    assert roles("data", ["x.tif", "x.mrcs"], movies, stacks) == [Role.MOVIE, Role.PARTICLE_STACK]


def test_pictures_are_images_where_an_image_set_says_so() -> None:
    images = imageset("data", "micrographs - single frame", "JPEG")
    assert roles("data", ["x.jpg"], images) == [Role.MICROGRAPH]
    assert roles("data", ["x.jpg"]) == [Role.PREVIEW]


@pytest.mark.parametrize(
    ("category", "role"),
    [
        ("micrographs - single frame - non-dose-weighted", Role.MICROGRAPH),
        ("micrographs - tilt series", Role.TILT_SERIES),
        ("micrographs - focal pairs - processed", Role.MICROGRAPH),
        ("picked particles - multiframe - unprocessed", Role.PARTICLE_STACK),
        ("class averages", Role.CLASS_AVERAGE),
        ("something of its own", None),
        (None, None),
    ],
)
def test_categories_are_read_by_phrase(category: str | None, role: Role | None) -> None:
    assert role_of_category(category) is role


def test_nearest_image_sets_are_all_those_of_the_deepest_folder_above() -> None:
    sets = [imageset("", "x"), imageset("data/a", "x", position=1), imageset("data/a", "y", position=2)]
    assert nearest_imagesets(sets, "data/a/b") == ((sets[1], sets[2]), False)
    assert nearest_imagesets(sets, "data/a") == ((sets[1], sets[2]), True)
    assert nearest_imagesets(sets, "other") == ((sets[0],), False)


def test_texts_are_compared_without_case_and_numbers() -> None:
    assert readable("CountRef_20210209_133-1") == "count_ref_0_0-0"
    assert base_suffix("A.TIFF.bz2") == ".tiff"
    assert base_suffix("A.dm4") == ".dm4"


@given(
    st.text(max_size=40).map(lambda text: text.replace("/", "")),
    st.lists(st.text(min_size=1, max_size=60), max_size=12),
    st.one_of(st.none(), st.integers(0, 2**62)),
)
def test_any_names_at_all_get_one_role_each_with_a_confidence(
    directory: str, names: list[str], size: int | None
) -> None:
    found = classify([], directory, [listed(name, size) for name in names])
    assert len(found) == len(names)
    assert all(0 < confidence <= 1 for _, confidence, _ in found)
