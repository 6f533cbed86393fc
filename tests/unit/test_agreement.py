"""Image sets against headers: what contradicts is told once with both values, and nothing is invented."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.agreement import (
    FORMAT,
    FRAMES,
    KINDS,
    PIXEL,
    SIZE,
    SUFFIX,
    VOXEL,
    Disagreement,
    Headers,
    disagreements,
)
from empiar_schema.entry import ImageSet
from empiar_schema.image_facts import ImageFacts
from empiar_schema.states import Role

MULTI = "micrographs - multiframe"
SINGLE = "micrographs - single frame"
MOVIES = ImageSet(
    position=0,
    directory="data/movies",
    category=MULTI,
    header_format="TIFF",
    data_format="TIFF",
    voxel_type="UNSIGNED BYTE",
    image_count=300,
    frames_per_image=40,
    image_width=3838,
    image_height=3710,
    pixel_width_angstrom=0.673,
    pixel_height_angstrom=0.673,
)
FACTS = ImageFacts("tiff", 3838, 3710, 40, "uint8", 0.673)
GROUP = Headers("data/movies", Role.MOVIE, FACTS, 300, "data/movies/a_001.tif")


def found(imageset: ImageSet, *groups: Headers) -> list[tuple[str, str, str]]:
    return [(one.what, one.stated, one.found) for one in disagreements([imageset], groups)]


def with_facts(**changes: object) -> Headers:
    return replace(GROUP, facts=replace(FACTS, **changes))  # type: ignore[arg-type]


def stated(**changes: object) -> ImageSet:
    return MOVIES.model_copy(update=changes)


def test_an_entry_that_is_consistent_has_none() -> None:
    assert disagreements([MOVIES], [GROUP]) == []


def test_a_contradiction_has_both_values_and_its_source() -> None:
    assert disagreements([MOVIES], [with_facts(mode="int16")]) == [
        Disagreement(VOXEL, "data/movies", "UNSIGNED BYTE", "int16", "header of data/movies/a_001.tif, 300 files alike")
    ]  # fmt: skip
    (probed,) = disagreements([MOVIES], [replace(with_facts(mode="int16"), probed=True)])
    assert probed.source == "header of data/movies/a_001.tif, 300 files named alike"
    (alone,) = disagreements([MOVIES], [replace(with_facts(mode="int16"), files=1)])
    assert alone.source == "header of data/movies/a_001.tif"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (0.673, None), (0.68, None), (None, None), (1.0, None),
        (0.85, "0.85 Å"),
        (1.345, "1.345 Å, twice as much: the stated one is that of super-resolution (factor 2)"),
        (0.3365, "0.3365 Å, half as much: the files are in super-resolution (factor 2)"),
        (6.73, "6.73 Å, ten times as much: stated in nm?"),
    ],
)  # fmt: skip
def test_pixel_sizes_agree_within_calibration_and_super_resolution_is_named(
    header: float | None, expected: str | None
) -> None:
    told = found(MOVIES, with_facts(pixel_size_angstrom=header))
    assert told == ([] if expected is None else [(PIXEL, "0.673 Å", expected)])


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (3838, 3710, None),
        (3710, 3838, "width and height are exchanged"),
        (7676, 7420, "twice as much: the files are in super-resolution (factor 2)"),
        (1919, 1855, "half as much: stated is super-resolution (factor 2)"),
        (7420, 7676, "twice as much: the files are in super-resolution (factor 2)"),
        (4096, 4096, ""),
    ],
)
def test_image_sizes_that_are_exchanged_or_doubled_are_named_so(
    width: int, height: int, expected: str | None
) -> None:
    told = found(MOVIES, with_facts(width=width, height=height))
    text = f"{width} × {height} pixels" + (f", {expected}" if expected else "")
    assert told == ([] if expected is None else [(SIZE, "3838 × 3710 pixels", text)])


def test_one_stated_side_is_compared_alone() -> None:
    assert found(stated(image_width=None), GROUP) == []
    assert found(stated(image_width=None, image_height=9), GROUP) == [(SIZE, "? × 9 pixels", "3838 × 3710 pixels")]  # fmt: skip


@pytest.mark.parametrize(
    ("voxel", "mode", "agrees"),
    [
        ("UNSIGNED BYTE", "uint8", True), ("UNSIGNED BYTE", "int8", False), ("SIGNED 16 BIT INTEGER", "uint16", False),
        ("32 BIT FLOAT", "float32", True), ("32 bit float", "int16", False), ("16 BIT FLOAT", "float16", True),
        ("4 BIT INTEGER", "uint4", True), ("4 BIT INTEGER", "uint8", True), ("4 BIT INTEGER", "float32", False),
        ("BIT", "uint1", True), ("something of their own", "int16", True), ("UNSIGNED BYTE", None, True),
    ],
)  # fmt: skip
def test_voxel_types_are_compared_where_the_word_is_known(voxel: str, mode: str | None, agrees: bool) -> None:
    told = found(stated(voxel_type=voxel), with_facts(mode=mode))
    assert told == ([] if agrees else [(VOXEL, voxel, str(mode))])


@pytest.mark.parametrize(
    ("form", "name", "header", "agrees"),
    [
        ("TIFF", "a.tif", "tiff", True), ("TIFF", "a.tif.gz", "tiff.gz", True), ("MRC", "a.tif", "tiff", False),
        ("MRC", "a.mrc", "mrc", True), ("MRCS", "a.mrcs.bz2", "mrc.bz2", True), ("TIFF", "a.mrc", "mrc", False),
        ("EER", "a.eer", "eer", True), ("DM4", "a.dm4", "dm4", True), ("DM3", "a.dm4", "dm4", False),
        ("IMAGIC", "a.mrc", "mrc", True), ("TIFF", "a.mrc.gz", "mrc.gz", False),
    ],
)  # fmt: skip
def test_formats_are_compared_with_what_the_file_is(form: str, name: str, header: str, agrees: bool) -> None:
    group = replace(with_facts(format=header), example=f"data/movies/{name}")
    told = found(stated(data_format=form), group)
    assert told == ([] if agrees else [(FORMAT, form, header)])


def test_a_suffix_that_promises_another_format_is_told_by_folder() -> None:
    group = replace(with_facts(format="tiff"), example="data/movies/a.mrc")
    other = replace(group, directory="data/other", example="data/other/b.mrc", role=Role.GAIN)
    told = [(one.what, one.path, one.stated, one.found) for one in disagreements([MOVIES], [group, other])]
    assert told == [
        (SUFFIX, "data/movies", ".mrc", "tiff"),
        (SUFFIX, "data/other", ".mrc", "tiff"),
    ]


def test_frames_are_compared_and_all_values_are_counted() -> None:
    groups = [replace(with_facts(frames=frames), files=files) for frames, files in ((40, 100), (39, 150), (38, 50))]  # fmt: skip
    assert found(MOVIES, *groups) == [(FRAMES, "40", "39 (in 150 of 300 files); 38 (in 50 of 300 files)")]


def test_a_few_files_that_differ_contradict_nothing() -> None:
    groups = [replace(GROUP, files=290), replace(with_facts(frames=39, width=9), files=10)]
    assert found(MOVIES, *groups) == []


@pytest.mark.parametrize(("header", "expected"), [(1200, []), (40, []), (24, [(FRAMES, "40", "24")])])
def test_electron_event_frames_may_be_more_than_the_fractions_that_are_stated(
    header: int, expected: list[object]
) -> None:
    facts = ImageFacts("eer", 4096, 4096, header, "uint1")
    group = Headers("data/movies", Role.MOVIE, facts, 9, "data/movies/a.eer")
    imageset = stated(data_format="EER", image_width=8192, image_height=8192, pixel_width_angstrom=0.7)
    assert found(imageset, group) == expected


def test_sections_that_are_counted_as_images_contradict_nothing() -> None:
    facts = ImageFacts("mrc", 500, 400, 300, "uint8", 70.0)
    group = Headers("data", Role.MICROGRAPH, facts, 1, "data/volume.mrc")
    volume = ImageSet(position=0, directory="data", category=SINGLE, data_format="MRC", image_count=300, frames_per_image=1)  # fmt: skip
    assert found(volume, group) == []
    assert found(volume.model_copy(update={"image_count": 7}), group) == [(FRAMES, "1", "300")]


@pytest.mark.parametrize("role", [Role.TILT_SERIES, Role.PARTICLE_STACK, Role.VOLUME, Role.CLASS_AVERAGE])
def test_sections_of_stacks_are_no_frames(role: Role) -> None:
    categories = {
        Role.TILT_SERIES: "tilt series",
        Role.PARTICLE_STACK: "picked particles - single frame - processed",
        Role.VOLUME: "reconstructed volumes",
        Role.CLASS_AVERAGE: "class averages",
    }
    group = replace(with_facts(frames=41), role=role)
    assert found(stated(category=categories[role]), group) == []


def test_files_of_another_kind_are_not_meant() -> None:
    for role in (Role.GAIN, Role.VOLUME, Role.PREVIEW, Role.OTHER, Role.DEFECTS):
        assert found(MOVIES, replace(with_facts(width=9, mode="float32"), role=role)) == []


def test_files_beside_those_of_the_stated_format_are_not_meant() -> None:
    sums = Headers("data/movies", Role.MICROGRAPH, ImageFacts("mrc", 3838, 3710, 1, "float32"), 300, "data/movies/a.mrc")  # fmt: skip
    assert found(MOVIES, GROUP, sums) == []


def test_sums_below_a_folder_of_movies_are_not_meant_by_the_set_of_movies() -> None:
    movies = replace(GROUP, facts=replace(FACTS, format="mrc"), example="data/movies/raw/a.mrc")
    sums = replace(
        movies, role=Role.MICROGRAPH, directory="data/movies/sums", facts=replace(movies.facts, frames=1)
    )
    assert found(stated(data_format="MRC"), movies, sums) == []


def test_two_sets_of_one_folder_share_its_files_by_what_fits() -> None:
    small = stated(
        position=1, image_width=1000, image_height=1000, pixel_width_angstrom=2.0, frames_per_image=7
    )
    other = with_facts(width=1000, height=1000, pixel_size_angstrom=2.0, frames=7)
    assert disagreements([MOVIES, small], [GROUP, other]) == []
    (told,) = disagreements([MOVIES, small], [GROUP, replace(other, facts=replace(other.facts, frames=8))])
    assert (told.what, told.stated, told.found) == (FRAMES, "7", "8")


def test_a_folder_that_differs_in_letter_case_is_meant_all_the_same() -> None:
    group = replace(with_facts(frames=1), directory="data/Movies/Session A")
    assert found(MOVIES, group) == [(FRAMES, "40", "1")]


def test_files_outside_of_every_image_set_contradict_nothing() -> None:
    assert found(MOVIES, replace(with_facts(frames=1), directory="data/elsewhere")) == []


NUMBERS = st.one_of(st.none(), st.integers(-5, 10**12))
SIZES = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, min_value=0))


@given(
    st.lists(
        st.tuples(st.sampled_from(["mrc", "tiff.gz", "eer", "dm4", "gzip", "x"]), NUMBERS, NUMBERS, NUMBERS, SIZES,
                  st.sampled_from(Role), st.integers(1, 10**6)),
        max_size=6,
    ),
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, SIZES, st.sampled_from([None, SINGLE, MULTI, "tilt series", "?"])), max_size=4),
)  # fmt: skip
def test_any_headers_and_statements_are_compared_without_an_exception(
    headers: list[tuple[str, int | None, int | None, int | None, float | None, Role, int]],
    sets: list[tuple[int | None, int | None, int | None, float | None, str | None]],
) -> None:
    groups = [
        Headers("data", role, ImageFacts(form, w, h, f, "int8", pixel), files, f"data/a{n}.mrc")
        for n, (form, w, h, f, pixel, role, files) in enumerate(headers)
    ]
    imagesets = [
        ImageSet(position=n, directory="data", category=category, data_format="MRC", voxel_type="BIT",
                 image_width=w, image_height=h, frames_per_image=f, pixel_width_angstrom=pixel)
        for n, (w, h, f, pixel, category) in enumerate(sets)
    ]  # fmt: skip
    told = disagreements(imagesets, groups)
    assert all(one.what in KINDS for one in told)
    assert told == disagreements(imagesets, groups)


def test_frames_that_a_tilt_series_states_are_compared_instead_of_stacks_beside_them() -> None:
    frames = replace(GROUP, directory="data/movies/TS_001", example="data/movies/TS_001/a.tif")
    stacks = Headers("data/movies/stacks", Role.TILT_SERIES, ImageFacts("mrc", 9, 9, 41, "int16"), 2, "data/movies/stacks/a.st")  # fmt: skip
    series = stated(category="tilt series")
    assert found(series, frames, stacks) == []
    # What the frames contradict is told all the same, and so are stacks where there is nothing else.
    assert found(series, with_facts(mode="int16"), stacks) == [(VOXEL, "UNSIGNED BYTE", "int16")]
    assert {what for what, _, _ in found(series, stacks)} == {FORMAT, VOXEL, SIZE}
