"""Choices over any listing: no dependence on its order, caps that hold, samples that grow."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.layout import LaidFile, natural_key
from empiar_mirror.selection import choose, select
from empiar_schema.layout_views import Choice, ViewRecipe
from empiar_schema.states import Role

NAMES = st.from_regex(
    r"(FoilHole_[0-9]_|[a-c][0-9]{0,2}_0000[0-9]sq_)?[a-c0-9]{1,4}\.(mrc|tif|star|box)", fullmatch=True
)
FOLDERS = st.sampled_from(["", "data/", "data/GridSquare_1/", "data/GridSquare_2/Data/", "data/é/"])
FILES = st.lists(
    st.tuples(FOLDERS, NAMES, st.sampled_from(list(Role))), unique_by=lambda item: item[:2], max_size=40
).map(lambda items: [LaidFile.of(n, folder + name, role) for n, (folder, name, role) in enumerate(items)])
HOW: st.SearchStrategy[Choice] = st.sampled_from(["first", "spread", "random"])
RECIPES = st.builds(
    ViewRecipe,
    st.just("any"),
    images=st.none() | st.integers(1, 12),
    gains=st.none() | st.integers(0, 5),
    choose=HOW,
    seed=st.integers(0, 3),
    stratify=st.booleans(),
    images_role=st.sampled_from(["auto", "micrograph", "movie", "both"]),
    fetch_stacks=st.booleans(),
)


@given(FILES, RECIPES, st.randoms(use_true_random=False))
def test_neither_the_order_of_a_listing_nor_numbers_nor_what_is_here_change_the_choice(
    files: list[LaidFile], recipe: ViewRecipe, rng: random.Random
) -> None:
    other = [replace(file, file_id=1000 - file.file_id, here=rng.random() < 0.5) for file in files]
    rng.shuffle(other)
    one, two = select(files, recipe), select(other, recipe)
    assert {file.path for file in one.needed} == {file.path for file in two.needed}
    assert (one.image_choice, one.gain_choice) == (two.image_choice, two.gain_choice)
    if recipe.images is not None and len(one.images) == recipe.images:
        assert sorted(file.path for file in one.images) == sorted(file.path for file in two.images)


@given(FILES, RECIPES)
def test_caps_hold_and_nothing_is_left_out_below_them(files: list[LaidFile], recipe: ViewRecipe) -> None:
    selection = select(files, recipe)
    images = [file for file in files if file.role in (Role.MICROGRAPH, Role.MOVIE)]
    assert len({file.file_id for file in selection.images}) == len(selection.images)
    assert len(selection.images) + len(selection.other_images) == len(images)
    micrographs = sum(file.role is Role.MICROGRAPH for file in images)
    candidates = {
        "auto": micrographs or len(images),
        "micrograph": micrographs,
        "movie": len(images) - micrographs,
        "both": len(images),
    }[recipe.images_role]
    assert len(selection.images) == min(candidates, recipe.images or candidates)


@given(FILES, st.sampled_from(["first", "random"]), st.booleans(), st.integers(0, 3))
def test_a_larger_sample_holds_the_smaller_one(
    files: list[LaidFile], how: Choice, stratify: bool, seed: int
) -> None:
    smaller: set[str] = set()
    for count in range(len(files) + 1):
        larger = {file.path for file in choose(files, count, how=how, seed=seed, stratify=stratify)}
        assert len(larger) == count
        assert smaller <= larger
        smaller = larger


@given(FILES, HOW, st.booleans(), st.integers(0, 40))
def test_what_is_chosen_stands_in_natural_order(
    files: list[LaidFile], how: Choice, stratify: bool, count: int
) -> None:
    chosen = [file.path for file in choose(files, count, how=how, stratify=stratify)]
    if len(chosen) < len(files):
        assert chosen == sorted(chosen, key=natural_key)
