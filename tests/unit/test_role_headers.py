"""Headers settle what names leave open, and overturn nothing that is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empiar_imaging.judging import judge_folder
from empiar_imaging.role_headers import refine
from empiar_imaging.roles import classify
from empiar_schema.entry import ImageSet
from empiar_schema.files import ListedFile
from empiar_schema.image_facts import ImageFacts
from empiar_schema.role_reasons import Judgement, RoleReason
from empiar_schema.states import Role

R = Role
K2 = (3838, 3710)


def listed(name: str, size: int | None = None) -> ListedFile:
    return ListedFile(name, size, size is not None, None, 1)


def image(
    frames: int | None, size: tuple[int, int] = K2, mode: str = "uint8", kind: str = "mrc"
) -> ImageFacts:
    return ImageFacts(kind, *size, frames, mode)


def judged(
    headers: Mapping[str, ImageFacts | None], *imagesets: ImageSet, directory: str = "data"
) -> list[Judgement]:
    """The judgements of a folder of these names, of which those with a header have been looked into."""
    files = [listed(name) for name in headers]
    facts = {place: found for place, found in enumerate(headers.values()) if found is not None}
    return judge_folder(imagesets, directory, files, facts=facts)


def roles(
    headers: Mapping[str, ImageFacts | None], *imagesets: ImageSet, directory: str = "data"
) -> list[Role]:
    return [one.role for one in judged(headers, *imagesets, directory=directory)]


def many(pattern: str, facts: ImageFacts | None, count: int = 60) -> dict[str, ImageFacts | None]:
    return {pattern.format(n): facts for n in range(count)}


@pytest.mark.parametrize(
    ("directory", "name", "facts", "role"),
    [
        ("data", "a.mrc", image(40), R.MOVIE),
        ("data", "a.mrc", image(1), R.MICROGRAPH),
        ("data", "a.tif", image(40, kind="tiff"), R.MOVIE),
        ("data", "a.tif", image(1, kind="tiff"), R.MICROGRAPH),
        ("data/Micrographs", "a.mrc", image(38), R.MOVIE),
        ("data/Movies", "a.mrc", image(1), R.MICROGRAPH),
        ("data", "a_SumCorr.mrc", image(24), R.MOVIE),
        ("data", "a.mrcs", image(24), R.MOVIE),
        ("data/Particles", "a.mrcs", image(24), R.MOVIE),
        ("data/Particles", "a.mrcs", image(1), R.MICROGRAPH),
        ("data/Particles", "a.mrcs", image(500, (256, 256)), R.PARTICLE_STACK),
        ("data", "a.mrcs", image(120, (720, 720)), R.PARTICLE_STACK),
        ("data", "a.mrc", image(500, (256, 256)), R.PARTICLE_STACK),
        ("data/Micrographs", "a.mrc", image(500, (256, 256)), R.PARTICLE_STACK),
        ("data/Micrographs", "a.mrc", image(8, (256, 256)), R.MOVIE),
        ("data", "a_movie.mrcs", image(500, (256, 256)), R.MOVIE),
        ("data", "a.mrc", image(256, (256, 256)), R.VOLUME),
        ("data", "a.mrc", image(300, (928, 960)), R.VOLUME),
        ("data/tomograms", "a.mrc", image(300, (928, 960)), R.VOLUME),
        ("data/maps", "a.mrc", image(1), R.MICROGRAPH),
        ("data/tilt_series", "a.mrc", image(41), R.TILT_SERIES),
        ("data/tilt_series", "a.mrc", image(1), R.TILT_SERIES),
        ("data/tilt_series", "a.mrc", image(6), R.MOVIE),
        ("data", "class_averages.mrcs", image(50, (128, 128)), R.CLASS_AVERAGE),
        ("data", "a.raw", image(1), R.MICROGRAPH),
        ("data", "a.unheard_of", image(12), R.MOVIE),
    ],
)  # fmt: skip
def test_one_header_settles_one_file(directory: str, name: str, facts: ImageFacts, role: Role) -> None:
    assert roles({name: facts}, directory=directory) == [role]


@pytest.mark.parametrize(
    ("name", "facts", "role"),
    [
        ("CountRef_a.mrc", image(40), R.GAIN),
        ("a.eer", image(1, kind="eer"), R.MOVIE),
        ("a.rec", image(1), R.VOLUME),
        ("a.st", image(1), R.TILT_SERIES),
        ("a.gain", image(7, kind="tiff"), R.GAIN),
        ("atlas.jpg", image(1), R.PREVIEW),
        ("bad_pixels.mrc", image(1), R.DEFECTS),
        ("notes.txt", image(1), R.METADATA),
    ],
)
def test_a_header_does_not_overturn_what_is_certain_or_no_image(
    name: str, facts: ImageFacts, role: Role
) -> None:
    assert roles({name: facts}) == [role]


def test_a_header_makes_the_role_certain_and_is_named_as_the_reason() -> None:
    before = classify([], "data", [listed("a.mrc")])[0]
    after = judged({"a.mrc": image(40)})[0]
    assert not before.certain
    assert after == (R.MOVIE, 0.97, RoleReason.SEVERAL_FRAMES)


# --- gains among images -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference",
    [
        image(1, mode="float32"),
        image(1, (3710, 3838), "float32"),
        image(1, (7676, 7420), "float32"),
        image(1, (4092, 5760), "float32"),
    ],
)
@pytest.mark.parametrize("name", ["K2.mrc", "20200101.mrc", "0007_x.mrc"])
def test_one_frame_of_another_kind_among_movies_is_their_gain(name: str, reference: ImageFacts) -> None:
    found = judged({**many("a_{}.mrc", image(40)), name: reference})
    assert found[-1] == (R.GAIN, 0.9, RoleReason.SINGLE_AMONG_MOVIES)
    assert {one.role for one in found[:-1]} == {R.MOVIE}


def test_even_where_its_name_is_like_a_movie_s() -> None:
    found = judged({**many("{:04d}.mrc", image(40)), "9999.mrc": image(1, mode="float32")})
    assert found[-1].role is R.GAIN


def test_a_movie_that_ended_after_one_frame_is_no_gain_but_unsure() -> None:
    found = judged({**many("a_{}.mrc", image(40)), "a_99.mrc": image(1)}, directory="data/movies")
    assert found[-1] == (R.MOVIE, 0.5, RoleReason.SINGLE_AMONG_MOVIES)


def test_the_sum_of_a_movie_is_a_micrograph() -> None:
    headers = {**many("a_{}.tif", image(40, kind="tiff")), "a_7.mrc": image(1, mode="float32")}
    assert judged(headers)[-1] == (R.MICROGRAPH, 0.95, RoleReason.SUM_OF_MOVIE)


def test_sums_beside_all_their_movies_are_micrographs_and_the_gain_is_still_found() -> None:
    movies, sums = many("a_{}.tif", image(40, kind="tiff")), many("a_{}.mrc", image(1, mode="float32"))
    found = judged({**movies, **sums, "gain.mrc": image(1, mode="float32")})
    assert [one.role for one in found] == [R.MOVIE] * 60 + [R.MICROGRAPH] * 60 + [R.GAIN]


def test_a_guess_by_format_becomes_certain_where_the_header_fits_the_movies() -> None:
    movies = many("a_{}.tif", image(40, kind="tiff"))
    found = judged({**movies, "x.dm4": image(1, (7676, 7420), "float32", "dm4")})
    assert found[-1] == (R.GAIN, 0.95, RoleReason.OTHER_FORMAT)


def test_a_guess_by_format_stays_a_guess_where_the_header_fits_no_detector() -> None:
    movies = many("a_{}.tif", image(40, kind="tiff"))
    found = judged({**movies, "x.dm4": image(1, (2000, 1000), "float32", "dm4")})
    assert found[-1] == (R.GAIN, 0.8, RoleReason.OTHER_FORMAT)


def test_a_guess_by_size_is_given_up_where_the_header_shows_a_movie() -> None:
    files = [*(listed(f"movie_{n}.mrc", 4_000_000_000) for n in range(60)), listed("K2.mrc", 60_000_000)]
    facts = dict.fromkeys(range(60), image(40)) | {60: image(3)}
    assert classify([], "data", files)[-1].role is R.GAIN
    assert judge_folder([], "data", files, facts=facts)[-1].role is R.MOVIE


def test_a_word_for_references_means_nothing_among_equal_single_images() -> None:
    found = judged({**many("a_{}.mrc", image(1)), "ref.mrc": image(1)})
    assert {one.role for one in found} == {R.MICROGRAPH}
    other = judged({**many("a_{}.mrc", image(1)), "ref.mrc": image(1, mode="float32")})
    assert other[-1].role is R.GAIN


def test_a_gain_by_name_with_many_frames_stays_one_and_unsure() -> None:
    found = judged({**many("a_{}.mrc", image(40)), "gain.mrc": image(40)})
    assert found[-1] == (R.GAIN, 0.6, RoleReason.GAIN_NAME)


def test_an_image_of_another_size_among_single_images_is_unsure() -> None:
    found = judged({**many("a_{}.mrc", image(1)), "x.mrc": image(1, (2048, 2048))})
    assert found[-1] == (R.MICROGRAPH, 0.6, RoleReason.ODD_FRAME)


def test_frames_in_files_of_their_own_stay_movies() -> None:
    found = judged(many("a_1_frame_{}.mrc", image(1)), directory="data/movies")
    assert {one.role for one in found} == {R.MOVIE}


# --- families -----------------------------------------------------------------------------------------------


def test_files_that_are_not_here_follow_those_of_their_family_a_little_less_surely() -> None:
    headers = {**many("a_{}.mrc", image(40), 3), **{f"a_{n}.mrc": None for n in range(3, 9)}, "b.mrc": None}
    found = judged(headers)
    assert found[0] == (R.MOVIE, 0.97, RoleReason.SEVERAL_FRAMES)
    assert found[8] == (R.MOVIE, 0.9, RoleReason.SEVERAL_FRAMES)
    assert found[9] == classify([], "data", [listed(name) for name in headers])[9]


def test_a_family_that_disagrees_tells_nothing_of_the_others() -> None:
    headers: dict[str, ImageFacts | None] = {"a_1.mrc": image(40), "a_2.mrc": image(1), "a_3.mrc": None}
    assert judged(headers)[2] == classify([], "data", [listed("a_3.mrc")])[0]


def test_headers_that_tell_no_frames_change_nothing() -> None:
    headers = {"a.mrc": image(None), "b.mrc": ImageFacts("mrc"), "c.mrc": image(0), "d.mrc": image(-3)}
    files = [listed(name) for name in headers]
    assert judged(headers) == classify([], "data", files)


def test_the_category_of_the_image_set_gives_way_to_the_header() -> None:
    single = ImageSet(position=0, directory="data", category="micrographs - single frame", data_format="MRC")
    assert roles({"a.mrc": image(40)}, single) == [R.MOVIE]


NAMES = st.sampled_from(
    [
        "a_1.mrc",
        "a_2.mrc",
        "gain.mrc",
        "b.tif",
        "c.eer",
        "d.mrcs",
        "e.st",
        "f.rec",
        "CountRef.mrc",
        "g.dm4",
        "h.txt",
    ]
)
NUMBERS = st.one_of(st.none(), st.integers(-1, 2**31 - 1), st.sampled_from([1, 2, 40, 256, 3838]))
FACTS = st.builds(
    ImageFacts, st.sampled_from(["mrc", "tiff", "eer", "gz"]), NUMBERS, NUMBERS, NUMBERS, st.none()
)


@given(st.dictionaries(NAMES, st.one_of(st.none(), FACTS), max_size=11))
def test_any_headers_leave_one_judgement_a_file_and_what_was_certain(
    headers: dict[str, ImageFacts | None],
) -> None:
    files = [listed(name) for name in headers]
    facts = {place: found for place, found in enumerate(headers.values()) if found is not None}
    before = classify([], "data", files)
    after = refine(files, before, facts)
    assert len(after) == len(files)
    assert all(0 < one.confidence <= 1 for one in after)
    assert all(old == new for old, new in zip(before, after, strict=True) if old.certain)


@given(st.permutations(range(70)))
def test_the_order_of_the_listing_does_not_matter(order: Sequence[int]) -> None:
    headers = list({**many("a_{}.mrc", image(40), 67), "x.mrc": image(1, mode="float32"), "y.mrc": None, "z.tif": image(2, kind="tiff")}.items())  # fmt: skip
    once = dict(zip((name for name, _ in headers), judged(dict(headers)), strict=True))
    shuffled = dict(headers[place] for place in order)
    assert dict(zip(shuffled, judged(shuffled), strict=True)) == once
