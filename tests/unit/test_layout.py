"""The flat layout: natural order, clashes, odd names."""

from __future__ import annotations

import pytest

from empiar_mirror.layout import LaidFile, LayoutPlan, Rule, natural_key, plan_layout
from empiar_schema.states import Role


def files(*paths: str, role: Role = Role.MICROGRAPH) -> list[LaidFile]:
    return [LaidFile.of(number, path, role) for number, path in enumerate(paths, 1)]


def places(plan: LayoutPlan) -> dict[str, str]:
    return {place.file.path: place.path for place in plan.places}


def test_names_that_are_unique_in_the_entry_stay_bare_whatever_the_depth() -> None:
    plan = plan_layout(files("data/a.mrc", "data/x/b.mrc", "data/x/y/c d.e.mrc"))
    assert places(plan) == {
        "data/a.mrc": "micrographs/a.mrc",
        "data/x/b.mrc": "micrographs/b.mrc",
        "data/x/y/c d.e.mrc": "micrographs/c d.e.mrc",
    }
    assert {place.rule for place in plan.places} == {Rule.NAME}


def test_all_members_of_a_clash_get_the_folder_that_tells_them_apart() -> None:
    plan = plan_layout(
        files(
            "data/Micrographs/Micrographs_part1/061.mrc",
            "data/Micrographs/Micrographs_part2/061.mrc",
            "data/Micrographs/Micrographs_part2/062.mrc",
        )
    )
    assert places(plan) == {
        "data/Micrographs/Micrographs_part1/061.mrc": "micrographs/Micrographs_part1__061.mrc",
        "data/Micrographs/Micrographs_part2/061.mrc": "micrographs/Micrographs_part2__061.mrc",
        "data/Micrographs/Micrographs_part2/062.mrc": "micrographs/062.mrc",
    }


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("data/g1/raw/a.mrc", "data/g2/raw/a.mrc"), ("g1__a.mrc", "g2__a.mrc")),
        (
            ("data/g1/1/a.mrc", "data/g1/2/a.mrc", "data/g2/1/a.mrc"),
            ("g1__1__a.mrc", "g1__2__a.mrc", "g2__1__a.mrc"),
        ),
        (("data/a.mrc", "data/g2/a.mrc"), ("data__a.mrc", "g2__a.mrc")),
        (("a.mrc", "data/a.mrc"), ("a.mrc", "data__a.mrc")),
    ],
)
def test_the_prefix_is_as_short_as_it_can_be(paths: tuple[str, ...], names: tuple[str, ...]) -> None:
    plan = plan_layout(files(*paths))
    assert [places(plan)[path] for path in paths] == [f"micrographs/{name}" for name in names]


def test_a_prefixed_name_gives_way_to_a_file_that_is_called_so() -> None:
    plan = plan_layout(files("data/p1/a.mrc", "data/p2/a.mrc", "data/p3/p1__a.mrc"))
    assert places(plan) == {
        "data/p1/a.mrc": "micrographs/data__p1__a.mrc",
        "data/p2/a.mrc": "micrographs/data__p2__a.mrc",
        "data/p3/p1__a.mrc": "micrographs/p1__a.mrc",
    }
    assert [place.rule for place in plan.places] == [Rule.FULL_PATH, Rule.FULL_PATH, Rule.NAME]


def test_files_that_no_rule_can_tell_apart_are_reported_and_not_placed() -> None:
    plan = plan_layout(files("a__b/c/x.mrc", "a/b__c/x.mrc", "a/b/c__x.mrc", "a__b__c/x.mrc", "y.mrc"))
    assert "micrographs/y.mrc" in places(plan).values()
    assert len(plan.places) + len(plan.unplaced) == 5
    assert len(set(places(plan).values())) == len(plan.places)
    assert plan.unplaced
    assert all("another file" in reason for _file, reason in plan.unplaced)


def test_a_name_that_would_be_too_long_is_reported() -> None:
    long = "n" * 200 + ".mrc"
    plan = plan_layout(files(f"{'f' * 60}1/{long}", f"{'f' * 60}2/{long}", long.replace("n", "m")))
    assert len(plan.places) == 1
    assert ["265 bytes" in reason or "267 bytes" in reason for _file, reason in plan.unplaced] == [True, True]


def test_lengths_count_bytes_and_not_letters() -> None:
    plan = plan_layout(files("µ" * 130 + ".mrc", "%FF" * 200 + ".mrc"))
    assert [place.name[:3] for place in plan.places] == ["%FF"]
    assert len(plan.unplaced) == 1


def test_movies_and_micrographs_share_a_folder_and_gains_have_their_own() -> None:
    laid = [
        LaidFile.of(1, "data/a.tif", Role.MOVIE),
        LaidFile.of(2, "data/b.mrc", Role.MICROGRAPH),
        LaidFile.of(3, "data/gain.mrc", Role.GAIN),
        LaidFile.of(4, "data/x/a.tif", Role.GAIN),
        LaidFile.of(5, "data/ts.st", Role.TILT_SERIES),
        LaidFile.of(6, "data/p.mrcs", Role.PARTICLE_STACK),
        LaidFile.of(7, "10017.xml", Role.METADATA),
    ]
    assert list(places(plan_layout(laid)).values()) == [
        "micrographs/a.tif",
        "micrographs/b.mrc",
        "gain/gain.mrc",
        "gain/a.tif",
    ]


def test_places_that_only_case_or_unicode_form_tells_apart_are_flagged_and_kept() -> None:
    plan = plan_layout(files("d/A.mrc", "d/a.MRC", "d/caf\u00e9.mrc", "d/cafe\u0301.mrc", "d/b.mrc"))
    assert len(plan.places) == 5
    assert sorted(sorted(place.name for place in group) for group in plan.alike) == [
        ["A.mrc", "a.MRC"],
        ["cafe\u0301.mrc", "caf\u00e9.mrc"],
    ]


def test_the_order_is_that_of_a_person_counting() -> None:
    names = ["a1.mrc", "a2.mrc", "a2b.mrc", "a10.mrc", "a010b.mrc", "a11.mrc", "b.mrc"]
    backwards = names[::-1]
    assert sorted(backwards, key=natural_key) == names


def test_thousands_of_digits_in_a_name_are_sorted_too() -> None:
    long = ["1" * 5000, "2" * 5000, "1" * 5001]
    backwards = long[::-1]
    assert sorted(backwards, key=natural_key) == long


def test_the_stem_loses_the_last_suffix_only() -> None:
    plan = plan_layout(files("d/Urease_28-10_Jan11_17.50.40.tif", "d/x.frames.tif", "d/none"))
    assert {place.stem for place in plan.places} == {"Urease_28-10_Jan11_17.50.40", "x.frames", "none"}
