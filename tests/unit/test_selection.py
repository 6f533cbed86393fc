"""What a view takes of an entry: caps, samples, strata, and the labels that belong to them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from empiar_mirror.layout import LaidFile
from empiar_mirror.selection import LABEL_MAX_BYTES, choose, select, stratum_of
from empiar_schema.layout_views import PRESETS, Choice, ViewRecipe
from empiar_schema.states import Role


def files(*paths: str, role: Role = Role.MICROGRAPH) -> list[LaidFile]:
    return [LaidFile.of(number, path, role) for number, path in enumerate(paths, 1)]


def numbered(count: int, pattern: str = "data/a{}.mrc", role: Role = Role.MICROGRAPH) -> list[LaidFile]:
    return files(*(pattern.format(number) for number in range(1, count + 1)), role=role)


def paths(chosen: list[LaidFile] | tuple[LaidFile, ...]) -> list[str]:
    return [file.path for file in chosen]


def test_the_first_are_those_that_a_person_would_count_first() -> None:
    assert paths(choose(numbered(12)[::-1], 3, how="first")) == ["data/a1.mrc", "data/a2.mrc", "data/a3.mrc"]


@pytest.mark.parametrize(
    ("count", "numbers"), [(1, [6]), (2, [3, 8]), (5, [2, 4, 6, 8, 10]), (10, list(range(1, 11)))]
)
def test_a_spread_sample_has_equal_gaps(count: int, numbers: list[int]) -> None:
    chosen = paths(choose(numbered(10), count, how="spread"))
    assert chosen == [f"data/a{number}.mrc" for number in numbers]


def test_a_random_sample_depends_on_the_seed_alone_and_is_the_same_on_every_machine() -> None:
    # Computed once; another value here means that machines with another version choose other images.
    assert paths(choose(numbered(1000), 4, how="random", seed=1)) == EXPECTED_OF_SEED_1
    other = choose(numbered(1000), 4, how="random", seed=2)
    assert paths(other) != EXPECTED_OF_SEED_1


EXPECTED_OF_SEED_1 = ["data/a99.mrc", "data/a124.mrc", "data/a415.mrc", "data/a666.mrc"]


@pytest.mark.parametrize(
    ("path", "stratum"),
    [
        ("data/Images-Disc1/GridSquare_77/Data/FoilHole_1_Data_2.mrc", "data/Images-Disc1/GridSquare_77"),
        ("d/18feb07c_b1g1_00018gr_00046sq_v02_00015hln_00003enn.mrc", "d/18feb07c_b1g1_00018gr_00046sq"),
        ("d/16nov14y_16nov10d_00006sq_00001hl_00008ed-s-DW.mrc", "d/16nov14y_16nov10d_00006sq"),
        ("d/20dec14b_F_1_00017Gr_00002Sq_v03_00002Hln.frames.tif", "d/20dec14b_F_1_00017Gr_00002Sq"),
        ("d/Urease_28-10_00000_Jan11_17.50.40.tif", "d/Urease_28"),
        ("d/FoilHole_19046782_Data_19046157_19046158_20140519_1244.mrc", "d/FoilHole_19046782"),
        ("d/stack_0002_2x_SumCorr.mrc", "d"),
        ("d/sb1_210512 pos 1015 2-2_1.mrc", "d"),
        ("a.mrc", ""),
    ],
)
def test_names_show_the_grid_square_or_session(path: str, stratum: str) -> None:
    assert stratum_of(path) == stratum


@pytest.mark.parametrize("how", ["first", "spread", "random"])
def test_a_stratified_sample_takes_from_every_folder_before_it_takes_twice_from_one(how: Choice) -> None:
    images = (
        numbered(100, "data/g1/a{}.mrc") + numbered(2, "data/g2/b{}.mrc") + numbered(30, "data/g3/c{}.mrc")
    )
    images = [replace(file, file_id=number) for number, file in enumerate(images)]

    def shares(count: int) -> list[int]:
        chosen = choose(images, count, how=how, stratify=True, seed=3)
        assert len(chosen) == count
        return [sum(file.directory == f"data/{folder}" for file in chosen) for folder in ("g1", "g2", "g3")]

    assert shares(3) == [1, 1, 1]
    assert shares(6) == [2, 2, 2]
    assert shares(10) == [4, 2, 4]
    assert shares(131) == [99, 2, 30]
    assert sum(shares(2)) == 2


def entry() -> list[LaidFile]:
    """Sums and their movies, gains, labels and stacks, as an entry may have them."""
    found = [
        *numbered(12, "data/sums/a{}.mrc"),
        *numbered(12, "data/movies/a{}.tif", Role.MOVIE),
        *numbered(7, "data/gain{}.dm4", Role.GAIN),
        *numbered(12, "data/boxes/a{}.box", Role.PARTICLE_COORDINATES),
        *files(
            "data/particles.star",
            "data/run_data.star.gz",
            "data/readme.txt",
            "data/cs.cs",
            role=Role.METADATA,
        ),
        *files("data/a1_manual.csv", "data/a12_manual.csv", role=Role.OTHER),
        *files("data/particles.mrcs", role=Role.PARTICLE_STACK),
        *files("10028.xml", role=Role.METADATA),
    ]
    return [replace(file, file_id=number) for number, file in enumerate(found)]


def test_a_trial_takes_ten_micrographs_with_their_gains_and_labels_and_no_stacks() -> None:
    selection = select(entry(), PRESETS["trial"])
    assert paths(selection.images) == [f"data/sums/a{number}.mrc" for number in range(1, 11)]
    assert paths(selection.gains) == [f"data/gain{number}.dm4" for number in range(1, 6)]
    assert sorted(paths(selection.labels)) == sorted(
        [f"data/boxes/a{number}.box" for number in range(1, 11)]
        + ["data/particles.star", "data/run_data.star.gz", "data/cs.cs", "data/a1_manual.csv"]
    )
    assert selection.stacks == ()
    assert selection.in_words == (
        "10 images (first 10 of 12), 5 gain references (first 5 of 7), 14 label files, no particle stack"
    )
    assert len(selection.needed) == 29


def test_a_whole_view_takes_everything_that_layouts_are_made_of() -> None:
    selection = select(entry(), PRESETS["cryoppp"])
    assert len(selection.images) == 24
    assert len(selection.gains) == 7
    assert len(selection.labels) == 17
    assert paths(selection.stacks) == ["data/particles.mrcs"]
    assert selection.image_choice == "all"


@pytest.mark.parametrize(
    ("role", "names"),
    [("auto", {".mrc"}), ("micrograph", {".mrc"}), ("movie", {".tif"}), ("both", {".mrc", ".tif"})],
)
def test_the_images_of_an_entry_with_sums_and_movies_are_those_that_the_view_says(
    role: str, names: set[str]
) -> None:
    recipe = replace(PRESETS["cryoppp"], images_role=role)  # type: ignore[arg-type] # one of the Literal's
    assert {file.name[-4:] for file in select(entry(), recipe).images} == names


def test_movies_are_the_images_where_there_is_nothing_else() -> None:
    movies = [file for file in entry() if file.role is not Role.MICROGRAPH]
    assert len(select(movies, PRESETS["trial"]).images) == 10


def test_no_view_takes_metadata_that_is_too_large_for_a_table_or_holds_no_labels() -> None:
    huge = [
        LaidFile(1, "data", "volume.csv", Role.METADATA, size=LABEL_MAX_BYTES + 1),
        LaidFile(2, "data", "picks.star", Role.PARTICLE_COORDINATES, size=LABEL_MAX_BYTES + 1),
        LaidFile(3, "data", "unknown.star", Role.METADATA),
    ]
    assert paths(select(huge, PRESETS["cryoppp"]).labels) == ["data/picks.star", "data/unknown.star"]
    assert select(huge, replace(PRESETS["cryoppp"], labels=False)).labels == ()


def test_labels_named_after_a_cleaned_or_longer_stem_find_their_image() -> None:
    images = files("d/x_1_patch_aligned_doseweighted.mrc", "d/x_10.mrc", "d/x_2.mrc")
    labels = files(
        "l/x_1_pick.star", "l/x_10_pick.star", "l/x_2.star", "l/x.star", role=Role.PARTICLE_COORDINATES
    )
    labels = [replace(label, file_id=10 + label.file_id) for label in labels]
    one = ViewRecipe("one", images=1)
    assert paths(select([*images, *labels], one).images) == ["d/x_1_patch_aligned_doseweighted.mrc"]
    assert paths(select([*images, *labels], one).labels) == ["l/x_1_pick.star", "l/x.star"]
