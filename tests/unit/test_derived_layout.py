"""Layouts with what was made here: labels that join by stem, images instead of or beside the deposited ones."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from empiar_mirror.derived_layout import plan_view
from empiar_mirror.layout import LaidFile, LayoutPlan, Origin
from empiar_schema.layout_views import PRESETS, ViewRecipe
from empiar_schema.products import Kind, Product
from empiar_schema.states import Role

CRYOPPP = PRESETS["cryoppp"]


def files(*paths: str, role: Role = Role.MICROGRAPH, first: int = 1) -> list[LaidFile]:
    return [LaidFile.of(number, path, role) for number, path in enumerate(paths, first)]


class Made:
    """Products of an entry, each with a number and a path of its own."""

    def __init__(self) -> None:
        self.products: list[Product] = []

    def add(
        self,
        kind: str,
        name: str,
        *,
        maker: str = "labels",
        stem: str | None = None,
        parent: int | None = None,
    ) -> Product:
        number = len(self.products) + 1
        product = Product(number, f"{maker}/{name}", kind, maker, stem, parent, 10, bytes([number]) * 32)
        self.products.append(product)
        return product


@pytest.fixture
def made() -> Made:
    return Made()


def plan(
    deposited: list[LaidFile], made: Made, recipe: ViewRecipe = CRYOPPP, worked_on: tuple[Role, ...] = ()
) -> LayoutPlan:
    found = plan_view(deposited, made.products, recipe, empiar_id=10028, worked_on=worked_on)
    shuffled, products = deposited[:], made.products[:]
    random.Random(1).shuffle(shuffled)
    random.Random(2).shuffle(products)
    assert plan_view(shuffled, products, recipe, empiar_id=10028, worked_on=worked_on) == found
    paths = [place.path for place in found.places]
    assert len(set(paths)) == len(paths)
    return found


def shown(found: LayoutPlan) -> dict[str, str]:
    """Place → path of the file."""
    return {place.path: place.file.path for place in found.places}


def test_the_layout_has_every_folder_of_the_standard(made: Made) -> None:
    made.add(Kind.SELECTED_STAR, "all.star")
    made.add(Kind.SELECTED_CSV, "all.csv")
    made.add(Kind.EXCLUDED_STAR, "out.star")
    made.add(Kind.EXCLUDED_CSV, "out.csv")
    made.add(Kind.PARTICLE_COORDINATES, "c/a.csv", stem="a")
    made.add(Kind.FALSE_POSITIVES, "f/a.csv", stem="a")
    made.add(Kind.PARTICLE_STACK, "s/a.mrc", stem="a", maker="particle_stacks")
    made.add("thumbnail", "t/a.jpg", stem="a", maker="thumbnails")
    found = plan([*files("data/a.mrc"), *files("data/g.mrc", role=Role.GAIN, first=2)], made)
    assert shown(found) == {
        "micrographs/a.mrc": "data/a.mrc",
        "gain/g.mrc": "data/g.mrc",
        "ground_truth/empiar-10028_particles_selected.star": "labels/all.star",
        "ground_truth/empiar-10028_particles_selected.csv": "labels/all.csv",
        "ground_truth/empiar-10028_particles_excluded.star": "labels/out.star",
        "ground_truth/empiar-10028_particles_excluded.csv": "labels/out.csv",
        "ground_truth/particle_coordinates/a.csv": "labels/c/a.csv",
        "ground_truth/false_positives/a_false_positives.csv": "labels/f/a.csv",
        "particles_stack/a_particles.mrc": "particle_stacks/s/a.mrc",
    }
    assert {place.origin for place in found.places if place.folder == "micrographs"} == {Origin.DEPOSITED}
    assert {place.origin for place in found.places if "/" in place.folder} == {Origin.DERIVED}


TWO_PARTS = ("d/part1/061.mrc", "d/part2/061.mrc", "d/part2/062.mrc")


def test_labels_take_the_stem_of_the_place_when_a_clash_changed_it(made: Made) -> None:
    made.add(Kind.PARTICLE_COORDINATES, "1.csv", stem="061", parent=1)
    made.add(Kind.PARTICLE_COORDINATES, "2.csv", stem="061", parent=2)
    made.add(Kind.PARTICLE_STACK, "2.mrc", stem="part2__061")
    made.add(Kind.PARTICLE_COORDINATES, "3.csv", stem="062")
    found = shown(plan(files(*TWO_PARTS), made))
    assert found["ground_truth/particle_coordinates/part1__061.csv"] == "labels/1.csv"
    assert found["ground_truth/particle_coordinates/part2__061.csv"] == "labels/2.csv"
    assert found["particles_stack/part2__061_particles.mrc"] == "labels/2.mrc"
    assert found["ground_truth/particle_coordinates/062.csv"] == "labels/3.csv"
    images = {
        place.rpartition("/")[2].removesuffix(".mrc") for place in found if place.startswith("micrographs/")
    }
    labels = {place.rpartition("/")[2].removesuffix(".csv") for place in found if place.endswith(".csv")}
    assert labels == images


@pytest.mark.parametrize("images", [None, 1])
def test_labels_that_could_belong_to_two_micrographs_are_put_beside_neither(
    made: Made, images: int | None
) -> None:
    """Also where the view has only one of the two, whose name is bare there."""
    product = made.add(Kind.PARTICLE_COORDINATES, "1.csv", stem="061")
    found = plan(files(*TWO_PARTS), made, replace(CRYOPPP, images=images))
    assert found.unplaced == ((product, "several micrographs of the entry have its stem"),)
    assert not [place for place in found.places if place.folder.startswith("ground_truth")]


def test_products_of_images_that_the_view_does_not_take_are_left_out_in_silence(made: Made) -> None:
    made.add(Kind.PARTICLE_COORDINATES, "1.csv", stem="a1", parent=1)
    made.add(Kind.PARTICLE_COORDINATES, "2.csv", stem="a2", parent=2)
    made.add(Kind.PARTICLE_COORDINATES, "3.csv", stem="a3")
    found = plan(files("d/a1.mrc", "d/a2.mrc", "d/a3.mrc"), made, replace(CRYOPPP, images=1))
    assert list(shown(found)) == ["micrographs/a1.mrc", "ground_truth/particle_coordinates/a1.csv"]
    assert found.unplaced == ()


def test_labels_of_no_micrograph_are_named(made: Made) -> None:
    stray = made.add(Kind.PARTICLE_COORDINATES, "x.csv", stem="x")
    lost = made.add(Kind.PARTICLE_COORDINATES, "y.csv")
    found = plan(files("d/a.mrc"), made)
    assert found.unplaced == (
        (stray, "no micrograph of the entry has its stem"),
        (lost, "it does not say to which micrograph it belongs"),
    )


@pytest.mark.parametrize("cleaned", [True, False])
@pytest.mark.parametrize("stem", ["b_EER", "b_EER_patch_aligned_doseweighted"])
def test_labels_join_whether_or_not_names_lose_what_cryosparc_added(
    made: Made, cleaned: bool, stem: str
) -> None:
    made.add(Kind.PARTICLE_COORDINATES, "1.csv", maker="picker", stem=stem)
    recipe = replace(CRYOPPP, cryoppp_names=cleaned)
    found = shown(
        plan(files("d/b_EER_patch_aligned_doseweighted.mrc", "d/c_patch_aligned.mrc"), made, recipe)
    )
    ours = "b_EER" if cleaned else "b_EER_patch_aligned_doseweighted"
    assert list(found) == [
        f"micrographs/{ours}.mrc",
        "micrographs/c_patch_aligned.mrc",
        f"ground_truth/particle_coordinates/{ours}.csv",
    ]


def test_names_that_become_equal_without_what_cryosparc_added_stay_apart(made: Made) -> None:
    found = plan(files("d/a.mrc", "d/a_patch_aligned_doseweighted.mrc", "d/b.mrc"), made)
    assert list(shown(found)) == [
        "micrographs/d__a.mrc",
        "micrographs/d__a_patch_aligned_doseweighted.mrc",
        "micrographs/b.mrc",
    ]


def test_a_sum_and_its_movie_share_their_labels(made: Made) -> None:
    made.add(Kind.PARTICLE_COORDINATES, "1.csv", stem="a")
    images = [*files("d/sums/a.mrc"), *files("d/movies/a.tif", role=Role.MOVIE, first=2)]
    assert list(shown(plan(images, made))) == [
        "micrographs/a.tif",
        "micrographs/a.mrc",
        "ground_truth/particle_coordinates/a.csv",
    ]
    assert list(shown(plan(images, made, replace(PRESETS["trial"])))) == [
        "micrographs/a.mrc",
        "ground_truth/particle_coordinates/a.csv",
    ]


def test_labels_of_dotted_and_compressed_names_join(made: Made) -> None:
    for number, stem in enumerate(["x.frames", "Jan11_17.50.40", "z"], 1):
        made.add(Kind.PARTICLE_COORDINATES, f"{number}.csv", stem=stem)
    made.add(Kind.FALSE_POSITIVES, "z.csv", stem="z.mrc")
    found = shown(plan(files("d/x.frames.tif", "d/Jan11_17.50.40.tif", "d/z.mrc.bz2"), made))
    assert {path.rpartition("/")[2] for path in found if path.startswith("ground_truth")} == {
        "x.frames.csv",
        "Jan11_17.50.40.csv",
        "z.csv",
        "z_false_positives.csv",
    }


MOVIES = files("d/a.tif", "d/b.tif", role=Role.MOVIE)


def test_lite_shows_jpegs_alone_and_no_gains_and_says_what_is_not_made_yet(made: Made) -> None:
    made.add(Kind.RENDITION, "a.jpg", maker="jpeg", stem="a", parent=1)
    made.add(Kind.MICROGRAPH, "b.mrc", maker="frame_average", stem="b", parent=2)
    made.add(Kind.PARTICLE_STACK, "a.mrc", stem="a")
    found = plan([*MOVIES, *files("d/gain.mrc", role=Role.GAIN, first=3)], made, PRESETS["lite"])
    assert shown(found) == {"micrographs/a.jpg": "jpeg/a.jpg"}
    assert found.notes == ("1 images are not made yet by jpeg",)


def test_what_a_hook_made_stands_instead_of_the_movie_with_its_stem(made: Made) -> None:
    made.add(Kind.MICROGRAPH, "out.mrc", maker="motioncor", stem="a", parent=1)
    made.add(Kind.MICROGRAPH, "a.mrc", maker="frame_average", stem="a", parent=1)
    made.add(Kind.PARTICLE_COORDINATES, "a.csv", stem="a")
    recipe = replace(CRYOPPP, micrographs="motioncor")
    assert shown(plan(MOVIES, made, recipe)) == {
        "micrographs/a.mrc": "motioncor/out.mrc",
        "ground_truth/particle_coordinates/a.csv": "labels/a.csv",
    }
    beside = plan(MOVIES, made, replace(recipe, keep_deposited=True))
    assert [path for path in shown(beside) if path.startswith("micrographs")] == [
        "micrographs/a.tif",
        "micrographs/b.tif",
        "micrographs/a.mrc",
    ]


def test_a_made_image_of_the_same_name_has_the_place_and_the_deposited_one_another_folder(made: Made) -> None:
    made.add(Kind.MICROGRAPH, "a.mrc", maker="denoise", stem="a", parent=1)
    recipe = replace(CRYOPPP, micrographs="denoise", keep_deposited=True)
    assert shown(plan(files("d/a.mrc", "d/b.mrc"), made, recipe)) == {
        "deposited/a.mrc": "d/a.mrc",
        "micrographs/b.mrc": "d/b.mrc",
        "micrographs/a.mrc": "denoise/a.mrc",
    }


def test_micrographs_pass_a_maker_of_movies_and_wait_for_a_maker_of_micrographs(made: Made) -> None:
    made.add(Kind.MICROGRAPH, "a.mrc", maker="hook", parent=1)
    images = [*MOVIES, *files("d/sum.mrc", first=3)]
    recipe = replace(CRYOPPP, micrographs="hook")
    passed = plan(images, made, recipe)
    assert list(shown(passed)) == ["micrographs/sum.mrc", "micrographs/a.mrc"]
    assert passed.notes == ("1 images are not made yet by hook",)
    waiting = plan(images, made, recipe, worked_on=(Role.MOVIE, Role.MICROGRAPH))
    assert list(shown(waiting)) == ["micrographs/a.mrc"]
    assert waiting.notes == ("2 images are not made yet by hook",)


def test_two_products_for_one_place_leave_one_out_and_say_so(made: Made) -> None:
    first = made.add(Kind.RENDITION, "a.jpg", maker="jpeg", stem="a", parent=1)
    second = made.add(Kind.RENDITION, "b.jpg", maker="jpeg", stem="a", parent=2)
    images = [*files("d/a.mrc"), *files("d/a.tif", role=Role.MOVIE, first=2)]
    found = plan(images, made, replace(PRESETS["lite"], images_role="both"))
    assert [place.file for place in found.places] == [first]
    assert found.unplaced == ((second, "another file has the same place, micrographs/a.jpg"),)


def test_relion_finds_movies_micrographs_and_stacks_by_its_own_patterns(made: Made) -> None:
    made.add(Kind.PARTICLE_STACK, "s.mrc", stem="m")
    images = [*MOVIES, *files("d/m_patch_aligned_doseweighted.mrc", first=3)]
    found = shown(plan(images, made, PRESETS["relion"]))
    assert list(found) == [
        "movies/a.tif",
        "movies/b.tif",
        "micrographs/m_patch_aligned_doseweighted.mrc",
        "particles_stack/m_patch_aligned_doseweighted_particles.mrcs",
    ]


@pytest.mark.parametrize(
    ("stacks", "names"), [("deposited", {"split.mrc"}), ("extracted", {"cut.mrc"}), ("none", set())]
)
def test_stacks_are_split_from_deposited_ones_or_cut_out_of_micrographs(
    made: Made, stacks: str, names: set[str]
) -> None:
    made.add(Kind.PARTICLE_STACK, "split.mrc", stem="a", parent=77)
    made.add(Kind.PARTICLE_STACK, "cut.mrc", stem="a", parent=1)
    recipe = replace(CRYOPPP, stacks=stacks)  # type: ignore[arg-type] # one of the Literal's
    found = plan(files("d/a.mrc"), made, recipe)
    assert {place.file.path.rpartition("/")[2] for place in found.places[1:]} == names


def test_a_view_without_labels_has_no_ground_truth(made: Made) -> None:
    made.add(Kind.SELECTED_STAR, "a.star")
    made.add(Kind.PARTICLE_COORDINATES, "a.csv", stem="a")
    assert list(shown(plan(files("d/a.mrc"), made, replace(CRYOPPP, labels=False)))) == ["micrographs/a.mrc"]


def test_names_follow_the_listing_and_what_is_not_here_is_counted(made: Made) -> None:
    """A name must not change when the file arrives with which it clashes."""
    listed = files(*TWO_PARTS)
    part = [replace(file, here=file.file_id == 2) for file in listed]
    found = plan(part, made)
    assert shown(found) == {"micrographs/part2__061.mrc": "d/part2/061.mrc"}
    assert found.notes == ("2 of the 3 images that the view takes are not here",)
    first = plan(part, made, replace(CRYOPPP, images=2))
    assert first.notes == ("1 of the 2 images that the view takes (the first 2 of 3) are not here",)
    assert first.image_choice == "first 2 of 3"


def test_a_derived_name_that_is_too_long_is_reported(made: Made) -> None:
    stem = "n" * 240
    product = made.add(Kind.FALSE_POSITIVES, "f.csv", stem=stem)
    found = plan(files(f"d/{stem}.mrc"), made)
    assert found.unplaced == ((product, "its name in the layout would have 260 bytes, 255 are possible"),)
