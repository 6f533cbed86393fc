"""What files are for: the words, the votes and the odd ones out. No rule names an entry."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.name_families import common_stem
from empiar_imaging.roles import base_suffix, classify, nearest_imagesets, readable, role_of_category
from empiar_schema.codes import ROLE_REASON_CODES
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.role_reasons import RULES, UNSURE, RoleReason
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


MRCS = [f"FoilHole_{n}_Data_{n + 7}_20191214_0949-{n}.mrc" for n in range(1000, 1300)]


@pytest.mark.parametrize(
    ("images", "name"),
    [
        # The hard case: an .mrc among .mrc images.
        (MRCS, "gain.mrc"),
        (MRCS, "Gain.mrc"),
        (MRCS, "K3_20200101_gain_norm.mrc"),
        (MRCS, "superres_gain_correction.mrc"),
        ([f"14sep05c_c_{n:05d}gr_00014sq_00002hl_{n:05d}es.frames.mrc" for n in range(300)], "norm-amibox05-0.mrc"),
        ([f"20dec14b_b_{n:05d}Gr_00021Sq_v03_{n:05d}Enn.mrc" for n in range(300)], "20dec14a_14093302_01_4092x5760_norm_0.mrc"),
        ([f"atp_106-{n}_0004_Apr13_19.31.54.tif" for n in range(300)], "CountRef_atp_36_0000_Apr13_12.05.04.mrc"),
        (TIFFS, "K2-0001 1 Gain Ref. x1.m3.kv[300].dm4"),
        ([f"FoilHole_{n}_Data_{n}_EER.eer" for n in range(300)], "20210512.tif"),
    ],
)  # fmt: skip
def test_reference_is_found_among_images_of_its_own_folder(images: Sequence[str], name: str) -> None:
    found = roles("data", [*images, name])
    assert found[-1] is Role.GAIN
    assert set(found[:-1]) == {Role.MOVIE}


def test_dots_in_names_are_no_ends_of_stems() -> None:
    movies = [f"P.1_{n}.{n % 7}_Jan16_12.46.42.tif" for n in range(300)]
    assert roles("data", [*movies, "P.ref camera.dm4"])[-1] is Role.GAIN
    assert roles("data", [*movies, movies[7].replace(".tif", ".mrc")])[-1] is Role.MICROGRAPH
    assert [common_stem(name) for name in ("a.b.tif", "a.frames.tif", "a.mrc.mdoc", "a.tif.bz2", "a")] == ["a.b", "a", "a", "a", "a"]  # fmt: skip


def test_flats_and_darks_are_references_where_they_are_few() -> None:
    found = classify([], "data", [listed(name) for name in [*MRCS, "flat.mrc", "dark.mrc"]])
    assert [judged.role for judged in found[-2:]] == [Role.GAIN, Role.GAIN]
    assert all(judged.confidence <= UNSURE for judged in found[-2:])
    assert Role.GAIN not in roles("data", [f"cell_{n}_dark.mrc" for n in range(300)])


@pytest.mark.parametrize(
    "names",
    [
        ["gain_of_function_001.mrc", *MRCS],
        ["GainOfFunction_001.mrc", *MRCS],
        ["Gain_corrected_FoilHole_1.mrc", *MRCS],
        [f"Gain_corrected_{n}.mrc" for n in range(3)],
        [f"GAIN_domain_{n:03d}.mrc" for n in range(5)],
        [f"weight-gain_{n:03d}.mrc" for n in range(2)],
        ["again_001.mrc", "bargain_002.mrc"],
        ["x_gain_normalized_001.mrc", *MRCS],
        ["unity_ungained_1.mrc", "x_no_gain_1.mrc"],
    ],
)
def test_words_that_hold_gain_and_mean_something_else_are_no_references(names: Sequence[str]) -> None:
    assert Role.GAIN not in roles("data", names)


def test_gains_without_images_beside_them_are_less_sure_the_more_they_are() -> None:
    def sure(count: int) -> list[tuple[Role, float]]:
        return [
            (j.role, j.confidence)
            for j in classify([], "data", [listed(f"gain_{n}.mrc") for n in range(count)])
        ]

    assert sure(1) == [(Role.GAIN, 0.8)]
    assert sure(5) == [(Role.GAIN, 0.65)] * 5
    assert {role for role, _ in sure(30)} == {Role.MICROGRAPH}


def test_a_sum_among_movies_of_other_names_is_no_reference() -> None:
    assert roles("data", [*TIFFS, "test_SumCorr.mrc"])[-1] is Role.MICROGRAPH


def test_a_word_for_references_in_another_format_is_one_even_if_the_folder_says_micrographs() -> None:
    found = roles("data/Micrographs", [*TIFFS, "norm_1.mrc"])
    assert found[-1] is Role.GAIN
    assert roles("data/Micrographs", [*MRCS, "norm_1.mrc"])[-1] is Role.MICROGRAPH


def test_one_word_for_references_does_not_undo_what_names_of_sums_say() -> None:
    sums = [f"x_{n:03d}_SumCorr.mrc" for n in range(300)]
    assert roles("data", [*sums, "reference_cell.mrc"])[-1] is Role.MICROGRAPH


def test_defects_as_a_word_of_the_sample_make_no_defect_maps() -> None:
    assert set(roles("data", [f"defect_{n:03d}.mrc" for n in range(300)])) == {Role.MICROGRAPH}
    assert roles("data", [*TIFFS, "defects_x.mrc"])[-1] is Role.DEFECTS


def test_images_whose_name_bears_a_file_of_tilt_angles_are_tilt_series() -> None:
    assert roles("data", ["a_1.mrc", "a_1.rawtlt"]) == [Role.TILT_SERIES, Role.METADATA]
    assert roles("data", ["a_1_ts.mrc", "a_1_ts.mrc.mdoc"])[0] is Role.TILT_SERIES
    # SerialEM writes a .mdoc for each movie, too.
    assert roles("data", ["a_1.mrc", "a_1.mrc.mdoc"])[0] is Role.MICROGRAPH
    assert roles("data", ["a_1.rec", "a_1.rawtlt"])[0] is Role.VOLUME


def test_an_mrc_file_larger_than_any_single_frame_is_a_movie_if_nothing_else_is_known() -> None:
    found = classify([], "data", [listed(f"{n}.mrc", 1_500_000_000) for n in range(9)])
    assert {(judged.role, judged.reason) for judged in found} == {(Role.MOVIE, RoleReason.LARGE)}


@pytest.mark.parametrize(
    ("directory", "name", "reason"),
    [
        ("data", "CountRef_1.mrc", RoleReason.GAIN_NAME),
        ("data/gain", "K3.mrc", RoleReason.GAIN_FOLDER),
        ("data", "bad_pixels.txt", RoleReason.DEFECTS_NAME),
        ("data", "a_SumCorr.mrc", RoleReason.NAME),
        ("data/movies", "a.mrc", RoleReason.FOLDER),
        ("data", "a.eer", RoleReason.SUFFIX),
        ("data", "a.mrc", RoleReason.SUFFIX_ALONE),
        ("data", "Thumbs.db", RoleReason.LEFTOVER),
        ("data", "a.zip", RoleReason.NOTHING_KNOWN),
    ],
)
def test_each_judgement_tells_the_rule_that_decided(directory: str, name: str, reason: RoleReason) -> None:
    assert classify([], directory, [listed(name)])[0].reason is reason


def test_the_image_set_is_the_reason_where_it_is_the_loudest_voice() -> None:
    movies = imageset("data", "micrographs - multiframe")
    assert classify([movies], "data", [listed("a.mrc")])[0].reason is RoleReason.IMAGE_SET


def test_the_neighbours_are_the_reason_where_they_decide() -> None:
    found = classify([], "data", [*(listed(name) for name in TIFFS), listed("x.dm4")])
    assert found[-1].reason is RoleReason.OTHER_FORMAT
    movies = [listed(f"movie_{n}.mrc", 4_000_000_000) for n in range(100)]
    assert classify([], "data", [*movies, listed("K2.mrc", 60_000_000)])[-1].reason is RoleReason.SMALLER
    assert classify([], "data", [listed("gain.mrc"), listed("1.mrc"), listed("2.mrc")])[1].reason is RoleReason.BESIDE_GAIN  # fmt: skip


def test_every_rule_has_a_sentence_and_a_code_of_its_own() -> None:
    assert set(RULES) == set(RoleReason) == set(ROLE_REASON_CODES)
    assert len(set(ROLE_REASON_CODES.values())) == len(RoleReason)
    assert not any("'" in reason or "|" in reason for reason in RoleReason)


# --- names that depositors might as well have given ---------------------------------------------------------

PATTERNS = (
    "FoilHole_{}_Data_{}_{}_20191214_0949-{}.mrc",
    "stack_{}_2x_SumCorr.mrc",
    "18jul30a_{}sq_v01_{}hl_{}ed37-b-DW.mrc",
    "atp_{}-1_{}_Apr13_19.10.22.tif",
    "{}.mrc",
    "movie_{}.mrcs",
    "TS_{}.st",
    "CountRef_{}_{}.mrc",
    "gain_{}.mrc",
    "x_{}_particles.star",
)
#: Words of which no rule knows anything.
PREFIXES = st.sampled_from(["lab7", "Krios1", "20200101", "grid3b", "apo", "my protein", "ß-gal", "A.1"])


@given(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=12), st.data())
def test_other_digits_in_the_names_leave_the_roles_as_they_are(
    patterns: list[str], data: st.DataObject
) -> None:
    digits = st.text("0123456789", min_size=1, max_size=9)

    def fill(pattern: str) -> str:
        return pattern.format(*(data.draw(digits) for _ in range(pattern.count("{}"))))

    first, second = ([fill(pattern) for pattern in patterns] for _ in range(2))
    assert roles("data", first) == roles("data", second)


@given(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=12), PREFIXES, st.sampled_from("_- "))
def test_a_prefix_that_says_nothing_leaves_the_roles_as_they_are(
    patterns: list[str], prefix: str, joint: str
) -> None:
    names = [pattern.replace("{}", f"{n:03d}") for n, pattern in enumerate(patterns)]
    assert roles("data", names) == roles("data", [f"{prefix}{joint}{name}" for name in names])


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(random: random.Random) -> None:
    names = [*TIFFS[:40], "gain.mrc", "x.dm4", "a_1.mrc", "a_1.rawtlt", "notes.txt", "bad_pixels.tif"]
    before = dict(zip(names, roles("data", names), strict=True))
    random.shuffle(names)
    assert dict(zip(names, roles("data", names), strict=True)) == before


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
