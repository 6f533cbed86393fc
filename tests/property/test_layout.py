"""The layout over any names: no place twice, no dependence on order, no prefix longer than needed."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from empiar_mirror.layout import FOLDERS, LaidFile, Place, Rule, natural_key, plan_layout
from empiar_schema.products import Product
from empiar_schema.states import Role

COMPONENTS = st.sampled_from(
    ["a", "b", "A", "a__b", "b__a", "1", "10", "x.mrc", "a__x.mrc", "caf\u00e9", "cafe\u0301"]
)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
FILES = st.lists(
    st.tuples(PATHS, st.sampled_from(list(Role))), unique_by=lambda pair: pair[0], max_size=25
).map(lambda pairs: [LaidFile.of(number, path, role) for number, (path, role) in enumerate(pairs)])


def deposited(place: Place) -> LaidFile:
    assert isinstance(place.file, LaidFile)
    return place.file


def file_id(file: LaidFile | Product) -> int:
    assert isinstance(file, LaidFile)
    return file.file_id


@given(FILES)
def test_every_file_has_one_place_of_its_own_or_a_reason(files: list[LaidFile]) -> None:
    plan = plan_layout(files)
    paths = [place.path for place in plan.places]
    assert len(set(paths)) == len(paths)
    placed = [place.file for place in plan.places] + [file for file, _reason in plan.unplaced]
    assert sorted(placed, key=file_id) == [file for file in files if file.role in FOLDERS]
    for place in plan.places:
        assert place.name
        assert "/" not in place.name
        assert place.name.endswith(deposited(place).name)


@given(FILES, st.randoms(use_true_random=False))
def test_the_order_of_the_files_does_not_matter(files: list[LaidFile], rng: random.Random) -> None:
    shuffled = files[:]
    rng.shuffle(shuffled)
    assert plan_layout(shuffled) == plan_layout(files)


@given(FILES)
def test_laying_out_what_is_laid_out_changes_no_name(files: list[LaidFile]) -> None:
    first = plan_layout(files)
    again = plan_layout(
        [LaidFile.of(deposited(place).file_id, place.path, deposited(place).role) for place in first.places]
    )
    assert {deposited(place).file_id: place.path for place in again.places} == {
        deposited(place).file_id: place.path for place in first.places
    }


@given(FILES)
def test_a_bare_name_is_kept_if_and_only_if_the_prefix_is_not_needed(files: list[LaidFile]) -> None:
    plan = plan_layout(files)
    for place in plan.places:
        namesakes = [
            f for f in files if FOLDERS.get(f.role) == place.folder and f.name == deposited(place).name
        ]
        if place.rule is Rule.NAME:
            assert len(namesakes) == 1
        if place.rule is Rule.FOLDER_PREFIX:
            assert len(namesakes) > 1


@given(
    st.lists(
        st.lists(st.sampled_from("abc"), min_size=3, max_size=3).map(tuple),
        min_size=2,
        max_size=8,
        unique=True,
    )
)
def test_no_folder_of_a_prefix_could_be_left_out(folders: list[tuple[str, str, str]]) -> None:
    plan = plan_layout([LaidFile.of(n, "/".join([*f, "x.mrc"]), Role.MOVIE) for n, f in enumerate(folders)])
    prefixes = [place.name.split("__")[:-1] for place in plan.places]
    assert len(prefixes) == len(folders)
    assert len({len(prefix) for prefix in prefixes}) == 1
    for level in range(len(prefixes[0])):
        without = {tuple(prefix[:level] + prefix[level + 1 :]) for prefix in prefixes}
        assert len(without) < len(prefixes)


@given(st.lists(st.text(alphabet="ab019._", max_size=8), unique=True))
def test_natural_order_is_total(names: list[str]) -> None:
    assert len({natural_key(name) for name in names}) == len(names)
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)
